//! SCTP: flows with L4 ports, rules about them, masquerade and forwards. The builder computes the checksum over the
//! whole packet, so each frame that comes out shows that the one in it is right.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{Fault, L4, Packet, ip};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};
use serde_json::json;

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, RED1, RED2, ROUTER, World, on, on_both_hooks};

// Types of chunks (RFC 9260, 3.2).
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const COOKIE_ECHO: u8 = 10;

/// An outside host, eth0's own address, the network's gateway, and two VMs.
const FAMILIES: [(char, &str, &str, &str, [&str; 2]); 2] = [
    ('4', "198.51.100.7", "203.0.113.10", "10.10.0.1", ["10.10.0.11", "10.10.0.12"]),
    ('6', "2001:db8:99::7", "2001:db8:113::10", "fd00:10::1", ["fd00:10::11", "fd00:10::12"]),
];
/// Several chunks, and a length that is no multiple of anything.
const BUNDLE: [u8; 1237] = {
    let mut bytes = [0; 1237];
    let mut n = 0;
    while n < bytes.len() {
        bytes[n] = (n * n) as u8;
        n += 1;
    }
    bytes[0] = DATA;
    bytes
};

fn outward(packet: Packet, world: &World, mac: &str) -> Packet {
    packet.macs(mac, world.gateway("red"))
}

/// The packet as it leaves by eth0.
fn left(packet: &Packet, source: &str) -> Packet {
    packet.clone().macs(ETH0, ROUTER).from_ip(ip(source)).hops(63)
}

/// Publishes red1's 2906 as 2905 of eth0's addresses.
fn publish(world: &mut World) {
    world.edit(|document| {
        document["forwards"] = json!([
            {"name": "m3ua", "listen": "sctp:203.0.113.10:2905", "to": "red1:2906"},
            {"name": "m3ua6", "listen": "sctp:[2001:db8:113::10]:2905", "to": "red1:2906"},
        ]);
    });
}

fn by_forward(family: char) -> Vec<(String, i64)> {
    let name = if family == '4' { "m3ua" } else { "m3ua6" };
    [admitted("red1", family), vec![(format!("forward {name} flows"), 1)]].concat()
}

#[test]
fn an_association_is_translated_and_established_by_its_third_packet() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, server, nat, _, [vm, _]) in FAMILIES {
            let init = outward(Packet::sctp((vm, 3000), (server, 2905), INIT), world, RED1);
            world.send("red1", &init).forwards("eth0", &left(&init, nat), &named(&admitted("red1", family)));
            let back = Packet::sctp((server, 2905), (nat, 3000), INIT_ACK).macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &back).forwards("red1", &to_vm, &[]);
            let echo = outward(Packet::sctp((vm, 3000), (server, 2905), COOKIE_ECHO), world, RED1);
            world.send("red1", &echo).forwards("eth0", &left(&echo, nat), &named(&settled("red1", family)));
            let data = back.payload(BUNDLE);
            let to_vm = to_vm.payload(BUNDLE);
            world.send("eth0", &data).forwards("red1", &to_vm, &[]);
        }
    });
}

#[test]
fn an_l4_port_that_another_association_has_is_changed_and_the_checksum_with_it() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, server, nat, _, [vm, vm2]) in FAMILIES {
            let first = outward(Packet::sctp((vm, 3000), (server, 2905), INIT), world, RED1);
            world.send("red1", &first).forwards(
                "eth0",
                &left(&first, nat),
                &named(&admitted("red1", family)),
            );
            let init = outward(Packet::sctp((vm2, 3000), (server, 2905), INIT), world, RED2);
            let sent = world.send("red2", &init);
            let l4_port = sent.source_l4_port();
            assert!((20_000..=32_767).contains(&l4_port), "{l4_port} is not of nat_l4_ports");
            let out = left(&init, nat).from_l4(l4_port);
            sent.forwards("eth0", &out, &named(&admitted("red2", family)));
            let back = Packet::sctp((server, 2905), (nat, l4_port), INIT_ACK).macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(world.gateway("red"), RED2).to_end((vm2, 3000)).hops(63);
            world.send("eth0", &back).forwards("red2", &to_vm, &[]);
            let data = init.clone().payload(BUNDLE);
            let moved = settled("red2", family);
            world.send("red2", &data).forwards("eth0", &out.clone().payload(BUNDLE), &named(&moved));
            // Of one byte each more than the last, also behind the packet, as Ethernet pads short frames.
            for len in 4..40 {
                let data = init.clone().payload(&BUNDLE[..len]).trailer(&[0; 9]);
                let out = out.clone().payload(&BUNDLE[..len]).trailer(&[0; 9]);
                world.send("red2", &data).forwards("eth0", &out, &[]);
            }
        }
    });
}

