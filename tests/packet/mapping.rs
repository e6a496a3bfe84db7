//! Endpoint-independent mapping and filtering: one L4 port outside for one of a guest, whoever the other end is.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_common::sweep::{Command, Op};
use fwd_tests::frame::{ACK, Packet, SYN, ip};
use fwd_tests::{need, skip};
use serde_json::{Value, json};

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, FLOWS, RED1, RED2, ROUTER, World, on_both_hooks};

/// Two servers and a stranger outside, eth0's own address, and two VMs.
const FAMILIES: [(char, [&str; 3], &str, [&str; 2]); 2] = [
    ('4', ["198.51.100.7", "198.51.100.8", "192.0.2.99"], "203.0.113.10", ["10.10.0.11", "10.10.0.12"]),
    (
        '6',
        ["2001:db8:99::7", "2001:db8:99::8", "2001:db8:66::99"],
        "2001:db8:113::10",
        ["fd00:10::11", "fd00:10::12"],
    ),
];

fn open(world: &mut World) {
    translate(world, json!([{"name": "open", "network": "red", "endpoint_independent": true}]));
}

fn translate(world: &mut World, nats: Value) {
    world.edit(|document| document["nats"] = nats);
}

fn outward(packet: Packet, world: &World, mac: &str) -> Packet {
    packet.macs(mac, world.gateway("red"))
}

/// The packet as it leaves by eth0.
fn left(packet: &Packet, source: (&str, u16)) -> Packet {
    packet.clone().macs(ETH0, ROUTER).from_end(source).hops(63)
}

/// What a flow moves that is the first of its mapping.
fn mapped(owner: &str, family: char) -> Vec<(String, i64)> {
    let mut moved = admitted(owner, family);
    for (name, by) in &mut moved {
        if name.ends_with(" flows") {
            *by += 1;
        }
    }
    moved
}

/// Opens red2's mapping of its L4 port 4000, which red1 has already under its own number: the L4 port outside.
fn opened(world: &mut World, row: usize) -> u16 {
    let (family, [server, ..], nat, [vm, vm2]) = FAMILIES[row];
    let first = outward(Packet::udp((vm, 4000), (server, 53)), world, RED1);
    world.send("red1", &first).forwards("eth0", &left(&first, (nat, 4000)), &named(&mapped("red1", family)));
    let out = outward(Packet::udp((vm2, 4000), (server, 53)), world, RED2);
    let sent = world.send("red2", &out);
    let l4_port = sent.source_l4_port();
    assert!((20_000..=32_767).contains(&l4_port), "{l4_port} is not of nat_l4_ports");
    sent.forwards("eth0", &left(&out, (nat, l4_port)), &named(&mapped("red2", family)));
    l4_port
}

#[test]
fn a_guest_has_one_l4_port_towards_all_and_whoever_sends_there_reaches_it() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        open(world);
        for (row, (family, [_, other, stranger], nat, [_, vm2])) in FAMILIES.into_iter().enumerate() {
            let l4_port = opened(world, row);
            // Without a mapping it would keep its own L4 port here, where it is free.
            let out = outward(Packet::udp((vm2, 4000), (other, 3478)), world, RED2);
            let moved = admitted("red2", family);
            world.send("red2", &out).forwards("eth0", &left(&out, (nat, l4_port)), &named(&moved));
            let unasked = Packet::udp((stranger, 999), (nat, l4_port)).payload("odd").macs(ROUTER, ETH0);
            let to_vm = unasked.clone().macs(world.gateway("red"), RED2).to_end((vm2, 4000)).hops(63);
            world.send("eth0", &unasked).forwards("red2", &to_vm, &named(&moved));
            let answer = outward(Packet::udp((vm2, 4000), (stranger, 999)), world, RED2);
            let moved = settled("red2", family);
            world.send("red2", &answer).forwards("eth0", &left(&answer, (nat, l4_port)), &named(&moved));
            // What no mapping has is the host's, of another protocol too.
            world.send("eth0", &Packet::udp((stranger, 999), (nat, l4_port + 1)).macs(ROUTER, ETH0)).passes();
            world.send("eth0", &Packet::tcp((stranger, 999), (nat, l4_port)).macs(ROUTER, ETH0)).passes();
        }
    });
}

#[test]
fn tcp_comes_in_by_a_mapping_too() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        open(world);
        for (family, [server, _, stranger], nat, [vm, _]) in FAMILIES {
            let out = outward(Packet::tcp((vm, 4000), (server, 443)).flags(SYN), world, RED1);
            let moved = mapped("red1", family);
            world.send("red1", &out).forwards("eth0", &left(&out, (nat, 4000)), &named(&moved));
            let syn = Packet::tcp((stranger, 999), (nat, 4000)).flags(SYN).macs(ROUTER, ETH0);
            let to_vm = syn.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &syn).forwards("red1", &to_vm, &named(&admitted("red1", family)));
            let answer = outward(Packet::tcp((vm, 4000), (stranger, 999)).flags(SYN | ACK), world, RED1);
            world.send("red1", &answer).forwards("eth0", &left(&answer, (nat, 4000)), &[]);
        }
    });
}

