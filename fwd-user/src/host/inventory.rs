//! What the host looks like at the moment, as far as compiling depends on it.

use std::{collections::BTreeMap, net::IpAddr};

use fwd_common::{
    addr::Mac,
    id::{NetworkId, PortId},
};
use ipnet::IpNet;

/// What the kind of `lo` is called.
pub const LOOPBACK: &str = "loopback";

/// The host's interfaces and addresses, and what the datapath learnt. Input of `compile`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// By name, those of this network namespace.
    pub devices: BTreeMap<String, Device>,
    /// The datapath's end of each network's veth towards the host, by network name.
    pub host_ports: BTreeMap<String, Device>,
    /// MACs and addresses of VM ports that are not configured but were seen.
    pub learnt: Vec<Learnt>,
    /// What DHCP servers outside gave to guests of bridged networks.
    pub snooped: BTreeMap<NetworkId, Vec<Lease>>,
    /// When the datapath's clock was 0, in seconds since the Unix epoch.
    pub clock_began: i64,
    /// The servers of networks that have services, by network name.
    pub served: BTreeMap<String, Served>,
    /// Interfaces of libvirt's running domains, by the domain's name and their place in it.
    pub domains: BTreeMap<(String, usize), Tap>,
}

impl Inventory {
    /// What DHCP has given to a network's guests: its own server, or those outside.
    pub fn leases(&self, network: &str, id: NetworkId) -> impl Iterator<Item = &Lease> {
        let served = self.served.get(network).map(|served| &served.leases);
        served.into_iter().chain(self.snooped.get(&id)).flatten()
    }

    /// When the next lease of a server outside ends, in seconds since the Unix epoch.
    pub fn next_end(&self) -> Option<u64> {
        self.snooped.values().flatten().map(|lease| lease.expires_secs).min()
    }
}

/// The host's end of a domain's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// None where it has no interface of its own here, as for `<interface type='user'>`.
    pub device: Option<String>,
    /// The guest's.
    pub mac: Option<Mac>,
}

/// A network's server for DHCP and DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    pub runs: bool,
    /// Why it does not run: object first, sentence, next step.
    pub problem: Option<String>,
    pub leases: Vec<Lease>,
}

/// An address that DHCP has given to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub addr: IpAddr,
    /// Of DHCPv6 where the client's id tells it.
    pub mac: Option<Mac>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_secs: u64,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub ifindex: u32,
    pub kind: DeviceKind,
    pub mac: Mac,
    pub mtu: u32,
    pub is_up: bool,
    pub addresses: Vec<IpNet>,
    /// Name of the Linux bridge or bond that it is enslaved to.
    pub master: Option<String>,
    /// Whether fwd made it: an end of a network's pair towards the host.
    pub is_own: bool,
    /// Whether its driver runs XDP natively.
    pub native_xdp: bool,
    /// Why its driver would not take an XDP program when that was tried; `None`: it was not, or it did.
    pub xdp_refused: Option<String>,
}

impl Device {
    /// Its addresses of a family to which others outside can answer, in the kernel's order.
    pub fn outside_addresses(&self, is_ipv4: bool) -> impl Iterator<Item = IpAddr> {
        let is_link_local = |addr: &IpAddr| match addr {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let own = self.addresses.iter().map(IpNet::addr);
        own.filter(move |addr| addr.is_ipv4() == is_ipv4 && !is_link_local(addr) && !addr.is_loopback())
    }

    /// Whether it is `lo`.
    pub fn is_loopback(&self) -> bool {
        self.kind == DeviceKind::Other(LOOPBACK.to_owned())
    }

    /// Whether others reach this host by an address on it.
    pub fn has_outside_address(&self) -> bool {
        [true, false].into_iter().any(|is_ipv4| self.outside_addresses(is_ipv4).next().is_some())
    }
}

/// What kind of interface it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `vnet_header`: the guest may send GSO frames and partial checksums.
    Tap {
        vnet_header: bool,
    },
    Veth,
    Bridge {
        vlan_filtering: bool,
    },
    /// A NIC, or a virtual one that looks like it.
    Physical,
    /// A tunnel, by netlink's name ("tun", "wireguard", "ipip", …): packets without an Ethernet header, all to one
    /// other end, or to one that it finds by the packet itself.
    Tunnel(String),
    /// What carries neither Ethernet nor packets alone, or packets whose other end only a route can tell, by netlink's
    /// name ("ppp", "ipoib", "sit", …).
    Unserved(String),
    /// Anything else, by netlink's name ("vlan", "bond", "dummy", …).
    Other(String),
}

/// A MAC or address that the datapath saw on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learnt {
    pub network: NetworkId,
    pub port: PortId,
    pub mac: Mac,
    pub addr: Option<IpAddr>,
}
