//! `fwd trace` says of a packet what the datapath then does with it, and changes nothing by asking.

use std::net::{SocketAddr, UdpSocket};

use fwd_tests::lab::{
    HOST_LAN_V4, HOST_V4, HOST_V6, Hook, LAN, LAN_V4, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, eventually, number,
};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::ping;
use fwd_tests::wire::{Link, Wire};
use serde_json::{Value, json};

on_both_hooks!(
    a_packet_leaves_as_it_was_traced,
    a_rule_that_wins_is_named_with_those_that_lost,
    a_translation_is_the_one_that_the_packet_then_gets,
    a_live_flow_is_met_as_it_is,
    what_the_host_has_is_the_hosts,
    what_is_answered_is_shown_with_its_answer,
    what_waits_and_what_is_down_is_told,
    what_the_host_sends_into_a_bridge_is_traced,
    asking_changes_nothing,
);

/// What `fwd trace` says, with its exit code.
#[track_caller]
pub fn trace(lab: &Lab, port: &str, packet: &str) -> (i32, Value) {
    let reply = lab.fwd.run(&lab.host, &["trace", port, packet, "-o", "json"]);
    let answer = serde_json::from_str(&reply.stdout);
    let said = || format!("fwd {}\n{}{}", reply.line, reply.stdout, reply.stderr);
    (reply.code, answer.unwrap_or_else(|error| panic!("{error}: {}", said())))
}

/// The bytes of a frame of the answer.
#[track_caller]
pub fn bytes(frame: &Value) -> Vec<u8> {
    let text = frame["bytes"].as_str().unwrap_or_else(|| panic!("{frame} is no frame"));
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
    text.as_bytes().chunks(2).map(byte).collect()
}

fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.network(&LAN, "");
    lab.vm("red1", &RED, 11);
    lab.vm("red2", &RED, 12);
    lab.vm("lan1", &LAN, 21);
    lab
}

/// The ends of a packet in words.
fn ends((from, sport): (&str, u16), (to, dport): (&str, u16)) -> String {
    let end = |addr: &str, l4_port| SocketAddr::new(fwd_tests::frame::ip(addr), l4_port);
    format!("{} > {}", end(from, sport), end(to, dport))
}

/// Names the frame's way, sends it as it was traced, and holds that it comes out as it was traced.
#[track_caller]
fn leaves(lab: &Lab, (port, wire): (&str, &Wire), packet: &str, (egress, far): (&str, &Wire)) -> Value {
    let (code, traced) = trace(lab, port, packet);
    assert_eq!(
        (code, &traced["verdict"], &traced["egress"]),
        (0, &json!("forward"), &json!(egress)),
        "{traced:#}"
    );
    wire.send(&bytes(&traced["frame"]));
    far.expect_frame(&bytes(&traced["sent"]));
    traced
}

fn a_packet_leaves_as_it_was_traced(hook: Hook) {
    let lab = lab(hook);
    lab.ok(&format!("forward add four --listen tcp:{HOST_V4}:8080 --to red1:80"));
    lab.ok(&format!("forward add six --listen tcp:[{HOST_V6}]:8080 --to red1:80"));
    let (red1, red2, lan1) = (lab.get("red1"), lab.get("red2"), lab.get("lan1"));
    // The host knows the outside's MACs from then on.
    for to in [OUTSIDE_V4, OUTSIDE_V6] {
        ping(&lab.host, to).expect("the outside answers");
    }
    let wire = |netns| Wire::open(netns, "eth0");
    let (of_red1, of_red2, of_lan1) = (wire(&red1.netns), wire(&red2.netns), wire(&lan1.netns));
    let (outside, lan) = (wire(&lab.outside), wire(&lab.lan));
    for (own, other, far, host) in
        [(&red1.v4, &red2.v4, OUTSIDE_V4, HOST_V4), (&red1.v6, &red2.v6, OUTSIDE_V6, HOST_V6)]
    {
        let within = format!("udp {}", ends((own, 4000), (other, 53)));
        leaves(&lab, ("red1", &of_red1), &within, ("red2", &of_red2));
        let out = format!("tcp {}", ends((own, 4000), (far, 80)));
        let traced = leaves(&lab, ("red1", &of_red1), &out, ("eth0", &outside));
        let translated = SocketAddr::new(fwd_tests::frame::ip(host), 4000).to_string();
        assert_eq!(traced["translated"], translated, "{traced:#}");
        let inward = format!("tcp {}", ends((far, 5000), (host, 8080)));
        let traced = leaves(&lab, ("outside", &outside), &inward, ("red1", &of_red1));
        let forward = if own.contains(':') { "six" } else { "four" };
        assert_eq!((&traced["forward"], &traced["port"]), (&json!(forward), &json!("eth0")), "{traced:#}");
        let translated = SocketAddr::new(fwd_tests::frame::ip(own), 80).to_string();
        assert_eq!(traced["translated"], translated, "{traced:#}");
    }
    let broadcast = format!("udp {} from {}", ends((&lan1.v4, 9), ("255.255.255.255", 9)), lan1.mac);
    let (code, traced) = trace(&lab, "lan1", &broadcast);
    assert_eq!(
        (code, &traced["verdict"], &traced["egress"]),
        (0, &json!("forward"), &Value::Null),
        "{traced:#}"
    );
    of_lan1.send(&bytes(&traced["frame"]));
    lan.expect_frame(&bytes(&traced["frame"]));
}

