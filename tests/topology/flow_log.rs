//! The flow log and `flow watch`: every end of a flow, with what it carried and why it ended.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED, eventually, number};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, http_get, http_whoami, udp_whoami};
use serde_json::{Value, json};

on_both_hooks!(
    each_end_is_logged_with_its_reason,
    ends_are_watched_as_they_happen,
    a_log_that_is_off_costs_no_event_and_refuses_to_be_watched,
);

fn dns() -> String {
    format!("{OUTSIDE_V4}:53")
}

fn ask(lab: &Lab, l4_port: u16) {
    ask_udp(&lab.get("red1").netns, &format!("0.0.0.0:{l4_port}"), &dns(), "x").expect("it is permitted");
}

/// What the log has of a flow, by the reason for which it ended; null: that it began.
fn logged(lab: &Lab, reason: &Value, source: &str) -> Option<Value> {
    let text = fs::read_to_string(lab.fwd.state_dir().join("flow.log")).expect("it is there");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is an object"))
        .find(|flow| flow["close_reason"] == *reason && flow["source"].as_str() == Some(source))
}

#[track_caller]
fn wait_for(lab: &Lab, reason: &Value, source: &str) -> Value {
    let mut found = None;
    assert!(eventually(|| {
        found = logged(lab, reason, source);
        found.is_some()
    }));
    found.expect("it was just there")
}

fn each_end_is_logged_with_its_reason(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let _dns = udp_whoami(&lab.outside, &dns());
    let _web = http_whoami(&lab.outside, &format!("{OUTSIDE_V4}:80"));
    let vm = lab.get("red1");
    let source = |l4_port: u16| format!("{}:{l4_port}", vm.v4);
    ask(&lab, 4000);
    let start = wait_for(&lab, &Value::Null, &source(4000));
    assert_eq!((&start["event"], &start["packets"]), (&json!("flow_start"), &json!({"out": 1, "in": 0})));
    assert_eq!(lab.json("flow delete --port red1 --proto udp")["cut"], 1);
    let end = wait_for(&lab, &json!("delete"), &source(4000));
    assert_eq!((&end["event"], &end["verdict"]), (&json!("flow_end"), &json!("forward")), "{end}");
    assert_eq!(
        (&end["port"], &end["network"], &end["peer_port"]),
        (&json!("red1"), &json!("red"), &json!(RED.uplink))
    );
    assert_eq!((&end["destination"], &end["protocol"]), (&json!(dns()), &json!("udp")), "{end}");
    assert_eq!((&end["packets"], &end["name"]), (&json!({"out": 1, "in": 1}), &start["name"]), "{end}");
    assert_eq!((&end["translated"], &end["rule"]), (&start["translated"], &Value::Null), "{end}");
    assert!(end["bytes"]["in"].as_u64() > end["bytes"]["out"].as_u64(), "{end}");
    assert!(end["started"].as_str() <= end["ended"].as_str(), "{end}");

    ask(&lab, 4001);
    let deny = "policy add no-dns --deny --from port:red1 --to outside --service udp/53 --wait";
    let cut_by = number(&lab.json(deny), "revision");
    let end = wait_for(&lab, &json!("policy"), &source(4001));
    assert_eq!((&end["verdict"], &end["cut_by"]), (&json!("drop"), &json!("no-dns")), "{end}");
    lab.ok("policy delete no-dns");
    let cut = lab.items(&format!("flow list --cut-by {cut_by} --port red1"));
    assert_eq!(cut.len(), 1, "{cut:?}");
    assert_eq!((&cut[0]["source"], &cut[0]["cut_by"]), (&json!(source(4001)), &json!("no-dns")), "{cut:?}");
    assert_eq!(lab.items(&format!("flow list --cut-by {cut_by} --proto tcp")).len(), 0);
    let text = lab.ok("flow watch --since 5m --until 0s --verdict drop -o json");
    let ends: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(ends.iter().map(|end| &end["name"]).collect::<Vec<_>>(), [&cut[0]["name"]], "{text}");
    lab.fwd("flow list --cut-by 4000").fails(3);

    lab.ok("config set udp_timeout 1s");
    ask(&lab, 4002);
    // Nobody sends any more: the daemon's sweep finds it.
    wait_for(&lab, &json!("expired"), &source(4002));

    lab.ok("config set tcp_closing_timeout 1s");
    let seen = http_get(&vm.netns, &format!("{OUTSIDE_V4}:80")).expect("it is permitted");
    assert!(!seen.is_empty());
    let is_finished = |flow: &Value| flow["close_reason"] == "finished" && flow["protocol"] == "tcp";
    assert!(eventually(|| {
        let text = fs::read_to_string(lab.fwd.state_dir().join("flow.log")).expect("it is there");
        text.lines().any(|line| is_finished(&serde_json::from_str(line).expect("an object")))
    }));
}

fn ends_are_watched_as_they_happen(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let _dns = udp_whoami(&lab.outside, &dns());
    let mut watch = lab.fwd.command(&lab.host).expect("there is a binary");
    watch.args(["flow", "watch", "--port", "red1", "--proto", "udp", "-o", "json"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("it can be started");
    let mut lines = BufReader::new(watch.stdout.take().expect("it was asked for")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("it goes on").expect("it is text");
        serde_json::from_str(&line).expect("one JSON object")
    };
    // It watches once it has told a start.
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let lab = &lab;
        scope.spawn(move || {
            let mut l4_port = 4000;
            while waiting.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                l4_port += 1;
                ask(lab, l4_port);
            }
        });
        assert_eq!(next()["event"], "flow_start");
        drop(done);
    });
    lab.ok("flow delete --all");
    let end = std::iter::from_fn(|| Some(next())).find(|event| event["event"] == "flow_end");
    let end = end.expect("the stream goes on");
    assert_eq!((&end["close_reason"], &end["port"]), (&json!("delete"), &json!("red1")), "{end}");
    watch.kill().expect("it is a child");
    watch.wait().expect("it is a child");
}

fn a_log_that_is_off_costs_no_event_and_refuses_to_be_watched(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let _dns = udp_whoami(&lab.outside, &dns());
    lab.ok("config set flow_log off");
    let refused = lab.fwd("flow watch --limit 1").fails(5);
    assert!(refused.contains("flow_log"), "{refused}");
    ask(&lab, 4000);
    lab.ok("flow delete --all");
    lab.ok("config set flow_log on");
    ask(&lab, 4001);
    let source = |l4_port: u16| format!("{}:{l4_port}", lab.get("red1").v4);
    wait_for(&lab, &Value::Null, &source(4001));
    assert_eq!(logged(&lab, &json!("delete"), &source(4000)), None, "nothing was told of it");
    assert!(lab.fwd("flow watch --port web9").fails(3).contains("web9"));
}
