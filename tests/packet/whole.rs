//! Forwards of every L4 port: what nothing else has leads to the VM, and the host keeps its own.

use std::net::{TcpListener, UdpSocket};

use fwd_common::drop::DropReason;
use fwd_tests::frame::{ACK, Packet, SYN, ip};
use fwd_tests::{need, skip};
use serde_json::{Value, json};

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

/// Family, a client, eth0's address, red1's and red2's, and the wildcard of the family.
const FAMILIES: [(char, &str, &str, [&str; 2], &str); 2] = [
    ('4', "198.51.100.7", "203.0.113.10", ["10.10.0.11", "10.10.0.12"], "0.0.0.0"),
    ('6', "2001:db8:99::7", "2001:db8:113::10", ["fd00:10::11", "fd00:10::12"], "::"),
];

/// All of eth0's addresses for red2, beside the forwards of some L4 ports to red1.
fn publish(world: &mut World, forwards: &[Value]) {
    world.edit(|document| document["forwards"].as_array_mut().expect("a list").extend_from_slice(forwards));
}

fn all() -> Value {
    json!({"name": "all", "listen": "any:*", "to": "red2"})
}

fn in_red2(world: &World, packet: &Packet, vm: &str) -> Packet {
    packet.clone().macs(world.gateway("red"), RED2).to_ip(ip(vm)).hops(63)
}

fn by_forward(owner: &str, family: char, name: &str) -> Vec<(String, i64)> {
    let mut moved = admitted(owner, family);
    moved.push((format!("forward {name} flows"), 1));
    moved
}

/// What the end of a half-open flow moves.
fn ended(owner: &str, family: char, why: &str) -> Vec<(String, i64)> {
    let held = [format!("table{family} "), format!("{owner} holds ")];
    let held = held.iter().flat_map(|of| ["flows", "half_open"].map(|what| (format!("{of}{what}"), -1)));
    held.chain([(why.to_owned(), 1), ("event FlowEnd".to_owned(), 1)]).collect()
}

#[test]
fn what_no_other_forward_has_leads_to_the_vm_and_answers_come_back() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world, &[all()]);
        let red = world.gateway("red");
        for (family, client, address, [vm1, vm2], _) in FAMILIES {
            for packet in [
                Packet::tcp((client, 40_000), (address, 9999)).flags(SYN),
                Packet::tcp((client, 40_000), (address, 65_535)).flags(SYN),
                Packet::udp((client, 40_000), (address, 1)).payload("odd"),
                Packet::echo_request(client, address, 7, 1),
            ] {
                let packet = packet.macs(ROUTER, ETH0);
                let moved = by_forward("red2", family, "all");
                world.send("eth0", &packet).forwards("red2", &in_red2(world, &packet, vm2), &named(&moved));
            }
            let settles = settled("red2", family);
            let pong = Packet::echo_reply(vm2, client, 7, 1).macs(RED2, red);
            let outside = pong.clone().macs(ETH0, ROUTER).from_ip(ip(address)).hops(63);
            world.send("red2", &pong).forwards("eth0", &outside, &named(&settles));
            // One L4 port goes first.
            let syn = Packet::tcp((client, 40_000), (address, 8080)).flags(SYN).macs(ROUTER, ETH0);
            let to_red1 = syn.clone().macs(red, RED1).to_end((vm1, 80)).hops(63);
            let name = if family == '4' { "web" } else { "web6" };
            world.send("eth0", &syn).forwards("red1", &to_red1, &named(&by_forward("red1", family, name)));
        }
    });
}

#[test]
fn one_protocol_goes_before_any() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let pings = |name: &str, address: &str| json!({"name": name, "listen": format!("icmp:{address}"), "to": "red1"});
        publish(world, &[all(), pings("ping", "203.0.113.10"), pings("ping6", "[2001:db8:113::10]")]);
        for (family, client, address, [vm1, vm2], _) in FAMILIES {
            let name = if family == '4' { "ping" } else { "ping6" };
            let ping = Packet::echo_request(client, address, 7, 1).macs(ROUTER, ETH0);
            let to_red1 = ping.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm1)).hops(63);
            world.send("eth0", &ping).forwards("red1", &to_red1, &named(&by_forward("red1", family, name)));
            let query = Packet::udp((client, 40_000), (address, 99)).macs(ROUTER, ETH0);
            let moved = by_forward("red2", family, "all");
            world.send("eth0", &query).forwards("red2", &in_red2(world, &query, vm2), &named(&moved));
        }
    });
}

