//! The forwarding database: who is where, and what becomes of a frame to somebody whom nobody has seen.

use std::time::Instant;

use fwd_common::{drop::DropReason, flow::Tick};
use fwd_tests::frame::{Mac, Packet};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};
use serde_json::json;

use crate::count::Counts;
use crate::sent::{admitted, named};
use crate::world::{ETH1, LAN1, LAN2, RED1, RED2, World, on, on_both_hooks};

/// A machine on the LAN behind eth1.
const FAR: &str = "52:54:00:00:02:99";
const UNKNOWN: &str = "52:54:00:00:02:ee";
const FAMILIES: [(char, &str, &str); 2] =
    [('4', "198.51.100.21", "198.51.100.22"), ('6', "2001:db8:198::21", "2001:db8:198::22")];

fn between(from: &str, to: &str) -> Packet {
    Packet::udp((from, 4000), (to, 53)).payload("across")
}

/// The VMs' addresses are configured, so that nothing has to be learnt of them.
fn addressed(world: &mut World) {
    world.edit(|document| {
        for (name, number) in [("lan1", 21), ("lan2", 22)] {
            let ports = document["ports"].as_array_mut().expect("a list");
            let port = ports.iter_mut().find(|port| port["name"] == name).expect("a port");
            port["ips"] = json!([format!("198.51.100.{number}"), format!("2001:db8:198::{number}")]);
        }
    });
}

/// FAR speaks once to lan1: from then on it is known to be behind eth1.
fn learn_far(world: &mut World) {
    let hello = Packet::arp_reply(FAR, "198.51.100.99", LAN1, "198.51.100.21");
    world.send("eth1", &hello).switches(&hello, &[("eth1 holds macs", 1)]);
}

#[test]
fn known_unicast_goes_to_where_its_mac_is_and_nowhere_else() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        addressed(world);
        for (family, one, two) in FAMILIES {
            let packet = between(one, two).macs(LAN1, LAN2);
            world.send("lan1", &packet).forwards("lan2", &packet, &named(&admitted("lan1", family)));
            world.send("lan1", &packet).forwards("lan2", &packet, &[]);
        }
        learn_far(world);
        let out = Packet::arp_reply(LAN1, "198.51.100.21", FAR, "198.51.100.99");
        world.send("lan1", &out).switches(&out, &[]);
    });
}

#[test]
fn a_mac_seen_elsewhere_has_moved() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        addressed(world);
        learn_far(world);
        // The same MAC speaks from behind red4's neighbour in another network: another segment, so no move.
        let red = Packet::arp_reply(FAR, "10.10.0.99", RED2, "10.10.0.12");
        world.send("red4", &red).switches(&red, &[("red4 holds macs", 1)]);
        let out = Packet::arp_reply(LAN1, "198.51.100.21", FAR, "198.51.100.99");
        world.send("lan1", &out).switches(&out, &[]);
        // Configured MACs do not move: not even to the uplink.
        let stolen = Packet::arp_reply(LAN1, "198.51.100.21", LAN2, "198.51.100.22");
        world.send("eth1", &stolen).drops(DropReason::FdbMoved);
        world
            .send("lan2", &Packet::arp_reply(LAN2, "198.51.100.22", LAN1, "198.51.100.21"))
            .switches(&Packet::arp_reply(LAN2, "198.51.100.22", LAN1, "198.51.100.21"), &[]);
    });
}

#[test]
fn unknown_unicast_is_copied_to_all_other_members() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        addressed(world);
        for (_, one, two) in FAMILIES {
            // lan2 and the LAN get copies; the frame itself goes to the host behind eth1.
            let packet = between(one, two).macs(LAN1, UNKNOWN);
            world.send("lan1", &packet).floods_to_host("lan1", 2);
            // From the uplink it goes on to the host by itself.
            let back = between(two, one).macs(FAR, UNKNOWN);
            world.send("eth1", &back).floods_and_goes_on("eth1", 2, &[("eth1 holds macs", 1)]);
            world.forget();
        }
        // Nobody else is in the segment of a NAT network but its VMs and its host port.
        let packet = Packet::arp_reply(RED1, "10.10.0.11", "52:54:00:00:00:ee", "10.10.0.77");
        world.send("red1", &packet).floods("red1", 4);
    });
}

