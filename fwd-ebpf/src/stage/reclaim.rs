//! Slots: every flow has one, and each admission looks at another, so space comes back without
//! user space. Flows that live are never given up.

use core::{ffi::c_void, marker::PhantomData};

use aya_ebpf::helpers::bpf_loop;
use fwd_common::{
    conntrack::Stage,
    event::End,
    flow::{Half, Tick},
    id::RuleId,
    settings::Settings,
};

use super::{
    flow,
    table::{self, Flows},
};
use crate::{
    atomic::shared,
    maps::{self, Family},
    report,
};

/// Slots inspected by each admission, and by one that finds no room.
const STEP: u32 = 1;
const SEARCH: u32 = 64;

/// No slot: the table is full.
pub const NONE: u32 = u32::MAX;

/// Takes a free slot, or [`NONE`].
#[inline(always)]
pub fn take_slot<A: Family>() -> u32 {
    let Ok(settings) = maps::settings() else { return NONE };
    walk::<A>(settings, STEP);
    if let Some(slot) = free::<A>(settings) {
        return slot;
    }
    walk::<A>(settings, SEARCH);
    free::<A>(settings).unwrap_or(NONE)
}

#[inline(always)]
fn free<A: Family>(settings: &Settings) -> Option<u32> {
    // SAFETY: a map row, changed by atomics only.
    let table = unsafe { &mut *maps::TABLE_USE.get_ptr_mut(A::INDEX)? };
    if shared(&mut table.flows).load() >= settings.flow_limit {
        return None;
    }
    if let Ok(Some(slot)) = A::free().pop() {
        return Some(slot);
    }
    let fresh = shared(&mut table.fresh_slots);
    if fresh.load() >= settings.flow_limit {
        return None;
    }
    // The table says where it ends.
    let slot = fresh.fetch_add(1);
    A::flows().get_ptr(2 * slot).map(|_| slot)
}

struct Walk<'a, A> {
    settings: &'a Settings,
    slot: u32,
    end: u32,
    now: Tick,
    family: PhantomData<A>,
}

/// Deletes expired flows in the next `steps` slots of this CPU's way through the table.
#[inline(always)]
fn walk<A: Family>(settings: &Settings, steps: u32) {
    let Some(hand) = maps::HANDS.get_ptr_mut(A::INDEX) else { return };
    let Some(table) = maps::TABLE_USE.get_ptr(A::INDEX) else { return };
    // SAFETY: the hand is this CPU's; the table's use is read once.
    let (slot, end) = unsafe { (*hand, (*table).fresh_slots) };
    let mut walk = Walk::<A> { settings, slot, end, now: report::now(), family: PhantomData };
    // SAFETY: the callback has the signature that the helper calls, and `walk` outlives the call.
    unsafe {
        bpf_loop(steps, inspect_next::<A> as *mut c_void, (&raw mut walk).cast(), 0);
        *hand = walk.slot;
    }
}

extern "C" fn inspect_next<A: Family>(_: u32, walk: *mut Walk<'_, A>) -> i64 {
    // SAFETY: the helper passes back what `walk` passed to it.
    let walk = unsafe { &mut *walk };
    if walk.slot >= walk.end {
        walk.slot = 0;
    }
    if let Some(half) = flow_in::<A>(walk.slot) {
        end_if_expired(walk.settings, half, walk.now);
    }
    walk.slot += 1;
    0
}

/// The original direction of the flow that has a slot. It may become another flow's while it is looked at;
/// whoever ends a flow by it asks again whether it is expired.
#[inline(always)]
pub fn flow_in<A: Family>(slot: u32) -> Option<&'static Half<A>> {
    Flows::original(slot).map(|half| &*half)
}

/// Ends a flow that neither side has used within its timeout. Most live by their own direction, and the partner
/// need not be looked at.
#[inline(always)]
pub fn end_if_expired<A: Family>(settings: &Settings, half: &Half<A>, now: Tick) -> bool {
    let Half { key, entry, .. } = half;
    if entry.life.stage() == Stage::Dead || !flow::is_expired(settings, key.proto, (entry, entry), now) {
        return false;
    }
    let is_expired = Flows::partner(half)
        .is_some_and(|partner| flow::is_expired(settings, key.proto, (entry, &partner.entry), now));
    is_expired && table::end_flow(key, End::Expired, RuleId(0))
}
