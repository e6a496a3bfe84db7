//! Compiled policies against rules as they were written, over random documents and edits.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use fwd_common::{
    id::{Identity, RowId},
    policy::{Direction, L4, PolicyKey, RowKey, RowVerdict, Staged, decide, note},
    proto::IpProto,
};
use imbl::OrdMap;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Value, json};

use super::{
    naive::{Decision, Naive, Peer, SEEN},
    rows,
};
use crate::{
    api::{
        object::{Noun, Object},
        spec::Document,
    },
    compile::{Tables, compile, follow},
    host::inventory::{Inventory, Learnt},
    plan::{MapOp, diff},
    state::{Desired, Edit, accept, edited_rules},
};

pub(super) const PORTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Addresses of all places that CIDRs below tell apart.
const ADDRESSES: [&str; 12] = [
    "198.51.100.1",
    "198.51.100.130",
    "2001:db9:1::1",
    "10.1.2.3",
    "10.1.9.9",
    "10.200.0.1",
    "192.0.2.7",
    "192.0.2.200",
    "8.8.8.8",
    "2001:db8::1",
    "2001:db8:1::1",
    "fd00::1",
];
const CIDRS: [&str; 10] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3/32",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "::/16",
];
const ENDS: [&str; 22] = [
    // No VM is in these: rules about them are followed.
    "198.51.100.0/24",
    "198.51.100.128/25",
    "2001:db9::/32",
    "2001:db9:1::/48",
    "any",
    "outside",
    "host",
    "port:a",
    "port:b",
    "port:f",
    "group:named",
    "group:web",
    "group:both",
    "network:open",
    "network:closed",
    "network:lan",
    "set:few",
    "set:all4",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "::/0",
    "192.0.2.128/25",
];
const SERVICES: [&str; 14] = [
    "any",
    "tcp/80",
    "tcp/80-90",
    "tcp/1-65535",
    "udp/53",
    "udp/50-60",
    "icmp",
    "icmp/echo-request",
    "icmp/timestamp-request",
    "icmp/3/4",
    "icmpv6/3",
    "proto/47",
    "tcp",
    "tcp/443",
];

fn port(index: usize, web: bool, ips: Vec<&str>) -> Value {
    let network = ["open", "closed", "lan"][index % 3];
    let labels = if web { json!({"role": "web"}) } else { json!({}) };
    json!({"name": PORTS[index], "device": format!("tap{index}"), "network": network, "labels": labels,
           "mac": format!("52:54:00:00:00:{index:02x}"), "ips": ips})
}

fn ports() -> impl Strategy<Value = Value> {
    // Addresses of bridge networks are free; the others' stay in their subnets.
    let lan = subsequence(vec!["10.1.2.3", "10.200.0.1", "2001:db8::1"], 0..3);
    (vec(any::<bool>(), 6), lan, any::<bool>()).prop_map(|(web, lan, has_v6)| {
        let v6 = |addr| if has_v6 { vec![addr] } else { vec![] };
        let ips = [
            [vec!["10.1.0.10"], v6("2001:db8:1::a")].concat(),
            vec!["192.0.2.130"],
            lan,
            vec![],
            vec!["192.0.2.10"],
            vec![],
        ];
        ips.into_iter().enumerate().map(|(n, ips)| port(n, web[n], ips)).collect()
    })
}

/// Services, and the source L4 ports of some of those that have any.
fn services() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>)> {
    let any = subsequence(SERVICES.to_vec(), 0..4).prop_map(|services| (services, vec![]));
    let l4 = subsequence(vec!["tcp/80-90", "tcp/1-65535", "udp/53", "udp", "tcp"], 1..4);
    let sources = subsequence(vec!["53", "1024-65535", "4000", "1-4000"], 1..3);
    prop_oneof![2 => any, 1 => (l4, sources)]
}

fn rule() -> impl Strategy<Value = Value> {
    let ends = || subsequence(ENDS.to_vec(), 0..4);
    let rule = (any::<bool>(), ends(), ends(), services(), select(vec![10, 1000, 2000]), 0..8);
    rule.prop_map(|(allow, from, to, (services, sources), priority, dice)| {
        let action = if allow { "allow" } else { "deny" };
        let stateless = allow && dice % 2 == 0i32;
        json!({"stateless": stateless, "source_l4_ports": sources, "action": action, "from": from, "to": to, "services": services, "priority": priority,
               "tier": if dice % 3 == 2i32 { "operator" } else { "tenant" },
               "enabled": dice != 0i32, "stage": dice > 5, "log": dice == 1})
    })
}

fn named((n, mut rule): (usize, Value)) -> Value {
    rule["name"] = format!("r{n}").into();
    rule
}

fn policies() -> impl Strategy<Value = Value> {
    vec(rule(), 0..8).prop_map(|rules| rules.into_iter().enumerate().map(named).collect())
}

/// A rule is put in the place of the one of its number, or that one goes.
fn edit() -> impl Strategy<Value = (usize, Option<Value>)> {
    (0usize..8, proptest::option::weighted(0.8, rule()))
}

