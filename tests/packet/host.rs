//! The host's own sockets win: over a translation's L4 port, over a forward, and over a flow that is there.

use std::net::{TcpListener, UdpSocket};

use fwd_tests::frame::{ACK, Packet, SYN, ip};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};

use crate::sent::{admitted, named};
use crate::world::{ETH0, ETH1, LAN1, RED1, ROUTER, on, on_both_hooks};

/// Family, a VM, an outside server, eth0's address, and the wildcard of the family.
const FAMILIES: [(char, &str, &str, &str, &str); 2] = [
    ('4', "10.10.0.11", "198.51.100.7", "203.0.113.10", "0.0.0.0"),
    ('6', "fd00:10::11", "2001:db8:99::7", "2001:db8:113::10", "::"),
];

#[test]
fn an_l4_port_that_a_socket_of_the_host_has_is_not_given_to_a_flow() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat, any) in FAMILIES {
            let udp = UdpSocket::bind((any, 4100)).expect("it is free");
            let tcp = TcpListener::bind((any, 4100)).expect("it is free");
            let gateway = world.gateway("red");
            for packet in [
                Packet::udp((vm, 4100), (server, 53)).macs(RED1, gateway),
                Packet::tcp((vm, 4100), (server, 443)).flags(SYN).macs(RED1, gateway),
            ] {
                let sent = world.send("red1", &packet);
                let l4_port = sent.source_l4_port();
                assert!((20_000..=32_767).contains(&l4_port), "{l4_port} is not of nat_l4_ports");
                let left = packet.clone().macs(ETH0, ROUTER).from_end((nat, l4_port)).hops(63);
                sent.forwards("eth0", &left, &named(&admitted("red1", family)));
            }
            drop((udp, tcp));
            // The socket is gone: another flow may have its L4 port.
            let packet = Packet::udp((vm, 4100), (server, 54)).macs(RED1, gateway);
            let left = packet.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &packet).forwards("eth0", &left, &named(&admitted("red1", family)));
        }
    });
}

#[test]
fn a_forward_takes_no_packet_of_a_connection_that_the_host_has() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (_, _, client, address, any) in FAMILIES {
            let _host = TcpListener::bind((any, 8080)).expect("it is free");
            let midstream = Packet::tcp((client, 40_000), (address, 8080)).flags(ACK).macs(ROUTER, ETH0);
            world.send("eth0", &midstream).passes();
        }
    });
}

#[test]
fn a_packet_of_the_host_ends_the_flow_whose_tuple_it_uses() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat, _) in FAMILIES {
            let out = Packet::udp((vm, 4000), (server, 53)).macs(RED1, world.gateway("red"));
            let left = out.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &out).forwards("eth0", &left, &named(&admitted("red1", family)));
            let [flows, half_open] = ["flows", "half_open"].map(|what| format!("table{family} {what}"));
            let ended = [
                ("cut host_socket", 1),
                ("event FlowEnd", 1),
                (flows.as_str(), -1),
                (half_open.as_str(), -1),
                ("red1 holds flows", -1),
                ("red1 holds half_open", -1),
            ];
            let other = Packet::udp((nat, 4001), (server, 53)).macs(ETH0, ROUTER);
            world.send_from_host("eth0", "eth0", &other).goes_on(&[]);
            let own = Packet::udp((nat, 4000), (server, 53)).macs(ETH0, ROUTER);
            world.send_from_host("eth0", "eth0", &own).goes_on(&ended);
            world.send_from_host("eth0", "eth0", &own).goes_on(&[]);
            let answer = Packet::udp((server, 53), (nat, 4000)).macs(ROUTER, ETH0);
            world.send("eth0", &answer).passes();
        }
    });
}

#[test]
fn what_the_host_sends_out_of_a_bridged_uplink_reaches_the_vm_it_is_for() {
    need!(skip::bpf());
    // It is a TCX program whatever the uplink's hook.
    on(Hook::Tcx, |world| {
        for (family, host, vm) in [('4', "198.51.100.10", "198.51.100.21"), ('6', "fe80::10", "fe80::21")] {
            let packet = Packet::udp((host, 4000), (vm, 53)).macs(ETH1, LAN1);
            let sent = world.send_from_host("eth1", "fwd-lan", &packet);
            sent.forwards("lan1", &packet, &named(&admitted("lan1", family)));
            // To nobody who is known: it goes out, uncounted.
            let out = Packet::udp((host, 4000), (vm, 53)).macs(ETH1, "52:54:00:00:02:ee");
            world.send_from_host("eth1", "fwd-lan", &out).goes_on(&[]);
        }
    });
}
