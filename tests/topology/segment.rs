//! Micro-segmentation: web VMs reach databases on one L4 port, and nothing else passes: within one bridge, within
//! one NAT network, across networks, and from outside through a forward; and what a document to come would do to
//! the flows that live.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, LAN, LANE, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, Vm, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{Service, ask_udp, http_get, http_whoami, udp_whoami};
use serde_json::json;

on_both_hooks!(
    web_reaches_its_databases_and_nothing_else_passes,
    a_document_to_come_is_held_against_live_flows,
    a_staged_rule_counts_what_it_would_do,
);

/// How long a connection that must not come about is waited for.
const MOMENT: Duration = Duration::from_millis(400);
/// An L4 port of its own for each family's forward.
const SQL: u16 = 5432;

fn both(vm: &Vm) -> [String; 2] {
    [vm.v4.clone(), format!("[{}]", vm.v6)]
}

/// Services on the database's L4 port and on another one, in both families.
fn serve(vm: &Vm) -> Vec<Service> {
    let ends = both(vm).into_iter().flat_map(|addr| [SQL, 80].map(|l4_port| format!("{addr}:{l4_port}")));
    ends.map(|at| http_whoami(&vm.netns, &at)).collect()
}

/// Nothing comes about, and the default is what stopped it.
#[track_caller]
fn is_denied(lab: &Lab, from: &Netns, to: &str) {
    let denied = || lab.drops("policy_default_deny", |_| true);
    let before = denied();
    let to: SocketAddr = to.parse().expect("an end");
    let connected = from.inside(|| TcpStream::connect_timeout(&to, MOMENT));
    assert!(connected.is_err(), "{} reached {to}", from.name());
    assert!(denied() > before, "{to}: something else than the default stopped {}", from.name());
}

/// The one service passes, another L4 port does not, nor the other way round.
#[track_caller]
fn is_segmented(lab: &Lab, web: &Vm, db: &Vm) {
    for (own, addr) in both(web).iter().zip(&both(db)) {
        let page = http_get(&web.netns, &format!("{addr}:{SQL}")).expect("web reaches its database");
        assert!(page.starts_with(&format!("{own}:")), "{addr} saw {page}");
        is_denied(lab, &web.netns, &format!("{addr}:80"));
        is_denied(lab, &db.netns, &format!("{own}:{SQL}"));
    }
}

fn web_reaches_its_databases_and_nothing_else_passes(hook: Hook) {
    let mut lab = Lab::empty(hook);
    for network in [&RED, &LAN, &LANE] {
        lab.network(network, "--default-policy closed");
    }
    for (name, network, number) in
        [("red1", &RED, 11), ("red2", &RED, 12), ("lan1", &LAN, 21), ("lan2", &LAN, 22), ("lane1", &LANE, 11)]
    {
        lab.vm(name, network, number);
    }
    let [red1, red2, lan1, lan2, lane1] = ["red1", "red2", "lan1", "lan2", "lane1"].map(|name| lab.get(name));
    let _services = [red1, red2, lan1, lan2, lane1].map(serve);
    lab.ok("group add web --member red1 --member lan1");
    lab.ok("group add db --member red2 --member lan2 --member lane1");
    lab.ok("policy add allow group:web group:db tcp/5432");
    is_segmented(&lab, lan1, lan2);
    is_segmented(&lab, red1, red2);
    is_segmented(&lab, red1, lane1);
    for addr in both(lan2) {
        is_denied(&lab, &lab.lan, &format!("{addr}:{SQL}"));
    }

    let forwards = [(HOST_V4.to_owned(), OUTSIDE_V4), (format!("[{HOST_V6}]"), OUTSIDE_V6)];
    for (host, _) in &forwards {
        lab.ok(&format!("forward add tcp {host}:15432 red2:{SQL}"));
        lab.ok(&format!("forward add tcp {host}:18080 red2:80"));
        is_denied(&lab, &lab.outside, &format!("{host}:15432"));
    }
    lab.ok(&format!(
        "policy add clients --allow --from {OUTSIDE_V4} --from {OUTSIDE_V6} --to group:db --service tcp/{SQL}"
    ));
    for (host, client) in &forwards {
        let page = http_get(&lab.outside, &format!("{host}:15432")).expect("the rule names the client");
        assert!(page.trim_start_matches('[').starts_with(client), "the client's own address: {page}");
        is_denied(&lab, &lab.outside, &format!("{host}:18080"));
    }
    is_segmented(&lab, red1, red2);
}

