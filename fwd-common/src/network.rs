//! A network's row, and its members. Indexed by [`NetworkId`](crate::id::NetworkId).

use crate::{
    addr::Ip,
    id::{NetworkId, PortId},
};

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
    /// Its global addresses of IPv6 are routed, though its mode is NAT.
    pub const ROUTED_GLOBAL: u8 = 8;
    /// Likewise its unique local ones (RFC 4193).
    pub const ROUTED_LOCAL: u8 = 16;
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

    /// Whether an address of the network is outside what it is inside, and reached there.
    #[inline(always)]
    pub const fn routes(&self, own: Ip) -> bool {
        let of_family = if own.is_unique_local() { flag::ROUTED_LOCAL } else { flag::ROUTED_GLOBAL };
        self.is(Mode::Routed) || (!own.is_v4() && self.has(of_family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_routed_depends_on_mode_family_and_scope() {
        let ip = |text: &str| Ip::from(text.parse::<core::net::IpAddr>().expect("an address"));
        let own = ["10.0.0.1", "fd00::1", "fc00::1", "fe00::1", "2001:db8::1"].map(ip);
        let routed = |mode, flags| {
            let network = Network { mode: mode as u8, flags, ..Network::default() };
            own.map(|own| network.routes(own))
        };
        assert_eq!(routed(Mode::Routed, 0), [true; 5]);
        assert_eq!(routed(Mode::Nat, 0), [false; 5]);
        assert_eq!(routed(Mode::Nat, flag::ROUTED_GLOBAL), [false, false, false, true, true]);
        assert_eq!(
            routed(Mode::Nat, flag::ROUTED_GLOBAL | flag::ROUTED_LOCAL),
            [false, true, true, true, true]
        );
    }
}
