//! Datagrams in fragments: only the first has the L4 header, and all of them go where it goes. XDP passes them up.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{Extension, Fragment, L4, NdOption, Packet, SYN, ip};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, RED1, RED2, ROUTER, World, on, on_both_hooks};

/// Family, the VM, another one, a server outside, and eth0's own address.
const FAMILIES: [(char, &str, &str, &str, &str); 2] = [
    ('4', "10.10.0.11", "10.10.0.12", "198.51.100.7", "203.0.113.10"),
    ('6', "fd00:10::11", "fd00:10::12", "2001:db8:99::7", "2001:db8:113::10"),
];
/// Bytes of a datagram in each fragment.
const SIZE: usize = 1448;

/// Sends the fragments of a packet, of which the first moves what is named, and holds that they leave by a port as
/// those of another.
#[track_caller]
fn crosses(world: &mut World, id: u16, way: (&str, &Packet), to: (&str, &Packet), moved: &[(String, i64)]) {
    let (sent, wanted) = (way.1.fragments(id, SIZE), to.1.fragments(id, SIZE));
    assert!(sent.len() > 2, "a first, a middle and a last one");
    for (n, (frame, wanted)) in sent.iter().zip(&wanted).enumerate() {
        let moved = if n == 0 { named(moved) } else { vec![] };
        world.send_frame(way.0, frame).forwards_by_tcx(to.0, wanted, &moved);
    }
}

#[test]
fn a_datagram_in_fragments_is_translated_both_ways() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        for (family, vm, _, server, nat) in FAMILIES {
            let out = Packet::udp((vm, 4000), (server, 53)).payload([7; 5000]).macs(RED1, gateway);
            let left = out.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            crosses(world, 1, ("red1", &out), ("eth0", &left), &admitted("red1", family));
            let back = Packet::udp((server, 53), (nat, 4000)).payload([8; 5000]).macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(gateway, RED1).to_ip(ip(vm)).hops(63);
            crosses(world, 2, ("eth0", &back), ("red1", &to_vm), &settled("red1", family));
            crosses(world, 3, ("red1", &out), ("eth0", &left), &[]);
        }
    });
}

#[test]
fn an_echo_and_a_tcp_segment_in_fragments_are_translated() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        let gateway = world.gateway("red");
        for (family, vm, _, server, nat) in FAMILIES {
            let ping = Packet::echo_request(vm, server, 7, 1).payload([1; 4000]).macs(RED1, gateway);
            let id = {
                let sent = world.send_frame("red1", &ping.fragments(10, SIZE)[0]);
                let id = if family == '4' { sent.echo_id() } else { sent.word(54 + 8 + 4) };
                let left = ping.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).from_l4(id).hops(63);
                sent.forwards_by_tcx("eth0", &left.fragments(10, SIZE)[0], &named(&admitted("red1", family)));
                id
            };
            let left = ping.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).from_l4(id).hops(63);
            crosses(world, 11, ("red1", &ping), ("eth0", &left), &[]);
            let syn = Packet::tcp((vm, 4000), (server, 80)).flags(SYN).payload([1; 4000]).macs(RED1, gateway);
            let left = syn.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            crosses(world, 12, ("red1", &syn), ("eth0", &left), &admitted("red1", family));
        }
    });
}

#[test]
fn a_datagram_in_fragments_reaches_a_forward_and_a_neighbor() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        for (family, vm, vm2, server, host) in FAMILIES {
            let query = Packet::udp((server, 4000), (host, 5353)).payload([7; 5000]).macs(ROUTER, ETH0);
            let to_vm = query.clone().macs(gateway, RED1).to_end((vm, 53)).hops(63);
            let mut moved = admitted("red1", family);
            let forward = if family == '4' { "forward dns flows" } else { "forward dns6 flows" };
            moved.push((forward.to_owned(), 1));
            crosses(world, 20, ("eth0", &query), ("red1", &to_vm), &moved);
            let answer = Packet::udp((vm, 53), (server, 4000)).payload([8; 5000]).macs(RED1, gateway);
            let out = answer.clone().macs(ETH0, ROUTER).from_end((host, 5353)).hops(63);
            crosses(world, 21, ("red1", &answer), ("eth0", &out), &settled("red1", family));
            let across = Packet::udp((vm, 9), (vm2, 9)).payload([9; 5000]).macs(RED1, RED2);
            crosses(world, 22, ("red1", &across), ("red2", &across), &admitted("red1", family));
        }
    });
}

