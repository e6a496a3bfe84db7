//! What is read of the datapath. [`PinnedMaps`](super::PinnedMaps) reads the kernel's maps,
//! [`MemoryMaps`](super::MemoryMaps) is the same in memory, for tests and for a daemon without a kernel side.
//!
//! Reads are not one moment's picture: counters move while they are read. Sums over CPUs are made here, so
//! nothing above this trait knows of CPUs.

use std::{ops::ControlFlow, os::fd::OwnedFd};

use fwd_common::{
    addr::{Address, V4, V6},
    counter::{Count, DropCount, DropKey, FlowCounter, Ledger, TableUse, Totals},
    flow::{FlowEntry, FlowKey},
    id::{ForwardId, PortId, RuleId},
    neighbor::{Claim, NetworkAddress},
    port::{Port, PortUse},
    settings::Settings,
};

/// Why a map could not be read.
#[derive(Debug, thiserror::Error)]
#[error("map {map} cannot be read")]
pub struct ReadError {
    pub map: &'static str,
    #[source]
    pub source: std::io::Error,
}

/// Takes a flow: its key and entry as its opener's packets have them, and the other direction's entry (none for a moment
/// while the pair is inserted or deleted). `Break` ends the walk.
pub type Visit<'a, A> =
    &'a mut dyn FnMut(&FlowKey<A>, &FlowEntry<A>, Option<&FlowEntry<A>>) -> ControlFlow<()>;

/// How often a program ran, and for how long, while the kernel timed programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    pub name: &'static str,
    /// The kernel's: another one is another program.
    pub id: u32,
    pub runs: u64,
    pub spent_ns: u64,
}

/// Counters of `FLOW_COUNTERS`, by [`FlowCounter`].
pub type FlowCounters = [u64; FlowCounter::SLOTS as usize];

/// The maps that hold what happened, and the rows without which it cannot be told to people.
pub trait Maps: Send + Sync {
    fn settings(&self) -> Result<Settings, ReadError>;
    /// The row of a port, empty where there is no such port.
    fn port(&self, id: PortId) -> Result<Port, ReadError>;
    fn port_use(&self, id: PortId) -> Result<PortUse, ReadError>;
    fn ledger(&self, id: PortId) -> Result<Ledger, ReadError>;
    fn claims(&self) -> Result<Vec<(NetworkAddress, Claim)>, ReadError>;
    fn drops(&self) -> Result<Vec<(DropKey, DropCount)>, ReadError>;
    /// By reason's number.
    fn drops_by_reason(&self) -> Result<Vec<Count>, ReadError>;
    fn flow_counters(&self) -> Result<FlowCounters, ReadError>;
    fn rule_totals(&self) -> Result<Vec<(RuleId, Totals)>, ReadError>;
    fn forward_totals(&self) -> Result<Vec<(ForwardId, Totals)>, ReadError>;
    /// By family: IPv4, IPv6.
    fn table_use(&self) -> Result<[TableUse; 2], ReadError>;
    /// Of the programs that see packets.
    fn program_runs(&self) -> Result<Vec<ProgramRuns>, ReadError>;
    /// Has the kernel time programs, all that there are, as long as what is returned is held; none: there is no kernel.
    fn time_programs(&self) -> Result<Option<OwnedFd>, ReadError>;
    /// The most rows of each map.
    fn capacities(&self) -> &[(&'static str, u32)];

    /// Walks a flow table in no order. What is inserted or deleted meanwhile may be seen or not.
    fn walk4(&self, visit: Visit<'_, V4>) -> Result<(), ReadError>;
    fn walk6(&self, visit: Visit<'_, V6>) -> Result<(), ReadError>;
}

/// The flow table of an address family.
pub trait Family: Address {
    /// The family's name in metrics.
    const NAME: &'static str;
    fn walk(maps: &dyn Maps, visit: Visit<'_, Self>) -> Result<(), ReadError>;
}

impl Family for V4 {
    const NAME: &'static str = "ipv4";
    fn walk(maps: &dyn Maps, visit: Visit<'_, Self>) -> Result<(), ReadError> {
        maps.walk4(visit)
    }
}

impl Family for V6 {
    const NAME: &'static str = "ipv6";
    fn walk(maps: &dyn Maps, visit: Visit<'_, Self>) -> Result<(), ReadError> {
        maps.walk6(visit)
    }
}
