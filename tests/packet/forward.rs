//! Forwards: an outside address and L4 port lead to a VM.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, Packet, SYN};
use fwd_tests::{need, skip};
use serde_json::json;

use crate::sent::{Sent, admitted, named, settled};
use crate::world::{ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

/// A client, the published address, and the VM behind it.
const FAMILIES: [(char, &str, &str, &str, [&str; 2]); 2] = [
    ('4', "198.51.100.7", "203.0.113.10", "10.10.0.11", ["web", "dns"]),
    ('6', "2001:db8:99::7", "2001:db8:113::10", "fd00:10::11", ["web6", "dns6"]),
];

fn in_vm(world: &World, packet: &Packet, vm: &str, l4_port: u16) -> Packet {
    packet.clone().macs(world.gateway("red"), RED1).to_end((vm, l4_port)).hops(63)
}

fn by_forward(name: &str, family: char) -> Vec<(String, i64)> {
    let mut moved = admitted("red1", family);
    moved.push((format!("forward {name} flows"), 1));
    moved
}

#[test]
fn tcp_and_udp_reach_the_vm_and_answers_go_back_under_the_published_address() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, client, address, vm, [web, dns]) in FAMILIES {
            let syn = Packet::tcp((client, 40_000), (address, 8080)).flags(SYN).macs(ROUTER, ETH0);
            let moved = by_forward(web, family);
            world.send("eth0", &syn).forwards("red1", &in_vm(world, &syn, vm, 80), &named(&moved));
            let answer = Packet::tcp((vm, 80), (client, 40_000)).flags(SYN | ACK);
            let answer = answer.macs(RED1, world.gateway("red"));
            let outside = answer.clone().macs(ETH0, ROUTER).from_end((address, 8080)).hops(63);
            world.send("red1", &answer).forwards("eth0", &outside, &[]);
            let ack = syn.clone().flags(ACK).payload("GET /");
            world.send("eth0", &ack).forwards(
                "red1",
                &in_vm(world, &ack, vm, 80),
                &named(&settled("red1", family)),
            );

            let query = Packet::udp((client, 40_000), (address, 5353)).payload("odd").macs(ROUTER, ETH0);
            let moved = by_forward(dns, family);
            world.send("eth0", &query).forwards("red1", &in_vm(world, &query, vm, 53), &named(&moved));
        }
    });
}

#[test]
fn another_l4_port_or_protocol_is_the_hosts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (_, client, address, ..) in FAMILIES {
            for packet in [
                Packet::tcp((client, 40_000), (address, 8081)).flags(SYN),
                Packet::udp((client, 40_000), (address, 8080)),
                Packet::echo_request(client, address, 1, 1),
            ] {
                world.send("eth0", &packet.macs(ROUTER, ETH0)).passes();
            }
        }
    });
}

#[test]
fn a_removed_forward_ends_its_flows() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, client, address, vm, [_, dns]) in FAMILIES {
            let query = Packet::udp((client, 40_000), (address, 5353)).macs(ROUTER, ETH0);
            let moved = by_forward(dns, family);
            world.send("eth0", &query).forwards("red1", &in_vm(world, &query, vm, 53), &named(&moved));
            world.remove("forwards", dns);
            let table = [format!("table{family} flows"), format!("table{family} half_open")];
            world.send("eth0", &query).drops_counting(
                DropReason::ForwardRemoved,
                &[
                    ("rechecked", 1),
                    ("cut route", 1),
                    ("event FlowEnd", 1),
                    // The forward's name is gone with it.
                    ("forward ? cut", 1),
                    (&table[0], -1),
                    (&table[1], -1),
                    ("red1 holds flows", -1),
                    ("red1 holds half_open", -1),
                ],
            );
            world.send("eth0", &query).passes();
        }
    });
}

/// The clients that a forward is for.
fn limit(world: &mut World, name: &str, from: &[&str]) {
    world.edit(|document| {
        let forwards = document["forwards"].as_array_mut().expect("a list");
        let forward = forwards.iter_mut().find(|forward| forward["name"] == name).expect("a forward");
        forward["from"] = json!(from);
    });
}

/// A drop of who is not one of them.
fn refused(sent: Sent, name: &str, named: &[(&str, i64)]) {
    let by = format!("forward {name}");
    sent.drops_by(DropReason::ForwardClientDenied, (&by, Direction::Ingress), named);
}

#[test]
fn a_forward_is_for_the_clients_it_names_and_ends_flows_of_others() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, client, address, vm, [_, dns]) in FAMILIES {
            let (near, whole, other) = match family {
                '4' => ("198.51.100.0/24", "0.0.0.0/0", "::/0"),
                _ => ("2001:db8:99::/48", "::/0", "0.0.0.0/0"),
            };
            let query = Packet::udp((client, 40_000), (address, 5353)).macs(ROUTER, ETH0);
            let at_vm = in_vm(world, &query, vm, 53);
            limit(world, dns, &[other]);
            refused(world.send("eth0", &query), dns, &[]);
            limit(world, dns, &[other, near]);
            let moved = by_forward(dns, family);
            world.send("eth0", &query).forwards("red1", &at_vm, &named(&moved));
            for still in [&[whole][..], &[near, other], &[]] {
                limit(world, dns, still);
                world.send("eth0", &query).forwards("red1", &at_vm, &[("rechecked", 1)]);
            }
            limit(world, dns, &[other]);
            let table = [format!("table{family} flows"), format!("table{family} half_open")];
            let cut = [
                ("rechecked", 1),
                ("cut route", 1),
                ("event FlowEnd", 1),
                (&format!("forward {dns} cut"), 1),
                (&table[0], -1),
                (&table[1], -1),
                ("red1 holds flows", -1),
                ("red1 holds half_open", -1),
            ];
            refused(world.send("eth0", &query), dns, &cut);
            refused(world.send("eth0", &query), dns, &[]);
        }
    });
}

