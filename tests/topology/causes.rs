//! Planted causes of loss: of each, `fwd trace` names the true one before a packet is lost to it, and
//! `fwd drop list` after.

use std::net::{SocketAddr, UdpSocket};

use fwd_tests::frame::{Fault, Mac, Packet, ip};
use fwd_tests::lab::{HOST_V4, Hook, LAN, LANE, Lab, OUTSIDE_V4, RED, eventually, number};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::ping;
use fwd_tests::wire::{Link, Wire};
use serde_json::{Value, json};

use crate::trace::{bytes, trace};

on_both_hooks!(each_planted_cause_of_loss_is_named);

/// Something that makes a packet be lost.
struct Cause {
    /// What the operator did, one command a line.
    plant: &'static str,
    /// What else happened.
    happen: fn(&Lab),
    /// Where the packet comes in.
    port: &'static str,
    packet: String,
    reason: &'static str,
    rule: Option<&'static str>,
}

/// A cause in the configuration.
fn planted(plant: &'static str, port: &'static str, packet: &str, reason: &'static str) -> Cause {
    Cause { plant, happen: |_| {}, port, packet: packet.to_owned(), reason, rule: None }
}

/// A cause in the packet itself.
fn sent(port: &'static str, packet: &str, reason: &'static str) -> Cause {
    planted("", port, packet, reason)
}

impl Cause {
    fn by_rule(self, rule: &'static str) -> Self {
        Self { rule: Some(rule), ..self }
    }

    fn after(self, happen: fn(&Lab)) -> Self {
        Self { happen, ..self }
    }
}

/// A whole frame in the words of `fwd trace`.
fn frame(packet: &Packet) -> String {
    whole(&packet.frame())
}