#[test]
fn a_forward_leads_to_another_l4_port_and_back_from_outside_and_inside() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world);
        let gateway = world.gateway("red");
        for (family, client, address, inner, [vm, vm2]) in FAMILIES {
            let init = Packet::sctp((client, 4000), (address, 2905), INIT).macs(ROUTER, ETH0);
            let to_vm = init.clone().macs(gateway, RED1).to_end((vm, 2906)).hops(63);
            world.send("eth0", &init).forwards("red1", &to_vm, &named(&by_forward(family)));
            let answer = Packet::sctp((vm, 2906), (client, 4000), INIT_ACK).macs(RED1, gateway);
            let out = answer.clone().macs(ETH0, ROUTER).from_end((address, 2905)).hops(63);
            world.send("red1", &answer).forwards("eth0", &out, &[]);
            let data = init.clone().payload(BUNDLE);
            let moved = settled("red1", family);
            world.send("eth0", &data).forwards("red1", &to_vm.clone().payload(BUNDLE), &named(&moved));
            // It ends, and is opened again on the same tuple.
            let abort = init.clone().payload([ABORT, 0, 0, 4]);
            world.send("eth0", &abort).forwards("red1", &to_vm.clone().payload([ABORT, 0, 0, 4]), &[]);
            let again = [(format!("table{family} half_open"), 1), ("red1 holds half_open".to_owned(), 1)];
            let name = if family == '4' { "m3ua" } else { "m3ua6" };
            let ended = [
                (format!("forward {name} flows"), 1),
                ("admitted".to_owned(), 1),
                ("event FlowStart".to_owned(), 1),
                ("event FlowEnd".to_owned(), 1),
                ("reopened".to_owned(), 1),
            ];
            world.send("eth0", &init).forwards("red1", &to_vm, &named(&[&again[..], &ended].concat()));
            // Another VM of the network is seen under the gateway's address.
            let inside = outward(Packet::sctp((vm2, 4000), (address, 2905), INIT), world, RED2);
            let to_vm = inside.clone().macs(gateway, RED1).from_ip(ip(inner)).to_end((vm, 2906)).hops(63);
            let mut moved = admitted("red2", family);
            moved.push((format!("forward {name} flows"), 1));
            world.send("red2", &inside).forwards("red1", &to_vm, &named(&moved));
            let answer = outward(Packet::sctp((vm, 2906), (inner, 4000), INIT_ACK), world, RED1);
            let to_vm2 = answer.clone().macs(gateway, RED2).from_end((address, 2905)).to_ip(ip(vm2)).hops(63);
            world.send("red1", &answer).forwards("red2", &to_vm2, &[]);
        }
    });
}

#[test]
fn an_error_is_translated_with_the_packet_that_it_quotes() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world);
        let gateway = world.gateway("red");
        for (family, client, address, _, [vm, _]) in FAMILIES {
            let init = Packet::sctp((client, 4000), (address, 2905), INIT).payload(BUNDLE).macs(ROUTER, ETH0);
            let to_vm = init.clone().macs(gateway, RED1).to_end((vm, 2906)).hops(63);
            world.send("eth0", &init).forwards("red1", &to_vm, &named(&by_forward(family)));
            let header = if family == '4' { 20 } else { 40 };
            // The checksum left out, whole, and with much of what it is over.
            for len in [8, 12, 300] {
                let quoted = |packet: &Packet| packet.frame()[14..14 + header + len].to_vec();
                let kind = if family == '4' { (3, 13) } else { (1, 1) };
                let error = Packet::icmp(vm, client, kind.0, kind.1, [0; 4]).macs(RED1, gateway);
                let out = error.clone().macs(ETH0, ROUTER).from_ip(ip(address)).hops(63);
                let error = error.payload(quoted(&to_vm));
                let out = out.payload(quoted(&init.clone().hops(63)));
                world.send("red1", &error).switches(&out, &[]);
            }
        }
    });
}

