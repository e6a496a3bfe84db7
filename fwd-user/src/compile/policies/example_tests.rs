//! What single rules come to, and what an edit touches.

use fwd_common::{
    id::{Identity, PortId, RuleId},
    policy::Direction,
    proto::IpProto,
};
use serde_json::{Value, json};

use super::{
    naive::Peer,
    tests::{PORTS, accepted, compiled_decision, edited},
};
use crate::{
    compile::{Compiled, Tables, compile, follow},
    host::inventory::Inventory,
    state::{Desired, edited_rules},
};

fn lab(policies: Value) -> Desired {
    let ips = |n: usize| json!([format!("10.1.0.{}", 10 + n)]);
    let port =
        |n: usize| json!({"name": PORTS[n], "device": format!("tap{n}"), "network": "n", "ips": ips(n)});
    let document = json!({
        "networks": [{"name": "n", "mode": "nat", "subnets": ["10.1.0.0/24"]}],
        "ports": (0..6).map(port).collect::<Vec<_>>(),
        "groups": [{"name": "web", "members": ["a", "b"]}, {"name": "db", "members": ["c", "d"]}],
        "policies": policies,
    });
    accepted(&Desired::default(), serde_json::from_value(document).expect("a document"))
}

fn tables(desired: &Desired, previous: &Tables) -> Tables {
    compile(desired, &Inventory::default(), previous).tables
}

#[test]
fn without_rules_an_open_network_asks_nothing() {
    let desired = lab(json!([]));
    let tables = tables(&desired, &Tables::default());
    assert!(tables.policies.is_empty() && tables.rows.is_empty() && tables.classes.is_empty());
    assert!(tables.views.values().all(|view| *view == Default::default()));
}

#[test]
fn ports_under_the_same_rules_share_a_policy() {
    let rule = json!([{"name": "r", "action": "deny", "from": "group:web", "to": "group:db", "services": "tcp/5432"}]);
    let desired = lab(rule);
    let tables = tables(&desired, &Tables::default());
    let policy = |name: &str| tables.views[&desired.numbers.ports[name]].policy;
    assert_eq!((policy("a"), policy("c")), (policy("b"), policy("d")));
    assert_ne!(policy("a"), policy("c"));
    assert_eq!(policy("e"), fwd_common::id::PolicyId::OPEN);
    // Two ports that no end tells apart are one peer.
    let identity = |name: &str| tables.views[&desired.numbers.ports[name]].identity;
    assert_eq!((identity("a"), identity("e")), (identity("b"), Identity::ANY));
}

#[test]
fn an_edit_touches_only_what_it_changed() {
    let first = json!({"name": "r", "action": "deny", "from": "group:web", "to": "group:db"});
    let second =
        json!({"name": "s", "action": "deny", "from": "port:e", "to": "port:f", "services": "udp/9"});
    let before = lab(json!([first]));
    let old = tables(&before, &Tables::default());
    let mut document = before.document.clone();
    document.policies.push_back(serde_json::from_value(second).expect("a rule"));
    let after = accepted(&before, document);
    let new = tables(&after, &old);
    let changed: Vec<PortId> =
        new.views.iter().filter(|(id, view)| old.views[id] != **view).map(|(id, _)| *id).collect();
    assert_eq!(changed, [after.numbers.ports["e"], after.numbers.ports["f"]]);
    assert!(old.policies.iter().all(|row| new.policies.get(row.0) == Some(row.1)));
    let plan = crate::plan::diff(&old, &new);
    let bumps = plan.iter().filter(|op| matches!(op, crate::plan::MapOp::Bump(_))).count();
    assert_eq!(bumps, 2);
}

/// Each policy that tells outsiders from VMs gets an entry about the new class, which says what was said before.
#[test]
fn a_cidr_that_is_new_concerns_only_whom_its_rule_speaks_for() {
    let published =
        |name: &str, to: &str| json!({"name": name, "action": "deny", "from": "outside", "to": to});
    let before = lab(json!([published("a", "port:a"), published("e", "port:e")]));
    let old = tables(&before, &Tables::default());
    let rule = json!({"action": "allow", "from": "192.0.2.7/32", "to": "port:e", "priority": 10});
    let after = edited(&before, vec![(9, Some(rule))]);
    let new = tables(&after, &old);
    let about_a = |tables: &Tables| {
        let policy = tables.views[&after.numbers.ports["a"]].policy;
        tables.policies.keys().filter(|key| key.policy == policy).count()
    };
    assert!(about_a(&new) > about_a(&old));
    let bumps = |from: &Tables, to: &Tables| {
        let plan = crate::plan::diff(from, to);
        let ports = plan
            .into_iter()
            .filter_map(|op| if let crate::plan::MapOp::Bump(id) = op { Some(id) } else { None });
        ports.collect::<std::collections::BTreeSet<PortId>>()
    };
    let concerned = [after.numbers.ports["e"]].into();
    assert_eq!(bumps(&old, &new), concerned);
    assert_eq!(bumps(&new, &old), concerned);
}

