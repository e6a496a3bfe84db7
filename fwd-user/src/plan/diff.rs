//! The difference of two tables as a plan.

use std::collections::BTreeSet;

use fwd_common::{
    id::{PolicyId, PortId},
    port::View,
};

use super::{MapOp, Row, RowKeyOf, concerned::concerned, merge::Sorted};
use crate::compile::Tables;

/// The writes that make `old` into `new`; none if they are equal.
pub fn diff(old: &Tables, new: &Tables) -> Vec<MapOp> {
    let mut plan = Vec::new();
    put(&mut plan, &old.rows, &new.rows, |(key, bits), row| Row::PolicyRow(*key, *bits, *row));
    let policies = Policies::of(old, new);
    plan.extend(policies.put);
    let staged = staged_views(old, new).chain(staged_classes(old, new)).chain(policies.staged);
    let staged: Vec<MapOp> = staged.collect();
    if !staged.is_empty() {
        plan.extend(staged);
        plan.push(MapOp::Commit);
    }
    put_rest(&mut plan, old, new);
    let bumps: Vec<MapOp> = concerned(old, new).into_iter().map(MapOp::Bump).collect();
    plan.extend(&bumps);
    let kept = plan.len();
    delete_rest(&mut plan, old, new);
    if plan.len() > kept {
        plan.extend(&bumps);
    }
    plan.extend(policies.delete);
    delete(&mut plan, &old.rows, &new.rows, |(key, bits)| RowKeyOf::PolicyRow(*key, *bits));
    plan
}

/// What becomes of policies.
#[derive(Default)]
struct Policies {
    /// Nobody looks at them before the commit.
    put: Vec<MapOp>,
    staged: Vec<MapOp>,
    /// Nobody looks at them once the ports are gone, or have others.
    delete: Vec<MapOp>,
}

impl Policies {
    fn of(old: &Tables, new: &Tables) -> Self {
        let in_use = |tables: &Tables| tables.views.values().map(|view| view.policy).collect();
        let (before, after): (BTreeSet<PolicyId>, BTreeSet<PolicyId>) = (in_use(old), in_use(new));
        let mut policies = Self::default();
        for (key, _, now) in old.policies.differences(&new.policies) {
            let is_seen = before.contains(&key.policy);
            match now {
                Some(row) if !is_seen => policies.put.push(MapOp::Put(Row::Policy(*key, *row))),
                None if !is_seen || !after.contains(&key.policy) => {
                    policies.delete.push(MapOp::Delete(RowKeyOf::Policy(*key)));
                }
                row => policies.staged.push(MapOp::StagePolicy(*key, row.copied())),
            }
        }
        policies
    }
}

/// What leads to a port comes after the port.
fn put_rest(plan: &mut Vec<MapOp>, old: &Tables, new: &Tables) {
    if old.settings != new.settings {
        plan.push(MapOp::Put(Row::Settings(new.settings)));
    }
    put(plan, &old.ports, &new.ports, |id, row| Row::Port(*id, *row));
    put(plan, &old.nat_exemptions, &new.nat_exemptions, |(key, bits), row| {
        Row::NatExemption(*key, *bits, *row)
    });
    put(plan, &old.nat_prefixes, &new.nat_prefixes, |(key, bits), row| Row::NatPrefix(*key, *bits, *row));
    put(plan, &old.networks, &new.networks, |id, row| Row::Network(*id, *row));
    put(plan, &old.host_addresses, &new.host_addresses, |key, row| Row::HostAddress(*key, *row));
    put(plan, &old.allowed_sources, &new.allowed_sources, |(key, bits), row| {
        Row::AllowedSource(*key, *bits, *row)
    });
    put(plan, &old.devices, &new.devices, |id, row| Row::Device(*id, *row));
    put(plan, &old.neighbors, &new.neighbors, |key, row| Row::Neighbor(*key, *row));
    put(plan, &old.fdb, &new.fdb, |key, row| Row::Fdb(*key, *row));
    put(plan, &old.members, &new.members, |key, row| Row::Member(*key, *row));
    put(plan, &old.port_of_device, &new.port_of_device, |key, row| Row::PortOfDevice(*key, *row));
    put(plan, &old.forward_clients, &new.forward_clients, |(key, bits), row| {
        Row::ForwardClient(*key, *bits, *row)
    });
    put(plan, &old.forwards, &new.forwards, |(key, bits), row| Row::Forward(*key, *bits, *row));
}

/// What leads to a port goes before the port.
fn delete_rest(plan: &mut Vec<MapOp>, old: &Tables, new: &Tables) {
    delete(plan, &old.forwards, &new.forwards, |(key, bits)| RowKeyOf::Forward(*key, *bits));
    delete(plan, &old.forward_clients, &new.forward_clients, |(key, bits)| {
        RowKeyOf::ForwardClient(*key, *bits)
    });
    delete(plan, &old.port_of_device, &new.port_of_device, |key| RowKeyOf::PortOfDevice(*key));
    delete(plan, &old.members, &new.members, |key| RowKeyOf::Member(*key));
    delete(plan, &old.fdb, &new.fdb, |key| RowKeyOf::Fdb(*key));
    delete(plan, &old.neighbors, &new.neighbors, |key| RowKeyOf::Neighbor(*key));
    delete(plan, &old.devices, &new.devices, |id| RowKeyOf::Device(*id));
    delete(plan, &old.allowed_sources, &new.allowed_sources, |(key, bits)| {
        RowKeyOf::AllowedSource(*key, *bits)
    });
    delete(plan, &old.host_addresses, &new.host_addresses, |key| RowKeyOf::HostAddress(*key));
    delete(plan, &old.networks, &new.networks, |id| RowKeyOf::Network(*id));
    delete(plan, &old.nat_exemptions, &new.nat_exemptions, |(key, bits)| RowKeyOf::NatExemption(*key, *bits));
    delete(plan, &old.nat_prefixes, &new.nat_prefixes, |(key, bits)| RowKeyOf::NatPrefix(*key, *bits));
    delete(plan, &old.ports, &new.ports, |id| RowKeyOf::Port(*id));
}

fn put<T: Sorted>(plan: &mut Vec<MapOp>, old: &T, new: &T, row: impl Fn(&T::Key, &T::Row) -> Row) {
    let changed = old.differences(new).filter_map(|(key, _, now)| Some((key, now?)));
    plan.extend(changed.map(|(key, value)| MapOp::Put(row(key, value))));
}

fn delete<T: Sorted>(plan: &mut Vec<MapOp>, old: &T, new: &T, row: impl Fn(&T::Key) -> RowKeyOf) {
    let gone = old.differences(new).filter(|(_, _, now)| now.is_none());
    plan.extend(gone.map(|(key, ..)| MapOp::Delete(row(key))));
}

/// Views of ports that stay or come: one that goes keeps its view to the end.
fn staged_views(old: &Tables, new: &Tables) -> impl Iterator<Item = MapOp> {
    let view = |tables: &Tables, id: &PortId| tables.views.get(id).copied().unwrap_or_default();
    let changed = new.ports.keys().filter_map(move |id| {
        let now: View = view(new, id);
        (view(old, id) != now).then_some(MapOp::StageView(*id, now))
    });
    changed.collect::<Vec<_>>().into_iter()
}

fn staged_classes<'a>(old: &'a Tables, new: &'a Tables) -> impl Iterator<Item = MapOp> + use<'a> {
    let changed = old.classes.differences(&new.classes);
    changed.map(|((key, bits), _, class)| MapOp::StageClass(*key, *bits, class.copied()))
}
