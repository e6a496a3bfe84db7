//! The flow table: hits, edits, expiry and limits.

use std::thread::sleep;
use std::time::Duration;

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, Packet, SYN, ip};
use fwd_tests::{need, skip};
use serde_json::json;

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, FLOWS, RED1, RED2, ROUTER, on_both_hooks, port_in};

const VMS: [(char, &str, &str); 2] = [('4', "10.10.0.11", "10.10.0.12"), ('6', "fd00:10::11", "fd00:10::12")];

#[test]
fn the_second_packet_is_treated_as_the_first_one_and_admits_nothing() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            let packet = Packet::udp((red1, 4000), (red2, 53)).macs(RED1, RED2);
            world.send("red1", &packet).forwards("red2", &packet, &named(&admitted("red1", family)));
            world.send("red1", &packet).forwards("red2", &packet, &[]);
            // Another source MAC is another sender, whatever flow it names.
            let foreign = packet.clone().from_mac("52:54:00:00:00:77");
            world.send("red1", &foreign).drops(DropReason::SourceMacSpoofed);
            // The same packet on another port is no packet of the flow.
            world.send("red2", &packet).drops(DropReason::SourceMacSpoofed);
        }
    });
}

#[test]
fn an_edit_keeps_a_permitted_flow_with_its_binding_and_cuts_a_forbidden_one() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let packet = Packet::udp("10.10.0.11:4000", "198.51.100.7:53").macs(RED1, world.gateway("red"));
        let left = packet.clone().macs(ETH0, ROUTER).from_ip(ip("203.0.113.10")).hops(63);
        world.send("red1", &packet).forwards("eth0", &left, &named(&admitted("red1", '4')));
        world.rule("other", "deny port:red1 any tcp/25");
        world.send("red1", &packet).forwards("eth0", &left, &[("rechecked", 1)]);
        world.send("red1", &packet).forwards("eth0", &left, &[]);
        world.rule("dns", "deny port:red1 any udp/53");
        let cut = [
            ("rechecked", 1),
            ("cut policy", 1),
            ("event FlowEnd", 1),
            ("table4 flows", -1),
            ("table4 half_open", -1),
            ("red1 holds flows", -1),
            ("red1 holds half_open", -1),
        ];
        let by = ("dns", Direction::Egress);
        world.send("red1", &packet).drops_by(DropReason::PolicyDenied, by, &cut);
        world.send("red1", &packet).drops_by(DropReason::PolicyDenied, by, &[]);
    });
}

/// What a flow moves that is admitted again because one of its ends was elsewhere.
const MOVED: [(&str, i64); 4] =
    [("cut route", 1), ("admitted", 1), ("event FlowEnd", 1), ("event FlowStart", 1)];

/// The same, where the new entry counts its packets from one again, as the old one did.
fn moved(egress: &'static str) -> Vec<(&'static str, i64)> {
    [&MOVED[..], &[(egress, 0)]].concat()
}

#[test]
fn flows_follow_an_address_to_another_port() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let opened = |(_, red1, red2): (char, &str, &str), l4_port: u16| {
            (
                Packet::udp((red1, l4_port), (red2, 53)).macs(RED1, RED2),
                Packet::udp((red2, 53), (red1, l4_port)).macs(RED2, RED1),
            )
        };
        for vms in VMS {
            let ((query, _), (_, news)) = (opened(vms, 4000), opened(vms, 4001));
            world.send("red1", &query).forwards("red2", &query, &named(&admitted("red1", vms.0)));
            world.send("red2", &news).forwards("red1", &news, &named(&admitted("red2", vms.0)));
        }
        world.remove("ports", "red2");
        world.edit(|document| {
            let red3 = port_in(document, "red3");
            (red3["mac"], red3["ips"]) = (json!(RED2), json!(VMS.map(|(_, _, red2)| red2)));
        });
        for vms in VMS {
            let ((query, answer), (thanks, news)) = (opened(vms, 4000), opened(vms, 4001));
            world.send("red1", &query).forwards("red3", &query, &moved("via red3"));
            world.send("red3", &answer).forwards("red1", &answer, &named(&settled("red1", vms.0)));
            let owner = [("red3 holds flows", 1), ("red3 holds half_open", 1)];
            world.send("red3", &news).forwards("red1", &news, &[&MOVED[..], &owner].concat());
            world.send("red1", &thanks).forwards("red3", &thanks, &named(&settled("red3", vms.0)));
        }
    });
}