pub(super) fn edited(current: &Desired, edits: Vec<(usize, Option<Value>)>) -> Desired {
    let mut document = current.document.clone();
    for (n, rule) in edits {
        document.remove(Noun::Policy, &format!("r{n}"));
        let json = rule.map(|rule| named((n, rule)));
        let rule = json.map(|json| Object::from_json(Noun::Policy, json).expect("a rule"));
        rule.into_iter().for_each(|rule| document.put(rule));
    }
    accepted(current, document)
}

/// What stands under a row's id, and under the ids that it names.
type Stands = (rows::Content, Vec<rows::Content>);

/// Tables without the ids of rows, which depend on what was there before: what stands under them instead.
fn without_row_ids(tables: &Tables) -> (Tables, BTreeMap<PolicyKey, Stands>) {
    let list = |id: RowId| -> rows::Content {
        let own = tables.rows.iter().filter(|((key, _), _)| key.row == id);
        own.map(|((key, bits), verdict)| ((RowKey { row: RowId(0), ..*key }, *bits), *verdict)).collect()
    };
    let stands = |id: RowId| {
        let mut content = list(id);
        let by_source: Vec<RowId> = content.values().filter_map(|verdict| verdict.by_source()).collect();
        let named = content.values_mut().filter(|verdict| verdict.by_source().is_some());
        named.for_each(|verdict| *verdict = RowVerdict::by_source_in(RowId(0)));
        (content, by_source.into_iter().map(list).collect())
    };
    let lists = tables.policies.iter().map(|(key, row)| (*key, stands(*row))).collect();
    (Tables { policies: OrdMap::new(), rows: OrdMap::new(), ..tables.clone() }, lists)
}

fn documents() -> impl Strategy<Value = Document> {
    let set = || subsequence(CIDRS.to_vec(), 0..4);
    let closed = || any::<bool>().prop_map(|closed| if closed { "closed" } else { "open" });
    (ports(), policies(), set(), closed(), closed()).prop_map(|(ports, policies, few, first, second)| {
        let document = json!({
            "uplinks": [{"device": "eth0"}, {"device": "eth1"}],
            "networks": [
                {"name": "open", "mode": "nat", "subnets": ["10.1.0.0/24", "2001:db8:1::/64"],
                 "default_policy": first},
                {"name": "closed", "mode": "nat", "subnets": ["192.0.2.0/24"], "default_policy": "closed"},
                {"name": "lan", "mode": "bridge", "uplink": "eth1", "default_policy": second},
            ],
            "ports": ports,
            "groups": [
                {"name": "named", "members": ["a", "c"]},
                {"name": "web", "selector": "role=web"},
                {"name": "both", "members": ["f"], "selector": "role=web"},
            ],
            "sets": [{"name": "few", "cidrs": few}, {"name": "all4", "cidrs": ["0.0.0.0/0"]}],
            "policies": policies,
        });
        serde_json::from_value(document).expect("a document")
    })
}

pub(super) fn accepted(current: &Desired, document: Document) -> Desired {
    accept(current, Edit::Replace(document), None, &BTreeMap::new()).expect("a valid document").desired
}

fn inventory(desired: &Desired) -> Inventory {
    let learnt = Learnt {
        network: desired.numbers.networks["lan"],
        port: desired.numbers.ports["f"],
        mac: fwd_common::addr::Mac([2; 6]),
        addr: Some(SEEN.parse().expect("an address")),
    };
    Inventory { learnt: vec![learnt], ..Inventory::default() }
}

/// What the compiled tables say of the same packet.
pub(super) fn compiled_decision(
    tables: &Tables,
    desired: &Desired,
    (subject, direction, peer): (&str, Direction, &Peer),
    (proto, l4_port, source): (IpProto, u16, u16),
) -> Decision {
    let view = |name: &str| tables.views[&desired.numbers.ports[name]];
    let class = |addr: &IpAddr| tables.class_of((*addr).into());
    let identity = match peer {
        Peer::Vm(name) => view(name).identity,
        Peer::Outside(addr) => Identity::outside(class(addr)),
        Peer::Host(addr) => Identity::host(class(addr)),
    };
    let key = PolicyKey::new(view(subject).policy, direction, identity);
    let mut staged = Staged::default();
    match decide(tables, key, L4::new(proto, l4_port.to_be(), source.to_be()), &mut staged) {
        Ok(rule) => (rule, true, staged.rule, staged.has(note::STATELESS)),
        Err(denied) => (denied.rule, false, staged.rule, staged.has(note::STATELESS)),
    }
}

fn all_peers() -> Vec<Peer> {
    let addresses = || ADDRESSES.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
    let vms = PORTS.iter().map(|name| Peer::Vm((*name).to_owned()));
    vms.chain(addresses().map(Peer::Outside)).chain(addresses().map(Peer::Host)).collect()
}

