//! The datapath in memory: for `--dry-run` and for tests. Keeps what the kernel keeps beside the rows (the
//! policy epoch with its two copies, the ports' generations), so that a plan that is wrong there shows.

use std::{collections::BTreeMap, convert::Infallible};

use fwd_common::{
    id::{ClassId, PortId, RowId},
    policy::{ClassKey, PolicyKey},
    port::View,
};

use imbl::OrdMap;

use super::Datapath;
use crate::{
    compile::Tables,
    plan::{MapOp, Row, RowKeyOf},
};

/// Rows in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Without what has two copies.
    rows: Tables,
    epoch: u32,
    copies: [PolicyCopy; 2],
    generations: BTreeMap<PortId, u32>,
}

/// What an epoch's parity picks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PolicyCopy {
    views: BTreeMap<PortId, View>,
    classes: OrdMap<(ClassKey, u32), ClassId>,
    policies: OrdMap<PolicyKey, RowId>,
}

impl Memory {
    /// A datapath that holds these rows.
    pub fn holding(tables: &Tables) -> Self {
        let mut memory = Self::default();
        let Ok(()) = memory.apply(&crate::plan::diff(&Tables::default(), tables));
        memory
    }

    /// How often flows of a port were to be decided anew.
    pub fn generation(&self, port: PortId) -> u32 {
        self.generations.get(&port).copied().unwrap_or_default()
    }

    /// Whether both copies of what has two are the same, as every plan must leave them.
    pub fn is_settled(&self) -> bool {
        self.copies[0] == self.copies[1]
    }

    /// How many edits of policy there were.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    fn copy(&mut self, epoch: u32) -> &mut PolicyCopy {
        &mut self.copies[(epoch & 1) as usize]
    }

    fn put(&mut self, row: Row) {
        let rows = &mut self.rows;
        match row {
            Row::Settings(settings) => rows.settings = settings,
            Row::Port(id, row) => set(&mut rows.ports, id, row),
            Row::PortOfDevice(ifindex, port) => set(&mut rows.port_of_device, ifindex, port),
            Row::Device(port, ifindex) => set(&mut rows.devices, port, ifindex),
            Row::Network(id, row) => set(&mut rows.networks, id, row),
            Row::Member(key, port) => set(&mut rows.members, key, port),
            Row::Neighbor(key, row) => set(&mut rows.neighbors, key, row),
            Row::AllowedSource(key, bits, row) => set(&mut rows.allowed_sources, (key, bits), row),
            Row::HostAddress(key, row) => set(&mut rows.host_addresses, key, row),
            Row::Forward(key, bits, row) => set(&mut rows.forwards, (key, bits), row),
            Row::ForwardClient(key, bits, row) => set(&mut rows.forward_clients, (key, bits), row),
            Row::NatExemption(key, bits, row) => set(&mut rows.nat_exemptions, (key, bits), row),
            Row::NatPrefix(key, bits, row) => set(&mut rows.nat_prefixes, (key, bits), row),
            Row::Policy(key, row) => {
                self.copies.iter_mut().for_each(|copy| _ = copy.policies.insert(key, row));
            }
            Row::PolicyRow(key, bits, row) => _ = rows.rows.insert((key, bits), row),
            Row::Fdb(key, row) => set(&mut rows.fdb, key, row),
        }
    }

    fn delete(&mut self, key: RowKeyOf) {
        let rows = &mut self.rows;
        match key {
            RowKeyOf::Port(id) => {
                rows.ports.remove(&id);
                self.copies.iter_mut().for_each(|copy| unset(&mut copy.views, &id));
            }
            RowKeyOf::PortOfDevice(ifindex) => unset(&mut rows.port_of_device, &ifindex),
            RowKeyOf::Device(port) => unset(&mut rows.devices, &port),
            RowKeyOf::Network(id) => unset(&mut rows.networks, &id),
            RowKeyOf::Member(key) => unset(&mut rows.members, &key),
            RowKeyOf::Neighbor(key) => unset(&mut rows.neighbors, &key),
            RowKeyOf::AllowedSource(key, bits) => unset(&mut rows.allowed_sources, &(key, bits)),
            RowKeyOf::HostAddress(key) => unset(&mut rows.host_addresses, &key),
            RowKeyOf::Forward(key, bits) => unset(&mut rows.forwards, &(key, bits)),
            RowKeyOf::ForwardClient(key, bits) => unset(&mut rows.forward_clients, &(key, bits)),
            RowKeyOf::NatExemption(key, bits) => unset(&mut rows.nat_exemptions, &(key, bits)),
            RowKeyOf::NatPrefix(key, bits) => unset(&mut rows.nat_prefixes, &(key, bits)),
            RowKeyOf::Policy(key) => {
                self.copies.iter_mut().for_each(|copy| _ = copy.policies.remove(&key));
            }
            RowKeyOf::PolicyRow(key, bits) => _ = rows.rows.remove(&(key, bits)),
            RowKeyOf::Fdb(key) => unset(&mut rows.fdb, &key),
        }
    }

    /// Writes what was staged into one of the two copies.
    fn write(&mut self, staged: &[MapOp], epoch: u32) {
        let copy = self.copy(epoch);
        for op in staged {
            match *op {
                MapOp::StageView(port, view) => set(&mut copy.views, port, view),
                MapOp::StageClass(key, bits, Some(class)) => _ = copy.classes.insert((key, bits), class),
                MapOp::StageClass(key, bits, None) => _ = copy.classes.remove(&(key, bits)),
                MapOp::StagePolicy(key, Some(row)) => _ = copy.policies.insert(key, row),
                MapOp::StagePolicy(key, None) => _ = copy.policies.remove(&key),
                _ => {}
            }
        }
    }
}

fn set<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: V) {
    rows.insert(key, row);
}

fn unset<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: &K) {
    rows.remove(key);
}

impl Datapath for Memory {
    type Error = Infallible;

    fn apply(&mut self, plan: &[MapOp]) -> Result<(), Infallible> {
        let mut staged = Vec::new();
        for op in plan {
            match *op {
                MapOp::Put(row) => self.put(row),
                MapOp::StageView(..) | MapOp::StageClass(..) | MapOp::StagePolicy(..) => {
                    self.write(&[*op], self.epoch + 1);
                    staged.push(*op);
                }
                MapOp::Commit => {
                    self.epoch += 1;
                    self.write(&staged, self.epoch + 1);
                    staged.clear();
                }
                MapOp::Bump(port) => *self.generations.entry(port).or_default() += 1,
                MapOp::Delete(key) => self.delete(key),
                // There are no flows.
                MapOp::Recheck | MapOp::Cut(_) => {}
            }
        }
        Ok(())
    }

    fn tables(&self) -> Result<Tables, Infallible> {
        let copy = &self.copies[(self.epoch & 1) as usize];
        let view = |id: &PortId| (*id, copy.views.get(id).copied().unwrap_or_default());
        let views = self.rows.ports.keys().map(view).collect();
        let (classes, policies) = (copy.classes.clone(), copy.policies.clone());
        Ok(Tables { views, classes, policies, ..self.rows.clone() })
    }
}