#[test]
fn the_answer_of_a_vm_to_a_client_that_is_none_any_more_is_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, client, address, vm, [web, _]) in FAMILIES {
            let syn = Packet::tcp((client, 40_000), (address, 8080)).flags(SYN).macs(ROUTER, ETH0);
            let moved = by_forward(web, family);
            world.send("eth0", &syn).forwards("red1", &in_vm(world, &syn, vm, 80), &named(&moved));
            limit(world, web, &[if family == '4' { "192.0.2.0/24" } else { "2001:db8:98::/48" }]);
            let answer = Packet::tcp((vm, 80), (client, 40_000)).flags(SYN | ACK);
            let answer = answer.macs(RED1, world.gateway("red"));
            let table = [format!("table{family} flows"), format!("table{family} half_open")];
            let cut = [
                ("rechecked", 1),
                ("cut route", 1),
                ("event FlowEnd", 1),
                (&format!("forward {web} cut"), 1),
                (&table[0], -1),
                (&table[1], -1),
                ("red1 holds flows", -1),
                ("red1 holds half_open", -1),
            ];
            refused(world.send("red1", &answer), web, &cut);
        }
    });
}

#[test]
fn a_vm_is_a_client_by_its_own_address() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let red = world.gateway("red");
        for (family, neighbor, gateway, address, vm, dns, [own, outside]) in [
            (
                '4',
                "10.10.0.12",
                "10.10.0.1",
                "203.0.113.10",
                "10.10.0.11",
                "dns",
                ["10.10.0.12/32", "198.51.100.0/24"],
            ),
            (
                '6',
                "fd00:10::12",
                "fd00:10::1",
                "2001:db8:113::10",
                "fd00:10::11",
                "dns6",
                ["fd00:10::12/128", "2001:db8:99::/48"],
            ),
        ] {
            let query = Packet::udp((neighbor, 4000), (address, 5353)).macs(RED2, red);
            limit(world, dns, &[outside]);
            refused(world.send("red2", &query), dns, &[]);
            limit(world, dns, &[outside, own]);
            let at_vm = Packet::udp((gateway, 4000), (vm, 53)).macs(red, RED1).hops(63);
            let mut moved = admitted("red2", family);
            moved.push((format!("forward {dns} flows"), 1));
            world.send("red2", &query).forwards("red1", &at_vm, &named(&moved));
        }
    });
}

#[test]
fn a_forward_to_a_port_without_device_takes_nothing() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.edit(|document| {
            let forwards = document["forwards"].as_array_mut().expect("a list");
            forwards.push(json!({"name": "late", "listen": "udp:203.0.113.10:99", "to": "late:99"}));
        });
        let query = Packet::udp("198.51.100.7:1", "203.0.113.10:99").macs(ROUTER, ETH0);
        world.send("eth0", &query).drops_by_tcx(DropReason::PortDown);
    });
}

#[test]
fn a_forward_waits_until_the_ports_mac_is_known() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.edit(|document| {
            let ports = document["ports"].as_array_mut().expect("a list");
            let red3 = ports.iter_mut().find(|port| port["name"] == "red3").expect("a port");
            red3["ips"] = json!(["10.10.0.13"]);
            let forwards = document["forwards"].as_array_mut().expect("a list");
            forwards.push(json!({"name": "wait", "listen": "udp:203.0.113.10:99", "to": "red3:99"}));
        });
        let query = Packet::udp("198.51.100.7:1", "203.0.113.10:99").macs(ROUTER, ETH0);
        world.send("eth0", &query).drops(DropReason::NoNeighbor);
    });
}

#[test]
fn nothing_comes_in_by_a_forward_from_an_address_of_nobody_or_of_a_vm() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (listen, forged) in [
            ("203.0.113.10", ["10.10.0.12", "10.10.0.77", "127.0.0.1", "224.0.0.1"]),
            ("2001:db8:113::10", ["fd00:10::12", "fd00:10::77", "::1", "::ffff:198.51.100.7"]),
        ] {
            for (n, from) in forged.into_iter().enumerate() {
                let syn = Packet::tcp((from, 4000), (listen, 8080)).flags(SYN).macs(ROUTER, ETH0);
                let reason =
                    if n < 2 { DropReason::SourceAddressSpoofed } else { DropReason::SourceAddressInvalid };
                world.send("eth0", &syn).drops(reason);
                // What is for this host its own stack judges.
                let to_host = syn.to_l4(8081);
                world.send("eth0", &to_host).passes();
            }
        }
    });
}
