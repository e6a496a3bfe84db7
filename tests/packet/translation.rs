//! Translations as configured: an address of a network, an address of one port, and what is not translated.

use fwd_tests::frame::{ACK, Packet, SYN, ip};
use fwd_tests::{need, skip};
use fwd_user::plan::keep;
use serde_json::{Value, json};

use crate::sent::{admitted, named, settled};
use crate::world::{BLUE1, ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

/// An outside server, eth0's own address, another one there, and red1's and red2's own.
const FAMILIES: [(char, &str, &str, &str, [&str; 2]); 2] = [
    ('4', "198.51.100.7", "203.0.113.10", "203.0.113.11", ["10.10.0.11", "10.10.0.12"]),
    ('6', "2001:db8:99::7", "2001:db8:113::10", "2001:db8:113::11", ["fd00:10::11", "fd00:10::12"]),
];

fn translate(world: &mut World, nats: Value) {
    world.edit(|document| document["nats"] = nats);
}

/// Both families of one kind of translation.
fn by_address(more: &[(&str, &str)]) -> Value {
    let nat = |name: &str, address: &str| {
        let mut nat = json!({"name": name, "network": "red", "address": address});
        for (field, value) in more {
            nat[*field] = json!(value);
        }
        nat
    };
    json!([nat("out", FAMILIES[0].3), nat("out6", FAMILIES[1].3)])
}

fn one_to_one() -> Value {
    json!([
        {"name": "one", "one_to_one": format!("{}=red1", FAMILIES[0].3)},
        {"name": "one6", "one_to_one": format!("{}=red1", FAMILIES[1].3)},
    ])
}

fn outward(packet: Packet, world: &World, network: &str, mac: &str) -> Packet {
    packet.macs(mac, world.gateway(network))
}

/// The packet as it leaves by eth0.
fn left(packet: &Packet, source: &str) -> Packet {
    packet.clone().macs(ETH0, ROUTER).from_ip(ip(source)).hops(63)
}

#[test]
fn a_network_goes_out_under_its_address_and_gets_its_answers() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_address(&[]));
        for (family, server, own, other, [vm, _]) in FAMILIES {
            let out = outward(Packet::udp((vm, 4000), (server, 53)).payload("odd"), world, "red", RED1);
            world.send("red1", &out).forwards("eth0", &left(&out, other), &named(&admitted("red1", family)));
            let back = Packet::udp((server, 53), (other, 4000)).payload("answer").macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &back).forwards("red1", &to_vm, &named(&settled("red1", family)));
            // Another network's flows are none of its.
            let blue = outward(Packet::udp((vm, 4001), (server, 53)), world, "blue", BLUE1);
            world.send("blue1", &blue).forwards(
                "eth0",
                &left(&blue, own),
                &named(&admitted("blue1", family)),
            );
        }
    });
}

#[test]
fn only_the_l4_ports_of_its_range_are_used() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_address(&[("l4_ports", "40000-40099")]));
        for (family, server, _, other, [vm, _]) in FAMILIES {
            let out = outward(Packet::udp((vm, 4000), (server, 53)), world, "red", RED1);
            let sent = world.send("red1", &out);
            let l4_port = sent.source_l4_port();
            assert!((40_000..=40_099).contains(&l4_port), "{l4_port} is not of the address's range");
            sent.forwards("eth0", &left(&out, other).from_l4(l4_port), &named(&admitted("red1", family)));
            let kept = (l4_port - 40_000 + 1) % 100 + 40_000;
            let own = outward(Packet::udp((vm, kept), (server, 53)), world, "red", RED1);
            world.send("red1", &own).forwards("eth0", &left(&own, other), &named(&admitted("red1", family)));
            let ping = outward(Packet::echo_request(vm, server, 7, 1), world, "red", RED1);
            let sent = world.send("red1", &ping);
            let id = sent.echo_id();
            assert!((40_000..=40_099).contains(&id), "{id} is not of the address's range");
            sent.forwards("eth0", &left(&ping, other).from_l4(id), &named(&admitted("red1", family)));
        }
    });
}

#[test]
fn an_address_of_one_port_is_its_own_both_ways() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, one_to_one());
        for (family, server, own, other, [vm, vm2]) in FAMILIES {
            let name = if family == '4' { "one" } else { "one6" };
            let mut by_pair = admitted("red1", family);
            by_pair.push((format!("forward nat:{name} flows"), 1));
            let to_vm = |world: &World, packet: &Packet| {
                packet.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).hops(63)
            };
            // In, whatever the L4 port: and out again under the address.
            let syn = Packet::tcp((server, 40_000), (other, 22)).flags(SYN).macs(ROUTER, ETH0);
            world.send("eth0", &syn).forwards("red1", &to_vm(world, &syn), &named(&by_pair));
            let answer =
                outward(Packet::tcp((vm, 22), (server, 40_000)).flags(SYN | ACK), world, "red", RED1);
            world.send("red1", &answer).forwards("eth0", &left(&answer, other), &[]);
            let ping = Packet::echo_request(server, other, 7, 1).macs(ROUTER, ETH0);
            world.send("eth0", &ping).forwards("red1", &to_vm(world, &ping), &named(&by_pair));
            // Out: L4 ports and echo ids are kept.
            let out = outward(Packet::udp((vm, 5353), (server, 53)), world, "red", RED1);
            world.send("red1", &out).forwards("eth0", &left(&out, other), &named(&admitted("red1", family)));
            let back = Packet::udp((server, 53), (other, 5353)).macs(ROUTER, ETH0);
            world.send("eth0", &back).forwards(
                "red1",
                &to_vm(world, &back),
                &named(&settled("red1", family)),
            );
            let ping = outward(Packet::echo_request(vm, server, 9, 1), world, "red", RED1);
            world.send("red1", &ping).forwards(
                "eth0",
                &left(&ping, other),
                &named(&admitted("red1", family)),
            );
            // Others of the network go out as before.
            let second = outward(Packet::udp((vm2, 4000), (server, 53)), world, "red", RED2);
            world.send("red2", &second).forwards(
                "eth0",
                &left(&second, own),
                &named(&admitted("red2", family)),
            );
        }
    });
}