#[test]
fn flows_follow_a_guest_to_another_mac() {
    need!(skip::bpf());
    const NEW: &str = "52:54:00:00:00:a1";
    on_both_hooks(|world| {
        let query = Packet::udp("10.10.0.11:4000", "198.51.100.7:53").macs(RED1, world.gateway("red"));
        let left = query.clone().macs(ETH0, ROUTER).from_ip(ip("203.0.113.10")).hops(63);
        let answer = Packet::udp("198.51.100.7:53", "203.0.113.10:4000").macs(ROUTER, ETH0);
        let came = answer.clone().macs(world.gateway("red"), NEW).to_ip(ip("10.10.0.11")).hops(63);
        world.send("red1", &query).forwards("eth0", &left, &named(&admitted("red1", '4')));
        world.edit(|document| port_in(document, "red1")["mac"] = json!(NEW));
        let query = query.from_mac(NEW);
        world.send("red1", &query).forwards("eth0", &left, &moved("via eth0"));
        world.send("red1", &query).forwards("eth0", &left, &[]);
        world.send("eth0", &answer).forwards("red1", &came, &named(&settled("red1", '4')));
    });
}

#[test]
fn an_expired_flow_is_decided_anew() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.set("udp_one_way_timeout", json!("1s"));
        let packet = Packet::udp("10.10.0.11:4000", "10.10.0.12:53").macs(RED1, RED2);
        world.send("red1", &packet).forwards("red2", &packet, &named(&admitted("red1", '4')));
        sleep(Duration::from_millis(1500));
        // The new entry counts its packets from one again, as the old one did.
        let told = [("event FlowEnd", 1), ("event FlowStart", 1), ("via red2", 0)];
        let renewed = [&[("expired", 1), ("admitted", 1)][..], &told].concat();
        world.send("red1", &packet).forwards("red2", &packet, &renewed);
    });
}

#[test]
fn a_flow_lives_while_it_is_used() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.set("udp_one_way_timeout", json!("1s"));
        let packet = Packet::udp("10.10.0.11:4000", "10.10.0.12:53").macs(RED1, RED2);
        world.send("red1", &packet).forwards("red2", &packet, &named(&admitted("red1", '4')));
        for _ in 0..4 {
            sleep(Duration::from_millis(500));
            world.send("red1", &packet).forwards("red2", &packet, &[]);
        }
    });
}

#[test]
fn a_port_has_no_more_flows_than_it_may_have() {
    need!(skip::bpf());
    const LIMIT: u16 = 16;
    on_both_hooks(|world| {
        for (setting, reason, counter) in [
            ("flow_limit_per_port", DropReason::PortFlowLimit, "refused port_limit"),
            ("half_open_limit_per_port", DropReason::HalfOpenLimit, "refused half_open"),
        ] {
            world.set(setting, json!(LIMIT));
            let to = |n: u16| Packet::udp("10.10.0.11:4000", ("10.10.0.12", n)).macs(RED1, RED2);
            for n in 1..=LIMIT {
                world.send("red1", &to(n)).forwards("red2", &to(n), &named(&admitted("red1", '4')));
            }
            world.send("red1", &to(100)).drops_counting(reason, &[(counter, 1)]);
            // Those that it has are not touched, and other ports have limits of their own.
            world.send("red1", &to(1)).forwards("red2", &to(1), &[]);
            let other = Packet::udp("10.10.0.12:1", "10.10.0.11:100").macs(RED2, RED1);
            world.send("red2", &other).forwards("red1", &other, &named(&admitted("red2", '4')));
            world.end_flows();
            world.set(setting, json!(1024));
        }
    });
}

#[test]
fn a_full_table_refuses_and_never_evicts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.set("flow_limit", json!(FLOWS));
        world.set("flow_events_per_tick", json!(65_535));
        // Past the L4 ports of DHCP, whose packets are looked into.
        let to = |n: u16| Packet::udp("10.10.0.11:4000", ("10.10.0.12", 1000 + n)).macs(RED1, RED2);
        let flows = u16::try_from(FLOWS).expect("the test's table is small");
        for n in 1..=flows {
            world.run_frame("red1", &to(n).frame());
        }
        let refused = [("refused table_full", 1)];
        world.send("red1", &to(flows + 1)).drops_counting(DropReason::FlowTableFull, &refused);
        for n in [1, flows / 2, flows] {
            world.send("red1", &to(n)).forwards("red2", &to(n), &[]);
        }
    });
}

#[test]
fn tcp_without_syn_opens_a_flow_only_where_the_setting_allows_it() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            let packet = Packet::tcp((red1, 4000), (red2, 80)).macs(RED1, RED2);
            world.set("midstream_tcp", json!("deny"));
            world.send("red1", &packet).drops(DropReason::TcpMidstream);
            // An answer to a SYN opens no connection either.
            let answer = packet.clone().flags(SYN | ACK).from_l4(4002);
            world.send("red1", &answer).drops(DropReason::TcpMidstream);
            let syn = packet.clone().flags(SYN).from_l4(4001);
            world.send("red1", &syn).forwards("red2", &syn, &named(&admitted("red1", family)));
            world.set("midstream_tcp", json!("allow"));
            world.send("red1", &packet).forwards("red2", &packet, &named(&admitted("red1", family)));
        }
    });
}
