//! `fwd config apply --confirm`, `confirm`, `rollback`, `history`: a change can be taken back, by hand or because
//! nobody confirmed it, also where the daemon died.

use std::fs::{self, File};

use expect_test::expect;
use fwd_tests::lab::eventually;
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::instance::Instance;

const GOOD: &str = "api: fwd/v1\nnetworks: [{name: good, mode: isolated}]\n";
const BAD: &str = "api: fwd/v1\nnetworks: [{name: bad, mode: isolated}]\n";

/// With `good` confirmed, and `DIR/bad.yaml` to try.
fn instance() -> Instance {
    let instance = Instance::up();
    instance.file("good.yaml", GOOD);
    instance.file("bad.yaml", BAD);
    assert!(instance.run("config apply -f DIR/good.yaml").status.success());
    instance
}

fn json_of(instance: &Instance, line: &str) -> Value {
    serde_json::from_slice(&instance.run(&format!("{line} -o json")).stdout).unwrap_or_default()
}

fn networks(instance: &Instance) -> Vec<String> {
    let shown = json_of(instance, "config show");
    let networks = shown["networks"].as_array().cloned().unwrap_or_default();
    networks.iter().map(|n| n["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn revisions(instance: &Instance) -> Value {
    let mut revision = json_of(instance, "status")["revision"].take();
    revision["confirm_until"] = revision["confirm_until"].is_string().into();
    revision
}

pub fn kill_daemon(instance: &Instance) {
    let pid = fs::read_to_string(instance.folder().join("state/lock")).expect("the lock names its holder");
    let pid = Pid::from_raw(pid.trim().parse().expect("a process"));
    kill(pid, Signal::SIGKILL).expect("it runs");
    assert!(eventually(|| !instance.run("status").status.success()), "it is dead");
}

#[test]
fn what_is_confirmed_stays() {
    let instance = instance();
    expect![[r#"
        $ fwd config apply -f DIR/bad.yaml --confirm 1h
        Applied network bad, network good (revision 2).
        It is rolled back after 3600s, unless: fwd config confirm
        $ fwd config confirm
        Confirmed revision 2.
        $ fwd config confirm
        error: No change waits for confirmation; the revision is 2.
          See what became of it: fwd config history.
          (FWD-E509; fwd explain FWD-E509)
        [exit code 5]
        $ fwd config apply -f DIR/bad.yaml --confirm 0s
        error: invalid value '0s' for '--confirm <TIME>': write at least 1s

        For more information, try '--help'.
        [exit code 2]
    "#]]
    .assert_eq(&instance.transcript(&[
        "config apply -f DIR/bad.yaml --confirm 1h",
        "config confirm",
        "config confirm",
        "config apply -f DIR/bad.yaml --confirm 0s",
    ]));
    kill_daemon(&instance);
    assert!(instance.run(crate::instance::UP).status.success());
    assert_eq!(networks(&instance), ["bad"]);
}

#[test]
fn what_nobody_confirms_comes_back() {
    let instance = instance();
    assert!(instance.run("config apply -f DIR/bad.yaml --confirm 2s").status.success());
    let on_trial = json!({"accepted": 2, "applied": 2, "confirmed": 1, "confirm_until": true});
    assert_eq!(revisions(&instance), on_trial);
    // Part of the trial, as it may need what is on trial.
    assert!(instance.run("network add more --mode isolated").status.success());
    assert_eq!(networks(&instance), ["bad", "more"]);
    assert!(eventually(|| networks(&instance) == ["good"]), "{:?}", networks(&instance));
    let over = json!({"accepted": 4, "applied": 4, "confirmed": 4, "confirm_until": false});
    assert_eq!(revisions(&instance), over);
    let late = instance.run("config confirm");
    assert_eq!(late.status.code(), Some(5), "whoever is too late is told");
}

#[test]
fn a_guard_brings_it_back_where_the_daemon_died() {
    let instance = instance();
    assert!(instance.run("config apply -f DIR/bad.yaml --confirm 3s").status.success());
    kill_daemon(&instance);
    assert!(eventually(|| networks(&instance) == ["good"]), "{:?}", networks(&instance));
    assert_eq!(revisions(&instance)["confirmed"], 3);
    assert_eq!(json_of(&instance, "config history")["items"][0]["author"], "fwd");
}

#[test]
fn a_start_comes_up_with_what_was_confirmed() {
    let instance = instance();
    assert!(instance.run("config apply -f DIR/bad.yaml --confirm 1h").status.success());
    kill_daemon(&instance);
    assert!(instance.run(crate::instance::UP).status.success());
    assert_eq!(networks(&instance), ["good"]);
    assert_eq!(revisions(&instance)["confirm_until"], false);
}

/// Whether a guard waits: it holds a lock.
fn is_guarded(instance: &Instance) -> bool {
    let file = File::open(instance.folder().join("state/guard")).expect("a guard has been there");
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

#[test]
fn a_guard_ends_with_what_it_waits_for() {
    let instance = instance();
    let guard = instance.folder().join("state/guard");
    for after in [crate::instance::UP, "down"] {
        assert!(instance.run(crate::instance::UP).status.success());
        assert!(instance.run("config apply -f DIR/bad.yaml --confirm 1h").status.success());
        assert!(eventually(|| guard.exists() && is_guarded(&instance)));
        kill_daemon(&instance);
        assert!(is_guarded(&instance), "the daemon died");
        assert!(instance.run(after).status.success());
        assert!(eventually(|| !is_guarded(&instance)), "{after}");
    }
}

#[test]
fn rollback_goes_to_the_confirmed_revision_the_one_before_or_any() {
    let instance = instance();
    expect![[r#"
        $ fwd config apply -f DIR/bad.yaml --confirm 1h -q
        $ fwd config rollback --dry-run
        + network/good
        - network/bad
        MAP       PUTS  DELETES  BEFORE  ENTRIES  CAPACITY  MEMORY
        NETWORKS  1     1        1       1        1024      -
        $ fwd config rollback
        Rolled back network good, network bad (revision 3).
        $ fwd config confirm
        error: No change waits for confirmation; the revision is 3.
          See what became of it: fwd config history.
          (FWD-E509; fwd explain FWD-E509)
        [exit code 5]
        $ fwd config rollback
        Rolled back network bad, network good (revision 4).
        $ fwd config rollback 1
        Rolled back network good, network bad (revision 5).
        $ fwd config rollback 0
        Rolled back network good (revision 6).
        $ fwd config rollback 9
        error: There is no revision 9 in the history.
          List them: fwd config history.
          (FWD-E301; fwd explain FWD-E301)
        [exit code 3]
    "#]]
    .assert_eq(&instance.transcript(&[
        "config apply -f DIR/bad.yaml --confirm 1h -q",
        "config rollback --dry-run",
        "config rollback",
        "config confirm",
        "config rollback",
        "config rollback 1",
        "config rollback 0",
        "config rollback 9",
    ]));
}

#[test]
fn history_says_who_changed_what_from_what_to_what() {
    let instance = instance();
    assert!(instance.run("network set good --mtu 9000").status.success());
    let history = json_of(&instance, "config history --limit 1");
    let [edit] = history["items"].as_array().map_or(&[][..], Vec::as_slice) else {
        panic!("one edit: {history}")
    };
    let uid = nix::unistd::Uid::current().as_raw();
    assert_eq!((&edit["revision"], &edit["uid"]), (&json!(2), &json!(uid)));
    assert!(edit["pid"].as_i64().is_some_and(|pid| pid > 1), "{edit}");
    assert!(edit["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{edit}");
    assert_eq!(edit["changes"], json!(["~network/good"]));
    let diff = &edit["diff"][0];
    assert_eq!(diff["object"], "network/good");
    assert_eq!((&diff["before"]["mtu"], &diff["after"]["mtu"]), (&json!(1500), &json!(9000)));
}
