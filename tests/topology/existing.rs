//! What edits do to conversations under way as an operator asks for it, and flows as an operator sees and
//! ends them.

use std::io::{self, Read as _};
use std::process::Stdio;

use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, eventually};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{Probe, ask_udp, udp_whoami};
use serde_json::Value;

on_both_hooks!(
    a_wait_tells_how_many_flows_were_cut,
    a_flow_that_is_kept_loses_no_packet_to_the_edit,
    flows_of_the_edited_objects_are_cut,
    flows_are_shown_and_ended_by_name_and_by_filter,
    starts_of_flows_are_told_as_they_happen,
    a_forward_ends_at_its_moment_without_a_daemon,
);

fn dns() -> String {
    format!("{OUTSIDE_V4}:53")
}

/// Opens one UDP flow from red1 for each L4 port.
fn ask_from(lab: &Lab, l4_ports: &[u16]) {
    for l4_port in l4_ports {
        ask_udp(&lab.get("red1").netns, &format!("0.0.0.0:{l4_port}"), &dns(), "x").expect("it is permitted");
    }
}

fn flows(lab: &Lab) -> Vec<Value> {
    lab.items("flow list --port red1 --proto udp")
}

fn a_wait_tells_how_many_flows_were_cut(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let _dns = udp_whoami(&lab.outside, &dns());
    ask_from(&lab, &[4001, 4002, 4003]);
    assert_eq!(flows(&lab).len(), 3);
    let idle = lab.json("policy add other --deny --from port:red1 --to outside --service tcp/25 --wait");
    assert_eq!(idle["cut"], 0, "{idle}");
    let written = lab.json("policy add no-dns --deny --from port:red1 --to outside --service udp/53 --wait");
    assert_eq!(written["cut"], 3, "{written}");
    let count = lab.json(&format!("flow count --cut-by {}", written["revision"]));
    assert_eq!(count["cut"], 3, "{count}");
    assert_eq!(flows(&lab), Vec::<Value>::new());
    let again = lab.ok("policy delete no-dns --wait");
    assert!(again.ends_with("0 live flows were cut.\n"), "{again}");
    // Without waiting, the flow's next packet is what is cut.
    ask_from(&lab, &[4004]);
    let written = lab.json("policy add no-dns --deny --from port:red1 --to outside --service udp/53");
    assert_eq!(written["cut"], Value::Null, "{written}");
    assert!(ask_udp(&lab.get("red1").netns, "0.0.0.0:4004", &dns(), "x").is_err());
    let count = lab.json(&format!("flow count --cut-by {}", written["revision"]));
    assert_eq!(count["cut"], 1, "{count}");
}

fn a_flow_that_is_kept_loses_no_packet_to_the_edit(hook: Hook) {
    const RATE: u64 = 4_000;
    let lab = Lab::one_vm(hook);
    let vm = lab.get("red1");
    lab.ok(&format!("forward add udp {HOST_V4}:9000 red1:9000"));
    let server = format!("{}:9000", vm.v4);
    let run =
        Probe::start((&lab.outside, "0.0.0.0:0"), &format!("{HOST_V4}:9000"), (&vm.netns, &server), RATE);
    assert!(eventually(|| run.received() > RATE / 4), "the flow runs");
    lab.ok("policy add closed --deny --from outside --to port:red1 --existing keep");
    assert!(ask_udp(&lab.outside, "0.0.0.0:0", &format!("{HOST_V4}:9000"), "x").is_err());
    assert!(lab.drops("policy_denied", |row| row["rule"] == "closed") > 0, "new flows obey");
    lab.ok("policy add other --deny --from port:red1 --to outside --service tcp/25 --wait");
    lab.ok("forward delete red1-udp-9000 --existing keep");
    let before = run.received();
    assert!(eventually(|| run.received() > before + RATE / 4), "the flow runs on");
    let report = run.stop();
    assert_eq!(report.lost_packets(), 0, "{report:?}");
}

