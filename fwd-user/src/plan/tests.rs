//! Plans applied to the datapath in memory.

use std::collections::BTreeSet;

use fwd_common::{
    addr::{Ip, Mac},
    fdb::{FdbEntry, FdbKey},
    forward::{Forward, ForwardKey},
    id::{ClassId, ForwardId, Identity, NetworkId, PolicyId, PortId, RowId, RuleId},
    neighbor::{Neighbor, NetworkAddress, SourceKey},
    network::{MemberKey, Network, flag},
    policy::{ClassKey, Direction, PolicyKey, RowKey, RowVerdict},
    port::{Port, View},
    proto::IpProto,
    settings::{Settings, flag::KEEP_FLOWS},
};
use proptest::{collection::btree_map, prelude::*};

use super::{Admitted, MapOp, Row, RowKeyOf, cut, diff, keep};
use crate::{
    compile::Tables,
    datapath::{Datapath, Memory},
};

fn address(n: u16) -> NetworkAddress {
    NetworkAddress { addr: Ip([0, 0, 0, n.into()]), network: NetworkId(n % 3), _pad: 0 }
}

fn class_key(n: u16) -> ClassKey {
    ClassKey { epoch: 0, addr: Ip([n.into(), 0, 0, 0]) }
}

/// Rows of every table over a handful of keys, so that two tables share some.
fn tables() -> impl Strategy<Value = Tables> {
    let rows = || btree_map(1u16..6, 0u16..3, 0..5);
    (rows(), rows(), rows(), rows(), rows(), rows()).prop_map(
        |(ports, leads, owners, forwards, policies, classes)| {
            let mut tables = Tables::default();
            for (id, n) in ports {
                let port = Port { ifindex: n.into(), network: NetworkId(n), kind: 1, ..Port::default() };
                tables.ports.insert(PortId(id), port);
                let view = View { policy: PolicyId(n.into()), identity: Identity::vm(u32::from(id) % 2) };
                tables.views.insert(PortId(id), view);
            }
            for (key, n) in leads {
                tables.port_of_device.insert(key.into(), PortId(n));
                tables.devices.insert(PortId(key), n.into());
                tables
                    .networks
                    .insert(NetworkId(key), Network { mode: 1, host_port: PortId(n), ..Network::default() });
                tables.members.insert(MemberKey { network: NetworkId(key), index: 0 }, PortId(n));
            }
            for (key, n) in owners {
                tables.neighbors.insert(address(key), Neighbor { port: PortId(n), ..Neighbor::default() });
                tables.host_addresses.insert(address(key), n.into());
                let source = SourceKey { port: PortId(key), ..SourceKey::default() };
                tables.allowed_sources.insert((source, 32 + u32::from(n)), 1);
                let mac = FdbKey { network: NetworkId(key), mac: Mac([2; 6]) };
                tables.fdb.insert(mac, FdbEntry { port: PortId(n), ..FdbEntry::default() });
            }
            for (key, n) in forwards {
                let row = Forward { id: ForwardId(n.into()), port: PortId(n), ..Forward::default() };
                tables.forwards.insert((ForwardKey::new(IpProto::TCP, Ip::NONE, key), 176), row);
            }
            for (key, n) in policies {
                let policy = PolicyKey::new(PolicyId(key.into()), Direction::Ingress, Identity::ANY);
                tables.policies.insert(policy, RowId(n.into()));
                let verdict = RowVerdict::new(RuleId(n.into()), RowVerdict::PERMIT);
                tables.rows.insert((RowKey::new(RowId(key.into()), IpProto::TCP, 0), 40), verdict);
            }
            for (key, n) in classes {
                tables.classes.insert((class_key(key), 96), ClassId(n.into()));
            }
            tables.settings.mark = tables.ports.len() as u32;
            tables
        },
    )
}

/// Places of a plan's steps in the order that `MapOp` promises.
fn phases(plan: &[MapOp]) -> Vec<u32> {
    let first_deletion = plan.iter().position(|op| matches!(op, MapOp::Delete(_))).unwrap_or(plan.len());
    let again = |n| if n > first_deletion { 13 } else { 10 };
    plan.iter().enumerate().map(|(n, op)| phase(op, again(n))).collect()
}

