//! A change that cuts what it should not comes back by itself, with the daemon and without it.

use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, RED, eventually};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, udp_whoami};

on_both_hooks!(
    an_unconfirmed_change_comes_back_in_time,
    an_unconfirmed_change_comes_back_where_the_daemon_was_killed,
    a_restarted_daemon_comes_up_with_the_confirmed_revision,
);

const DENY: &str = "policies: [{name: oops, action: deny, from: any, to: any}]";

/// A VM that reaches the outside, and a document on trial that forbids it.
struct Trial {
    lab: Lab,
    before: String,
}

impl Trial {
    fn begin(hook: Hook, time: &str) -> Self {
        let mut lab = Lab::empty(hook);
        lab.network(&RED, "");
        lab.vm("red1", &RED, 11);
        lab.ok(&format!("forward add tcp {HOST_V4}:8080 red1:80"));
        let before = lab.ok("config show");
        let trial = Self { lab, before };
        assert!(trial.reaches_outside(), "nothing forbids it yet");
        let document = trial.before.replace("policies: []", DENY);
        assert_ne!(document, trial.before);
        let file = trial.lab.fwd.folder().join("oops.yaml");
        std::fs::write(&file, document).expect("the folder is the lab's own");
        trial.lab.ok(&format!("config apply -f {} --confirm {time}", file.display()));
        assert!(!trial.reaches_outside(), "the change binds");
        trial
    }

    fn reaches_outside(&self) -> bool {
        let vm = self.lab.get("red1");
        let server = format!("{OUTSIDE_V4}:4000");
        let _udp = udp_whoami(&self.lab.outside, &server);
        ask_udp(&vm.netns, &format!("{}:4000", vm.v4), &server, "x").is_ok()
    }

    #[track_caller]
    fn comes_back(&self) {
        assert!(eventually(|| self.lab.fwd("config show").stdout == self.before), "the document is back");
        assert!(self.reaches_outside(), "and binds");
        assert!(self.lab.fwd("config confirm").fails(5).contains("No change waits"));
    }
}

fn an_unconfirmed_change_comes_back_in_time(hook: Hook) {
    let trial = Trial::begin(hook, "5s");
    trial.comes_back();
    let revision = &trial.lab.json("status")["revision"];
    assert_eq!(revision["confirmed"], revision["accepted"]);
    let metrics = trial.lab.ok("metrics");
    for state in ["accepted", "applied", "confirmed"] {
        let line = format!("fwd_revision{{state=\"{state}\"}} {}", revision["accepted"]);
        assert!(metrics.contains(&line), "{line}");
    }
}

fn an_unconfirmed_change_comes_back_where_the_daemon_was_killed(hook: Hook) {
    let mut trial = Trial::begin(hook, "5s");
    trial.lab.fwd.kill();
    trial.comes_back();
    assert_eq!(trial.lab.down().expect("it goes down"), Vec::<String>::new());
}

fn a_restarted_daemon_comes_up_with_the_confirmed_revision(hook: Hook) {
    let mut trial = Trial::begin(hook, "1h");
    trial.lab.fwd.kill();
    assert!(!trial.reaches_outside(), "without the daemon what it last wrote holds");
    trial.lab.start();
    trial.comes_back();
}