fn a_rule_that_wins_is_named_with_those_that_lost(hook: Hook) {
    let lab = lab(hook);
    for rule in [
        "open --allow --from port:red1 --service tcp/80 --priority 10",
        "shut --deny --from network:red --to 10.10.0.0/24 --service tcp/1-100 --priority 20",
        "other --deny --from network:red --service tcp/443 --priority 30",
        "off --deny --to port:red2 --priority 40",
        "in --allow --to port:red2 --priority 5",
    ] {
        lab.ok(&format!("policy add {rule}"));
    }
    lab.ok("policy disable off");
    let packet = format!("tcp {}", ends((&lab.get("red1").v4, 4000), (&lab.get("red2").v4, 80)));
    let (code, traced) = trace(&lab, "red1", &packet);
    assert_eq!(code, 21, "{traced:#}");
    let named = |name: &str| traced[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [named("verdict"), named("reason"), named("rule"), named("direction")],
        ["drop", "policy_denied", "shut", "egress"]
    );
    let rules = traced["rules"].as_array().expect("a list").iter();
    let rules = rules.map(|rule| (rule["rule"].clone(), rule["direction"].clone(), rule["wins"].clone()));
    let row = |rule, direction, wins| (json!(rule), json!(direction), json!(wins));
    assert_eq!(
        rules.collect::<Vec<_>>(),
        [
            row("shut", "egress", true),
            row("open", "egress", false),
            row("in", "egress", false),
            row("shut", "ingress", true),
            row("open", "ingress", false),
            row("in", "ingress", false),
        ],
        "{traced:#}"
    );
}

fn a_translation_is_the_one_that_the_packet_then_gets(hook: Hook) {
    let lab = lab(hook);
    ping(&lab.host, OUTSIDE_V4).expect("the outside answers");
    let (red1, red2) = (lab.get("red1"), lab.get("red2"));
    let (of_red1, of_red2) = (Wire::open(&red1.netns, "eth0"), Wire::open(&red2.netns, "eth0"));
    let outside = Wire::open(&lab.outside, "eth0");
    let from_red2 = format!("udp {}", ends((&red2.v4, 4000), (OUTSIDE_V4, 53)));
    let first = leaves(&lab, ("red2", &of_red2), &from_red2, ("eth0", &outside));
    assert_eq!(first["translated"], format!("{HOST_V4}:4000"));
    // The first choice is taken now, and the second one by a socket of the host.
    let from_red1 = format!("udp {}", ends((&red1.v4, 4000), (OUTSIDE_V4, 53)));
    let (_, second) = trace(&lab, "red1", &from_red1);
    let second = second["translated"].as_str().expect("translated").to_owned();
    assert_ne!(second, format!("{HOST_V4}:4000"));
    let _taken = lab.host.inside(|| UdpSocket::bind(&*second)).expect("nobody has it");
    let third = leaves(&lab, ("red1", &of_red1), &from_red1, ("eth0", &outside));
    let third = third["translated"].as_str().expect("translated");
    assert!(third != second && third.starts_with(HOST_V4), "{third} after {second}");
    let live = lab.items("nat table --port red1");
    assert!(live.iter().any(|row| row["translated"] == third), "{live:#?}");
}