#[test]
fn a_fragment_without_its_first_is_dropped_or_the_hosts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        for (_, vm, _, server, host) in FAMILIES {
            let out = Packet::udp((vm, 4001), (server, 53)).payload([7; 5000]).macs(RED1, gateway);
            let fragments = out.fragments(30, SIZE);
            world.send_frame("red1", &fragments[1]).drops_by_tcx(DropReason::FragmentBeforeFirst);
            world.run_frame("red1", &fragments[0]);
            // The same identification from elsewhere is of another datagram.
            let other = Packet::udp((vm, 4001), (host, 53)).payload([7; 5000]).macs(RED1, gateway);
            let other = &other.fragments(30, SIZE)[1];
            world.send_frame("red1", other).drops_by_tcx(DropReason::FragmentBeforeFirst);
            let spoofed = out.clone().macs(RED2, gateway).fragments(30, SIZE);
            world.send_frame("red2", &spoofed[1]).drops_by_tcx(DropReason::FragmentBeforeFirst);
            let back = Packet::udp((server, 53), (host, 4001)).payload([7; 5000]).macs(ROUTER, ETH0);
            world.send_frame("eth0", &back.fragments(31, SIZE)[1]).passes();
        }
    });
}

#[test]
fn a_rule_that_denies_the_first_fragment_denies_all() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        let gateway = world.gateway("red");
        world.rule("no-dns", "deny port:red1 - udp/53");
        for (_, vm, _, server, _) in FAMILIES {
            let out = Packet::udp((vm, 4002), (server, 53)).payload([7; 5000]).macs(RED1, gateway);
            for frame in out.fragments(40, SIZE) {
                let by = ("no-dns", Direction::Egress);
                world.send_frame("red1", &frame).drops_by(DropReason::PolicyDenied, by, &[]);
            }
        }
    });
}

#[test]
fn fragments_that_hide_or_rewrite_the_l4_header_are_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        for (family, vm, vm2, server, _) in FAMILIES {
            let piece = |id, offset, more| Fragment { id, offset, more };
            let raw = |protocol: u8, bytes: &[u8]| {
                let packet = Packet::ip(ip(vm), ip(server), L4::Other { protocol }).payload(bytes);
                packet.macs(RED1, gateway)
            };
            // A first one that ends inside the header of TCP, or of UDP.
            for (protocol, len) in [(6, 8), (6, 16)] {
                let tiny = raw(protocol, &[0x50; 24][..len]).fragment(piece(50, 0, true));
                world.send("red1", &tiny).drops_by_tcx(DropReason::FragmentTiny);
            }
            // TCP options that the fragment does not have.
            let syn = Packet::tcp((vm, 1), (server, 2)).flags(SYN).tcp_options(&[1; 12]).macs(RED1, gateway);
            let cut = &syn.fragments(51, 24)[0];
            world.send_frame("red1", cut).drops_by_tcx(DropReason::FragmentTiny);
            let out = Packet::udp((vm, 4003), (server, 53)).payload([7; 5000]).macs(RED1, gateway);
            world.run_frame("red1", &out.fragments(52, SIZE)[0]);
            let over = raw(17, &[0; 64]).fragment(piece(52, 8, false));
            world.send("red1", &over).drops_by_tcx(DropReason::FragmentOverlap);
            let odd = raw(17, &[0; 63]).fragment(piece(52, 1448, true));
            world.send("red1", &odd).drops_by_tcx(DropReason::FragmentInvalid);
            let beyond = raw(17, &[0; 64]).fragment(piece(52, 65_528, false));
            world.send("red1", &beyond).drops_by_tcx(DropReason::FragmentInvalid);
            let kind = if family == '4' { 3 } else { 1 };
            let error = Packet::icmp(vm, server, kind, 1, [0; 4]).payload([0; 64]).macs(RED1, gateway);
            world.send_frame("red1", &error.fragments(53, 48)[0]).drops_by_tcx(DropReason::FragmentInvalid);
            if family == '6' {
                let advert = Packet::neighbor_advertisement(vm, vm2, &[NdOption::TargetLink(RED1.into())]);
                let advert = advert.macs(RED1, RED2).fragment(piece(54, 0, true));
                world.send("red1", &advert).drops_by_tcx(DropReason::FragmentInvalid);
            }
        }
    });
}

#[test]
fn an_ipv6_fragment_that_is_all_of_its_datagram_goes_as_a_whole_packet() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (_, vm, _, server, nat) = FAMILIES[1];
        let whole = Fragment { id: 60, offset: 0, more: false };
        let out = Packet::udp((vm, 4004), (server, 53)).payload("one").fragment(whole);
        let out = out.extension(Extension::padding(Extension::DESTINATION)).macs(RED1, world.gateway("red"));
        let left = out.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
        world.send("red1", &out).forwards_by_tcx("eth0", &left.frame(), &named(&admitted("red1", '6')));
    });
}
