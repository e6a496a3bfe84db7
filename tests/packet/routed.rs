//! Routed networks: outside to VM and VM to outside under their own addresses; and VMs at forwards.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, Packet, SYN, ip};
use fwd_tests::{need, skip};
use serde_json::json;

use crate::answer::{EXCEEDED, about};
use crate::prefix::AS_NEW;
use crate::sent::{admitted, named, settled};
use crate::world::{BLUE1, ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

const DEN1: &str = "52:54:00:00:03:31";
/// Family, the VM, a machine outside, a VM of network red, and an address of the network that nobody has.
const FAMILIES: [(char, &str, &str, &str, &str); 2] = [
    ('4', "10.30.0.31", "198.51.100.7", "10.10.0.11", "10.30.0.77"),
    ('6', "fd00:30::31", "2001:db8:99::7", "fd00:10::11", "fd00:30::77"),
];

/// Makes network den a routed one, with both families.
fn route_den(world: &mut World) {
    world.edit(|document| {
        let network = &mut document["networks"][3];
        (network["mode"], network["isolate_ports"]) = (json!("routed"), json!(false));
        network["subnets"] = json!(["10.30.0.0/24", "fd00:30::/64"]);
        let ports = document["ports"].as_array_mut().expect("a list");
        let den1 = ports.iter_mut().find(|port| port["name"] == "den1").expect("it is there");
        den1["ips"] = json!(["10.30.0.31", "fd00:30::31"]);
    });
}

#[test]
fn outside_and_vm_reach_each_other_untranslated() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        route_den(world);
        let gateway = world.gateway("den");
        for (family, vm, far, ..) in FAMILIES {
            let syn = Packet::tcp((far, 40_000), (vm, 80)).flags(SYN).macs(ROUTER, ETH0);
            let to_vm = syn.clone().macs(gateway, DEN1).hops(63);
            world.send("eth0", &syn).forwards("den1", &to_vm, &named(&admitted("den1", family)));
            let answer = Packet::tcp((vm, 80), (far, 40_000)).flags(SYN | ACK).macs(DEN1, gateway);
            let out = answer.clone().macs(ETH0, ROUTER).hops(63);
            world.send("den1", &answer).forwards("eth0", &out, &[]);

            let query = Packet::udp((vm, 4000), (far, 53)).payload("odd").macs(DEN1, gateway);
            let out = query.clone().macs(ETH0, ROUTER).hops(63);
            world.send("den1", &query).forwards("eth0", &out, &named(&admitted("den1", family)));
            let back = Packet::udp((far, 53), (vm, 4000)).macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(gateway, DEN1).hops(63);
            world.send("eth0", &back).forwards("den1", &to_vm, &named(&settled("den1", family)));
        }
    });
}

#[test]
fn what_cannot_be_for_a_vm_is_dropped_or_the_hosts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (_, vm, far, ..) in FAMILIES {
            let early = Packet::udp((far, 1), (vm, 2)).macs(ROUTER, ETH0);
            world.send("eth0", &early).passes();
        }
        route_den(world);
        for (_, vm, far, red, nobody) in FAMILIES {
            let from_outside = |packet: Packet| packet.macs(ROUTER, ETH0);
            let stray = from_outside(Packet::udp((far, 1), (nobody, 2)));
            world.send("eth0", &stray).drops(DropReason::NoNeighbor);
            let forged = from_outside(Packet::udp((red, 1), (vm, 2)));
            world.send("eth0", &forged).drops(DropReason::SourceAddressSpoofed);
            for nobody in nobodies(vm) {
                let forged = from_outside(Packet::udp((nobody, 1), (vm, 2)));
                world.send("eth0", &forged).drops(DropReason::SourceAddressInvalid);
            }
            let to_nat = from_outside(Packet::udp((far, 1), (red, 2)));
            world.send("eth0", &to_nat).passes();
            let last = from_outside(Packet::udp((far, 1), (vm, 2))).hops(1);
            let own = if far.contains(':') { "2001:db8:113::10" } else { "203.0.113.10" };
            world.send("eth0", &last).answers(&about(&last, own, far, EXCEEDED, [0; 4]));
        }
    });
}

/// Addresses of no single host, of the family of `vm`.
fn nobodies(vm: &str) -> [&'static str; 4] {
    if vm.contains(':') {
        ["::", "::1", "ff02::fb", "::ffff:198.51.100.7"]
    } else {
        ["0.0.0.0", "127.0.0.1", "224.0.0.251", "255.255.255.255"]
    }
}