fn flows_of_the_edited_objects_are_cut(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let _dns = udp_whoami(&lab.outside, &dns());
    lab.ok("policy add dns --allow --from port:red1 --to outside --service udp/53");
    ask_from(&lab, &[4001, 4002]);
    let kept = lab.json("policy set dns --reason why --wait");
    assert_eq!(kept["cut"], 0, "{kept}");
    let cut = lab.json("policy set dns --reason because --existing cut --wait");
    assert_eq!(cut["cut"], 2, "{cut}");
    ask_from(&lab, &[4001]);
    let other = lab
        .json("policy add other --deny --from port:red1 --to outside --service tcp/25 --existing cut --wait");
    assert_eq!(other["cut"], 0, "it has admitted nothing: {other}");
    let port = lab.json("port set red1 --label role=web --existing cut --wait");
    assert_eq!(port["cut"], 1, "{port}");
}

fn flows_are_shown_and_ended_by_name_and_by_filter(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let _dns = udp_whoami(&lab.outside, &dns());
    ask_from(&lab, &[4001, 4002, 4003]);
    let rows = flows(&lab);
    let name = rows[0]["name"].as_str().expect("a flow has a name");
    let listed = lab.ok("flow list");
    assert!(listed.lines().any(|line| line.starts_with(name)), "{listed}");
    let shown = lab.json(&format!("flow show {name}"));
    assert_eq!((&shown["kind"], &shown["source"]), (&Value::from("flow"), &rows[0]["source"]));
    assert_eq!(lab.json("flow show --port red1 --proto udp --limit 1")["kind"], "flow");
    assert!(lab.fwd("flow show --port red1 --proto udp").fails(2).contains("More than one"));
    assert!(lab.fwd("flow show 0123456789abcdef").fails(3).contains("There is no flow"));
    assert!(lab.fwd("flow delete").fails(2).contains("--all"));
    assert_eq!(lab.ok(&format!("flow delete {name}")), "Ended 1 flow.\n");
    assert!(lab.fwd(&format!("flow delete {name}")).fails(3).contains("There is no flow"));
    lab.ok(&format!("flow delete {name} --if-exists"));
    assert_eq!(lab.items("flow delete --port red1 --proto udp --dry-run").len(), 2);
    assert_eq!(flows(&lab).len(), 2, "a dry run ends none");
    assert_eq!(lab.json("flow delete --port red1 --proto udp --limit 1")["cut"], 1);
    assert_eq!(lab.ok("flow delete --all --quiet"), "");
    assert_eq!(flows(&lab), Vec::<Value>::new());
    ask_from(&lab, &[4001]);
}

fn starts_of_flows_are_told_as_they_happen(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let _dns = udp_whoami(&lab.outside, &dns());
    let mut watch = lab.fwd.command(&lab.host).expect("there is a binary");
    watch.args(["flow", "watch", "--port", "red1", "--proto", "udp", "--limit", "1", "-o", "json"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("it can be started");
    let mut l4_port = 4000;
    let ended = eventually(|| {
        l4_port += 1;
        ask_from(&lab, &[l4_port]);
        watch.try_wait().expect("it is a child").is_some()
    });
    assert!(ended, "it ends after the first one");
    let mut line = String::new();
    watch.stdout.take().expect("it was asked for").read_to_string(&mut line).expect("it is text");
    let event: Value = serde_json::from_str(&line).expect("one JSON object");
    assert_eq!((&event["event"], &event["port"]), (&Value::from("flow_start"), &Value::from("red1")));
    assert_eq!(event["destination"], dns());
}

fn a_forward_ends_at_its_moment_without_a_daemon(hook: Hook) {
    let mut lab = Lab::one_vm(hook);
    let vm = lab.get("red1");
    let _echo = udp_whoami(&vm.netns, &format!("{}:9000", vm.v4));
    lab.ok(&format!("forward add brief --listen udp:{HOST_V4}:9000 --to red1:9000 --for 8s"));
    lab.ok(&format!("forward add lasting --listen udp:{HOST_V4}:9001 --to red1:9000 --for 1h"));
    let ask = |lab: &Lab, l4_port| ask_udp(&lab.outside, "0.0.0.0:0", &format!("{HOST_V4}:{l4_port}"), "x");
    lab.fwd.kill();
    ask(&lab, 9000).expect("it lives");
    // A lost answer is not an end: the host's stack, which has the packets then, refuses them.
    let is_refused = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    };
    assert!(eventually(|| ask(&lab, 9000).is_err_and(|e| is_refused(&e))), "it has ended");
    ask(&lab, 9001).expect("the other one lives");
    lab.start();
    assert_eq!(lab.ok("forward list -o name"), "lasting\n");
}
