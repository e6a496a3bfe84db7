//! Forwards as the datapath sees them: the longest prefix of (protocol, address, L4 port) that matches.
//!
//! A range of L4 ports is a few prefixes, whatever its width; all share one value, since the new L4 port
//! is an offset from the old one.

use crate::{
    addr::Ip,
    id::{ForwardId, PortId},
    proto::IpProto,
};

/// Key data of `FORWARDS`, compared bit by bit from the front.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardKey {
    pub proto: IpProto,
    pub _pad: [u8; 3],
    pub addr: Ip,
    /// Network byte order, as two bytes.
    pub l4_port: [u8; 2],
    pub _pad2: [u8; 2],
}

impl ForwardKey {
    /// Prefix length of a row that matches the first `l4_bits` bits of the L4 port.
    pub const fn prefix(l4_bits: u32) -> u32 {
        32 + 128 + l4_bits
    }

    /// A key for one address and L4 port (network byte order).
    #[inline(always)]
    pub const fn new(proto: IpProto, addr: Ip, l4_port: u16) -> Self {
        Self { proto, _pad: [0; 3], addr, l4_port: l4_port.to_ne_bytes(), _pad2: [0; 2] }
    }
}

/// Where a forward leads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    pub id: ForwardId,
    pub port: PortId,
    /// Added to the L4 port (host byte order), wrapping.
    pub l4_offset: u16,
    pub to: Ip,
    /// When it ends, in nanoseconds since boot; 0: never.
    pub expires_ns: u64,
    pub flags: u32,
    pub _pad: u32,
}

impl Forward {
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Bits of [`Forward::flags`].
pub mod flag {
    /// Only for clients that `FORWARD_CLIENTS` has rows of.
    pub const LIMITED: u32 = 1;
    /// Of every L4 port: takes what the host has no use for itself.
    pub const WHOLE: u32 = 2;
    /// Of a loopback address: for processes of this host only.
    pub const LOOPBACK: u32 = 4;
}

/// Key data of `FORWARD_CLIENTS`, compared bit by bit from the front: who may use a forward (1), or may not (0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey {
    pub forward: ForwardId,
    pub addr: Ip,
}

impl ClientKey {
    /// Prefix length of a row for the first `bits` bits of the sixteen-byte address.
    pub const fn prefix(bits: u32) -> u32 {
        32 + bits
    }
}

/// Prefixes (first L4 port, bits) that cover an inclusive range and nothing else, in order.
pub fn range_prefixes(low: u16, high: u16) -> impl Iterator<Item = (u16, u32)> {
    let mut next = low as u32;
    let end = high as u32 + 1;
    core::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let mut bits = next.trailing_zeros().min(16);
        while next + (1 << bits) > end {
            bits -= 1;
        }
        let first = next as u16;
        next += 1 << bits;
        Some((first, 16 - bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prefixes_cover_the_range_and_nothing_else(a: u16, b: u16) {
            let (low, high) = (a.min(b), a.max(b));
            let mut next = low as u32;
            for (first, bits) in range_prefixes(low, high) {
                prop_assert_eq!(first as u32, next);
                prop_assert_eq!((first as u32) & ((1u32 << (16 - bits)) - 1), 0);
                next += 1 << (16 - bits);
            }
            prop_assert_eq!(next, high as u32 + 1);
        }
    }
}
