//! `fwd down` gives the host back as it was.

use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{http_get, http_whoami, ping};

on_both_hooks!(nothing_is_left_after_down, nothing_is_left_when_the_daemon_was_dead, down_is_repeatable);

const NOTHING: Vec<String> = vec![];

/// A world in which everything that fwd sets up is in use.
fn busy_lab(hook: Hook) -> Lab {
    let lab = Lab::standard(hook);
    lab.ok("forward add tcp :8080 red1:80");
    lab.ok("policy add no-ssh --deny --to port:red1 --service tcp/22");
    let _http = http_whoami(&lab.outside, &format!("{OUTSIDE_V4}:80"));
    for vm in ["red1", "blue1"] {
        http_get(&lab.get(vm).netns, &format!("{OUTSIDE_V4}:80")).expect("the VM gets out");
    }
    ping(&lab.get("lan1").netns, &lab.get("lan2").v4).expect("the bridge forwards");
    lab
}

fn pins(lab: &Lab) -> Vec<String> {
    let entries = std::fs::read_dir(lab.fwd.bpffs()).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

fn nothing_is_left_after_down(hook: Hook) {
    let mut lab = busy_lab(hook);
    assert_ne!(pins(&lab), NOTHING, "a datapath is pinned while it runs");
    assert_eq!(lab.down().expect("down succeeds"), NOTHING);
    assert_eq!(pins(&lab), NOTHING);
    assert!(!lab.fwd.socket().exists());
}

fn nothing_is_left_when_the_daemon_was_dead(hook: Hook) {
    let mut lab = busy_lab(hook);
    lab.fwd.kill();
    assert_eq!(lab.down().expect("down needs no daemon"), NOTHING);
    assert_eq!(pins(&lab), NOTHING);
}

fn down_is_repeatable(hook: Hook) {
    let mut lab = busy_lab(hook);
    let document = lab.ok("config show");
    lab.fwd.down(&lab.host).expect("down succeeds");
    lab.ok("down");
    lab.start();
    assert_eq!(lab.ok("config show"), document, "what was asked for is kept");
    let _http = http_whoami(&lab.outside, &format!("{OUTSIDE_V4}:80"));
    http_get(&lab.get("red1").netns, &format!("{OUTSIDE_V4}:80")).expect("and set up again");
    lab.ok("down --purge");
    assert!(!lab.fwd.state_dir().exists(), "purge forgets it");
}
