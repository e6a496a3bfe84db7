//! The packet filters of others, as their own tools print them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Seen, doctor};
use crate::{
    api::diagnosis::Step,
    compile::{Compiled, compile},
    host::{
        inventory::{Device, DeviceKind, Inventory},
        survey::{Firewall, Survey},
    },
    state::{Desired, Edit, accept},
};

/// What is found where the host has this packet filter: check and first words.
fn found(firewall: Firewall) -> Vec<(String, String)> {
    let document = json!({"networks": [{"name": "red", "mode": "host", "subnets": ["10.10.0.0/24"]}]});
    let edit = Edit::Replace(serde_json::from_value(document).expect("a document"));
    let accepted = accept(&Desired::default(), edit, None, &BTreeMap::new());
    let desired = accepted.expect("a valid document").desired;
    let end = Device {
        ifindex: 9,
        kind: DeviceKind::Veth,
        mac: fwd_common::addr::Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        is_up: true,
        addresses: vec!["10.10.0.1/24".parse().expect("an address")],
        master: None,
        native_xdp: true,
        is_own: false,
        xdp_refused: None,
    };
    let mut inventory = Inventory::default();
    inventory.host_ports.insert("red".to_owned(), Device { addresses: Vec::new(), ..end.clone() });
    inventory.devices.insert("fwd-red".to_owned(), end);
    let compiled: Compiled = compile(&desired, &inventory, &Default::default());
    let survey = Survey { firewall, ..Survey::default() };
    let seen = Seen {
        desired: &desired,
        inventory: &inventory,
        compiled: &compiled,
        survey: &survey,
        refused: &Default::default(),
        drops: &[],
        duplicates: &[],
        mute: &Default::default(),
        taken: &Default::default(),
        flows: (0, 1024),
    };
    let findings = doctor(&seen);
    assert!(findings.iter().all(|f| f.found.ends_with('.') && !f.remedy.is_empty()), "{findings:#?}");
    assert!(findings.iter().all(|f| matches!(f.step, Step::Transport | Step::Application)), "{findings:#?}");
    findings.into_iter().map(|f| (f.check, f.found)).collect()
}

fn nft(items: Value) -> Firewall {
    Firewall { nft: Some(json!({"nftables": items})), legacy: Vec::new() }
}

fn base(table: &str, hook: &str, policy: &str) -> Value {
    json!({"chain": {"family": "inet", "table": table, "name": hook, "hook": hook, "policy": policy}})
}

fn rule(table: &str, chain: &str, expr: Value) -> Value {
    json!({"rule": {"family": "inet", "table": table, "chain": chain, "expr": expr}})
}

fn equals(left: Value, right: Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn checks(firewall: Firewall) -> Vec<String> {
    found(firewall).into_iter().map(|(check, _)| check).collect()
}

#[test]
fn a_host_without_rules_has_no_findings() {
    assert!(checks(Firewall::default()).is_empty());
    assert!(checks(nft(json!([base("f", "input", "accept"), base("f", "forward", "accept")]))).is_empty());
}

#[test]
fn services_are_blocked_unless_a_rule_accepts_them() {
    let name = |name: &str| equals(json!({"meta": {"key": "iifname"}}), json!(name));
    let dhcp = equals(
        json!({"payload": {"protocol": "udp", "field": "dport"}}),
        json!({"set": [53, {"range": [67, 68]}]}),
    );
    let accept = json!({"accept": null});
    let closed = base("f", "input", "drop");
    assert_eq!(checks(nft(json!([closed]))), ["firewall_blocks_services"]);
    for (expr, is_open) in [
        (json!([name("fwd-red"), accept]), true),
        (json!([name("fwd-*"), accept]), true),
        (json!([dhcp, accept]), true),
        (json!([name("eth0"), accept]), false),
        (json!([name("fwd-red"), {"counter": null}]), false),
        (json!([{"match": {"op": "==", "left": {"odd": 1}, "right": 1}}, accept]), false),
    ] {
        let rules = nft(json!([closed, rule("f", "input", expr.clone())]));
        assert_eq!(checks(rules).is_empty(), is_open, "{expr}");
    }
    let open = base("f", "input", "accept");
    let reject = rule("f", "input", json!([name("fwd-red"), {"reject": null}]));
    assert_eq!(checks(nft(json!([open, reject]))), ["firewall_blocks_services"]);
}

#[test]
fn a_jump_is_followed_and_one_in_a_circle_ends() {
    let chain = json!({"chain": {"family": "inet", "table": "f", "name": "guests"}});
    let jump = |to: &str| json!([{"jump": {"target": to}}]);
    let closed = base("f", "input", "drop");
    let open = nft(json!([
        closed,
        chain,
        rule("f", "input", jump("guests")),
        rule("f", "guests", json!([{"accept": null}]))
    ]));
    assert!(checks(open).is_empty());
    let circle =
        nft(json!([closed, chain, rule("f", "input", jump("guests")), rule("f", "guests", jump("guests"))]));
    assert_eq!(checks(circle), ["firewall_blocks_services"]);
}

#[test]
fn whose_rules_they_are_is_told() {
    let said = |firewall: Firewall| found(firewall).into_iter().map(|(_, text)| text).collect::<String>();
    let docker = json!({"chain": {"family": "inet", "table": "filter", "name": "DOCKER-USER"}});
    assert!(said(nft(json!([base("filter", "forward", "drop"), docker]))).contains("Docker filters"));
    assert!(said(nft(json!([base("firewalld", "forward", "drop")]))).contains("firewalld filters"));
    assert!(said(nft(json!([base("mine", "forward", "drop")]))).contains("the nftables table mine filters"));
    let legacy = |text: &str| Firewall { nft: None, legacy: vec![text.to_owned()] };
    let ufw = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:ufw-before-input - [0:0]\n-A INPUT -j ufw-before-input\n";
    assert!(said(legacy(ufw)).contains("ufw filters"));
    assert_eq!(checks(legacy(ufw)), ["firewall_bypassed", "firewall_blocks_services"]);
    let accepted = ":INPUT DROP [0:0]\n-A INPUT -i fwd-+ -j ACCEPT\n";
    assert!(checks(legacy(accepted)).is_empty());
    let by_port = ":INPUT DROP\n-A INPUT -p udp -m udp --dport 67 -j ACCEPT\n-A INPUT -p udp -m udp --dport 53 -j ACCEPT\n";
    assert!(checks(legacy(by_port)).is_empty());
    assert_eq!(checks(legacy(":INPUT ACCEPT\n-A INPUT -i fwd-red -j DROP\n")), ["firewall_blocks_services"]);
}
