//! Refusals: what was dropped a moment ago, so that the next packets alike are dropped without a decision.
//!
//! A refusal stands for packets of one key and one pair of Ethernet addresses; the source L4 port counts only
//! where something may depend on it ([`source_l4_port`]). It holds for its tick, and as long as no edit has bumped
//! either port. What the kernel learns (addresses, MACs, routes) binds it at the next tick.

use crate::{
    addr::Mac,
    drop::DropReason,
    flow::{FlowKey, Tick},
    id::PortId,
    port::PortKind,
};

/// One packet that was dropped; a row of `REFUSALS4` and `REFUSALS6` has [`WAYS`] of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal<A> {
    pub key: FlowKey<A>,
    /// The drop, as [`Outcome::word`](crate::verdict::Outcome::word) has it; 0: none.
    pub word: u64,
    /// As of a flow's entry.
    pub generation: u32,
    pub tick: Tick,
    pub frame_dst: Mac,
    pub frame_src: Mac,
    /// Where the packet would have gone; 0: that was not decided yet.
    pub egress: PortId,
    pub _pad: u16,
}

/// Rows, on each CPU.
pub const ROWS: u32 = 1024;
/// Refusals of one row.
pub const WAYS: usize = 4;

/// Whether a drop for this reason depends on nothing but the refusal's key, tables that bump ports when they
/// change, and what the kernel learns.
#[inline(always)]
pub const fn is_kept(reason: u8) -> bool {
    const KEPT: u64 = 1 << DropReason::SourceAddressSpoofed as u64
        | 1 << DropReason::PolicyDenied as u64
        | 1 << DropReason::PolicyDefaultDeny as u64
        | 1 << DropReason::ModeForbids as u64;
    KEPT >> (reason & 63) & 1 != 0
}

/// The source L4 port (network byte order) as part of a refusal's key: nothing that refuses a VM's packets looks
/// at it, but for servers' ones. Outside, a socket of the host may have the tuple.
#[inline(always)]
pub const fn source_l4_port(kind: u8, l4_port: u16) -> u16 {
    const SERVERS: u16 = 1024;
    if kind == PortKind::Vm as u8 && u16::from_be(l4_port) >= SERVERS { 0 } else { l4_port }
}

/// Where a key belongs, by its words as [`mixed`] one after the other: the row, and the way of it that comes first.
#[inline(always)]
pub const fn place(hash: u64) -> (u32, usize) {
    (hash as u32 % ROWS, (hash >> 16) as usize % WAYS)
}

/// The n-th way from one on.
#[inline(always)]
pub const fn way(first: usize, n: usize) -> usize {
    (first + n) % WAYS
}

/// A hash with one more word of a key in it.
#[inline(always)]
pub const fn mixed(hash: u64, word: u64) -> u64 {
    // The golden ratio spreads words that differ in few bits.
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bumps_a_port_or_is_learnt_is_kept() {
        let kept: Vec<_> = DropReason::ALL.iter().filter(|reason| is_kept(**reason as u8)).collect();
        let expected = [
            DropReason::SourceAddressSpoofed,
            DropReason::PolicyDenied,
            DropReason::PolicyDefaultDeny,
            DropReason::ModeForbids,
        ];
        assert_eq!(kept.len(), expected.len());
        assert!(expected.iter().all(|reason| kept.contains(&reason)), "{kept:?}");
    }

    #[test]
    fn a_guest_that_changes_its_l4_port_meets_the_same_refusal() {
        let (vm, uplink) = (PortKind::Vm as u8, PortKind::Uplink as u8);
        assert_eq!(source_l4_port(vm, 40_000_u16.to_be()), 0);
        assert_eq!(source_l4_port(vm, 67_u16.to_be()), 67_u16.to_be());
        assert_eq!(source_l4_port(uplink, 40_000_u16.to_be()), 40_000_u16.to_be());
    }

    #[test]
    fn keys_that_differ_in_few_bits_are_spread() {
        let mut held = vec![0; ROWS as usize];
        let most = ROWS as usize * WAYS / 4;
        for n in 0..most as u64 {
            held[place(mixed(mixed(0, 0x0a0a_0c0a_0000_0a0a + (n << 32)), 0x0011_0001_3500_0000 + n)).0
                as usize] += 1;
        }
        let crowded: usize = held.iter().map(|held: &usize| held.saturating_sub(WAYS)).sum();
        assert!(crowded * 50 < most, "{crowded} of {most} find no place");
    }
}