#[test]
fn a_forward_takes_its_l4_port_of_an_address_of_one_port() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, one_to_one());
        world.edit(|document| {
            let forwards = document["forwards"].as_array_mut().expect("a list");
            forwards.push(json!({"name": "mail", "listen": "tcp:203.0.113.11:25", "to": "red2:2525"}));
        });
        let (_, server, _, other, [_, vm2]) = FAMILIES[0];
        let syn = Packet::tcp((server, 40_000), (other, 25)).flags(SYN).macs(ROUTER, ETH0);
        let to_vm = syn.clone().macs(world.gateway("red"), RED2).to_end((vm2, 2525)).hops(63);
        let mut moved = admitted("red2", '4');
        moved.push(("forward mail flows".to_owned(), 1));
        world.send("eth0", &syn).forwards("red2", &to_vm, &named(&moved));
    });
}

#[test]
fn an_exempt_destination_is_reached_under_the_vms_own_address() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(
            world,
            json!([
                {"name": "site", "exempt": "198.51.100.0/29"},
                {"name": "site6", "network": "red", "exempt": "2001:db8:99::/125"},
            ]),
        );
        for (family, server, own, _, [vm, _]) in FAMILIES {
            let out = outward(Packet::udp((vm, 4000), (server, 53)), world, "red", RED1);
            world.send("red1", &out).forwards("eth0", &left(&out, vm), &named(&admitted("red1", family)));
            let back = Packet::udp((server, 53), (vm, 4000)).macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(world.gateway("red"), RED1).hops(63);
            world.send("eth0", &back).forwards("red1", &to_vm, &named(&settled("red1", family)));
            // Nobody comes in unasked for that.
            world.send("eth0", &Packet::udp((server, 54), (vm, 4000)).macs(ROUTER, ETH0)).passes();
            let beyond = if family == '4' { "198.51.100.8" } else { "2001:db8:99::8" };
            let out = outward(Packet::udp((vm, 4000), (beyond, 53)), world, "red", RED1);
            world.send("red1", &out).forwards("eth0", &left(&out, own), &named(&admitted("red1", family)));
            let private = outward(Packet::udp((vm, 4001), (server, 53)), world, "blue", BLUE1);
            let moved = admitted("blue1", family);
            world.send("blue1", &private).forwards("eth0", &left(&private, own), &named(&moved));
        }
    });
}

#[test]
fn an_exemption_of_all_of_ipv6_is_none_of_ipv4() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, json!([{"name": "site", "network": "red", "exempt": "::/0"}]));
        for (family, server, own, _, [vm, _]) in FAMILIES {
            let out = outward(Packet::udp((vm, 4000), (server, 53)), world, "red", RED1);
            let source = if family == '4' { own } else { vm };
            world.send("red1", &out).forwards("eth0", &left(&out, source), &named(&admitted("red1", family)));
        }
    });
}

#[test]
fn live_flows_are_decided_anew_by_an_edit_and_kept_where_it_keeps_them() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        // The entry that counted one packet out by eth0 is gone, and the new one counts one.
        let told = [("event FlowEnd", 1), ("event FlowStart", 1)];
        let as_new = [&[("rechecked", 1), ("cut route", 1), ("admitted", 1)][..], &told].concat();
        for (family, server, own, other, [vm, _]) in FAMILIES {
            let out = outward(Packet::udp((vm, 4000), (server, 53)), world, "red", RED1);
            world.send("red1", &out).forwards("eth0", &left(&out, own), &named(&admitted("red1", family)));
            translate(world, by_address(&[]));
            world.send("red1", &out).switches(&left(&out, other), &as_new);
            let exempt = json!([
                {"name": "site", "exempt": "198.51.100.0/24"},
                {"name": "site6", "exempt": "2001:db8:99::/64"},
            ]);
            translate(world, exempt.clone());
            world.send("red1", &out).switches(&left(&out, vm), &as_new);
            for (nats, source) in [(json!([]), vm), (exempt, vm), (by_address(&[]), vm)] {
                let (plan, before, after) = world.plan(|document| document["nats"] = nats);
                world.apply(&keep(plan, before, after));
                world.send("red1", &out).forwards("eth0", &left(&out, source), &[]);
            }
            world.end_flows();
            translate(world, json!([]));
        }
    });
}