/// Protocol, destination and source L4 port.
const PACKETS: [(IpProto, u16, u16); 21] = [
    (IpProto::TCP, 80, 40_000),
    (IpProto::TCP, 85, 40_000),
    (IpProto::TCP, 443, 40_000),
    (IpProto::TCP, 53, 40_000),
    (IpProto::TCP, 0, 40_000),
    (IpProto::TCP, u16::MAX, 40_000),
    (IpProto::UDP, 53, 40_000),
    (IpProto::UDP, 67, 40_000),
    (IpProto::UDP, 60, 40_000),
    (IpProto::UDP, 547, 40_000),
    (IpProto::ICMP, 0x0800, 40_000),
    (IpProto::ICMP, 0x0300, 40_000),
    (IpProto::ICMP, 0x0304, 40_000),
    (IpProto::ICMP, 0x0d01, 40_000),
    (IpProto::ICMPV6, 0x0304, 40_000),
    (IpProto::ICMPV6, 0x8000, 40_000),
    (IpProto(47), 0, 40_000),
    (IpProto(132), 9, 40_000),
    (IpProto::TCP, 80, 53),
    (IpProto::TCP, 85, 4000),
    (IpProto::UDP, 53, 53),
];

fn check(desired: &Desired, tables: &Tables) -> Result<(), TestCaseError> {
    let naive = Naive::new(desired);
    for subject in PORTS {
        for direction in Direction::ALL {
            for peer in all_peers() {
                for packet in PACKETS {
                    prop_assert_eq!(
                        compiled_decision(tables, desired, (subject, direction, &peer), packet),
                        naive.decide(subject, direction, &peer, packet),
                        "{} {:?} {:?} {:?}",
                        subject,
                        direction,
                        peer,
                        packet
                    );
                }
            }
        }
    }
    Ok(())
}

/// Whoever is not concerned by an edit is decided about as before it, by the same rules.
fn check_unconcerned(
    (before, old): (&Desired, &Tables),
    (after, new): (&Desired, &Tables),
) -> Result<(), TestCaseError> {
    let plan = diff(old, new);
    let is_same = |name: &str| {
        let id = after.numbers.ports[name];
        id == before.numbers.ports[name] && !plan.contains(&MapOp::Bump(id))
    };
    for subject in PORTS.into_iter().filter(|name| is_same(name)) {
        for peer in all_peers().iter().filter(|peer| !matches!(peer, Peer::Vm(name) if !is_same(name))) {
            for direction in Direction::ALL {
                for packet in PACKETS {
                    let asked = (subject, direction, peer);
                    let decided = compiled_decision(old, before, asked, packet);
                    prop_assert_eq!(
                        decided,
                        compiled_decision(new, after, asked, packet),
                        "{:?} {:?}",
                        asked,
                        packet
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    // Each case asks 5,400 questions.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Invariant: compiled rules say what the rules say, for every port, direction, peer and packet.
    #[test]
    fn compiled_rules_say_what_was_written(document in documents()) {
        let desired = accepted(&Desired::default(), document);
        let compiled = compile(&desired, &inventory(&desired), &Tables::default());
        check(&desired, &compiled.tables)?;
    }

    /// Invariant: what stands under a row's id never changes, whatever the edit; and compiling
    /// is the same whatever was there before, but for the ids.
    #[test]
    fn an_edit_changes_nothing_under_an_id(first in documents(), second in documents()) {
        let before = accepted(&Desired::default(), first);
        let old = compile(&before, &inventory(&before), &Tables::default()).tables;
        let after = accepted(&before, second);
        let new = compile(&after, &inventory(&after), &old).tables;
        check(&after, &new)?;
        check_unconcerned((&before, &old), (&after, &new))?;
        for ((key, bits), verdict) in &new.rows {
            let was_used = old.rows.keys().any(|(other, _)| other.row == key.row);
            prop_assert!(!was_used || old.rows.get(&(*key, *bits)) == Some(verdict));
        }
        prop_assert_eq!(compile(&after, &inventory(&after), &new).tables, new);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Invariant: edits of rules, one after the other, come to what the rules come to when all is compiled.
    #[test]
    fn edits_that_are_followed_come_to_the_same(first in documents(), edits in vec(vec(edit(), 1..3), 1..8)) {
        let mut desired = accepted(&Desired::default(), first);
        let mut compiled = compile(&desired, &inventory(&desired), &Tables::default());
        for edit in edits {
            let names: Vec<String> = edit.iter().map(|(n, _)| format!("r{n}")).collect();
            let next = edited(&desired, edit);
            let rules = edited_rules(&desired.numbers, &next, &names.iter().map(String::as_str).collect());
            let whole = compile(&next, &inventory(&next), &compiled.tables);
            let followed = follow(&next, &rules, &compiled);
            if let Some(followed) = &followed {
                prop_assert_eq!(without_row_ids(&followed.tables), without_row_ids(&whole.tables));
                let by_source = followed.tables.rows.values().filter_map(|verdict| verdict.by_source());
                let ids: BTreeSet<RowId> = followed.tables.policies.values().copied().chain(by_source).collect();
                let rows: BTreeSet<RowId> = followed.tables.rows.keys().map(|(key, _)| key.row).collect();
                prop_assert_eq!(ids, rows);
            }
            let next_compiled = followed.unwrap_or(whole);
            check_unconcerned((&desired, &compiled.tables), (&next, &next_compiled.tables))?;
            (desired, compiled) = (next, next_compiled);
        }
        check(&desired, &compiled.tables)?;
    }
}