#[test]
fn a_rule_names_its_l4_port() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("m3ua", "deny port:red1 port:red2 sctp/2905-2906");
        for (family, _, _, _, [vm, vm2]) in FAMILIES {
            let init = Packet::sctp((vm, 3000), (vm2, 2905), INIT).macs(RED1, RED2);
            let by = ("m3ua", Direction::Egress);
            world.send("red1", &init).drops_by(DropReason::PolicyDenied, by, &[]);
            let other = init.to_l4(2907);
            world.send("red1", &other).forwards("red2", &other, &named(&admitted("red1", family)));
        }
    });
}

#[test]
fn a_packet_that_ends_inside_its_header_is_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, _, _, _, [vm, vm2]) in FAMILIES {
            for len in [0, 4, 11] {
                let short = Packet::ip(ip(vm), ip(vm2), L4::Other { protocol: 132 }).payload(vec![1; len]);
                // Ethernet's padding is not part of it.
                let short = short.trailer(&[0; 46]).macs(RED1, RED2);
                world.send("red1", &short).drops(DropReason::BadL4Header);
                let cut = Packet::ip(ip(vm), ip(vm2), L4::Other { protocol: 132 }).payload(vec![1; len]);
                world.send("red1", &cut.macs(RED1, RED2)).drops(DropReason::TruncatedHeader);
            }
            // No chunk at all says nothing.
            let bare = Packet::sctp((vm, 1), (vm2, 2), DATA).payload([]).macs(RED1, RED2);
            world.send("red1", &bare).forwards("red2", &bare, &named(&admitted("red1", family)));
        }
    });
}

#[test]
fn a_checksum_that_the_kernel_has_yet_to_compute_stays_zero() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        publish(world);
        let gateway = world.gateway("red");
        for (family, client, address, _, [vm, _]) in FAMILIES {
            let init = Packet::sctp((client, 4000), (address, 2905), INIT).fault(Fault::L4Checksum(0));
            let init = init.macs(ROUTER, ETH0);
            let to_vm = init.clone().macs(gateway, RED1).to_end((vm, 2906)).hops(63);
            world.send("eth0", &init).forwards("red1", &to_vm, &named(&by_forward(family)));
            // Several packets in one frame, cut where its pieces end. Whether these are short only the kernel knows, and
            // of a test run's frame it does not say: so all of it is.
            const BY_FRAGMENTS: u32 = 0xffff;
            let bulk = init.clone().payload([7; 1400]);
            let to_vm = to_vm.payload([7; 1400]);
            world.send_gso("eth0", &bulk.frame(), BY_FRAGMENTS).forwards("red1", &to_vm, &[]);
        }
    });
}

#[test]
fn a_fragment_keeps_its_l4_port_or_is_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world);
        for (family, server, address, _, [vm, _]) in FAMILIES {
            let out = outward(Packet::sctp((vm, 3000), (server, 2905), INIT).payload(BUNDLE), world, RED1);
            let frames = out.fragments(1, 800);
            let wanted = left(&out, address).fragments(1, 800);
            world.send_frame("red1", &frames[0]).forwards_by_tcx(
                "eth0",
                &wanted[0],
                &named(&admitted("red1", family)),
            );
            world.send_frame("red1", &frames[1]).forwards_by_tcx("eth0", &wanted[1], &[]);
        }
    });
    on(Hook::Tcx, |world| {
        publish(world);
        for (family, client, address, _, [vm, _]) in FAMILIES {
            let init = Packet::sctp((client, 4000), (address, 2905), INIT).macs(ROUTER, ETH0);
            let to_vm = init.clone().macs(world.gateway("red"), RED1).to_end((vm, 2906)).hops(63);
            world.send("eth0", &init).forwards("red1", &to_vm, &named(&by_forward(family)));
            let pieces = init.payload(BUNDLE).fragments(2, 800);
            let counted = [("via red1", 1)];
            world.send_frame("eth0", &pieces[0]).drops_counting(DropReason::SctpFragment, &counted);
        }
    });
}
