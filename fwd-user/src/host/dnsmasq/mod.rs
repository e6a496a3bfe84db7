//! A network's services (DHCP, DHCPv6, router advertisements, DNS): one dnsmasq for each network.
//!
//! A server is a daemon of its own, not this process's child: guests keep their leases and their DNS while
//! fwd is down or starts anew. The next daemon adopts it by its process id and command line, if its
//! configuration is the one that is wanted; else it is replaced. `fwd down` ends it; leases stay.
//!
//! Guarantees: a configuration that dnsmasq itself refuses never replaces one that works; a server that ends
//! is started again, ever more slowly. What cannot be served is a sentence, never a failure of an edit.

mod config;
mod leases;
mod process;
mod servers;

use std::net::IpAddr;

use fwd_common::addr::Mac;
use ipnet::IpNet;

use crate::api::text::AddressRange;

pub(super) use servers::{Servers, end_all};

/// What a network's server is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub network: String,
    /// The namespace in which it runs: where the host's end of the network's veth is.
    pub namespace: Option<String>,
    pub ranges: Vec<Range>,
    pub mtu: u16,
    /// Time servers that guests are told.
    pub ntp: Vec<IpAddr>,
    /// Guests are told that the way outside is here.
    pub is_router: bool,
    pub dns: Dns,
    pub guests: Vec<Guest>,
}

/// Addresses that DHCP gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub subnet: IpNet,
    pub range: AddressRange,
    /// The host's address in the subnet.
    pub gateway: IpAddr,
    /// IPv6: guests may make addresses of their own, too.
    pub has_slaac: bool,
}

/// Which names are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dns {
    Off,
    /// Those of the network's ports.
    Inside,
    /// These, and all others by the host's resolvers.
    InsideAndOutside,
}

/// A VM port, as far as its MAC or its addresses are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    pub name: String,
    pub mac: Option<Mac>,
    /// What DHCP gives to it, and to nobody else.
    pub bindings: Vec<IpAddr>,
    /// What its name stands for.
    pub addresses: Vec<IpAddr>,
}
