//! The flow tables as `fwd_common::table` sees them, and what a flow gives back when it ends.

use core::{ffi::c_void, marker::PhantomData, ptr};

use aya_ebpf::helpers::bpf_loop;
use fwd_common::{
    addr::Address,
    conntrack::{Life, Stage},
    counter::FlowCounter,
    event::End,
    flow::{FlowEntry, FlowKey, Half, Pair, flag},
    id::{PortId, RuleId},
    index::{self, Bucket, Line, Place},
    port::PortUse,
    table::{self, Inserted, PairTable, Refused},
};

use super::mapping;
use crate::{
    atomic::shared,
    flow_event, global,
    maps::{self, Family},
    report,
};

/// No row.
const NONE: u32 = u32::MAX;
/// How often somebody who inserts looks whether the one before has done so: some hundred times as long as that takes.
const TURNS: u32 = 1 << 12;

/// A bucket of an index, changed by atomics only.
#[derive(Clone, Copy)]
struct Words(*mut Bucket);

impl Line for Words {
    #[inline(always)]
    fn load(&self, at: usize) -> u32 {
        // SAFETY: `at` is below 16, and map memory outlives the program's run.
        unsafe { ptr::read_volatile(self.0.cast::<u32>().add(at)) }
    }
    #[inline(always)]
    fn replace(&self, at: usize, old: u32, new: u32) -> bool {
        // SAFETY: as above.
        shared(unsafe { &mut *self.0.cast::<u32>().add(at) }).replace(old, new)
    }
}

#[inline(always)]
fn bucket<A: Family>(number: u32) -> Option<Words> {
    A::index().get_ptr_mut(number).map(Words)
}

#[inline(always)]
fn row<A: Family>(number: u32) -> Option<&'static mut Half<A>> {
    // SAFETY: map memory outlives the program's run; see `Flows::find` for what a race does.
    A::flows().get_ptr_mut(number).map(|half| unsafe { &mut *half })
}

/// The entry that a key has in one bucket.
#[inline(always)]
fn find_in<A: Family>(words: Words, place: &Place, key: &FlowKey<A>) -> Option<&'static mut Half<A>> {
    index::find(&words, place, |number| row::<A>(number).filter(|half| half.key.is(key)))
}

/// The number of the row that has a key, or [`NONE`].
#[inline(always)]
pub fn row_of<A: Family>(key: *const FlowKey<A>) -> u32 {
    let look_up = || {
        // SAFETY: the verifier knows that it is a key, or none.
        let key = unsafe { key.as_ref()? };
        let place = maps::hash_key()?.place(key);
        let first = bucket::<A>(place.first)?;
        match find_in(first, &place, key) {
            None if index::has_overflowed(&first) => find_in(bucket::<A>(place.second)?, &place, key),
            found => found,
        }
    };
    look_up().map_or(NONE, |half| half.row)
}

/// Has a row found by the key that is in it.
#[inline(always)]
pub fn publish<A: Family>(number: u32) -> Published {
    let insert = || {
        let half = row::<A>(number)?;
        let place = maps::hash_key()?.place(&half.key);
        let (first, second) = (bucket::<A>(place.first)?, bucket::<A>(place.second)?);
        if !index::try_lock(&first) && !has_come(first) {
            return None;
        }
        let is = |other| row::<A>(other).is_some_and(|other| other.key.is(&half.key));
        let inserted = index::insert((&first, &second), &place, number, is);
        half.is_live = inserted.is_ok() as u32;
        index::unlock(&first);
        Some(inserted)
    };
    match insert() {
        Some(Ok(())) => Published::Yes,
        Some(Err(Refused::Exists)) => Published::Exists,
        Some(Err(Refused::Full)) | None => Published::Full,
    }
}

/// What became of [`publish`].
#[derive(Clone, Copy)]
pub enum Published {
    Yes,
    Exists,
    Full,
}

/// Waits until it is this CPU's turn to insert into a bucket; whether it is.
#[inline(always)]
fn has_come(first: Words) -> bool {
    let mut wait = Wait { first, is_over: false };
    // SAFETY: the callback has the signature that the helper calls, and `wait` outlives the call.
    unsafe { bpf_loop(TURNS, try_again as *mut c_void, (&raw mut wait).cast(), 0) };
    wait.is_over
}

struct Wait {
    first: Words,
    is_over: bool,
}

extern "C" fn try_again(_: u32, wait: *mut Wait) -> i64 {
    // SAFETY: the helper passes back what `has_come` passed to it.
    let wait = unsafe { &mut *wait };
    wait.is_over = index::try_lock(&wait.first);
    wait.is_over as i64
}

