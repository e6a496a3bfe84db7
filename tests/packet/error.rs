//! ICMP errors: with the flow of the packet that they quote, and translated as it is (RFC 5508, 4.2).

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{Fragment, Packet, SYN, ip};
use fwd_tests::{need, skip};

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, LAN1, LAN2, RED1, RED2, ROUTER, World, on_both_hooks};

/// A VM, a server outside, a router on the way, eth0's own address.
const FAMILIES: [(char, &str, &str, &str, &str); 2] = [
    ('4', "10.10.0.11", "198.51.100.7", "192.0.2.99", "203.0.113.10"),
    ('6', "fd00:10::11", "2001:db8:99::7", "2001:db8:66::99", "2001:db8:113::10"),
];

/// Too big (fragmentation needed), with a next hop's MTU of 1300.
fn too_big(from: &str, to: &str, quoted: &[u8]) -> Packet {
    let (kind, code) = if ip(from).is_ipv4() { (3, 4) } else { (2, 0) };
    Packet::icmp(from, to, kind, code, [0, 0, 5, 20]).payload(quoted)
}

/// Nothing listens there.
fn unreachable(from: &str, to: &str, quoted: &[u8]) -> Packet {
    let (kind, code) = if ip(from).is_ipv4() { (3, 3) } else { (1, 4) };
    Packet::icmp(from, to, kind, code, [0; 4]).payload(quoted)
}

/// A packet as an error quotes it: all of it, or its L3 header and eight bytes more.
fn quoted(packet: &Packet, shortest: bool) -> Vec<u8> {
    let l3 = packet.frame()[14..].to_vec();
    let header = if l3[0] >> 4 == 4 { 20 } else { 40 };
    if shortest { l3[..header + 8].to_vec() } else { l3 }
}

/// Opens flows of each protocol from red1 to outside. The packets as the VM sent them, and as they went.
fn opened(world: &mut World, family: char) -> Vec<(Packet, Packet)> {
    let (_, vm, server, _, nat) = FAMILIES.into_iter().find(|row| row.0 == family).expect("a family");
    let gateway = world.gateway("red");
    let sent = [
        Packet::udp((vm, 4000), (server, 53)).payload("a question of nineteen bytes"),
        Packet::tcp((vm, 4001), (server, 443)).flags(SYN),
        Packet::echo_request(vm, server, 7, 1).payload("ping"),
    ];
    let mut flows = vec![];
    for (n, packet) in sent.into_iter().enumerate() {
        let packet = packet.macs(RED1, gateway);
        let run = world.send("red1", &packet);
        let mut out = packet.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
        if n == 2 {
            out = out.from_l4(run.echo_id());
        }
        run.forwards("eth0", &out, &named(&admitted("red1", family)));
        flows.push((packet, out.hops(60)));
    }
    flows
}

#[test]
fn an_error_from_outside_reaches_the_vm_with_the_packet_that_it_sent() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, router, nat) in FAMILIES {
            for (sent, out) in opened(world, family) {
                for shortest in [true, false] {
                    for from in [router, server] {
                        let error = too_big(from, nat, &quoted(&out, shortest)).macs(ROUTER, ETH0);
                        let inner = quoted(&sent.clone().hops(60), shortest);
                        let mut to_vm = error.clone().payload(inner).macs(world.gateway("red"), RED1);
                        to_vm = to_vm.to_ip(ip(vm)).hops(63);
                        world.send("eth0", &error).switches(&to_vm, &[]);
                    }
                }
            }
        }
    });
}

#[test]
fn a_vms_error_goes_out_under_the_address_that_was_asked() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, _, nat) in FAMILIES {
            // Of a masqueraded flow, about its reply.
            let gateway = world.gateway("red");
            let query = Packet::udp((vm, 4000), (server, 53)).macs(RED1, gateway);
            let out = query.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &query).forwards("eth0", &out, &named(&admitted("red1", family)));
            let reply = Packet::udp((server, 53), (nat, 4000)).payload("odd").macs(ROUTER, ETH0);
            let to_vm = reply.clone().macs(gateway, RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &reply).forwards("red1", &to_vm, &named(&settled("red1", family)));
            let error = unreachable(vm, server, &quoted(&to_vm, false)).macs(RED1, gateway);
            let inner = quoted(&reply.clone().hops(63), false);
            let outside = error.clone().payload(inner).macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &error).switches(&outside, &[]);

            // Of a forwarded flow, about its first packet.
            let asked = Packet::udp((server, 40_000), (nat, 5353)).payload("odd").macs(ROUTER, ETH0);
            let to_vm = asked.clone().macs(gateway, RED1).to_end((vm, 53)).hops(63);
            let name = if family == '4' { "dns" } else { "dns6" };
            let mut moved = admitted("red1", family);
            moved.push((format!("forward {name} flows"), 1));
            world.send("eth0", &asked).forwards("red1", &to_vm, &named(&moved));
            let error = unreachable(vm, server, &quoted(&to_vm, true)).macs(RED1, gateway);
            let inner = quoted(&asked.clone().hops(63), true);
            let outside = error.clone().payload(inner).macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &error).switches(&outside, &[]);
        }
    });
}