#[test]
fn nothing_is_routed_to_an_address_of_no_single_host() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        for (.., red, _) in FAMILIES {
            for nobody in nobodies(red) {
                let packet = Packet::udp((red, 1), (nobody, 2)).macs(RED1, gateway);
                world.send("red1", &packet).drops(DropReason::NoRoute);
            }
        }
    });
}

#[test]
fn rules_bind_what_comes_from_outside_and_live_flows_end_with_the_mode() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        route_den(world);
        let (family, vm, far, ..) = FAMILIES[0];
        world.rule("no-web", "deny outside port:den1 tcp/80");
        let syn = Packet::tcp((far, 40_000), (vm, 80)).flags(SYN).macs(ROUTER, ETH0);
        let denied = ("no-web", Direction::Ingress);
        world.send("eth0", &syn).drops_by(DropReason::PolicyDenied, denied, &[]);
        let query = Packet::udp((far, 40_000), (vm, 53)).macs(ROUTER, ETH0);
        let to_vm = query.clone().macs(world.gateway("den"), DEN1).hops(63);
        world.send("eth0", &query).forwards("den1", &to_vm, &named(&admitted("den1", family)));
        world.edit(|document| document["networks"][3]["mode"] = json!("host"));
        // The flow is decided anew, and then is none.
        world.run_frame("eth0", &query.frame());
        world.send("eth0", &query).passes();
    });
}

#[test]
fn a_nat_and_a_routed_network_reach_each_other_untranslated() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        route_den(world);
        let (red, den) = (world.gateway("red"), world.gateway("den"));
        for (family, vm, _, inside, nobody) in FAMILIES {
            let query = Packet::udp((inside, 4000), (vm, 53)).macs(RED1, red);
            let to_den = query.clone().macs(den, DEN1).hops(63);
            world.send("red1", &query).forwards("den1", &to_den, &named(&admitted("red1", family)));
            let answer = Packet::udp((vm, 53), (inside, 4000)).macs(DEN1, den);
            let to_red = answer.clone().macs(red, RED1).hops(63);
            world.send("den1", &answer).forwards("red1", &to_red, &named(&settled("red1", family)));
            let lost = Packet::udp((inside, 4000), (nobody, 53)).macs(RED1, red);
            world.send("red1", &lost).drops(DropReason::NoNeighbor);
        }
    });
}

#[test]
fn vms_reach_a_forward_of_their_own_network_and_of_others() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        route_den(world);
        let (red, blue, den) = (world.gateway("red"), world.gateway("blue"), world.gateway("den"));
        let moved = |owner: &str, family, forward: &str| {
            let mut moved = admitted(owner, family);
            moved.push((format!("forward {forward} flows"), 1));
            moved
        };
        for (family, listen, vm, gateway, forward, clients) in [
            (
                '4',
                "203.0.113.10",
                "10.10.0.11",
                "10.10.0.1",
                "web",
                ["10.10.0.12", "10.10.0.11", "10.30.0.31"],
            ),
            (
                '6',
                "2001:db8:113::10",
                "fd00:10::11",
                "fd00:10::1",
                "web6",
                ["fd00:10::12", "fd00:10::11", "fd00:30::31"],
            ),
        ] {
            let [neighbor, own, lane] = clients;
            for (port, mac, via, addr, seen, l4_port) in [
                ("red2", RED2, red, neighbor, gateway, 4001),
                ("red1", RED1, red, own, gateway, 4002),
                ("blue1", BLUE1, blue, own, gateway, 4003),
                ("den1", DEN1, den, lane, lane, 4004),
            ] {
                let syn = Packet::tcp((addr, l4_port), (listen, 8080)).flags(SYN).macs(mac, via);
                let at_vm = Packet::tcp((seen, l4_port), (vm, 80)).flags(SYN).macs(red, RED1).hops(63);
                world.send(port, &syn).forwards("red1", &at_vm, &named(&moved(port, family, forward)));
                let answer = Packet::tcp((vm, 80), (seen, l4_port)).flags(SYN | ACK).macs(RED1, red);
                let back =
                    Packet::tcp((listen, 8080), (addr, l4_port)).flags(SYN | ACK).macs(via, mac).hops(63);
                world.send("red1", &answer).forwards(port, &back, &[]);
            }
        }
    });
}

/// The VM's addresses in a nat network: of IPv4, a global one, and a unique local one.
const MIXED: [&str; 3] = ["10.30.0.31", "2001:db8:30::31", "fd00:30::31"];