/// Has a row found no longer, whose owner asks for it.
#[inline(always)]
pub fn withdraw<A: Family>(number: u32) -> bool {
    let remove = || {
        let half = row::<A>(number)?;
        let place = maps::hash_key()?.place(&half.key);
        let (first, second) = (bucket::<A>(place.first)?, bucket::<A>(place.second)?);
        index::remove((&first, &second), &place, number);
        half.is_live = 0;
        Some(())
    };
    remove().is_some()
}

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

    /// An entry with its key. It may be deleted, and its row reused for another flow, while it is looked at: the worst
    /// outcome is a packet that is counted for the other flow, or rewritten as one that has just ended.
    #[inline(always)]
    pub fn find(key: &FlowKey<A>) -> Option<&'static mut Half<A>> {
        row(global::find(key))
    }

    /// The same within its caller, for the hit path: a call is made only for a key whose first bucket has overflowed.
    #[inline(always)]
    pub fn find_here(key: &FlowKey<A>) -> Option<&'static mut Half<A>> {
        let place = maps::hash_key()?.place(key);
        let first = bucket::<A>(place.first)?;
        match find_in(first, &place, key) {
            None if index::has_overflowed(&first) => Self::find(key),
            found => found,
        }
    }

    /// An entry.
    #[inline(always)]
    pub fn get(key: &FlowKey<A>) -> Option<&'static mut FlowEntry<A>> {
        Self::find(key).map(|half| &mut half.entry)
    }

    /// The other direction. None for a moment while the pair is inserted or deleted.
    #[inline(always)]
    pub fn partner(half: &Half<A>) -> Option<&'static mut Half<A>> {
        Self::beside(half).filter(|partner| partner.is_live != 0)
    }

    /// The other direction, whether it can be found or not.
    #[inline(always)]
    fn beside(half: &Half<A>) -> Option<&'static mut Half<A>> {
        row(half.row ^ 1)
    }

    /// The original direction in a slot, if it can be found.
    #[inline(always)]
    pub fn original(slot: u32) -> Option<&'static mut Half<A>> {
        row(2 * slot).filter(|half| half.is_live != 0)
    }

    /// Writes both directions into the rows of their slot, which is the caller's alone.
    #[inline(always)]
    pub fn write(pair: &Pair<A>) {
        let rows =
            [(2 * pair.slot, &pair.key, &pair.entry), (2 * pair.slot + 1, &pair.reply_key, &pair.reply)];
        for (number, key, entry) in rows {
            if let Some(half) = row::<A>(number) {
                // One after the other: all at once, they would be made on the stack first.
                half.is_live = 0;
                half.row = number;
                half.key = *key;
                half.entry = *entry;
            }
        }
    }
}

/// Keys are those of rows; see [`Flows::write`].
impl<A: Family> PairTable for Flows<A> {
    type Key = FlowKey<A>;
    type Entry = u32;

    #[inline(always)]
    fn insert(&mut self, _: &Self::Key, row: &Self::Entry) -> Result<(), Refused> {
        const YES: u32 = Published::Yes as u32;
        const EXISTS: u32 = Published::Exists as u32;
        match global::insert::<A>(*row) {
            YES => Ok(()),
            EXISTS => Err(Refused::Exists),
            _ => Err(Refused::Full),
        }
    }
    #[inline(always)]
    fn names(&self, key: &Self::Key, partner: &Self::Key) -> bool {
        Self::find(key).and_then(|half| Self::beside(half)).is_some_and(|half| half.key.is(partner))
    }
    #[inline(always)]
    fn delete(&mut self, key: &Self::Key) {
        let number = global::find(key);
        if number != NONE {
            global::remove::<A>(number);
        }
    }
    #[inline(always)]
    fn kill(&mut self, key: &Self::Key) -> bool {
        let Some(half) = Self::find(key) else { return false };
        let old = Life(shared(&mut half.entry.life.0).fetch_or(Life::DEAD.0));
        self.killed = old;
        if old.stage() == Stage::Dead {
            return false;
        }
        // Its row may be another flow's once it is deleted.
        if !half.entry.has(flag::MAPPING) {
            report::ended(half, self.end.is_cut());
            flow_event::ended(half, self.end, self.by);
        }
        const MAPPED: u16 = flag::MAPPED_SOURCE | flag::MAPPED_DESTINATION;
        if half.entry.has(MAPPED) {
            mapping::let_go(&half.key, &half.entry, MAPPED as u32);
        }
        true
    }
}

/// Inserts the pair into the rows of its slot.
#[inline(always)]
pub fn insert<A: Family>(pair: &Pair<A>, translated: bool) -> Inserted {
    Flows::write(pair);
    let (original, reply) = ((&pair.key, &(2 * pair.slot)), (&pair.reply_key, &(2 * pair.slot + 1)));
    table::insert_pair(&mut Flows::<A>::new(End::Reopened, RuleId(0)), original, reply, translated)
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
/// one of those who try. Says whether this was the one. A flow that another CPU inserts or deletes is left to it.
#[inline(never)]
pub fn end_flow<A: Family>(key: &FlowKey<A>, end: End, by: RuleId) -> bool {
    let Some(half) = Flows::find(key) else { return false };
    let Some(reply) = Flows::partner(half) else { return false };
    let (slot, is_mapping) = (half.row / 2, half.entry.has(flag::MAPPING));
    let owner = owner(&half.entry, &reply.entry);
    let mut flows = Flows::<A>::new(end, by);
    if !table::delete_pair(&mut flows, &half.key, &reply.key) {
        return false;
    }
    give_back::<A>(owner, flows.killed.is_half_open());
    let _ = A::free().push(slot, 0);
    if !is_mapping {
        report::add(counter(end), 1);
    }
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