#[test]
fn an_unsummed_udp_packet_stays_unsummed_in_its_quotation() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (_, vm, _, router, nat) = FAMILIES[0];
        let (sent, out) = opened(world, '4').remove(0);
        let unsummed = |packet: &Packet| {
            let mut bytes = quoted(packet, false);
            bytes[26..28].copy_from_slice(&[0, 0]);
            bytes
        };
        let error = too_big(router, nat, &unsummed(&out)).macs(ROUTER, ETH0);
        let to_vm = error.clone().payload(unsummed(&sent.hops(60))).macs(world.gateway("red"), RED1);
        world.send("eth0", &error).switches(&to_vm.to_ip(ip(vm)).hops(63), &[]);
    });
}

#[test]
fn a_quoted_first_fragment_is_of_its_flow_and_a_later_one_of_none() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, _, router, nat) in FAMILIES {
            let (sent, out) = opened(world, family).remove(0);
            for (offset, is_first) in [(0, true), (1280, false)] {
                let cut = |packet: &Packet| {
                    let part = packet.clone().fragment(Fragment { id: 9, offset, more: true });
                    part.hops(60).frame()[14..].to_vec()
                };
                let error = too_big(router, nat, &cut(&out)).macs(ROUTER, ETH0);
                let to_vm = error.clone().payload(cut(&sent)).macs(world.gateway("red"), RED1);
                let run = world.send("eth0", &error);
                if is_first {
                    run.switches(&to_vm.to_ip(ip(vm)).hops(63), &[]);
                } else {
                    run.passes();
                }
            }
        }
    });
}

#[test]
fn an_error_of_no_live_flow_is_the_hosts_from_outside_and_a_drop_from_a_guest() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (_, vm, server, router, nat) in FAMILIES {
            let own = Packet::udp((nat, 777), (server, 53));
            world.send("eth0", &too_big(router, nat, &quoted(&own, true)).macs(ROUTER, ETH0)).passes();
            let gateway = world.gateway("red");
            let never = Packet::udp((server, 53), (vm, 4000));
            let error = unreachable(vm, server, &quoted(&never, true)).macs(RED1, gateway);
            world.send("red1", &error).drops(DropReason::IcmpErrorUnrelated);
            // To another address than that of the quoted packet's sender, and one that quotes too little.
            let query = Packet::udp((vm, 4000), (server, 53)).macs(RED1, gateway);
            world.run_frame("red1", &query.frame());
            let astray = unreachable(vm, router, &quoted(&never, true)).macs(RED1, gateway);
            world.send("red1", &astray).drops(DropReason::IcmpErrorUnrelated);
            let short = &quoted(&never, true)[..20];
            let error = unreachable(vm, server, short).macs(RED1, gateway);
            world.send("red1", &error).drops(DropReason::IcmpErrorUnrelated);
        }
    });
}

#[test]
fn an_error_is_permitted_as_its_flow_is() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, _, _, router, nat) in FAMILIES {
            let (_, out) = opened(world, family).remove(0);
            world.rule("late", "deny port:red1 outside udp/53");
            let error = too_big(router, nat, &quoted(&out, true)).macs(ROUTER, ETH0);
            let table = [format!("table{family} flows"), format!("table{family} half_open")];
            let moved = [
                ("rechecked", 1),
                ("cut policy", 1),
                ("event FlowEnd", 1),
                (&table[0], -1),
                (&table[1], -1),
                ("red1 holds flows", -1),
                ("red1 holds half_open", -1),
            ];
            let denied = ("late", Direction::Egress);
            world.send("eth0", &error).drops_by(DropReason::PolicyDenied, denied, &moved);
            world.send("eth0", &error).passes();
            world.remove("policies", "late");
            world.end_flows();
        }
    });
}

#[test]
fn errors_of_bridged_flows_pass_as_they_are_and_guests_redirect_nobody() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, lan1, lan2) in
            [('4', "192.0.2.21", "192.0.2.22"), ('6', "2001:db8:2::21", "2001:db8:2::22")]
        {
            let there = Packet::udp((lan1, 1), (lan2, 2)).macs(LAN1, LAN2);
            let mut moved = admitted("lan1", family);
            moved.push(("lan1 holds addresses".to_owned(), 1));
            moved.push(("event Learnt".to_owned(), 1));
            world.send("lan1", &there).forwards("lan2", &there, &named(&moved));
            let error = unreachable(lan2, lan1, &quoted(&there, true)).macs(LAN2, LAN1);
            let learnt = [("lan2 holds addresses", 1), ("event Learnt", 1)];
            world.send("lan2", &error).switches(&error, &learnt);
            if family == '4' {
                let redirect = Packet::icmp(lan2, lan1, 5, 1, [192, 0, 2, 22]).payload(quoted(&there, true));
                world.send("lan2", &redirect.macs(LAN2, LAN1)).drops(DropReason::IcmpRedirect);
            }
        }
        let quoted = quoted(&Packet::udp("10.10.0.12:7", "10.10.0.11:8"), true);
        let forged = unreachable("10.10.0.11", "10.10.0.12", &quoted).macs(RED1, RED2);
        world.send("red1", &forged).drops(DropReason::IcmpErrorUnrelated);
    });
}