fn a_live_flow_is_met_as_it_is(hook: Hook) {
    let lab = lab(hook);
    ping(&lab.host, OUTSIDE_V4).expect("the outside answers");
    lab.ok("policy add out --allow --from port:red1 --to outside");
    let red1 = lab.get("red1");
    let (inner, outer) = (Wire::open(&red1.netns, "eth0"), Wire::open(&lab.outside, "eth0"));
    let out = format!("udp {}", ends((&red1.v4, 4000), (OUTSIDE_V4, 53)));
    let back = format!("udp {}", ends((OUTSIDE_V4, 53), (HOST_V4, 4000)));
    let (_, stray) = trace(&lab, "outside", &back);
    assert_eq!((&stray["verdict"], &stray["flow"]), (&json!("host"), &Value::Null), "{stray:#}");
    leaves(&lab, ("red1", &inner), &out, ("eth0", &outer));
    let name = lab.items("flow list --port red1")[0]["name"].clone();
    let answer = leaves(&lab, ("outside", &outer), &back, ("red1", &inner));
    let met = (&answer["flow"], &answer["rule"], &answer["forward"]);
    assert_eq!(met, (&name, &json!("out"), &Value::Null), "{answer:#}");
    // Both directions hit now; then the rule goes, and another one comes that cuts the flow.
    let hit = leaves(&lab, ("red1", &inner), &out, ("eth0", &outer));
    assert_eq!(hit["flow"], name, "{hit:#}");
    lab.ok("policy add shut --deny --from port:red1 --to outside --service udp/53 --priority 2000");
    for (port, packet) in [("red1", &out), ("outside", &back)] {
        let (code, cut) = trace(&lab, port, packet);
        assert_eq!(
            (code, &cut["reason"], &cut["rule"]),
            (21, &json!("policy_denied"), &json!("shut")),
            "{cut:#}"
        );
        assert_eq!(cut["flow"], name, "the flow lives until a packet comes");
    }
    assert_eq!(lab.items("flow list --port red1")[0]["name"], name, "asking did not cut it");
    inner.send(&bytes(&hit["frame"]));
    assert!(eventually(|| lab.items("flow list --port red1").is_empty()));
}

fn what_the_host_has_is_the_hosts(hook: Hook) {
    let lab = lab(hook);
    for (port, packet, verdict, egress) in [
        ("outside", ends((OUTSIDE_V4, 5000), (HOST_V4, 22)), "host", Value::Null),
        ("eth1", ends((LAN_V4, 5000), (HOST_LAN_V4, 22)), "host", Value::Null),
        // The gateway is behind a port of its own, to which rules apply.
        ("red1", ends((&lab.get("red1").v4, 5000), (&RED.v4(1), 53)), "forward", json!("host:red")),
    ] {
        let (code, traced) = trace(&lab, port, &format!("tcp {packet}"));
        assert_eq!(
            (code, &traced["verdict"], &traced["egress"]),
            (0, &json!(verdict), &egress),
            "{traced:#}"
        );
    }
}

fn what_is_answered_is_shown_with_its_answer(hook: Hook) {
    let lab = lab(hook);
    let red1 = lab.get("red1");
    let wire = Wire::open(&red1.netns, "eth0");
    for (own, far) in [(&red1.v4, OUTSIDE_V4), (&red1.v6, OUTSIDE_V6)] {
        let (code, traced) = trace(&lab, "red1", &format!("udp {} ttl 1", ends((own, 4000), (far, 33434))));
        let said = (code, &traced["verdict"], &traced["reason"]);
        assert_eq!(said, (0, &json!("answered"), &json!("ttl_exceeded")), "{traced:#}");
        wire.send(&bytes(&traced["frame"]));
        wire.expect_frame(&bytes(&traced["sent"]));
    }
}

/// What a stage says of a traced packet.
fn said(traced: &Value, stage: &str) -> String {
    let stages = traced["stages"].as_array().expect("a list");
    let found = stages.iter().find(|told| told["stage"] == stage);
    found.unwrap_or_else(|| panic!("{traced:#}"))["detail"].to_string()
}