fn phase(op: &MapOp, bump: u32) -> u32 {
    match op {
        MapOp::Put(Row::PolicyRow(..)) => 0,
        MapOp::Put(Row::Policy(..)) => 1,
        MapOp::StageView(..) | MapOp::StageClass(..) | MapOp::StagePolicy(..) => 2,
        MapOp::Commit => 3,
        MapOp::Put(Row::Settings(_)) => 4,
        MapOp::Put(Row::Port(..)) => 5,
        MapOp::Put(Row::PortOfDevice(..)) => 8,
        MapOp::Put(Row::Forward(..)) => 9,
        MapOp::Put(_) => 7,
        MapOp::Bump(_) => bump,
        MapOp::Delete(RowKeyOf::Port(_)) => 12,
        MapOp::Delete(RowKeyOf::Policy(_)) => 14,
        MapOp::Delete(RowKeyOf::PolicyRow(..)) => 15,
        MapOp::Delete(_) => 11,
        MapOp::Recheck | MapOp::Cut(_) => unreachable!("a difference has none"),
    }
}

proptest! {
    /// Invariant: a plan makes what is into what should be, in the promised order, and leaves no copy apart.
    #[test]
    fn a_plan_leads_from_one_table_to_the_other(a in tables(), b in tables()) {
        let mut memory = Memory::holding(&a);
        prop_assert_eq!(&memory.tables().expect("infallible"), &a);
        let plan = diff(&a, &b);
        let phases = phases(&plan);
        prop_assert!(phases.is_sorted(), "{:?}", phases);
        prop_assert!(plan.iter().filter(|op| **op == MapOp::Commit).count() <= 1);
        let Ok(()) = memory.apply(&plan);
        prop_assert_eq!(memory.tables().expect("infallible"), b);
        prop_assert!(memory.is_settled());
    }

    #[test]
    fn equal_tables_need_nothing(a in tables()) {
        prop_assert_eq!(diff(&a, &a), []);
    }

    /// Invariant: until the commit, packets see the old policy.
    #[test]
    fn nothing_staged_is_seen_before_the_commit(a in tables(), b in tables()) {
        let mut memory = Memory::holding(&a);
        let plan = diff(&a, &b);
        let commit = plan.iter().position(|op| *op == MapOp::Commit).unwrap_or(0);
        let Ok(()) = memory.apply(&plan[..commit]);
        let seen = memory.tables().expect("infallible");
        prop_assert_eq!(&seen.views, &a.views);
        prop_assert_eq!(&seen.classes, &a.classes);
        let in_use: BTreeSet<PolicyId> = a.views.values().map(|view| view.policy).collect();
        let is_seen = |(key, _): &(PolicyKey, RowId)| in_use.contains(&key.policy);
        let of_ports = |tables: &Tables| -> Vec<(PolicyKey, RowId)> {
            tables.policies.iter().map(|(key, row)| (*key, *row)).filter(is_seen).collect()
        };
        prop_assert_eq!(of_ports(&seen), of_ports(&a));
    }
}

fn base() -> Tables {
    let mut tables = Tables::default();
    for id in 1..=4 {
        let port = Port { ifindex: id.into(), network: NetworkId(id % 2 + 1), kind: 1, ..Port::default() };
        tables.ports.insert(PortId(id), port);
        tables.views.insert(PortId(id), View::default());
    }
    for (id, host_port) in [(1, 3), (2, 4)] {
        tables.networks.insert(NetworkId(id), Network { host_port: PortId(host_port), ..Network::default() });
    }
    tables.views.insert(PortId(2), View { policy: PolicyId(7), identity: Identity::vm(1) });
    tables
}

/// Ports that are bumped when a table changes like this.
fn bumped(change: impl FnOnce(&mut Tables)) -> BTreeSet<u16> {
    let old = base();
    let mut new = old.clone();
    change(&mut new);
    let plan = diff(&old, &new);
    plan.iter().filter_map(|op| if let MapOp::Bump(id) = op { Some(id.0) } else { None }).collect()
}

