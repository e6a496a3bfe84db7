//! Counters and words that all CPUs share. rustc's BPF target knows no compare-and-swap, so
//! `core::sync::atomic` stops at loads and stores; the intrinsics do compile (docs/decisions/0001).

use core::intrinsics::{
    AtomicOrdering::{AcqRel, Acquire, Relaxed},
    atomic_cxchg, atomic_or, atomic_xadd,
};
use core::ptr;

/// An integer of 32 or 64 bits in a map, changed by atomics only.
pub struct Shared<'a, T>(&'a mut T);

/// A field of a map row as a shared word.
#[inline(always)]
pub fn shared<T: Copy>(field: &mut T) -> Shared<'_, T> {
    Shared(field)
}

impl<T: Copy + PartialEq> Shared<'_, T> {
    /// One load. LLVM has no atomic ones for BPF before v4; a volatile one of a word is the same instruction.
    #[inline(always)]
    pub fn load(&self) -> T {
        // SAFETY: aligned, and alive as long as the program runs, as map rows are.
        unsafe { ptr::read_volatile(self.0) }
    }

    /// Adds, wrapping.
    #[inline(always)]
    pub fn add(self, by: T) {
        // SAFETY: as for `load`.
        unsafe { atomic_xadd::<T, T, { Relaxed }>(self.0, by) };
    }

    /// Adds, wrapping, and returns what was there. Not relaxed: LLVM would take the instruction that returns
    /// nothing.
    #[inline(always)]
    pub fn fetch_add(self, by: T) -> T {
        // SAFETY: as for `load`.
        unsafe { atomic_xadd::<T, T, { AcqRel }>(self.0, by) }
    }

    /// Sets bits, and returns what was there.
    #[inline(always)]
    pub fn fetch_or(self, bits: T) -> T {
        // SAFETY: as for `load`.
        unsafe { atomic_or::<T, T, { AcqRel }>(self.0, bits) }
    }

    /// Replaces `old` by `new`; whether `old` was there.
    #[inline(always)]
    pub fn replace(self, old: T, new: T) -> bool {
        self.exchange(old, new) == old
    }

    /// The same; returns what was there.
    #[inline(always)]
    pub fn exchange(self, old: T, new: T) -> T {
        // SAFETY: as for `load`.
        unsafe { atomic_cxchg::<T, { AcqRel }, { Acquire }>(self.0, old, new).0 }
    }
}
