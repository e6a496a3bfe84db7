//! The flow tables as `fwd_common::table` sees them, and what a flow gives back when it ends.

use core::marker::PhantomData;

use aya_ebpf::bindings::BPF_NOEXIST;
use fwd_common::{
    addr::Address,
    conntrack::{Life, Stage},
    counter::FlowCounter,
    event::End,
    flow::{FlowEntry, FlowKey, flag},
    id::{PortId, RuleId, Zone},
    port::PortUse,
    table::{self, PairTable, Refused},
};

use super::mapping;
use crate::{
    atomic::shared,
    flow_event,
    maps::{self, Family},
    report,
};

const EEXIST: i32 = -17;

/// A family's flow table.
pub struct Flows<A> {
    /// Why `kill` is called, for which rule, and the word that it found.
    end: End,
    by: RuleId,
    killed: Life,
    family: PhantomData<A>,
}

impl<A: Family> Flows<A> {
    #[inline(always)]
    pub const fn new(end: End, by: RuleId) -> Self {
        Self { end, by, killed: Life::NEW, family: PhantomData }
    }

    /// An entry. It may be deleted, and its memory reused for another flow, while it is looked at: the worst
    /// outcome is a packet that is counted for the other flow, or rewritten as one that has just ended.
    #[inline(always)]
    pub fn get(key: &FlowKey<A>) -> Option<&'static mut FlowEntry<A>> {
        // SAFETY: map memory outlives the program's run; see above for what a race does.
        A::flows().get_ptr_mut(key).map(|entry| unsafe { &mut *entry })
    }

    /// The partner's key. A port that is gone keeps its zone, so flows of its own find both their entries.
    #[inline(always)]
    pub fn partner(key: &FlowKey<A>, entry: &FlowEntry<A>) -> FlowKey<A> {
        const NOBODY: Zone = Zone(u16::MAX);
        let zone = maps::port_row(entry.egress).map_or(NOBODY, |port| port.zone);
        entry.partner_key(key.proto, zone)
    }
}

impl<A: Family> PairTable for Flows<A> {
    type Key = FlowKey<A>;
    type Entry = FlowEntry<A>;

    #[inline(always)]
    fn insert(&mut self, key: &Self::Key, entry: &Self::Entry) -> Result<(), Refused> {
        A::flows().insert(key, entry, BPF_NOEXIST as u64).map_err(|e| match e {
            EEXIST => Refused::Exists,
            _ => Refused::Full,
        })
    }
    #[inline(always)]
    fn names(&self, key: &Self::Key, partner: &Self::Key) -> bool {
        Self::get(key).is_some_and(|entry| Self::partner(key, entry) == *partner)
    }
    #[inline(always)]
    fn delete(&mut self, key: &Self::Key) {
        let _ = A::flows().remove(key);
    }
    #[inline(always)]
    fn kill(&mut self, key: &Self::Key) -> bool {
        let Some(entry) = Self::get(key) else { return false };
        let old = Life(shared(&mut entry.life.0).fetch_or(Life::DEAD.0));
        self.killed = old;
        if old.stage() == Stage::Dead {
            return false;
        }
        // Its memory may be another flow's once it is deleted.
        if !entry.has(flag::MAPPING) {
            report::ended(key, entry, self.end.is_cut());
            flow_event::ended(key, entry, self.end, self.by);
        }
        const MAPPED: u16 = flag::MAPPED_SOURCE | flag::MAPPED_DESTINATION;
        if entry.has(MAPPED) {
            mapping::let_go(key, entry, MAPPED as u32);
        }
        true
    }
}

/// The port that a flow counts against.
#[inline(always)]
pub fn owner<A: Address>(entry: &FlowEntry<A>, reply: &FlowEntry<A>) -> PortId {
    if entry.has(flag::OWNED_BY_EGRESS) { entry.egress } else { reply.egress }
}

/// What counts the ends of this kind.
#[inline(always)]
const fn counter(end: End) -> FlowCounter {
    match end {
        End::Expired => FlowCounter::Expired,
        End::Reopened => FlowCounter::Reopened,
        End::CutByPolicy => FlowCounter::CutByPolicy,
        End::CutByRoute => FlowCounter::CutByRoute,
        End::CutByDelete => FlowCounter::CutByDelete,
        End::CutByHostSocket => FlowCounter::CutByHostSocket,
    }
}

/// Ends a flow by its original direction's key, for a rule (0: none): both entries go, and what it held is given back, by exactly
/// one of those who try. Says whether this was the one.
///
/// Verifier: not a global function, whose pointers maps of older kernels (6.1) take for no key.
#[inline(never)]
pub fn end_flow<A: Family>(key: &FlowKey<A>, end: End, by: RuleId) -> bool {
    let Some(entry) = Flows::get(key) else { return false };
    let reply_key = Flows::partner(key, entry);
    let Some(reply) = Flows::get(&reply_key) else { return end_single(key, end, by) };
    let (slot, owner, is_mapping) = (entry.slot, owner(entry, reply), entry.has(flag::MAPPING));
    let mut flows = Flows::<A>::new(end, by);
    if !table::delete_pair(&mut flows, key, &reply_key) {
        return false;
    }
    give_back::<A>(owner, flows.killed.is_half_open());
    let _ = A::free().push(slot, 0);
    if !is_mapping {
        report::add(counter(end), 1);
    }
    true
}

/// An entry whose partner is gone: its port was deleted, or another CPU is between two steps. The slot is
/// found free when the ring's hand comes by.
#[inline(always)]
fn end_single<A: Family>(key: &FlowKey<A>, end: End, by: RuleId) -> bool {
    let mut flows = Flows::<A>::new(end, by);
    if !flows.kill(key) {
        return false;
    }
    let Some(entry) = Flows::get(key) else { return false };
    let (slot, owner) = (entry.slot, entry.egress);
    flows.delete(key);
    give_back::<A>(owner, flows.killed.is_half_open());
    let _ = A::free().push(slot, 0);
    true
}

/// Counts a flow out of its port's and the table's use.
#[inline(always)]
fn give_back<A: Family>(owner: PortId, half_open: bool) {
    take::<A>(owner, half_open, u32::MAX);
}

/// Adds `by` (1, or -1 as `u32::MAX`) to the flows of a port and of the table.
#[inline(always)]
pub fn take<A: Family>(owner: PortId, half_open: bool, by: u32) {
    let half = if half_open { by } else { 0 };
    if let Some(PortUse { flows, half_open, .. }) = port_use(owner) {
        shared(flows).add(by);
        shared(half_open).add(half);
    }
    if let Some(table) = maps::TABLE_USE.get_ptr_mut(A::INDEX) {
        // SAFETY: a map row, changed by atomics only.
        let table = unsafe { &mut *table };
        shared(&mut table.flows).add(by);
        shared(&mut table.half_open).add(half);
    }
}

/// Counts a flow out of the half-open ones.
#[inline(always)]
pub fn settled<A: Family>(owner: PortId) {
    if let Some(port) = port_use(owner) {
        shared(&mut port.half_open).add(u32::MAX);
    }
    if let Some(table) = maps::TABLE_USE.get_ptr_mut(A::INDEX) {
        // SAFETY: a map row, changed by atomics only.
        shared(unsafe { &mut (*table).half_open }).add(u32::MAX);
    }
}

#[inline(always)]
pub fn port_use(id: PortId) -> Option<&'static mut PortUse> {
    // SAFETY: a map row, changed by atomics only.
    maps::PORT_USE.get_ptr_mut(id.0 as u32).map(|row| unsafe { &mut *row })
}
