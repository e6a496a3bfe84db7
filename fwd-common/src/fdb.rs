//! The forwarding database of bridged frames: where a MAC was last seen, by network.

use crate::{
    addr::Mac,
    flow::Tick,
    id::{NetworkId, PortId},
};

/// Key of `FDB`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbKey {
    pub network: NetworkId,
    pub mac: Mac,
}

/// Where a MAC is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbEntry {
    pub port: PortId,
    /// Bits of [`flag`].
    pub flags: u16,
    pub last_seen: Tick,
}

/// Bits of [`FdbEntry::flags`].
pub mod flag {
    /// Configured: never moves, never ages.
    pub const STATIC: u16 = 1;
}