fn a_document_to_come_is_held_against_live_flows(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let vm = lab.get("red1");
    let dns = format!("{OUTSIDE_V4}:53");
    let _services = [udp_whoami(&lab.outside, &dns), udp_whoami(&lab.outside, &format!("{OUTSIDE_V4}:123"))];
    let inside = udp_whoami(&vm.netns, &format!("{}:9000", vm.v4));
    lab.ok(&format!("forward add game --listen udp:{HOST_V4}:9000 --to red1:9000"));
    ask_udp(&vm.netns, "0.0.0.0:4001", &dns, "x").expect("it is permitted");
    ask_udp(&vm.netns, "0.0.0.0:4002", &format!("{OUTSIDE_V4}:123"), "x").expect("it is permitted");
    ask_udp(&lab.outside, "0.0.0.0:4003", &format!("{HOST_V4}:9000"), "x").expect("it is forwarded");
    let mut document = lab.json("config show");
    let path = lab.fwd.folder().join("new.json");
    let diff = |document: &serde_json::Value| {
        std::fs::write(&path, document.to_string()).expect("our own folder");
        let line = format!("config diff -f {} --against-flows", path.display());
        (lab.fwd(&line), lab.fwd(&format!("{line} -o json")))
    };
    let (same, _) = diff(&document);
    assert_eq!((same.code, same.stdout.as_str()), (0, "No live flow would be cut.\n"));
    document["policies"] =
        json!([{"name": "no-dns", "action": "deny", "to": "outside", "services": "udp/53"}]);
    document["forwards"] = json!([]);
    let (shown, told) = diff(&document);
    assert_eq!(shown.code, 20, "{}", shown.stdout);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("json");
    let cut = told["plan"]["flows"]["cut"].as_array().expect("a list").clone();
    let mut named: Vec<_> = cut
        .iter()
        .map(|flow| (flow["by"].as_str(), flow["reason"].as_str(), flow["source"].as_str()))
        .collect();
    named.sort_unstable();
    let client = format!("{OUTSIDE_V4}:4003");
    let resolver = format!("{}:4001", vm.v4);
    assert_eq!(
        named,
        [
            (None, Some("forward_removed"), Some(client.as_str())),
            (Some("no-dns"), Some("policy_denied"), Some(resolver.as_str()))
        ]
    );
    assert!(
        shown.stdout.lines().any(|line| line.starts_with("cut") && line.contains("no-dns")),
        "{}",
        shown.stdout
    );
    // Nothing was changed; and what is then applied does as it was told.
    assert_eq!(lab.items("flow list --port red1 --proto udp").len(), 3);
    let applied = lab.json(&format!("config apply -f {} --wait", path.display()));
    assert_eq!(applied["cut"], 2, "{applied}");
    drop(inside);
}

fn a_staged_rule_counts_what_it_would_do(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let vm = lab.get("red1");
    let dns = format!("{OUTSIDE_V4}:53");
    let _dns = udp_whoami(&lab.outside, &dns);
    ask_udp(&vm.netns, "0.0.0.0:4001", &dns, "x").expect("it is permitted");
    lab.ok("policy add no-dns --deny --to outside --service udp/53 --stage --log");
    for l4_port in [4001, 4001, 4002] {
        ask_udp(&vm.netns, &format!("0.0.0.0:{l4_port}"), &dns, "x").expect("a staged rule denies nothing");
    }
    let rule = || lab.json("policy show no-dns");
    assert_eq!(rule()["flows"], 2, "{}", rule());
    assert!(rule()["packets"].as_u64() >= Some(6) && rule()["last_hit"].is_string(), "{}", rule());
    let metrics = lab.ok("config set metrics_detail rule") + &lab.ok("metrics");
    let staged = "fwd_rule_flows_total{rule=\"no-dns\",action=\"staged_deny\"} 2";
    assert!(metrics.lines().any(|line| line == staged), "{metrics}");
    lab.ok("policy enforce no-dns");
    assert!(ask_udp(&vm.netns, "0.0.0.0:4001", &dns, "x").is_err(), "now it decides");
    assert!(lab.drops("policy_denied", |row| row["rule"] == "no-dns") > 0);
    let log = lab.fwd.log();
    let told = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("rule no-dns refused udp"));
    assert!(eventually(told), "{}", log.display());
}