#[test]
fn guests_reach_each_other_by_their_mappings_under_their_own() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        open(world);
        for (row, (family, _, nat, [vm, vm2])) in FAMILIES.into_iter().enumerate() {
            let l4_port = opened(world, row);
            let gateway = world.gateway("red");
            let out = outward(Packet::udp((vm, 4000), (nat, l4_port)).payload("odd"), world, RED1);
            let to_vm = out.clone().macs(gateway, RED2).from_end((nat, 4000)).to_end((vm2, 4000)).hops(63);
            world.send("red1", &out).forwards("red2", &to_vm, &named(&admitted("red1", family)));
            let answer = outward(Packet::udp((vm2, 4000), (nat, 4000)), world, RED2);
            let back =
                answer.clone().macs(gateway, RED1).from_end((nat, l4_port)).to_end((vm, 4000)).hops(63);
            world.send("red2", &answer).forwards("red1", &back, &named(&settled("red1", family)));
            // One that has none yet gets one.
            let other = outward(Packet::udp((vm, 4001), (nat, l4_port)), world, RED1);
            let to_vm = other.clone().macs(gateway, RED2).from_end((nat, 4001)).to_end((vm2, 4000)).hops(63);
            world.send("red1", &other).forwards("red2", &to_vm, &named(&mapped("red1", family)));
        }
    });
}

#[test]
fn a_mapping_is_over_with_its_last_flow_and_closed_with_the_option() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        open(world);
        for (row, (family, [_, _, stranger], nat, [_, vm2])) in FAMILIES.into_iter().enumerate() {
            let l4_port = opened(world, row);
            let unasked = Packet::udp((stranger, 999), (nat, l4_port)).macs(ROUTER, ETH0);
            let to_vm = unasked.clone().macs(world.gateway("red"), RED2).to_end((vm2, 4000)).hops(63);
            world.send("eth0", &unasked).forwards("red2", &to_vm, &named(&admitted("red2", family)));
            // A flow that came in keeps it open by itself; what is in use is not reclaimed.
            let sweep =
                Command { op: Op::Reclaim as u32, slots: FLOWS, family: row as u32, ..Command::default() };
            let swept = world.sweep(sweep);
            assert_eq!((swept.inspected, swept.expired), (5, 0), "three flows and two mappings");
            world.end_flows();
            world.send("eth0", &unasked).passes();
            let l4_port = opened(world, row);
            let unasked = Packet::udp((stranger, 999), (nat, l4_port)).macs(ROUTER, ETH0);
            let to_vm = unasked.clone().macs(world.gateway("red"), RED2).to_end((vm2, 4000)).hops(63);
            world.send("eth0", &unasked).forwards("red2", &to_vm, &named(&admitted("red2", family)));
            translate(world, json!([]));
            let table = [format!("table{family} flows"), format!("table{family} half_open")];
            let cut = [
                ("rechecked", 1),
                ("cut route", 1),
                ("event FlowEnd", 1),
                (&table[0], -1),
                (&table[1], -1),
                ("red2 holds flows", -1),
                ("red2 holds half_open", -1),
            ];
            world.send("eth0", &unasked).passes_counting(&cut);
            world.end_flows();
            open(world);
        }
    });
}

#[test]
fn rules_and_ranges_hold_for_mappings() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let nat = |name: &str, address: &str| {
            json!({"name": name, "network": "red", "address": address, "l4_ports": "40000-40000",
                   "endpoint_independent": true})
        };
        translate(world, json!([nat("a", "203.0.113.11"), nat("b", "2001:db8:113::11")]));
        world.rule("no", "deny 192.0.2.0/24 port:red1 udp/4000");
        world.rule("no6", "deny 2001:db8:66::/64 port:red1 udp/4000");
        for ((family, [server, _, stranger], _, [vm, vm2]), (nat, rule)) in
            FAMILIES.into_iter().zip([("203.0.113.11", "no"), ("2001:db8:113::11", "no6")])
        {
            let out = outward(Packet::udp((vm, 4000), (server, 53)), world, RED1);
            let moved = mapped("red1", family);
            world.send("red1", &out).forwards("eth0", &left(&out, (nat, 40_000)), &named(&moved));
            let unasked = Packet::udp((stranger, 999), (nat, 40_000)).macs(ROUTER, ETH0);
            let by = (rule, Direction::Ingress);
            world.send("eth0", &unasked).drops_by(DropReason::PolicyDenied, by, &[]);
            let out = outward(Packet::udp((vm2, 4000), (server, 53)), world, RED2);
            let refused = [("refused nat_exhausted", 1)];
            world.send("red2", &out).drops_counting(DropReason::NatExhausted, &refused);
        }
    });
}

#[test]
fn an_l4_port_of_a_mapping_is_not_given_to_a_flow_of_another_network() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        open(world);
        for (family, [server, other, _], nat, [vm, _]) in FAMILIES {
            let first = outward(Packet::udp((vm, 4000), (server, 53)), world, RED1);
            let moved = mapped("red1", family);
            world.send("red1", &first).forwards("eth0", &left(&first, (nat, 4000)), &named(&moved));
            let blue = Packet::udp((vm, 4000), (other, 53)).macs(crate::world::BLUE1, world.gateway("blue"));
            let sent = world.send("blue1", &blue);
            let l4_port = sent.source_l4_port();
            assert_ne!(l4_port, 4000, "outside would reach red1 by it");
            sent.forwards("eth0", &left(&blue, (nat, l4_port)), &named(&admitted("blue1", family)));
        }
    });
}

#[test]
fn a_mapping_goes_before_a_forward_of_every_l4_port() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        open(world);
        world.edit(|document| {
            document["forwards"] = json!([
                {"name": "dmz", "listen": "any:203.0.113.10", "to": "red1"},
                {"name": "dmz6", "listen": "any:[2001:db8:113::10]", "to": "red1"},
            ]);
        });
        for (row, (family, [_, _, stranger], nat, [_, vm2])) in FAMILIES.into_iter().enumerate() {
            let l4_port = opened(world, row);
            let unasked = Packet::udp((stranger, 999), (nat, l4_port)).macs(ROUTER, ETH0);
            let to_vm = unasked.clone().macs(world.gateway("red"), RED2).to_end((vm2, 4000)).hops(63);
            world.send("eth0", &unasked).forwards("red2", &to_vm, &named(&admitted("red2", family)));
        }
    });
}