fn what_waits_and_what_is_down_is_told(hook: Hook) {
    let lab = lab(hook);
    let red1 = lab.get("red1");
    lab.ok("port add late --device late --network red");
    lab.ok("forward add wait --listen udp:99 --to late:99");
    let (_, waits) = trace(&lab, "outside", &format!("udp {}", ends((OUTSIDE_V4, 1), (HOST_V4, 99))));
    assert!(said(&waits, "forward").contains("forward wait would take it"), "{waits:#}");
    let (_, inside) = trace(&lab, "red1", &format!("udp {}", ends((&red1.v4, 1), (HOST_V4, 99))));
    assert!(said(&inside, "route").contains("forward wait would take it"), "{inside:#}");
    let (_, other) = trace(&lab, "red1", &format!("udp {}", ends((&red1.v4, 1), (OUTSIDE_V4, 99))));
    assert_eq!(said(&other, "route"), "\"to eth0\"");
    lab.host.run("ip link set red2 down");
    let within = format!("udp {}", ends((&red1.v4, 1), (&lab.get("red2").v4, 2)));
    let is_told = || said(&trace(&lab, "red1", &within).1, "deliver").contains("The interface red2 is down.");
    assert!(eventually(is_told));
    // A client's message of DHCP is whole without being written out.
    let renewal = format!("udp {}", ends((&red1.v4, 68), (&RED.v4(1), 67)));
    let (code, renewal) = trace(&lab, "red1", &renewal);
    assert_eq!((code, &renewal["egress"]), (0, &json!("host:red")), "{renewal:#}");
    let long = lab.fwd.run(&lab.host, &["trace", "red1", &format!("{within} len 60000")]);
    assert_eq!(long.code, 2, "{}", long.stderr);
}

fn what_the_host_sends_into_a_bridge_is_traced(hook: Hook) {
    let lab = lab(hook);
    let lan1 = lab.get("lan1");
    let packet = format!("udp {}", ends((HOST_LAN_V4, 1), (&lan1.v4, 2)));
    let (code, traced) = trace(&lab, "host:lan", &packet);
    assert_eq!((code, &traced["egress"]), (0, &json!("lan1")), "{traced:#}");
    lab.ok("policy add no --deny --from host --to port:lan1");
    let (code, traced) = trace(&lab, "host:lan", &packet);
    assert_eq!((code, &traced["rule"]), (21, &json!("no")), "{traced:#}");
}

/// The state after guests have said what they say unasked when they come up.
fn quiet<T: PartialEq>(lab: &Lab, state: &impl Fn() -> T) -> T {
    for machine in
        ["red1", "red2", "lan1"].map(|name| &lab.get(name).netns).into_iter().chain([&lab.outside, &lab.lan])
    {
        machine.sysctl("net.ipv6.conf.eth0.disable_ipv6", "1");
    }
    let mut before = state();
    assert!(eventually(|| {
        let now = state();
        let is_quiet = now == before;
        before = now;
        is_quiet
    }));
    before
}

fn asking_changes_nothing(hook: Hook) {
    let lab = lab(hook);
    lab.ok(&format!("forward add web --listen tcp:{HOST_V4}:8080 --to red1:80"));
    let far = Wire::open(&lab.get("red2").netns, "eth0");
    let state = || {
        let flows = lab.json("flow count");
        let counted = ["red1", "red2", "lan1"].map(|port| {
            let mut counters = lab.counters(port);
            // What the host's kernel sends to a device by itself, at its own times, is there too.
            counters["sent"].take();
            counters
        });
        (flows, counted, lab.json("drop list"), lab.json("config show"))
    };
    let before = quiet(&lab, &state);
    let red1 = lab.get("red1");
    for (port, packet) in [
        ("red1", format!("tcp {}", ends((&red1.v4, 4000), (OUTSIDE_V4, 80)))),
        ("red1", format!("udp {}", ends((&red1.v4, 4000), ("255.255.255.255", 9)))),
        ("red1", format!("udp {}", ends(("192.0.2.9", 4000), (OUTSIDE_V4, 9)))),
        ("outside", format!("tcp {}", ends((OUTSIDE_V4, 4000), (HOST_V4, 8080)))),
        (
            "lan1",
            format!("udp {} from 02:00:00:00:00:77", ends((&lab.get("lan1").v4, 9), ("198.51.100.99", 9))),
        ),
    ] {
        let _told = trace(&lab, port, &packet);
    }
    assert_eq!(state(), before);
    let seen = far.receive(std::time::Duration::from_millis(200));
    assert!(seen.is_none_or(|frame| frame[12..14] == [0x86, 0xdd]), "nothing was sent");
    assert_eq!(number(&lab.json("status --check"), "residue"), 0);
}