fn whole(bytes: &[u8]) -> String {
    bytes.iter().fold("frame ".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn mac(network: &fwd_tests::lab::Network, number: u8) -> Mac {
    let own = if network.name == "red" { 1 } else { 3 };
    Mac([0x52, 0x54, 0, 0, own, number])
}

const WITHIN: &str = "tcp 10.10.0.11:4000 > 10.10.0.12:80";
const OUT: &str = "tcp 10.10.0.11:4000 > 203.0.113.2:80";
const IN: &str = "tcp 203.0.113.2:5000 > 203.0.113.10:8080";

/// Sends datagrams from some L4 ports, so that as many flows are half open.
fn flood(lab: &Lab, l4_ports: std::ops::Range<u16>) {
    lab.get("red1").netns.inside(|| {
        for l4_port in l4_ports {
            let socket = UdpSocket::bind(SocketAddr::new(ip("10.10.0.11"), l4_port)).expect("it is free");
            socket.send_to(b"x", "203.0.113.2:9").expect("there is a route");
        }
    });
}

/// How many MACs were learnt in network lan.
fn learnt(lab: &Lab) -> String {
    let metrics = lab.ok("metrics");
    let line = metrics.lines().find(|line| line.starts_with("fwd_fdb_entries{network=\"lan\"}"));
    line.expect("a metric of each network").to_owned()
}

fn by_rules() -> Vec<Cause> {
    vec![
        planted("policy add no --deny --from port:red1 --to port:red2", "red1", WITHIN, "policy_denied")
            .by_rule("no"),
        planted("policy add no --reject --from port:red1 --to port:red2", "red1", WITHIN, "policy_rejected")
            .by_rule("no"),
        planted(
            "policy add yes --allow --from any --to any --priority 10\n\
             policy add no --deny --to 203.0.113.0/24 --service tcp/80",
            "red1",
            OUT,
            "policy_denied",
        )
        .by_rule("no"),
        planted(
            "group add db --member red2\npolicy add no --deny --to group:db --service tcp/80",
            "red1",
            WITHIN,
            "policy_denied",
        )
        .by_rule("no"),
        planted(
            "set add bad --cidr 203.0.113.0/29\npolicy add no --deny --from set:bad --to port:red1",
            "outside",
            IN,
            "policy_denied",
        )
        .by_rule("no"),
        planted("network set red --default-policy closed", "red1", WITHIN, "policy_default_deny"),
        planted("network set red --default-policy closed", "outside", IN, "policy_default_deny"),
        planted(
            "policy add no --deny --from host --to port:red1",
            "host:red",
            "icmp 10.10.0.1 > 10.10.0.11",
            "policy_denied",
        )
        .by_rule("no"),
        planted("network set red --isolate-ports true", "red1", WITHIN, "mode_forbids"),
    ]
}

fn by_senders() -> Vec<Cause> {
    let (red1, red2) = (mac(&RED, 11), mac(&RED, 12));
    vec![
        sent("red1", "udp 10.10.0.11:1 > 10.10.0.12:2 from 02:00:00:00:00:99", "source_mac_spoofed"),
        sent("red1", "udp 10.10.0.99:1 > 10.10.0.12:2", "source_address_spoofed"),
        sent("red1", "udp 127.0.0.1:1 > 10.10.0.12:2", "source_address_invalid"),
        sent("red1", "udp 10.10.0.11:67 > 10.10.0.12:68", "rogue_server"),
        sent("red1", "icmp 10.10.0.11 > 10.10.0.12 type 5", "icmp_redirect"),
        sent("red1", "icmp 10.10.0.11 > 10.10.0.12 type 3 code 1", "icmp_error_unrelated"),
        sent("red1", &frame(&Packet::arp_reply(red1, "10.10.0.1", red2, "10.10.0.12")), "arp_spoofed"),
        sent("red1", &whole(&bad_arp()), "bad_arp"),
        sent("lan1", "udp 198.51.100.21:1 > 198.51.100.22:2 to 52:54:00:00:03:15", "same_port"),
    ]
}

fn bad_arp() -> Vec<u8> {
    let mut frame = Packet::arp_reply(mac(&RED, 11), "10.10.0.11", mac(&RED, 12), "10.10.0.12").frame();
    frame[14] = 7;
    frame
}

fn by_frames() -> Vec<Cause> {
    let (red1, red2) = (mac(&RED, 11), mac(&RED, 12));
    let udp = || Packet::udp("10.10.0.11:1", "10.10.0.12:2").macs(red1, red2);
    let udp6 = || Packet::udp("[fd00:10::11]:1", "[fd00:10::12]:2").macs(red1, red2);
    let tcp = || Packet::tcp("10.10.0.11:1", "10.10.0.12:2").macs(red1, red2);
    let lldp = Packet::other(0x88cc, &[0; 46]).macs(mac(&LAN, 21), "01:80:c2:00:00:0e");
    vec![
        sent("red1", &frame(&udp().fault(Fault::IpLength(2000))), "bad_ipv4_header"),
        sent("red1", &frame(&udp6().fault(Fault::IpLength(2000))), "bad_ipv6_header"),
        sent("red1", &frame(&tcp().fault(Fault::TcpWords(4))), "bad_l4_header"),
        // A loose source route by one router.
        sent("red1", &frame(&udp().ip_options(&[131, 7, 4, 10, 10, 0, 1, 0])), "ipv4_options_unsupported"),
        sent("red1", &frame(&udp().vlan(7)), "vlan_unsupported"),
        sent("red1", &frame(&Packet::other(0x88b5, &[0; 46]).macs(red1, red2)), "ether_type_unsupported"),
        sent("lan1", &frame(&lldp), "link_local_frame"),
    ]
}

fn by_the_way() -> Vec<Cause> {
    let nowhere = "tcp 10.10.0.11:4000 > 192.0.2.66:80";
    vec![
        sent("red1", nowhere, "no_route")
            .after(|lab| _ = lab.host.run("ip route add unreachable 192.0.2.66")),
        sent("outside", "udp 203.0.113.2:1 > 10.20.0.77:2", "no_neighbor"),
        planted(
            "port add gone --device gone --network red --mac 52:54:00:00:01:63 --ip 10.10.0.99",
            "red1",
            "udp 10.10.0.11:1 > 10.10.0.99:2",
            "port_down",
        ),
        planted(
            "port add gone --device gone --network red --mac 52:54:00:00:01:63 --ip 10.10.0.99\n\
             forward add gone --listen tcp:203.0.113.10:81 --to gone:81",
            "outside",
            "tcp 203.0.113.2:5000 > 203.0.113.10:81",
            "port_down",
        ),
        sent("red1", "proto/47 10.10.0.11 > 203.0.113.2", "protocol_unsupported"),
        sent("den1", "udp 10.30.0.31:1 > 203.0.113.2:2", "mode_forbids"),
        planted(
            "forward add few --listen tcp:203.0.113.10:2222 --to red1:22 --from 198.51.100.0/24",
            "outside",
            "tcp 203.0.113.2:5000 > 203.0.113.10:2222",
            "forward_client_denied",
        ),
    ]
}

fn by_limits() -> Vec<Cause> {
    vec![
        planted(
            "config set midstream_tcp deny",
            "red1",
            "tcp 10.10.0.11:4000 > 203.0.113.2:80 ack",
            "tcp_midstream",
        ),
        planted(
            "config set half_open_limit_per_port 16",
            "red1",
            "udp 10.10.0.11:4100 > 203.0.113.2:9",
            "half_open_limit",
        )
        .after(|lab| flood(lab, 4000..4032)),
        planted(
            "config set flow_limit_per_port 16",
            "red1",
            "udp 10.10.0.11:4100 > 203.0.113.2:9",
            "port_flow_limit",
        )
        .after(|lab| flood(lab, 4000..4032)),
        planted(
            "port set lan1 --trust true\nconfig set fdb_limit_per_port 1",
            "lan1",
            "udp 198.51.100.21:1 > 198.51.100.2:2 from 02:00:00:00:00:99",
            "mac_limit",
        )
        .after(|lab| {
            let first = "udp 198.51.100.21:1 > 198.51.100.2:2 from 02:00:00:00:00:98";
            let (_, first) = trace(lab, "lan1", first);
            let before = learnt(lab);
            Wire::open(&lab.get("lan1").netns, "eth0").send(&bytes(&first["frame"]));
            assert!(eventually(|| learnt(lab) != before));
        }),
        planted(
            "port set red1 --trust true",
            "red1",
            "udp 10.10.0.11:1 > 10.10.0.12:2 from 52:54:00:00:01:0c",
            "fdb_moved",
        ),
    ]
}

/// Causes that find a flow alive.
fn by_edits() -> Vec<Cause> {
    fn talk(lab: &Lab) {
        let outside = Wire::open(&lab.outside, "eth0");
        let (_, live) = trace(lab, "outside", IN);
        outside.send(&bytes(&live["frame"]));
        assert!(eventually(|| !lab.items("flow list --port red1 --proto tcp").is_empty()));
    }
    vec![
        // A bare SYN would open the flow anew.
        sent("outside", "tcp 203.0.113.2:5000 > 203.0.113.10:8080 ack", "forward_removed").after(|lab| {
            talk(lab);
            lab.ok("forward delete web");
        }),
        sent("outside", IN, "policy_denied").by_rule("no").after(|lab| {
            talk(lab);
            lab.ok("policy add no --deny --from outside --to port:red1");
        }),
    ]
}

/// Drops counted for this reason, rule and port.
fn counted(lab: &Lab, cause: &Cause, port: &Value) -> u64 {
    let rows = lab.items(&format!("drop list --reason {}", cause.reason));
    let is_it = |row: &&Value| row["port"] == *port && row["rule"] == json!(cause.rule);
    rows.iter().filter(is_it).map(|row| number(row, "packets")).sum()
}

fn each_planted_cause_of_loss_is_named(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.network(&LAN, "");
    lab.network(&LANE, "");
    lab.ok("network add den --mode host --subnet 10.30.0.0/24");
    lab.vm("red1", &RED, 11);
    lab.vm("red2", &RED, 12);
    lab.vm("lan1", &LAN, 21);
    let den1 = Netns::new("den1");
    lab.host.veth("den1", &den1, "eth0");
    lab.ok("port add den1 --device den1 --network den --ip 10.30.0.31");
    lab.ok(&format!("forward add web --listen tcp:{HOST_V4}:8080 --to red1:80"));
    ping(&lab.host, OUTSIDE_V4).expect("the outside answers");
    let base = lab.fwd.folder().join("base.yaml");
    std::fs::write(&base, lab.ok("config show")).expect("the folder is there");
    let causes = [by_rules(), by_senders(), by_frames(), by_the_way(), by_limits(), by_edits()];
    let causes: Vec<Cause> = causes.into_iter().flatten().collect();
    assert!(causes.len() >= 30, "{} causes", causes.len());
    let mut wrong = Vec::new();
    for cause in &causes {
        for line in cause.plant.lines() {
            lab.ok(line.trim());
        }
        (cause.happen)(&lab);
        wrong.extend(check(&lab, &den1, cause));
        lab.ok(&format!("config apply -f {}", base.display()));
        lab.ok("flow delete --all");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What was named otherwise than it is.
fn check(lab: &Lab, den1: &Netns, cause: &Cause) -> Option<String> {
    let (code, traced) = trace(lab, cause.port, &cause.packet);
    let of_trace = (code, traced["reason"].clone(), traced["rule"].clone());
    let truth = (21, json!(cause.reason), json!(cause.rule));
    let before = counted(lab, cause, &traced["port"]);
    let netns = match cause.port {
        "outside" => &lab.outside,
        "den1" => den1,
        "host:red" => return (of_trace != truth).then(|| format!("{}: {of_trace:?}", cause.packet)),
        vm => &lab.get(vm).netns,
    };
    Wire::open(netns, "eth0").send(&bytes(&traced["frame"]));
    let is_counted = eventually(|| counted(lab, cause, &traced["port"]) > before);
    (of_trace != truth || !is_counted).then(|| {
        format!(
            "{} at {}: traced {of_trace:?}, truth {truth:?}, counted {is_counted}",
            cause.packet, cause.port
        )
    })
}
