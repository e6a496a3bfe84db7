//! Answers: what senders of dropped packets are told, frame by frame.

use std::time::Instant;

use fwd_common::drop::DropReason;
use fwd_common::flow::Tick;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, Packet, RST, SYN, ip};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};

use crate::count::Counts;
use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, LAN1, LAN2, RED1, RED2, ROUTER, World, on, on_both_hooks};

/// A VM and its neighbor, their gateway, a server outside, eth0's own address.
const FAMILIES: [(char, [&str; 3], &str, &str); 2] = [
    ('4', ["10.10.0.11", "10.10.0.12", "10.10.0.1"], "198.51.100.7", "203.0.113.10"),
    ('6', ["fd00:10::11", "fd00:10::12", "fd00:10::1"], "2001:db8:99::7", "2001:db8:113::10"),
];

/// What an answer quotes of a packet: as much as a message of 576 or 1280 bytes holds.
fn quotation(packet: &Packet) -> Vec<u8> {
    let mut l3 = packet.frame()[14..].to_vec();
    l3.truncate(if l3[0] >> 4 == 4 { 576 - 28 } else { 1280 - 48 });
    l3
}

/// An ICMP error of this host about a packet, back to where it came from. Kind and code by family.
pub fn about(packet: &Packet, from: &str, to: &str, kinds: [(u8, u8); 2], rest: [u8; 4]) -> Packet {
    let (kind, code) = kinds[usize::from(ip(from).is_ipv6())];
    Packet::icmp(from, to, kind, code, rest)
        .payload(quotation(packet))
        .macs(packet.destination, packet.source)
}

pub const EXCEEDED: [(u8, u8); 2] = [(11, 0), (3, 0)];
const TOO_BIG: [(u8, u8); 2] = [(3, 4), (2, 0)];
const PROHIBITED: [(u8, u8); 2] = [(3, 13), (1, 1)];

#[test]
fn ttl_one_is_answered_with_time_exceeded() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (_, [vm, _, gateway], server, nat) in FAMILIES {
            for payload in [vec![], b"odd".to_vec(), vec![7; 1400]] {
                let to = world.gateway("red");
                let probe = Packet::udp((vm, 4000), (server, 33_434)).payload(&payload).hops(1);
                let probe = probe.macs(RED1, to);
                world.send("red1", &probe).answers(&about(&probe, gateway, vm, EXCEEDED, [0; 4]));
                let inward = Packet::udp((server, 40_000), (nat, 5353)).payload(&payload).hops(1);
                let inward = inward.macs(ROUTER, ETH0);
                world.send("eth0", &inward).answers(&about(&inward, nat, server, EXCEEDED, [0; 4]));
            }
        }
    });
}

#[test]
fn too_big_is_answered_with_the_mtu_of_the_next_hop() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, [vm, vm2, gateway], ..) in FAMILIES {
            let large = Packet::udp((vm, 1), (vm2, 2)).payload([7; 1500]).macs(RED1, RED2);
            let answer = about(&large, gateway, vm, TOO_BIG, [0, 0, 5, 220]);
            world.send("red1", &large).answers(&answer);
            // The same of a flow that there is.
            let small = Packet::udp((vm, 1), (vm2, 2)).macs(RED1, RED2);
            world.send("red1", &small).forwards("red2", &small, &named(&admitted("red1", family)));
            world.send("red1", &large).answers(&answer);
        }
    });
}

#[test]
fn a_gso_frame_is_too_big_by_its_segments() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        for ((_, [vm, vm2, gateway], ..), size) in FAMILIES.into_iter().zip([1461_u16, 1441]) {
            let whole = Packet::tcp((vm, 1), (vm2, 2))
                .flags(SYN)
                .payload(vec![7; usize::from(2 * size)])
                .macs(RED1, RED2);
            let sent = world.send_gso("red1", &whole.frame(), size.into());
            sent.answers_counting(&about(&whole, gateway, vm, TOO_BIG, [0, 0, 5, 220]), 2);
        }
    });
}

#[test]
fn errors_are_never_answered() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, [vm, ..], server, nat) in FAMILIES {
            let query = Packet::udp((vm, 4000), (server, 53)).macs(RED1, world.gateway("red"));
            let out = query.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &query).forwards("eth0", &out, &named(&admitted("red1", family)));
            let error = about(&out, server, nat, EXCEEDED, [0; 4]).macs(ROUTER, ETH0);
            world.send("eth0", &error.clone().hops(1)).drops_by_tcx(DropReason::TtlExceeded);
            let large = error.payload([&quotation(&out)[..], &[0; 1500]].concat());
            world.send("eth0", &large).drops_by_tcx(DropReason::PacketTooBig);
        }
    });
}