#[test]
fn exactly_the_ports_concerned_are_bumped() {
    fn row(tables: &mut Tables, id: u16) -> &mut Port {
        tables.ports.get_mut(&PortId(id)).expect("a port of the base")
    }
    assert_eq!(bumped(|_| {}), BTreeSet::new());
    assert_eq!(bumped(|t| row(t, 1).mtu = 9000), [1].into());
    assert_eq!(bumped(|t| row(t, 1).flow_limit = 9), BTreeSet::new());
    assert_eq!(bumped(|t| t.settings.flow_limit = 9), BTreeSet::new());
    assert_eq!(bumped(|t| _ = t.ports.remove(&PortId(1))), [1].into());
    let view = View { policy: PolicyId(9), identity: Identity::vm(1) };
    assert_eq!(bumped(|t| _ = t.views.insert(PortId(3), view)), [3].into());
    let neighbor = Neighbor { port: PortId(1), ..Neighbor::default() };
    assert_eq!(bumped(|t| _ = t.neighbors.insert(address(1), neighbor)), [1].into());
    let forward = Forward { port: PortId(2), ..Forward::default() };
    let key = (ForwardKey::default(), 176);
    assert_eq!(bumped(|t| _ = t.forwards.insert(key, forward)), [2].into());
    let member = MemberKey { network: NetworkId(1), index: 0 };
    assert_eq!(bumped(|t| _ = t.members.insert(member, PortId(1))), BTreeSet::new());
    // A network concerns all its ports; its host's addresses its host port.
    let network = |t: &mut Tables, id: u16| t.networks.get_mut(&NetworkId(id)).map(|row| row.mode = 3);
    assert_eq!(bumped(|t| _ = network(t, 1)), [2, 4].into());
    assert_eq!(bumped(|t| _ = t.host_addresses.insert(address(1), 1)), [3].into());
    assert_eq!(bumped(|t| _ = t.host_addresses.insert(address(3), 1)), [3, 4].into());
}

/// Port 2 has an entry about outside's class 1, and one about everybody.
#[test]
fn another_class_of_an_address_concerns_those_who_decide_otherwise() {
    let key = |peer| PolicyKey::new(PolicyId(7), Direction::Ingress, peer);
    let mut old = base();
    old.policies = [(key(Identity::ANY), RowId(1)), (key(Identity::outside(ClassId(1))), RowId(2))]
        .into_iter()
        .collect();
    let range = |n, bits| (class_key(n), ClassKey::prefix(bits));
    old.classes = [(range(0, 0), ClassId(2)), (range(1, 32), ClassId(1))].into_iter().collect();
    let bumps = |change: &dyn Fn(&mut Tables)| {
        let mut new = old.clone();
        change(&mut new);
        let plan = diff(&old, &new);
        plan.into_iter().filter(|op| matches!(op, MapOp::Bump(_))).collect::<Vec<_>>()
    };
    let concerned = [MapOp::Bump(PortId(2))];
    assert_eq!(
        bumps(&|t| _ = t.classes.insert(range(5, 32), ClassId(3))),
        [],
        "as everybody before and after"
    );
    assert_eq!(bumps(&|t| _ = t.classes.insert(range(5, 32), ClassId(1))), concerned);
    assert_eq!(bumps(&|t| _ = t.classes.insert(range(1, 40), ClassId(3))), concerned, "a part of the range");
    assert_eq!(bumps(&|t| _ = t.classes.remove(&range(1, 32))), concerned);
    assert_eq!(bumps(&|t| _ = t.classes.remove(&range(0, 0))), []);
    let entry = |class, row| {
        move |t: &mut Tables| _ = t.policies.insert(key(Identity::outside(ClassId(class))), RowId(row))
    };
    let named = |class, row| {
        move |t: &mut Tables| {
            entry(class, row)(t);
            t.classes.insert(range(5, 32), ClassId(class));
        }
    };
    assert_eq!(bumps(&named(4, 1)), [], "a class of its own, and nothing new about it");
    assert_eq!(bumps(&named(4, 3)), concerned);
    assert_eq!(
        bumps(&|t| {
            entry(2, 3)(t);
            t.classes.insert(range(5, 32), ClassId(3));
        }),
        concerned,
        "others have the class as well"
    );
    assert_eq!(bumps(&entry(2, 3)), concerned);
    let many = |t: &mut Tables| t.classes.extend((100..200).map(|n| (range(n, 32), ClassId(3))));
    assert_eq!(bumps(&many), concerned, "of so many it is not asked");
}

