//! A stateless rule on live traffic: a VM that sends its log and hears nothing back.

use fwd_tests::lab::{Hook, Lab};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, udp_whoami};
use serde_json::Value;

use crate::trace::trace;

on_both_hooks!(a_syslog_sender_gets_nothing_back);

fn a_syslog_sender_gets_nothing_back(hook: Hook) {
    let lab = Lab::standard(hook);
    let (red1, red2) = (lab.get("red1"), lab.get("red2"));
    let server = format!("{}:514", red2.v4);
    // It answers whatever it is sent.
    let _server = udp_whoami(&red2.netns, &server);
    let send = || ask_udp(&red1.netns, "0.0.0.0:4001", &server, "a line");
    lab.ok("network set red --default-policy closed");
    lab.ok("policy add syslog --allow --stateless --from port:red1 --to port:red2 --service udp/514");
    assert!(send().is_err(), "nothing permits an answer");
    let refused =
        || lab.drops("policy_default_deny", |row| row["port"] == "red2" && row["direction"] == "egress");
    assert!(refused() > 0, "the log was heard, and its answer is dropped by name");
    let flows = lab.items("flow list --port red1 --proto udp");
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert!(flows[0]["packets"]["out"].as_u64() > Some(0), "{flows:?}");
    assert_eq!(
        (&flows[0]["packets"]["in"], &flows[0]["state"]),
        (&0.into(), &"half_open".into()),
        "{flows:?}"
    );
    both_ways_are_traced(&lab, &server);
    // A rule for the answers opens the flow that is there, and its end closes it.
    lab.ok("policy add back --allow --from port:red2 --to port:red1 --service udp --source-l4-port 514");
    send().expect("now a rule permits it");
    assert_eq!(lab.json("policy show back")["flows"], 1);
    let opened = lab.json("config show");
    let mut document = opened.clone();
    let rules = document["policies"].as_array_mut().expect("a list");
    rules.retain(|rule| rule["name"] != "back");
    let (shown, flows) = diff(&lab, &document);
    assert!(
        shown.lines().any(|line| line.starts_with("answers refused") && line.contains(&server)),
        "{shown}"
    );
    assert_eq!(flows["cut"].as_array().map(Vec::len), Some(0), "{flows}");
    assert_eq!(flows["answers_refused"][0]["reason"], "policy_default_deny", "{flows}");
    let deleted = lab.json("policy delete back --wait");
    assert_eq!(deleted["cut"], 0, "{deleted}");
    let before = refused();
    assert!(send().is_err(), "nothing permits an answer any more");
    assert!(refused() > before);
    let (shown, flows) = diff(&lab, &opened);
    assert!(
        shown.lines().any(|line| line.starts_with("answers permitted") && line.contains("back")),
        "{shown}"
    );
    assert_eq!(flows["answers_permitted"].as_array().map(Vec::len), Some(1), "{flows}");
    assert_eq!(lab.items("flow list --port red1 --proto udp").len(), 1);
    lab.ok("status --check");
}

/// A packet to the server would pass, and its answer would not.
#[track_caller]
fn both_ways_are_traced(lab: &Lab, server: &str) {
    let red1 = &lab.get("red1").v4;
    let (code, traced) = trace(lab, "red2", &format!("udp {server} > {red1}:4001"));
    assert_eq!(code, 21, "{traced}");
    assert_eq!(
        (&traced["reason"], &traced["direction"]),
        (&"policy_default_deny".into(), &"egress".into()),
        "{traced}"
    );
    let (code, traced) = trace(lab, "red1", &format!("udp {red1}:4002 > {server}"));
    assert_eq!(code, 0, "{traced}");
    let stages = traced["stages"].as_array().expect("a list");
    let detail = stages.iter().find(|stage| stage["stage"] == "policy").map(|stage| &stage["detail"]);
    assert_eq!(detail, Some(&"rule syslog, without what answers".into()), "{traced}");
}

/// What `config diff --against-flows` shows of a document, and its flows in JSON.
fn diff(lab: &Lab, document: &Value) -> (String, Value) {
    let path = lab.fwd.folder().join("new.json");
    std::fs::write(&path, document.to_string()).expect("our own folder");
    let line = format!("config diff -f {} --against-flows", path.display());
    let told = lab.fwd(&format!("{line} -o json")).stdout;
    let mut told: Value = serde_json::from_str(&told).expect("json");
    (lab.fwd(&line).stdout, told["plan"]["flows"].take())
}
