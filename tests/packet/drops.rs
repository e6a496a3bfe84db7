//! Drop reasons that belong to no file of their own, and the promise that every reason has a packet test.

use fwd_common::counter::{DROP_TRIES, DropKey};
use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::Packet;
use fwd_tests::{need, skip};
use serde_json::json;

use crate::world::{LAN1, LAN2, RED1, RED2, on_both_hooks};

/// Reasons that no frame of a test run can have, and why.
const WITHOUT_A_TEST: [(DropReason, &str); 4] = [
    (DropReason::RuntFrame, "a test run refuses frames shorter than an Ethernet header, as devices do"),
    (DropReason::PolicyRowMissing, "cannot happen: CANNOT_HAPPEN"),
    (DropReason::Internal, "cannot happen: CANNOT_HAPPEN"),
    (DropReason::RewriteFailed, "the kernel refuses a rewrite only where it has no memory"),
];

#[test]
fn every_drop_reason_has_a_packet_test_or_a_reason_why_not() {
    let sources = [
        include_str!("answer.rs"),
        include_str!("bridge.rs"),
        include_str!("chain.rs"),
        include_str!("drops.rs"),
        include_str!("error.rs"),
        include_str!("flow.rs"),
        include_str!("forward.rs"),
        include_str!("fragment.rs"),
        include_str!("mapping.rs"),
        include_str!("nat.rs"),
        include_str!("parse.rs"),
        include_str!("policy.rs"),
        include_str!("prefix.rs"),
        include_str!("sctp.rs"),
        include_str!("source.rs"),
    ];
    for reason in DropReason::ALL {
        let exempt = WITHOUT_A_TEST.iter().any(|(other, _)| other == reason);
        let word = format!("DropReason::{reason:?}");
        // Its own row in the list above, with its reason in words, does not count.
        let is_expected = |line: &str| line.contains(&word) && !line.contains(&format!("({word}, \""));
        let is_tested = sources.iter().any(|source| source.lines().any(is_expected));
        assert!(
            exempt != is_tested,
            "{}: tested {is_tested}, listed as without a test {exempt}",
            reason.name()
        );
    }
}

#[test]
fn a_drop_is_told_from_others_while_there_is_a_row_for_it() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (name, service, rows) in [("second", 25, 1), ("last", 26, DROP_TRIES - 1), ("no", 27, DROP_TRIES)]
        {
            world.rule(name, &format!("deny port:red1 - tcp/{service}"));
            let key = DropKey {
                rule: world.rule_id(name),
                port: world.desired_port("red1"),
                reason: DropReason::PolicyDenied as u8,
                direction: Direction::Egress as u8,
            };
            world.crowd(key, rows);
            let packet = Packet::tcp(("10.10.0.11", 4000), ("10.10.0.12", service)).macs(RED1, RED2);
            // Decided, and alike.
            for _ in 0..2 {
                let sent = world.send("red1", &packet);
                if rows < DROP_TRIES {
                    sent.drops_by(DropReason::PolicyDenied, (name, Direction::Egress), &[]);
                } else {
                    sent.drops_unattributed(DropReason::PolicyDenied);
                }
            }
        }
    });
}

#[test]
fn frames_that_a_network_does_not_carry_are_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let other = Packet::other(0x88b5, &[0; 46]);
        world.send("red1", &other.clone().macs(RED1, RED2)).drops(DropReason::EtherTypeUnsupported);
        world.send("lan1", &other.clone().macs(LAN1, LAN2)).switches(&other.clone().macs(LAN1, LAN2), &[]);
        world.send("lan1", &other.clone().macs(LAN1, LAN1)).drops(DropReason::SamePort);
        let lldp = Packet::other(0x88cc, &[0; 46]).macs(LAN1, "01:80:c2:00:00:0e");
        world.send("lan1", &lldp).drops(DropReason::LinkLocalFrame);
    });
}

#[test]
fn macs_stay_where_they_are_configured_and_within_their_limit() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let stolen = Packet::arp_reply(RED1, "10.10.0.11", RED2, "10.10.0.12");
        world.send("red4", &stolen).drops(DropReason::FdbMoved);
        world.set("fdb_limit_per_port", json!(1));
        let first = Packet::arp_reply("52:54:00:00:00:a1", "10.10.0.61", RED2, "10.10.0.12");
        world.send("red4", &first).switches(&first, &[("red4 holds macs", 1)]);
        let second = Packet::arp_reply("52:54:00:00:00:a2", "10.10.0.62", RED2, "10.10.0.12");
        world.send("red4", &second).drops(DropReason::MacLimit);
        world.send("red4", &first).switches(&first, &[]);
    });
}

#[test]
fn ways_that_do_not_exist_are_named() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (den1, den2) = ("52:54:00:00:03:31", "52:54:00:00:03:32");
        let among = Packet::udp("10.30.0.31:1", "10.30.0.32:2").macs(den1, den2);
        world.send("den1", &among).drops(DropReason::ModeForbids);
        let out = Packet::udp("10.30.0.31:1", "198.51.100.7:2").macs(den1, world.gateway("den"));
        world.send("den1", &out).drops(DropReason::ModeForbids);
        let gateway = world.gateway("red");
        for (vm, nowhere) in [("10.10.0.11", "192.0.2.66"), ("fd00:10::11", "2001:db8:66::66")] {
            let packet = Packet::udp((vm, 1), (nowhere, 2)).macs(RED1, gateway);
            world.send("red1", &packet).drops(DropReason::NoRoute);
        }
        let late = Packet::udp("10.10.0.11:1", "10.10.0.19:2").macs(RED1, "52:54:00:00:00:19");
        world.send("red1", &late).drops_by_tcx(DropReason::PortDown);
    });
}
