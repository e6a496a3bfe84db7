//! What each port may cause within a tick: answers, and copies of its floods.

use aya_ebpf::maps::Array;
use fwd_common::id::PortId;

use crate::{atomic::shared, report};

/// By port: the tick, and what was taken in it.
pub type Budgets = Array<[u32; 2]>;

/// Whether a port has taken less than `limit` in this tick.
#[inline(always)]
pub fn is_left(budgets: &Budgets, port: PortId, limit: u32) -> bool {
    let Some(row) = budgets.get_ptr_mut(port.0 as u32) else { return false };
    // SAFETY: a map row, changed by atomics only.
    let [tick, taken] = unsafe { &mut *row };
    shared(tick).load() != report::now().0 || shared(taken).load() < limit
}

/// Takes `n` of a port's, if it had not taken `limit` before: so the first one of a tick always may. CPUs that
/// enter a new tick at once may take a few more.
#[inline(always)]
pub fn take(budgets: &Budgets, port: PortId, n: u32, limit: u32) -> bool {
    let Some(row) = budgets.get_ptr_mut(port.0 as u32) else { return false };
    // SAFETY: a map row, changed by atomics only.
    let [tick, taken] = unsafe { &mut *row };
    let (now, old) = (report::now().0, shared(tick).load());
    if old != now && shared(tick).replace(old, now) {
        *taken = 0;
    }
    shared(taken).fetch_add(n) < limit
}
