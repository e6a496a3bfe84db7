//! Filtering: defaults, groups, sets, priorities; and edits that bind what is already running.

use std::thread;
use std::time::Duration;

use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, RED, eventually};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{BulkSource, ask_udp, http_get, http_whoami, ping, udp_whoami};

on_both_hooks!(
    a_closed_network_passes_only_what_a_rule_allows,
    a_deny_rule_ends_a_running_transfer_and_names_itself,
    sets_and_services_are_told_apart,
    the_higher_priority_wins_and_deny_wins_a_tie,
    forwarded_traffic_is_filtered_by_its_client_and_the_vms_l4_port,
);

fn lab(hook: Hook, options: &str) -> Lab {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, options);
    lab.vm("red1", &RED, 11);
    lab.vm("red2", &RED, 12);
    lab
}

fn a_closed_network_passes_only_what_a_rule_allows(hook: Hook) {
    let lab = lab(hook, "--default-policy closed");
    let (web, db) = (lab.get("red1"), lab.get("red2"));
    let services = [(web, 5432), (db, 5432), (db, 80)].map(|(vm, l4_port)| {
        let at = format!("{}:{l4_port}", vm.v4);
        (http_whoami(&vm.netns, &at), at)
    });
    let [(_, web_sql), (_, db_sql), (_, db_http)] = &services;
    assert!(http_get(&web.netns, db_sql).is_err(), "nothing is allowed yet");
    lab.ok("group add web --member red1");
    lab.ok("group add db --member red2");
    lab.ok("policy add allow group:web group:db tcp/5432");
    let page = http_get(&web.netns, db_sql).expect("the rule allows it");
    assert!(page.starts_with(&format!("{}:", web.v4)), "{page}");
    assert!(http_get(&web.netns, db_http).is_err(), "another L4 port");
    assert!(http_get(&db.netns, web_sql).is_err(), "the other way round");
    assert!(ping(&web.netns, &db.v4).is_err(), "another protocol");
    let closed = |port: &'static str| move |row: &serde_json::Value| row["port"] == port;
    assert!(lab.drops("policy_default_deny", closed("red1")) > 0);
    assert!(lab.drops("policy_default_deny", closed("red2")) > 0);
    // Membership is looked at, not what it was when the rule was made.
    lab.ok("group set web --member red2");
    assert!(http_get(&web.netns, db_sql).is_err(), "red1 is no longer in the group");
}

fn a_deny_rule_ends_a_running_transfer_and_names_itself(hook: Hook) {
    const ENDLESS: u64 = 100_000_000_000;
    let lab = lab(hook, "");
    let vm = lab.get("red1");
    let at = format!("{OUTSIDE_V4}:5000");
    let _endless = BulkSource::start(&lab.outside, &at, ENDLESS);
    let running = BulkSource::start_download(&vm.netns, &at);
    thread::sleep(Duration::from_millis(500));
    assert!(!running.is_finished(), "it is under way");
    lab.ok("policy add stop --deny --from port:red1 --to outside --service tcp/5000");
    let cut = running.join().expect("the client does not panic").expect_err("the transfer is cut");
    assert!(format!("{cut:#}").contains("cut off after"), "{cut:#}");
    let stopped = |row: &serde_json::Value| row["rule"] == "stop" && row["network"] == "red";
    assert!(eventually(|| lab.drops("policy_denied", stopped) > 0));
    let listed = lab.ok("drop list");
    assert!(listed.lines().any(|line| line.contains("policy_denied") && line.contains("stop")), "{listed}");
    assert!(http_get(&vm.netns, &at).is_err(), "nor does a new connection pass");

    lab.ok("policy delete stop");
    let short = BulkSource::start(&lab.outside, &format!("{OUTSIDE_V4}:5001"), 1_000_000);
    short.download(&vm.netns).expect("without the rule it passes");
    let again = BulkSource::start_download(&vm.netns, &at);
    thread::sleep(Duration::from_millis(300));
    assert!(!again.is_finished(), "a new connection to the same place runs");
    lab.ok("policy add stop --deny --from port:red1 --to outside --service tcp/5000");
    again.join().expect("the client does not panic").expect_err("and is cut again");
}

fn sets_and_services_are_told_apart(hook: Hook) {
    let lab = lab(hook, "");
    lab.outside.address("eth0", "203.0.113.3/24");
    let vm = lab.get("red1");
    let _services = ["203.0.113.2:53", "203.0.113.3:53"].map(|at| udp_whoami(&lab.outside, at));
    lab.ok("set add office --cidr 203.0.113.3/32");
    lab.ok("policy add no-office --deny --from network:red --to set:office --service udp/50-60");
    lab.ok("policy add no-ping --deny --to port:red2 --service icmp/echo-request");
    let ask = |to: &str| ask_udp(&vm.netns, "0.0.0.0:0", to, "x");
    ask("203.0.113.2:53").expect("this address is not in the set");
    assert!(ask("203.0.113.3:53").is_err(), "this address is in the set");
    ping(&vm.netns, "203.0.113.3").expect("another protocol");
    assert!(ping(&vm.netns, &lab.get("red2").v4).is_err(), "echo requests to red2 are denied");
    ping(&lab.get("red2").netns, &vm.v4).expect("red2 may ask, and gets its replies");
    let _http = http_whoami(&lab.get("red2").netns, &format!("{}:80", lab.get("red2").v4));
    http_get(&vm.netns, &format!("{}:80", lab.get("red2").v4)).expect("TCP to red2 is not echo");
}

fn the_higher_priority_wins_and_deny_wins_a_tie(hook: Hook) {
    let lab = lab(hook, "");
    let (one, two) = (lab.get("red1"), lab.get("red2"));
    let at = format!("{}:80", two.v4);
    let _udp = udp_whoami(&two.netns, &at);
    let passes = || ask_udp(&one.netns, "0.0.0.0:0", &at, "x").is_ok();
    assert!(passes(), "the network is open");
    lab.ok("policy add low --deny --from port:red1 --to port:red2 --service udp/80 --priority 10");
    assert!(!passes());
    lab.ok("policy add high --allow --from port:red1 --to port:red2 --service udp/80 --priority 20");
    assert!(passes(), "20 is more than 10");
    lab.ok("policy add tie --deny --from port:red1 --to port:red2 --service udp/80 --priority 20");
    assert!(!passes(), "deny wins at equal priority");
    lab.ok("policy disable tie");
    assert!(passes(), "a disabled rule does nothing");
}

fn forwarded_traffic_is_filtered_by_its_client_and_the_vms_l4_port(hook: Hook) {
    let lab = lab(hook, "--default-policy closed");
    lab.outside.address("eth0", "203.0.113.3/24");
    let vm = lab.get("red1");
    let _udp = udp_whoami(&vm.netns, &format!("{}:80", vm.v4));
    lab.ok(&format!("forward add udp {HOST_V4}:8080 red1:80"));
    let ask = |from: &str| ask_udp(&lab.outside, from, &format!("{HOST_V4}:8080"), "x");
    assert!(ask("203.0.113.2:0").is_err(), "a forward alone opens nothing in a closed network");
    lab.ok("policy add clients --allow --from 203.0.113.2/32 --to port:red1 --service udp/80");
    ask("203.0.113.2:0").expect("the rule names the client and the VM's L4 port");
    assert!(ask("203.0.113.3:0").is_err(), "another client");
}