#[test]
fn a_broadcast_is_copied_to_all_other_members() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        addressed(world);
        let ask = Packet::arp_request(LAN1, "198.51.100.21", "198.51.100.10");
        world.send("lan1", &ask).floods_to_host("lan1", 2);
        let ask = Packet::arp_request(FAR, "198.51.100.99", "198.51.100.21");
        // XDP looks at nothing of a frame to a group.
        let learnt: &[_] = if world.hook == Hook::Tcx { &[("eth1 holds macs", 1)] } else { &[] };
        world.send("eth1", &ask).floods_and_goes_on("eth1", 2, learnt);
        let ask = Packet::arp_request(RED1, "10.10.0.11", "10.10.0.1");
        world.send("red1", &ask).floods("red1", 4);
        for (_, from, group) in [('4', "10.10.0.11", "224.0.0.251"), ('6', "fd00:10::11", "ff02::fb")] {
            let group_mac: Mac =
                if group.contains(':') { "33:33:00:00:00:fb".into() } else { "01:00:5e:00:00:fb".into() };
            let packet = between(from, group).macs(RED1, group_mac);
            world.send("red1", &packet).floods("red1", 4);
        }
        // An isolated port's broadcast reaches its host only.
        let ask = Packet::arp_request("52:54:00:00:03:31", "10.30.0.31", "10.30.0.1");
        world.send("den1", &ask).floods("den1", 1);
    });
}

#[test]
fn a_denied_flood_reaches_nobody() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        addressed(world);
        world.rule("quiet", "deny port:lan1 - udp/53");
        let told = ("quiet", fwd_common::policy::Direction::Egress);
        for (_, one, two) in FAMILIES {
            let packet = between(one, two).macs(LAN1, UNKNOWN);
            world.send("lan1", &packet).drops_by(DropReason::PolicyDenied, told, &[]);
            let packet = between(one, two).macs(LAN1, Mac::BROADCAST);
            // XDP leaves all groups to TCX, unread.
            world.send("lan1", &packet).drops_by_tcx_for(DropReason::PolicyDenied, told);
        }
    });
}

#[test]
fn the_copies_of_a_port_have_a_limit() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        const FRAMES: i64 = 2000;
        const COPIES: i64 = 4;
        // 64 a second are 8.6 in a tick.
        world.set("flood_limit_per_port", json!(64));
        let ask = Packet::arp_request(RED1, "10.10.0.11", "10.10.0.1").frame();
        let (before, start) = (Counts::take(world), Instant::now());
        for _ in 0..FRAMES {
            world.run_frame("red1", &ask);
        }
        let took = start.elapsed().as_nanos().try_into().expect("it took no century");
        let moved = Counts::take(world).since(&before);
        let count = |name: &str| moved.get(name).copied().unwrap_or(0);
        let (flooded, dropped) = (count("skb red1 forwarded"), count("skb red1 dropped"));
        assert_eq!(flooded + dropped, FRAMES);
        let reason = DropReason::FloodLimit.name();
        assert_eq!(count(&format!("drop red1 {reason} - egress")), dropped);
        assert_eq!(count("red1 copies"), flooded * COPIES);
        // In each tick, the one in which it began and that in which it ended too, three frames find less than
        // nine copies taken.
        let ticks = i64::from(Tick::from_ns(took).0) + 2;
        assert!((3..=3 * ticks).contains(&flooded), "{flooded} flooded in {ticks} ticks");
        // Another port has its own, and what has one destination is no flood.
        world.send("red2", &Packet::arp_request(RED2, "10.10.0.12", "10.10.0.1")).floods("red2", COPIES);
        let known = Packet::arp_reply(RED1, "10.10.0.11", RED2, "10.10.0.12");
        world.send("red1", &known).switches(&known, &[]);
    });
}

#[test]
fn what_the_lan_sends_to_the_host_goes_on_to_the_host() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        addressed(world);
        for (_, one, two) in FAMILIES {
            let packet = between(one, two).macs(FAR, ETH1);
            world.send("eth1", &packet).passes_counting(&[("eth1 holds macs", 1)]);
            world.forget();
        }
        let bpdu = Packet::other(0x0026, &[0x42, 0x42, 3, 0, 0]).macs(FAR, "01:80:c2:00:00:00");
        world.send("eth1", &bpdu).passes();
    });
}
