//! Which row of `DROPS` counts drops of a rule, port, reason and direction: found without a call.

use fwd_common::counter::{DROP_TRIES, DropKey};

use crate::{global, maps};

/// No row.
const NONE: u32 = u32::MAX;

/// The row of `DROPS` that a key has, from now on; or [`NONE`].
#[inline(always)]
pub fn take(key: u64) -> u32 {
    for n in 0..DROP_TRIES {
        let row = DropKey::row(key, n);
        let Some(held) = maps::drop_key(row) else { break };
        let mut holder = held.load();
        if holder == 0 {
            // Or another CPU takes it, for this key or for another one.
            holder = held.exchange(0, key);
        }
        if holder == 0 || holder == key {
            return row;
        }
    }
    NONE
}

/// The same; a call is made only for a key whose first row is not its own.
#[inline(always)]
pub fn of(key: u64) -> u32 {
    let first = DropKey::row(key, 0);
    let is_its = maps::drop_key(first).is_some_and(|held| held.load() == key);
    if is_its { first } else { global::drop_row(key) }
}
