//! The audit log in the state directory: who changed what and when, as it was and as it is.

use std::fs;

use fwd_tests::lab::eventually;
use nix::unistd::Uid;
use serde_json::{Value, json};

use crate::{
    instance::{Instance, UP},
    trial::kill_daemon,
};

fn records(instance: &Instance) -> Vec<Value> {
    let text = fs::read_to_string(instance.folder().join("state/audit.log")).expect("it is there");
    text.lines().map(|line| serde_json::from_str(line).expect("every line is an object")).collect()
}

/// The last record, which is there when the command is answered, without what differs from run to run.
fn last(instance: &Instance) -> Value {
    let mut record = records(instance).pop().expect("one was written");
    assert_eq!(record["uid"], Uid::current().as_raw());
    assert!(record["pid"].as_i64().is_some_and(|pid| pid > 1), "{record}");
    assert!(record["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{record}");
    for key in ["time", "author", "uid", "pid"] {
        record.as_object_mut().expect("an object").remove(key);
    }
    record
}

fn done(instance: &Instance, line: &str) {
    let output = instance.run(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_edit_is_there_when_it_is_answered_as_it_was_and_as_it_is() {
    let instance = Instance::up();
    done(&instance, "set add office --cidr 198.51.100.0/24");
    let added = last(&instance);
    assert_eq!((&added["event"], &added["revision"]), (&json!("edited"), &json!(1)));
    assert_eq!(added["on_trial"], false);
    let [change] = added["changes"].as_array().map_or(&[][..], Vec::as_slice) else { panic!("{added}") };
    assert_eq!((&change["object"], &change["before"]), (&json!("set/office"), &Value::Null));
    assert_eq!(change["after"]["cidrs"], json!(["198.51.100.0/24"]));
    done(&instance, "config set udp_timeout 30s");
    assert_eq!(
        last(&instance)["changes"],
        json!([{"object": "setting/udp_timeout", "before": null, "after": "30s"}])
    );
    let before = records(&instance).len();
    done(&instance, "set delete office --dry-run");
    done(&instance, "set delete nothing --if-exists");
    assert_eq!(records(&instance).len(), before, "nothing was changed");
    done(&instance, "set delete office");
    assert_eq!(last(&instance)["changes"][0]["after"], Value::Null);
}

#[test]
fn what_is_refused_is_there_with_the_reason() {
    let instance = Instance::up();
    assert_eq!(instance.run("set delete office").status.code(), Some(3));
    let refused = last(&instance);
    assert_eq!(refused["event"], "refused");
    assert_eq!(refused["asked"], json!({"action": "delete", "object": "set/office"}));
    assert_eq!(refused["error"]["code"], "FWD-E301");
}

#[test]
fn trials_rollbacks_and_the_end_are_there() {
    let instance = Instance::up();
    instance.file("new.yaml", "api: fwd/v1\nnetworks: [{name: new, mode: isolated}]\n");
    done(&instance, "config apply -f DIR/new.yaml --confirm 1h");
    assert_eq!(last(&instance)["on_trial"], true);
    done(&instance, "config confirm");
    assert_eq!(last(&instance), json!({"event": "confirmed", "revision": 1}));
    done(&instance, "config rollback 0");
    assert_eq!(last(&instance), json!({"event": "rolled_back", "from": 1, "to": 0, "revision": 2}));
    done(&instance, "config apply -f DIR/new.yaml --confirm 1s");
    let expired = || records(&instance).last().is_some_and(|r| r["event"] == "rolled_back" && r["from"] == 3);
    assert!(eventually(expired), "{:?}", records(&instance));
    assert_eq!(records(&instance).last().map(|r| r["author"].clone()), Some(json!("fwd")));
    done(&instance, "config apply -f DIR/new.yaml --confirm 1h");
    kill_daemon(&instance);
    done(&instance, UP);
    let back = records(&instance).pop().expect("the start did it");
    let [event, from, to] = ["event", "from", "to"].map(|key| back[key].clone());
    assert_eq!([event, from, to], [json!("rolled_back"), json!(5), json!(4)]);
    done(&instance, "down");
    assert_eq!(last(&instance), json!({"event": "down", "keep_datapath": false}));
}

#[test]
fn what_a_crash_kept_out_of_the_log_is_made_good_at_the_next_start() {
    let instance = Instance::up();
    for n in 1..4 {
        done(&instance, &format!("set add s{n} --cidr 198.51.100.{n}/32"));
    }
    done(&instance, "down");
    let path = instance.folder().join("state/audit.log");
    let text = fs::read_to_string(&path).expect("it is there");
    let second = text.match_indices('\n').nth(1).map_or(0, |(at, _)| at);
    // Nothing of the third edit, and half of the second.
    fs::write(&path, &text[..second - 20]).expect("our own folder");
    done(&instance, UP);
    let text = fs::read_to_string(&path).expect("it is there");
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let revisions: Vec<_> = whole.map(|record| record["revision"].clone()).collect();
    assert_eq!(revisions, [json!(1), json!(2), json!(3)], "{text}");
}
