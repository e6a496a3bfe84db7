//! `fwd bench` tells what live traffic costs, `fwd top` where it goes.

use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED, number};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::Probe;
use serde_json::Value;

on_both_hooks!(live_traffic_is_measured_by_port_and_by_program, top_tells_what_each_port_carries_and_loses);

const RATE: u64 = 20_000;

fn live_traffic_is_measured_by_port_and_by_program(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    let server = format!("{OUTSIDE_V4}:4000");
    let vm = lab.get("red1");
    let client = format!("{}:4000", vm.v4);
    let probe = Probe::start((&vm.netns, &client), &server, (&lab.outside, &server), RATE);
    let bench: Value = serde_json::from_str(&lab.ok("bench red1 --for 2s -o json")).expect("it prints JSON");
    let report = probe.stop();
    let (path, program) = match hook {
        Hook::Xdp => ("xdp", "fwd_xdp"),
        Hook::Tcx => ("skb", "fwd_ingress"),
    };
    let ports = bench["ports"].as_array().expect("a list");
    let red1: Vec<&Value> = ports.iter().filter(|row| row["port"] == "red1" && row["path"] == path).collect();
    let [red1] = red1[..] else { panic!("red1 has no {path} row: {bench:#}") };
    let received = number(red1, "received");
    assert!(received > 0 && received <= report.sent, "{received} a second of {} sent: {red1}", report.sent);
    // A packet may be under way at either end.
    assert!(number(red1, "forwarded").abs_diff(received) <= 2, "{red1}");
    assert!(ports.iter().all(|row| row["port"] == "red1"), "eth0 was not asked about: {bench:#}");
    let programs = bench["programs"].as_array().expect("a list");
    let row = programs.iter().find(|row| row["program"] == program).expect("all programs are there");
    assert!(number(row, "runs_per_sec") > 0, "{row}");
    assert!(row["ns_per_run"].as_f64().expect("it ran") > 0.0, "{row}");
}

fn top_tells_what_each_port_carries_and_loses(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let (server, refused) = (format!("{OUTSIDE_V4}:4000"), format!("{OUTSIDE_V4}:4001"));
    let vm = lab.get("red1");
    lab.ok("policy add no --deny --from port:red1 --to outside --service udp/4001");
    // Another L4 port for each: what another thread forks holds a closed socket for a moment.
    let to = |own: u16, server: &str| {
        Probe::start((&vm.netns, &format!("{}:{own}", vm.v4)), server, (&lab.outside, server), RATE)
    };
    let told =
        || -> Value { serde_json::from_str(&lab.ok("top --every 1s -o json")).expect("one JSON object") };
    let of = |top: &Value, port: &str| {
        top["ports"].as_array().expect("a list").iter().find(|row| row["port"] == port).cloned().expect(port)
    };
    let probe = to(4000, &server);
    let top = told();
    let report = probe.stop();
    let (red1, eth0) = (of(&top, "red1"), of(&top, "eth0"));
    let carried = number(&red1, "received_packets");
    assert!(carried > 0 && carried <= report.sent, "{carried} a second of {} sent: {top:#}", report.sent);
    assert!(number(&red1, "received_bits") > carried * 8 * 42, "each has a header at least: {red1:#}");
    assert!(number(&eth0, "sent_packets") > 0, "{eth0:#}");
    assert_eq!((number(&red1, "dropped_packets"), &top["drops"]), (0, &Value::from(Vec::<Value>::new())));
    let probe = to(4001, &refused);
    let top = told();
    drop(probe.stop());
    let [drop] = &top["drops"].as_array().expect("a list")[..] else { panic!("{top:#}") };
    assert_eq!(
        (&drop["reason"], &drop["port"], &drop["rule"]),
        (&"policy_denied".into(), &"red1".into(), &"no".into())
    );
    assert!(number(drop, "packets") > 0, "{drop:#}");
}