/// Rules about CIDRs of which one comes and goes: no other row is touched, and nothing is compiled but it.
#[test]
fn an_edit_among_many_rules_costs_what_it_changes() {
    let rule = |n: usize| {
        json!({"name": format!("r{n}"), "action": "deny", "from": "group:web",
               "to": format!("20.{}.{}.0/24", n / 256, n % 256), "services": format!("tcp/{}", n + 1)})
    };
    let before = lab((0..2000).map(rule).collect());
    let all = compile(&before, &Inventory::default(), &Tables::default());
    let followed = |before: &Desired, after: &Desired, from: &Compiled| {
        follow(after, &edited_rules(&before.numbers, after, &["r2000"].into()), from)
    };
    let plan = |from: &Compiled, to: &Compiled| {
        let plan = crate::plan::diff(&from.tables, &to.tables);
        plan.into_iter().filter(|op| !matches!(op, crate::plan::MapOp::Bump(_))).count()
    };
    let after = edited(
        &before,
        vec![(2000, Some(json!({"action": "deny", "from": "group:web", "to": "30.0.0.0/8"})))],
    );
    let more = followed(&before, &after, &all).expect("it is followed");
    // A list of one row, a class, the two peers in it, and the commit.
    assert_eq!(plan(&all, &more), 5);
    let again = edited(&after, vec![(2000, None)]);
    let less = followed(&after, &again, &more).expect("it is followed");
    assert_eq!((plan(&more, &less), &less.tables), (5, &all.tables));
    // A rule about a group that none named concerns who is in it.
    let other = edited(&before, vec![(2000, Some(json!({"action": "deny", "from": "group:db"})))]);
    assert!(followed(&before, &other, &all).is_none());
}

/// A left-out end is `any`, exactly as if it were written.
#[test]
fn an_end_left_out_is_any() {
    let ends = [json!({"to": "host"}), json!({"from": "group:web"}), json!({"to": "port:e"}), json!({})];
    for given in ends {
        let rule = |from: Value, to: Value| {
            lab(json!([{"name": "r", "action": "deny", "services": "tcp/80", "from": from, "to": to}]))
        };
        let end = |side: &str, left_out: Value| given.get(side).cloned().unwrap_or(left_out);
        let written = rule(end("from", json!("any")), end("to", json!("any")));
        let left_out = rule(end("from", json!([])), end("to", json!([])));
        let [written, left_out] = [&written, &left_out].map(|desired| tables(desired, &Tables::default()));
        assert_eq!(left_out, written, "{given}");
    }
}

#[test]
fn a_rule_with_one_end_binds_vms_at_the_other() {
    let desired = lab(json!([{"name": "r", "action": "deny", "to": "host", "services": "tcp/22"}]));
    let tables = tables(&desired, &Tables::default());
    let host = Peer::Host("10.1.0.1".parse().expect("an address"));
    let ask = |peer: &Peer, l4_port| {
        compiled_decision(&tables, &desired, ("a", Direction::Egress, peer), (IpProto::TCP, l4_port, 40_000))
    };
    assert_eq!(ask(&host, 22), (desired.numbers.rules["r"], false, RuleId(0), false));
    assert_eq!(ask(&host, 23), (RuleId(0), true, RuleId(0), false));
    assert_eq!(ask(&Peer::Vm("b".to_owned()), 22), (RuleId(0), true, RuleId(0), false));
}

#[test]
fn what_rules_take_grows_with_rules_not_with_their_product() {
    let rule = |n: usize| {
        json!({"name": format!("r{n}"), "action": "allow", "from": "group:web", "to": "group:db",
               "services": format!("tcp/{}", 2 * n + 1)})
    };
    let rows = |count: usize| {
        let desired = lab((0..count).map(rule).collect());
        let tables = tables(&desired, &Tables::default());
        (tables.policies.len(), tables.rows.len())
    };
    let (few, many) = (rows(10), rows(100));
    assert_eq!(few.0, many.0);
    assert!(many.1 <= 11 * few.1, "{few:?} {many:?}");
}