/// A rule that is added to many writes what it adds, and packets see it with the commit.
#[test]
fn a_policy_that_a_port_keeps_is_changed_in_place() {
    let key = |n| PolicyKey::new(PolicyId(7), Direction::Egress, Identity::vm(n));
    let mut old = base();
    old.policies = (1..100).map(|n| (key(n), RowId(n))).collect();
    let mut new = old.clone();
    new.policies.insert(key(5), RowId(200));
    new.policies.remove(&key(6));
    let staged = [MapOp::StagePolicy(key(5), Some(RowId(200))), MapOp::StagePolicy(key(6), None)];
    assert_eq!(diff(&old, &new), [&staged[..], &[MapOp::Commit, MapOp::Bump(PortId(2))]].concat());
    let mut gone = old.clone();
    gone.views.insert(PortId(2), View::default());
    gone.policies.clear();
    let plan = diff(&old, &gone);
    let is_deletion = |op: &MapOp| matches!(op, MapOp::Delete(RowKeyOf::Policy(_)));
    assert!(plan.ends_with(&(1..100).map(|n| MapOp::Delete(RowKeyOf::Policy(key(n)))).collect::<Vec<_>>()));
    assert_eq!(plan.iter().filter(|op| is_deletion(op)).count(), 99);
}

#[test]
fn a_private_network_does_not_see_the_hosts_addresses() {
    let mut old = base();
    old.networks.get_mut(&NetworkId(2)).expect("a network").flags = flag::PRIVATE;
    let mut new = old.clone();
    new.host_addresses.insert(address(3), 1);
    let plan = diff(&old, &new);
    assert_eq!(
        plan.iter().filter(|op| matches!(op, MapOp::Bump(_))).collect::<Vec<_>>(),
        [&MapOp::Bump(PortId(3))]
    );
}

#[test]
fn a_deleted_port_keeps_its_rules_to_the_end() {
    let mut new = base();
    new.ports.remove(&PortId(2));
    new.views.remove(&PortId(2));
    let plan = diff(&base(), &new);
    let bump = MapOp::Bump(PortId(2));
    assert_eq!(plan, [bump, MapOp::Delete(RowKeyOf::Port(PortId(2))), bump]);
}

/// A flow that was decided anew while its forward was still there would go on by it for ever.
#[test]
fn flows_are_decided_anew_after_what_led_them_is_gone() {
    let mut old = base();
    let key = (ForwardKey::default(), 176);
    old.forwards.insert(key, Forward { port: PortId(2), ..Forward::default() });
    let bump = MapOp::Bump(PortId(2));
    assert_eq!(diff(&old, &base()), [bump, MapOp::Delete(RowKeyOf::Forward(key.0, key.1)), bump]);
}

fn denial() -> Vec<MapOp> {
    let mut new = base();
    new.views.insert(PortId(1), View { policy: PolicyId(9), identity: Identity::ANY });
    diff(&base(), &new)
}

#[test]
fn flows_are_kept_from_before_the_commit_until_none_is_left_to_be_decided() {
    let new = Settings { mark: 1, ..Settings::default() };
    let plan = keep(denial(), Settings::default(), new);
    let keeps = |op: &MapOp| matches!(op, MapOp::Put(Row::Settings(s)) if s.flags & KEEP_FLOWS != 0);
    assert!(keeps(&plan[0]), "{plan:?}");
    assert_eq!(plan[plan.len() - 2..], [MapOp::Recheck, MapOp::Put(Row::Settings(new))]);
    let edited = keep(vec![MapOp::Put(Row::Settings(new))], Settings::default(), new);
    assert!(keeps(&edited[1]), "{edited:?}");
}

#[test]
fn flows_are_cut_after_the_commit_and_before_others_are_decided_anew() {
    let flows = BTreeSet::from([Admitted::ByRule(RuleId(3)), Admitted::AtPort(PortId(4))]);
    let plan = cut(denial(), &flows);
    let place = |wanted: MapOp| plan.iter().position(|op| *op == wanted).expect("it is in the plan");
    let cuts = flows.iter().map(|flow| place(MapOp::Cut(*flow)));
    for at in cuts {
        assert!(place(MapOp::Commit) < at && at < place(MapOp::Bump(PortId(1))), "{plan:?}");
    }
    assert_eq!(cut(Vec::new(), &flows).len(), 2);
}