/// Makes network den a nat one with those, and says whether IPv6 is translated.
fn mix_den(world: &mut World, nat66: serde_json::Value) {
    world.edit(|document| {
        let network = &mut document["networks"][3];
        (network["mode"], network["isolate_ports"]) = (json!("nat"), json!(false));
        (network["uplink"], network["nat66"]) = (json!("eth0"), nat66.clone());
        network["subnets"] = json!(["10.30.0.0/24", "2001:db8:30::/64", "fd00:30::/64"]);
        let ports = document["ports"].as_array_mut().expect("a list");
        let den1 = ports.iter_mut().find(|port| port["name"] == "den1").expect("it is there");
        den1["ips"] = json!(MIXED);
    });
}

/// A datagram of the VM's, and what leaves for the router.
fn asked(world: &World, own: &str, seen_as: &str) -> (Packet, Packet) {
    // The last two addresses may be seen as one.
    let l4_port = if own == MIXED[1] { 4000 } else { 4001 };
    let far = if own.contains(':') { FAMILIES[1].2 } else { FAMILIES[0].2 };
    let query = Packet::udp((own, l4_port), (far, 53)).payload("odd").macs(DEN1, world.gateway("den"));
    let out = query.clone().macs(ETH0, ROUTER).from_ip(ip(seen_as)).hops(63);
    (query, out)
}

#[test]
fn a_nat_network_routes_global_addresses_of_ipv6_unless_told_otherwise() {
    need!(skip::bpf());
    const HOST: [&str; 3] = ["203.0.113.10", "2001:db8:113::10", "2001:db8:113::10"];
    // Which of the VM's addresses outside sees.
    for (nat66, is_own) in [
        (json!(null), [false, true, false]),
        (json!(true), [false, false, false]),
        (json!(false), [false, true, true]),
    ] {
        on_both_hooks(|world| {
            mix_den(world, nat66.clone());
            for (n, own) in MIXED.into_iter().enumerate() {
                let (family, far) = if n == 0 { ('4', FAMILIES[0].2) } else { ('6', FAMILIES[1].2) };
                let (query, out) = asked(world, own, if is_own[n] { own } else { HOST[n] });
                world.send("den1", &query).forwards("eth0", &out, &named(&admitted("den1", family)));
                // Who asks from outside reaches what is routed, and nothing else.
                let unasked = Packet::udp((far, 5000), (own, 5001)).macs(ROUTER, ETH0);
                let came = unasked.clone().macs(world.gateway("den"), DEN1).hops(63);
                let sent = world.send("eth0", &unasked);
                if is_own[n] {
                    sent.forwards("den1", &came, &named(&admitted("den1", family)));
                } else {
                    sent.passes();
                }
            }
        });
    }
    // With a translation of IPv6 of its own it translates.
    on_both_hooks(|world| {
        mix_den(world, json!(null));
        world.edit(|document| {
            document["nats"] = json!([{"name": "out", "network": "den", "address": "2001:db8:113::10"}]);
        });
        let (query, out) = asked(world, MIXED[1], HOST[1]);
        world.send("den1", &query).forwards("eth0", &out, &named(&admitted("den1", '6')));
    });
}

#[test]
fn an_edit_of_what_a_nat_network_routes_binds_the_flows_that_run() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        mix_den(world, json!(null));
        let (query, routed) = asked(world, MIXED[1], MIXED[1]);
        let unasked = Packet::udp((FAMILIES[1].2, 5000), (MIXED[1], 5001)).macs(ROUTER, ETH0);
        let came = unasked.clone().macs(world.gateway("den"), DEN1).hops(63);
        world.send("den1", &query).forwards("eth0", &routed, &named(&admitted("den1", '6')));
        world.send("eth0", &unasked).forwards("den1", &came, &named(&admitted("den1", '6')));
        // Still routed: it goes on.
        mix_den(world, json!(false));
        world.send("den1", &query).forwards("eth0", &routed, &[("rechecked", 1)]);
        mix_den(world, json!(true));
        let (_, translated) = asked(world, MIXED[1], "2001:db8:113::10");
        world.send("den1", &query).forwards("eth0", &translated, &AS_NEW);
        let ended = [
            ("rechecked", 1),
            ("cut route", 1),
            ("event FlowEnd", 1),
            ("den1 holds flows", -1),
            ("den1 holds half_open", -1),
            ("table6 flows", -1),
            ("table6 half_open", -1),
        ];
        world.send("eth0", &unasked).passes_counting(&ended);
    });
}
