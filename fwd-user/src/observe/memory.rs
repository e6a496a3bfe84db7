//! The maps in memory: exact numbers for tests, and a daemon without a kernel side.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use fwd_common::{
    addr::{Address, V4, V6},
    counter::{Count, DropCount, DropKey, FlowCounter, Ledger, TableUse, Totals},
    drop::DropReason,
    flow::{FlowEntry, FlowKey, flag},
    id::{ForwardId, PortId, RuleId},
    neighbor::{Claim, NetworkAddress},
    port::{Port, PortUse},
    settings::Settings,
};

use super::reader::{FlowCounters, Maps, ProgramRuns, ReadError, Visit};

/// Map contents as plain collections, summed over CPUs already.
#[derive(Clone, Debug, Default)]
pub struct MemoryMaps {
    pub settings: Settings,
    pub ports: BTreeMap<PortId, Port>,
    pub port_use: BTreeMap<PortId, PortUse>,
    pub ledgers: BTreeMap<PortId, Ledger>,
    pub claims: BTreeMap<NetworkAddress, Claim>,
    pub drops: BTreeMap<DropKey, DropCount>,
    pub drops_by_reason: BTreeMap<u8, Count>,
    pub flow_counters: FlowCounters,
    pub rule_totals: BTreeMap<RuleId, Totals>,
    pub forward_totals: BTreeMap<ForwardId, Totals>,
    pub table_use: [TableUse; 2],
    pub program_runs: Vec<ProgramRuns>,
    pub capacities: Vec<(&'static str, u32)>,
    pub flows4: BTreeMap<FlowKey<V4>, FlowEntry<V4>>,
    pub flows6: BTreeMap<FlowKey<V6>, FlowEntry<V6>>,
}

impl MemoryMaps {
    fn walk<A: Address>(&self, flows: &BTreeMap<FlowKey<A>, FlowEntry<A>>, visit: Visit<'_, A>) {
        for (key, entry) in flows.iter().filter(|(_, entry)| entry.has(flag::ORIGINAL)) {
            let reply = flows.get(&entry.partner_key(key.proto, row(&self.ports, entry.egress).zone));
            if visit(key, entry, reply).is_break() {
                return;
            }
        }
    }

    /// Sets one of `FLOW_COUNTERS`.
    pub fn count(&mut self, counter: FlowCounter, value: u64) {
        self.flow_counters[counter as usize] = value;
    }
}

fn row<K: Ord, V: Copy + Default>(rows: &BTreeMap<K, V>, key: K) -> V {
    rows.get(&key).copied().unwrap_or_default()
}

fn rows<K: Copy, V: Copy>(rows: &BTreeMap<K, V>) -> Vec<(K, V)> {
    rows.iter().map(|(k, v)| (*k, *v)).collect()
}

impl Maps for MemoryMaps {
    fn settings(&self) -> Result<Settings, ReadError> {
        Ok(self.settings)
    }
    fn port(&self, id: PortId) -> Result<Port, ReadError> {
        Ok(row(&self.ports, id))
    }
    fn port_use(&self, id: PortId) -> Result<PortUse, ReadError> {
        Ok(row(&self.port_use, id))
    }
    fn ledger(&self, id: PortId) -> Result<Ledger, ReadError> {
        Ok(row(&self.ledgers, id))
    }
    fn claims(&self) -> Result<Vec<(NetworkAddress, Claim)>, ReadError> {
        Ok(rows(&self.claims))
    }
    fn drops(&self) -> Result<Vec<(DropKey, DropCount)>, ReadError> {
        Ok(rows(&self.drops))
    }
    fn drops_by_reason(&self) -> Result<Vec<Count>, ReadError> {
        Ok((0..DropReason::SLOTS as u8).map(|n| row(&self.drops_by_reason, n)).collect())
    }
    fn flow_counters(&self) -> Result<FlowCounters, ReadError> {
        Ok(self.flow_counters)
    }
    fn rule_totals(&self) -> Result<Vec<(RuleId, Totals)>, ReadError> {
        Ok(rows(&self.rule_totals))
    }
    fn forward_totals(&self) -> Result<Vec<(ForwardId, Totals)>, ReadError> {
        Ok(rows(&self.forward_totals))
    }
    fn table_use(&self) -> Result<[TableUse; 2], ReadError> {
        Ok(self.table_use)
    }
    fn program_runs(&self) -> Result<Vec<ProgramRuns>, ReadError> {
        Ok(self.program_runs.clone())
    }
    fn time_programs(&self) -> Result<Option<OwnedFd>, ReadError> {
        Ok(None)
    }
    fn capacities(&self) -> &[(&'static str, u32)] {
        &self.capacities
    }
    fn walk4(&self, visit: Visit<'_, V4>) -> Result<(), ReadError> {
        self.walk(&self.flows4, visit);
        Ok(())
    }
    fn walk6(&self, visit: Visit<'_, V6>) -> Result<(), ReadError> {
        self.walk(&self.flows6, visit);
        Ok(())
    }
}
