//! Fragments of one datagram (RFC 791, 3.2; RFC 8200, 4.5): only the first has the L4 header, so what it says is kept
//! for those that follow it.

use crate::{flow::Tick, id::Zone, proto::IpProto};

/// What the fragments of one datagram have in common, as they come in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentKey<A> {
    pub src: A,
    pub dst: A,
    /// The identification, in network byte order.
    pub id: u32,
    pub zone: Zone,
    /// IPv4's; of IPv6 0: later fragments may name another header than the first.
    pub proto: IpProto,
    pub _pad: u8,
}

/// What the first fragment said of its datagram.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstFragment {
    /// As in the flow's key.
    pub sport: u16,
    pub dport: u16,
    /// What rules compare.
    pub service: u16,
    /// Bytes of the datagram's payload that it had: later fragments begin behind them.
    pub end: u16,
    pub proto: IpProto,
    /// 1: the packet has L4 ports or an echo id.
    pub has_ports: u8,
    pub _pad: [u8; 2],
    pub seen: Tick,
}

/// How long a first fragment counts: Linux holds an incomplete datagram as long.
pub const LIFETIME: u32 = Tick::ticks_from_secs(30);

/// Whether a fragment of `len` bytes at `offset` can be one: all but the last are multiples of eight bytes, and
/// no datagram is longer than its length field says.
#[inline(always)]
pub const fn is_possible(offset: u16, len: u16, has_more: bool) -> bool {
    (!has_more || len & 7 == 0) && len != 0 && offset as u32 + len as u32 <= u16::MAX as u32
}

impl FirstFragment {
    /// Whether what is kept can be this fragment's: it is not too old.
    #[inline(always)]
    pub const fn is_fresh(&self, now: Tick) -> bool {
        now.since(self.seen) <= LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_fragments_are_told() {
        for (offset, len, has_more, wanted) in [
            (0, 1480, true, true),
            (0, 1479, true, false),
            (1480, 1479, false, true),
            (65_528, 7, false, true),
            (65_528, 8, false, false),
            (0, 0, true, false),
        ] {
            assert_eq!(is_possible(offset, len, has_more), wanted, "{len} bytes at {offset}");
        }
    }

    #[test]
    fn a_first_fragment_ages() {
        let first = FirstFragment { seen: Tick(10), ..Default::default() };
        assert!(first.is_fresh(Tick(10 + LIFETIME)));
        assert!(!first.is_fresh(Tick(11 + LIFETIME)));
    }
}
