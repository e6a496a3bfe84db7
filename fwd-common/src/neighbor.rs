//! Who has an address in a network (configured or learnt), and which addresses are this host's.

use crate::{
    addr::{Ip, Mac},
    id::{NetworkId, PortId},
};

/// Key of `NEIGHBORS` and of `HOST_ADDRESSES` (there network 0 holds the addresses that every network but
/// a private one sees).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkAddress {
    pub addr: Ip,
    pub network: NetworkId,
    pub _pad: u16,
}

/// Bits of [`Neighbor::flags`].
pub mod flag {
    /// Seen by the datapath, not configured.
    pub const LEARNT: u16 = 1;
}

/// The port and MAC that have an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbor {
    pub port: PortId,
    pub mac: Mac,
    pub flags: u16,
    pub _pad: u16,
}

/// Value of `CLAIMS`: who has an address, and who else said so last (RFC 5227, 2.4; RFC 4862, 5.4).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Nanoseconds since boot.
    pub last_seen_ns: u64,
    pub owner: Mac,
    pub owner_port: PortId,
    pub other: Mac,
    pub other_port: PortId,
}

/// Key data of `ALLOWED_SOURCES`, compared bit by bit from the front: addresses that a port may send from
/// beside its own. Of port 0: the subnets of all networks but private ones, the value being the network.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    pub port: PortId,
    pub _pad: u16,
    pub addr: Ip,
}

impl SourceKey {
    /// Prefix length of a row for the first `bits` bits of the sixteen-byte address.
    pub const fn prefix(bits: u32) -> u32 {
        32 + bits
    }
}
