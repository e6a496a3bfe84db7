//! What processes of the host send to forwards, by `lo`. XDP runs there never.

use std::net::{TcpListener, UdpSocket};

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, Packet, SYN};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};
use serde_json::json;

use crate::sent::{admitted, named, settled};
use crate::world::{BLUE1, ETH0, NO_MAC, RED1, ROUTER, on};

/// The host's address and the loopback one, red1's and its gateway's, and the forwards.
type Family = (char, [&'static str; 2], [&'static str; 2], [&'static str; 2]);

const FAMILIES: [Family; 2] = [
    ('4', ["203.0.113.10", "127.0.0.1"], ["10.10.0.11", "10.10.0.1"], ["web", "dns"]),
    ('6', ["2001:db8:113::10", "::1"], ["fd00:10::11", "fd00:10::1"], ["web6", "dns6"]),
];

fn by_forward(owner: &str, family: char, name: &str) -> Vec<(String, i64)> {
    let mut moved = admitted(owner, family);
    moved.push((format!("forward {name} flows"), 1));
    moved
}

#[test]
fn a_forward_takes_what_the_host_sends_to_itself_and_answers_come_back_by_lo() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        let red = world.gateway("red");
        for (family, [own, loopback], [vm, gateway], [web, dns]) in FAMILIES {
            for (at, seen, l4_port) in [(own, own, 40_000), (loopback, gateway, 40_001)] {
                let syn = Packet::tcp((at, l4_port), (at, 8080)).flags(SYN).macs(NO_MAC, NO_MAC);
                let at_vm = Packet::tcp((seen, l4_port), (vm, 80)).flags(SYN).macs(red, RED1).hops(63);
                world.send("lo", &syn).forwards("red1", &at_vm, &named(&by_forward("red1", family, web)));
                let answer =
                    Packet::tcp((vm, 80), (seen, l4_port)).flags(SYN | ACK).payload("odd").macs(RED1, red);
                let back = Packet::tcp((at, 8080), (at, l4_port)).flags(SYN | ACK).payload("odd");
                let back = back.macs(NO_MAC, NO_MAC).hops(63);
                world.send("red1", &answer).forwards("lo", &back, &[]);
                let ack = Packet::tcp((at, l4_port), (at, 8080)).flags(ACK).macs(NO_MAC, NO_MAC);
                let at_vm = Packet::tcp((seen, l4_port), (vm, 80)).flags(ACK).macs(red, RED1).hops(63);
                world.send("lo", &ack).forwards("red1", &at_vm, &named(&settled("red1", family)));

                let query = Packet::udp((at, l4_port), (at, 5353)).payload("odd").macs(NO_MAC, NO_MAC);
                let at_vm = Packet::udp((seen, l4_port), (vm, 53)).payload("odd").macs(red, RED1).hops(63);
                world.send("lo", &query).forwards("red1", &at_vm, &named(&by_forward("red1", family, dns)));
            }
        }
    });
}

#[test]
fn a_private_network_sees_its_gateway() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        world.edit(|document| {
            let forwards = document["forwards"].as_array_mut().expect("a list");
            forwards.push(json!({"name": "apart", "listen": "udp:99", "to": "blue1:53"}));
        });
        for (family, [own, loopback], [vm, gateway], _) in FAMILIES {
            for (at, l4_port) in [(own, 40_000), (loopback, 40_001)] {
                let query = Packet::udp((at, l4_port), (at, 99)).macs(NO_MAC, NO_MAC);
                let at_vm = Packet::udp((gateway, l4_port), (vm, 53));
                let at_vm = at_vm.macs(world.gateway("blue"), BLUE1).hops(63);
                let moved = by_forward("blue1", family, "apart");
                world.send("lo", &query).forwards("blue1", &at_vm, &named(&moved));
            }
        }
    });
}

#[test]
fn what_a_process_listens_for_and_what_nobody_publishes_stays_the_hosts() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        for (_, [own, loopback], _, _) in FAMILIES {
            for at in [own, loopback] {
                let tcp = TcpListener::bind((at, 8080)).expect("it is free");
                let udp = UdpSocket::bind((at, 5353)).expect("it is free");
                for packet in [
                    Packet::tcp((at, 40_000), (at, 8080)).flags(SYN),
                    Packet::tcp((at, 40_000), (at, 8080)).flags(ACK),
                    Packet::udp((at, 40_000), (at, 5353)),
                ] {
                    world.send("lo", &packet.macs(NO_MAC, NO_MAC)).passes();
                }
                drop((tcp, udp));
                // Nothing of this is looked at or counted.
                for packet in [
                    Packet::tcp((at, 40_000), (at, 8081)).flags(SYN),
                    Packet::udp((at, 40_000), (at, 8080)),
                    Packet::echo_request(at, at, 7, 1),
                ] {
                    world.send("lo", &packet.macs(NO_MAC, NO_MAC)).goes_on(&[]);
                }
            }
        }
    });
}

#[test]
fn a_loopback_address_is_published_to_the_host_alone() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        for (family, [_, loopback], ..) in FAMILIES {
            let client = if family == '4' { "198.51.100.7" } else { "2001:db8:99::7" };
            let syn = Packet::tcp((client, 40_000), (loopback, 8080)).flags(SYN).macs(ROUTER, ETH0);
            world.send("eth0", &syn).passes();
        }
    });
}

#[test]
fn the_host_is_bound_by_rules_and_by_from() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        world.rule("no-host", "deny host port:red1 udp/53");
        for (_, [own, loopback], _, [_, dns]) in FAMILIES {
            for at in [own, loopback] {
                let query = Packet::udp((at, 40_000), (at, 5353)).macs(NO_MAC, NO_MAC);
                let by = ("no-host", Direction::Ingress);
                world.send("lo", &query).drops_by(DropReason::PolicyDenied, by, &[]);
            }
            world.edit(|document| {
                let forwards = document["forwards"].as_array_mut().expect("a list");
                let forward = forwards.iter_mut().find(|forward| forward["name"] == dns).expect("a forward");
                forward["from"] = json!(["192.0.2.0/24"]);
            });
            let query = Packet::udp((own, 40_000), (own, 5353)).macs(NO_MAC, NO_MAC);
            let by = (format!("forward {dns}"), Direction::Ingress);
            let sent = world.send("lo", &query);
            sent.drops_by(DropReason::ForwardClientDenied, (&by.0, by.1), &[]);
        }
    });
}
