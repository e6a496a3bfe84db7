//! A network's row, and its members. Indexed by [`NetworkId`](crate::id::NetworkId).

use crate::id::{NetworkId, PortId};

/// Most networks of one host.
pub const MAX_NETWORKS: u32 = 1024;
/// Most ports of one network that a flood reaches.
pub const MAX_MEMBERS: u16 = 1024;

/// What a network joins its ports to.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    None = 0,
    Nat = 1,
    Routed = 2,
    Bridge = 3,
    /// VMs and this host.
    Host = 4,
    /// VMs among themselves.
    Isolated = 5,
}

/// Bits of [`Network::flags`].
pub mod flag {
    /// Its addresses repeat elsewhere: only the gateway is this host's, in a namespace of its own.
    pub const PRIVATE: u8 = 1;
    /// `NAT_EXEMPTIONS` has rows of it.
    pub const EXEMPTIONS: u8 = 2;
    /// Its guests have endpoint-independent mappings.
    pub const ENDPOINT_INDEPENDENT: u8 = 4;
}

/// A network's row.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// [`Mode`] as a number.
    pub mode: u8,
    pub flags: u8,
    /// The port towards the host; 0 where there is none.
    pub host_port: PortId,
    /// The uplink that is part of it (bridge).
    pub uplink: PortId,
    /// How many `MEMBERS` rows it has: VM ports first to last, host port and uplink not included.
    pub members: u16,
    /// A device whose IPv4 and IPv6 forwarding is on, in whose name routes are looked up.
    pub fib_ifindex: u32,
}

/// Key of `MEMBERS`: the n-th VM port of a network.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberKey {
    pub network: NetworkId,
    pub index: u16,
}

impl Network {
    #[inline(always)]
    pub const fn is(&self, mode: Mode) -> bool {
        self.mode == mode as u8
    }

    #[inline(always)]
    pub const fn has(&self, bits: u8) -> bool {
        self.flags & bits != 0
    }
}
