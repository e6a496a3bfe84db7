//! What a masqueraded flow may take as source: which address, which L4 ports, and in which order they are tried.
//!
//! The source L4 port is kept where it can be (RFC 4787, REQ-3 of "port preservation"); else the tries walk
//! the configured range from a place that the flow's tuple fixes, so two CPUs that admit one flow try the
//! same L4 ports in the same order.

use crate::{addr::Ip, id::NetworkId};

/// How many L4 ports one admission tries.
pub const TRIES: u32 = 32;

/// An inclusive range of L4 ports, in host byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L4Range {
    pub low: u16,
    pub high: u16,
}

impl L4Range {
    /// Every L4 port.
    pub const ALL: Self = Self { low: 1, high: u16::MAX };

    #[inline(always)]
    pub const fn len(self) -> u32 {
        (self.high as u32).saturating_sub(self.low as u32) + 1
    }

    pub const fn is_empty(self) -> bool {
        self.high < self.low
    }
}

/// What flows of a port to outside get as source, in one family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// None: the address of the uplink by which they leave.
    pub addr: Ip,
    /// The L4 ports that they may take; [`Source::OWN`], or [`L4Range::default`]: their own, else one of the
    /// settings' range.
    pub l4_ports: L4Range,
}

impl Source {
    /// No range: the address is the port's alone, and its flows keep their L4 ports.
    pub const OWN: L4Range = L4Range { low: 1, high: 0 };

    #[inline(always)]
    pub const fn keeps_l4_ports(&self) -> bool {
        self.l4_ports.is_empty()
    }

    /// The range to choose from, and whether an L4 port (host byte order) may be kept.
    #[inline(always)]
    pub const fn choice(&self, usual: L4Range, own: u16) -> (L4Range, bool) {
        if self.l4_ports.high == 0 {
            return (usual, true);
        }
        (self.l4_ports, self.l4_ports.low <= own && own <= self.l4_ports.high)
    }
}

/// Key data of `NAT_EXEMPTIONS`, compared bit by bit from the front: destinations that flows of a network reach
/// under their own addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExemptionKey {
    pub network: NetworkId,
    pub _pad: u16,
    pub addr: Ip,
}

impl ExemptionKey {
    /// Prefix length of a row for the first `bits` bits of the sixteen-byte address.
    pub const fn prefix(bits: u32) -> u32 {
        32 + bits
    }
}

/// The L4 port of try `n` (host byte order): first the flow's own, then the range from a start that `hash`
/// fixes, by a step that visits every L4 port of it before it repeats one.
#[inline(always)]
pub const fn candidate(range: L4Range, own: u16, hash: u32, n: u32) -> u16 {
    if n == 0 && own != 0 {
        return own;
    }
    // An odd prime step larger than most clusters of neighbors; coprime to every length but its multiples.
    const STEP: u32 = 7919;
    let len = range.len();
    range.low.wrapping_add(((hash % len + n * STEP) % len) as u16)
}

/// Mixes a tuple into 32 bits (the finalizer of MurmurHash3, a bijection per word).
#[inline(always)]
pub const fn mix(seed: u32, word: u32) -> u32 {
    let mut h = (seed ^ word).wrapping_add(0x9e37_79b9);
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_own_l4_port_comes_first() {
        let range = L4Range { low: 20000, high: 32767 };
        assert_eq!(candidate(range, 5353, 1, 0), 5353);
        assert_ne!(candidate(range, 5353, 1, 1), 5353);
    }

    #[test]
    fn a_range_of_its_own_keeps_what_lies_in_it_only() {
        let usual = L4Range { low: 20000, high: 32767 };
        let own = L4Range { low: 40000, high: 40999 };
        let source = |l4_ports| Source { addr: Ip::NONE, l4_ports };
        assert_eq!(source(L4Range::default()).choice(usual, 53), (usual, true));
        assert_eq!(source(own).choice(usual, 53), (own, false));
        assert_eq!(source(own).choice(usual, 40999), (own, true));
        assert!(source(Source::OWN).keeps_l4_ports());
        assert!(!source(own).keeps_l4_ports() && !source(L4Range::default()).keeps_l4_ports());
    }

    proptest! {
        #[test]
        fn tries_stay_in_the_range_and_differ(low in 1u16..60000, extra in 100u16..5000, hash: u32) {
            let range = L4Range { low, high: low + extra };
            let tried: Vec<_> = (1..=TRIES).map(|n| candidate(range, 80, hash, n)).collect();
            prop_assert!(tried.iter().all(|p| (range.low..=range.high).contains(p)));
            prop_assert_eq!(tried.iter().collect::<HashSet<_>>().len(), tried.len());
        }
    }
}
