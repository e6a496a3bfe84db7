//! IPv4 options and IPv6 extension headers: packets are decided by the L4 header behind them. XDP passes them up.

use fwd_common::drop::DropReason;
use fwd_tests::frame::{Extension, Packet, ip};
use fwd_tests::{need, skip};

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, LAN1, RED1, ROUTER, on_both_hooks};

const V4: (&str, &str, &str) = ("10.10.0.11", "198.51.100.7", "203.0.113.10");
const V6: (&str, &str, &str) = ("fd00:10::11", "2001:db8:99::7", "2001:db8:113::10");
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
const RECORD_ROUTE: [u8; 11] = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0];

fn extensions(numbers: &[u8], packet: Packet) -> Packet {
    numbers.iter().fold(packet, |packet, number| packet.extension(Extension::padding(*number)))
}

/// With hops to go, or of a kind.
fn routing(kind: u8, hops: u8) -> Extension {
    Extension { number: Extension::ROUTING, content: vec![kind, hops, 0, 0, 0, 0] }
}

#[test]
fn packets_with_options_are_translated_both_ways() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        let (vm, server, nat) = V4;
        let out = Packet::udp((vm, 4000), (server, 53)).payload("odd").ip_options(&ROUTER_ALERT);
        let out = out.macs(RED1, gateway);
        let left = out.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
        world.send("red1", &out).forwards_by_tcx("eth0", &left.frame(), &named(&admitted("red1", '4')));
        let back = Packet::udp((server, 53), (nat, 4000)).payload("answer").ip_options(&RECORD_ROUTE);
        let back = back.macs(ROUTER, ETH0);
        let to_vm = back.clone().macs(gateway, RED1).to_ip(ip(vm)).hops(63);
        world.send("eth0", &back).forwards_by_tcx("red1", &to_vm.frame(), &named(&settled("red1", '4')));
        // Of the same flow, and without options.
        let plain = Packet::udp((vm, 4000), (server, 53)).macs(RED1, gateway);
        let left = plain.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
        if world.hook == fwd_tests::lab::Hook::Tcx {
            world.send("red1", &plain).forwards("eth0", &left, &[]);
        }
    });
}

#[test]
fn packets_with_extension_headers_are_translated_both_ways() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        let (vm, server, nat) = V6;
        let (hop, dst) = (Extension::HOP_BY_HOP, Extension::DESTINATION);
        let mut moved = admitted("red1", '6');
        for numbers in [&[hop][..], &[dst], &[hop, dst, dst, dst, dst]] {
            let out = extensions(numbers, Packet::udp((vm, 4000), (server, 53)).payload("odd"));
            let out = out.macs(RED1, gateway);
            let left = out.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &out).forwards_by_tcx("eth0", &left.frame(), &named(&moved));
            moved.clear();
        }
        let mut moved = settled("red1", '6');
        for back in [
            extensions(&[dst], Packet::udp((server, 53), (nat, 4000)).payload("answer")),
            Packet::udp((server, 53), (nat, 4000)).extension(routing(4, 0)),
        ] {
            let back = back.macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(gateway, RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &back).forwards_by_tcx("red1", &to_vm.frame(), &named(&moved));
            moved.clear();
        }
    });
}

#[test]
fn what_the_sender_routes_or_hides_is_dropped_or_the_hosts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        let udp4 = || Packet::udp((V4.0, 1), (V4.1, 2));
        let udp6 = || Packet::udp((V6.0, 1), (V6.1, 2));
        let error = Packet::icmp(V4.0, V4.1, 3, 1, [0; 4]).payload([0x45; 28]).ip_options(&ROUTER_ALERT);
        let unknown = Extension { number: 253, content: vec![0; 6] };
        for (packet, reason) in [
            (udp4().ip_options(&[131, 7, 4, 198, 51, 100, 9]), DropReason::Ipv4Options),
            (udp4().ip_options(&[1, 137, 7, 4, 198, 51, 100, 9]), DropReason::Ipv4Options),
            (udp4().ip_options(&[1; 12]), DropReason::Ipv4Options),
            (udp4().ip_options(&[148, 1, 0, 0]), DropReason::BadIpv4Header),
            (udp4().ip_options(&[148, 8, 0, 0]), DropReason::BadIpv4Header),
            (error, DropReason::Ipv4Options),
            (udp6().extension(routing(0, 0)), DropReason::Ipv6RoutingHeader),
            (udp6().extension(routing(4, 1)), DropReason::Ipv6RoutingHeader),
            (extensions(&[60; 6], udp6()), DropReason::Ipv6Extension),
            (udp6().extension(unknown), DropReason::Ipv6Extension),
        ] {
            world.send("red1", &packet.clone().macs(RED1, gateway)).drops_by_tcx(reason);
            world.send("eth0", &packet.macs(ROUTER, ETH0)).passes();
        }
    });
}

#[test]
fn listener_reports_alert_routers_and_are_flooded() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let alert = Extension { number: Extension::HOP_BY_HOP, content: vec![5, 2, 0, 0, 1, 0] };
        let report = Packet::icmp("fe80::1", "ff02::16", 143, 0, [0, 0, 0, 0]).extension(alert).hops(1);
        let report = report.macs(LAN1, "33:33:00:00:00:16");
        world.run_frame("lan1", &report.frame());
        world.send("lan1", &report).floods_to_host("lan1", 2);
    });
}