#[test]
fn a_port_causes_no_more_answers_than_its_budget() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        const FRAMES: i64 = 2000;
        let (_, [vm, ..], server, _) = FAMILIES[0];
        let probe =
            Packet::udp((vm, 4000), (server, 33_434)).hops(1).macs(RED1, world.gateway("red")).frame();
        let (before, start) = (Counts::take(world), Instant::now());
        for _ in 0..FRAMES {
            world.run_frame("red1", &probe);
        }
        let took = start.elapsed().as_nanos().try_into().expect("it took no century");
        let moved = Counts::take(world).since(&before);
        let count = |name: &str| moved.get(name).copied().unwrap_or(0);
        let (answered, dropped) = (count("skb red1 answered"), count("skb red1 dropped"));
        assert_eq!(answered + dropped, FRAMES);
        assert_eq!(count("drop red1 ttl_exceeded - egress"), dropped);
        // The tick in which it began, and that in which it ended.
        let ticks = i64::from(Tick::from_ns(took).0) + 2;
        assert!((32..=32 * ticks).contains(&answered), "{answered} answered in {ticks} ticks");
    });
}

/// The reset that answers a segment.
fn reset(segment: &Packet, (from, to): ((&str, u16), (&str, u16))) -> Packet {
    Packet::tcp(from, to).window(0).macs(segment.destination, segment.source)
}

#[test]
fn a_rejected_segment_is_answered_with_a_reset_that_its_sender_believes() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("no", "reject port:red1 outside any");
        let no = ("no", Direction::Egress);
        for (_, [vm, ..], server, _) in FAMILIES {
            let ends = ((server, 443), (vm, 4000));
            let tcp = Packet::tcp((vm, 4000), (server, 443)).macs(RED1, world.gateway("red"));
            let syn = tcp.clone().flags(SYN).tcp_options(&[2, 4, 5, 180]);
            let answer = reset(&syn, ends).flags(RST | ACK).seq(0, 1001);
            world.send("red1", &syn).rejects(no, &answer, &[]);
            let data = tcp.clone().payload("odd");
            world.send("red1", &data).rejects(no, &reset(&data, ends).flags(RST).seq(2000, 0), &[]);
            let blind = tcp.clone().flags(0).payload("odd");
            let answer = reset(&blind, ends).flags(RST | ACK).seq(0, 1003);
            world.send("red1", &blind).rejects(no, &answer, &[]);
            let reset = tcp.flags(RST);
            world.send("red1", &reset).drops_by_tcx_rule(DropReason::PolicyRejected, no);
        }
    });
}

#[test]
fn other_rejected_packets_are_answered_as_prohibited() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("no", "reject any any udp/53");
        world.rule("nor", "reject port:lan1 any any");
        for (_, [vm, _, gateway], server, _) in FAMILIES {
            let query = Packet::udp((vm, 4000), (server, 53)).payload("odd").macs(RED1, world.gateway("red"));
            let answer = about(&query, gateway, vm, PROHIBITED, [0; 4]);
            world.send("red1", &query).rejects(("no", Direction::Egress), &answer, &[]);
        }
        // Where this host has no address, in the name of the one who was asked.
        let ping = Packet::echo_request("192.0.2.21", "192.0.2.22", 7, 1).payload("ping").macs(LAN1, LAN2);
        let answer = about(&ping, "192.0.2.22", "192.0.2.21", PROHIBITED, [0; 4]);
        let learnt = [("lan1 holds addresses", 1), ("event Learnt", 1)];
        world.send("lan1", &ping).rejects_learning(("nor", Direction::Egress), &answer, &learnt);
    });
}

#[test]
fn a_live_flow_that_is_rejected_now_is_cut_and_told_so() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        let (family, [vm, ..], server, nat) = FAMILIES[0];
        let opened = open(world, (family, vm, server, nat));
        world.rule("late", "reject port:red1 outside any");
        let answer = reset(&opened, ((server, 443), (vm, 4000))).flags(RST).seq(2000, 0);
        let moved = [
            ("rechecked", 1),
            ("cut policy", 1),
            ("event FlowEnd", 1),
            ("table4 flows", -1),
            ("red1 holds flows", -1),
        ];
        world.send("red1", &opened).rejects(("late", Direction::Egress), &answer, &moved);
    });
}

/// Opens a TCP flow to outside; the packet that would come next.
fn open(world: &mut World, (family, vm, server, nat): (char, &str, &str, &str)) -> Packet {
    let gateway = world.gateway("red");
    let left = |packet: &Packet| packet.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
    let syn = Packet::tcp((vm, 4000), (server, 443)).flags(SYN).macs(RED1, gateway);
    world.send("red1", &syn).forwards("eth0", &left(&syn), &named(&admitted("red1", family)));
    let back = Packet::tcp((server, 443), (nat, 4000)).flags(SYN | ACK).macs(ROUTER, ETH0);
    let to_vm = back.clone().macs(gateway, RED1).to_ip(ip(vm)).hops(63);
    world.send("eth0", &back).forwards("red1", &to_vm, &[]);
    let ack = syn.flags(ACK);
    world.send("red1", &ack).forwards("eth0", &left(&ack), &named(&settled("red1", family)));
    ack
}