#[test]
fn the_host_keeps_what_its_sockets_have() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world, &[all()]);
        for (family, client, address, [_, vm2], any) in FAMILIES {
            let tcp = TcpListener::bind((any, 2222)).expect("it is free");
            let udp = UdpSocket::bind((any, 2222)).expect("it is free");
            let of_host = [
                Packet::tcp((client, 40_000), (address, 2222)).flags(SYN),
                Packet::tcp((client, 40_000), (address, 2222)).flags(ACK),
                Packet::udp((client, 40_000), (address, 2222)),
            ];
            for packet in of_host.clone() {
                world.send("eth0", &packet.macs(ROUTER, ETH0)).passes();
            }
            drop((tcp, udp));
            let [syn, _, query] = of_host;
            for packet in [syn.macs(ROUTER, ETH0), query.macs(ROUTER, ETH0)] {
                let moved = by_forward("red2", family, "all");
                world.send("eth0", &packet).forwards("red2", &in_red2(world, &packet, vm2), &named(&moved));
            }
            // No socket is asked for these: its own pings' answers, its DHCP client's, and what no VM is to have.
            let (dhcp, kind) = if family == '4' { (68, 13) } else { (546, 139) };
            for packet in [
                Packet::echo_reply(client, address, 7, 1),
                Packet::udp((client, 67), (address, dhcp)),
                Packet::icmp(client, address, kind, 0, [0, 7, 0, 1]),
            ] {
                world.send("eth0", &packet.macs(ROUTER, ETH0)).passes();
            }
        }
    });
}

#[test]
fn translations_go_on_under_the_address_that_is_forwarded() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world, &[all()]);
        let red = world.gateway("red");
        for (family, server, address, [vm1, _], _) in FAMILIES {
            let out = Packet::udp((vm1, 4000), (server, 53)).macs(RED1, red);
            let left = out.clone().macs(ETH0, ROUTER).from_ip(ip(address)).hops(63);
            world.send("red1", &out).forwards("eth0", &left, &named(&admitted("red1", family)));
            let answer = Packet::udp((server, 53), (address, 4000)).macs(ROUTER, ETH0);
            let to_vm = answer.clone().macs(red, RED1).to_ip(ip(vm1)).hops(63);
            world.send("eth0", &answer).forwards("red1", &to_vm, &named(&settled("red1", family)));
        }
    });
}

#[test]
fn the_host_takes_back_a_flow_by_using_its_tuple() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world, &[all()]);
        for (family, peer, address, [_, vm2], any) in FAMILIES {
            let keepalive = Packet::udp((peer, 51_820), (address, 51_820)).macs(ROUTER, ETH0);
            let moved = by_forward("red2", family, "all");
            world.send("eth0", &keepalive).forwards("red2", &in_red2(world, &keepalive, vm2), &named(&moved));
            let _tunnel = UdpSocket::bind((any, 51_820)).expect("it is free");
            let own = Packet::udp((address, 51_820), (peer, 51_820)).macs(ETH0, ROUTER);
            let mut cut = ended("red2", family, "cut host_socket");
            cut.push(("forward all cut".to_owned(), 1));
            world.send_from_host("eth0", "eth0", &own).goes_on(&named(&cut));
            world.send_from_host("eth0", "eth0", &own).goes_on(&[]);
            world.send("eth0", &keepalive).passes();
        }
    });
}

#[test]
fn a_forward_of_one_l4_port_that_comes_and_goes_ends_the_flows_that_change_hands() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        publish(world, &[all()]);
        let red = world.gateway("red");
        for (family, client, address, [vm1, vm2], _) in FAMILIES {
            let query = Packet::udp((client, 40_000), (address, 99)).macs(ROUTER, ETH0);
            let moved = by_forward("red2", family, "all");
            world.send("eth0", &query).forwards("red2", &in_red2(world, &query, vm2), &named(&moved));
            publish(world, &[json!({"name": "one", "listen": "udp:99", "to": "red1:99"})]);
            let mut cut = ended("red2", family, "cut route");
            cut.extend([("rechecked".to_owned(), 1), ("forward all cut".to_owned(), 1)]);
            world.send("eth0", &query).drops_counting(DropReason::ForwardRemoved, &named(&cut));
            let to_red1 = query.clone().macs(red, RED1).to_ip(ip(vm1)).hops(63);
            let moved = by_forward("red1", family, "one");
            world.send("eth0", &query).forwards("red1", &to_red1, &named(&moved));
            world.remove("forwards", "one");
            let mut cut = ended("red1", family, "cut route");
            cut.extend([("rechecked".to_owned(), 1), ("forward ? cut".to_owned(), 1)]);
            world.send("eth0", &query).drops_counting(DropReason::ForwardRemoved, &named(&cut));
            let moved = by_forward("red2", family, "all");
            world.send("eth0", &query).forwards("red2", &in_red2(world, &query, vm2), &named(&moved));
        }
    });
}
