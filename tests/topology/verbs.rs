//! Every verb of every noun once, on a real kernel.

use std::net::TcpListener;

use fwd_tests::lab::{HOST_V4, Hook, Lab, RED};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::ping;

on_both_hooks!(every_verb_works_once);

const NOUNS: [&str; 10] =
    ["uplink", "network", "port", "forward", "nat", "group", "set", "policy", "flow", "drop"];
/// Streams have tests of their own.
const STREAMS: [&str; 2] = ["flow watch", "drop watch"];

fn lines() -> Vec<String> {
    let forward = format!("forward add web --listen tcp:{HOST_V4}:8080 --to red1:80");
    [
        "network add side --mode isolated",
        "network set side --isolate-ports true",
        "network show side",
        "network list",
        "network leases red",
        "port set red1 --label role=web",
        "port show red1",
        "port list",
        "port add late --device tap77 --network side",
        "port delete late",
        "network delete side",
        "uplink list",
        "uplink show eth0",
        "uplink set eth0 --hook tcx",
        &forward,
        "forward show web",
        "forward test web",
        "forward list",
        "forward delete web",
        "nat add site --network red --exempt 198.51.100.0/24",
        "nat list",
        "nat show site",
        "nat delete site",
        "nat table",
        "group add web --selector role=web",
        "group set web --member red1",
        "group show web",
        "group list",
        "set add office --cidr 198.51.100.0/24",
        "set set office --cidr 198.51.100.0/25",
        "set show office",
        "set list",
        "policy add web --deny --from set:office --to group:web",
        "policy set web --priority 2000",
        "policy show web",
        "policy list --implicit",
        "policy enforce web",
        "policy disable web",
        "policy enable web",
        "policy delete web",
        "group delete web",
        "set delete office",
        "flow list",
        "flow show --limit 1",
        "flow count",
        "flow delete --all",
        "drop list",
        "drop reasons",
        "uplink add dum0",
        "uplink delete dum0",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn every_verb_works_once(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.host.run("ip link add dum0 type veth peer name dum1");
    ping(&lab.get("red1").netns, fwd_tests::lab::OUTSIDE_V4).expect("there is a flow to look at");
    let red1 = lab.get("red1");
    let _service =
        red1.netns.inside(|| TcpListener::bind((red1.v4.as_str(), 80))).expect("the address is there");
    let tests = lab.fwd.folder().join("tests.txt");
    std::fs::write(&tests, "red1 -> outside tcp/80 allow\n").expect("our own folder");
    let mut lines = lines();
    lines.push(format!("policy test {}", tests.display()));
    for line in &lines {
        lab.ok(line);
    }
    lab.host.run("ip link delete dum0");
    for noun in NOUNS {
        let help = lab.ok(&format!("help {noun}"));
        let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let verbs =
            verbs.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
        for verb in verbs.filter(|verb| *verb != "help") {
            let verb = format!("{noun} {verb}");
            let was_run = lines.iter().any(|line| line.starts_with(&verb));
            assert!(was_run || STREAMS.contains(&verb.as_str()), "{verb} was not tried");
        }
    }
}
