//! What a diagnosis looks at beyond the inventory: what compiling does not depend on, and what breaks traffic
//! all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::Value;

/// The host as a diagnosis sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// By name, those of this network namespace.
    pub links: BTreeMap<String, LinkFacts>,
    /// Default routes of the main table.
    pub default_routes: Vec<DefaultRoute>,
    /// Who did not answer ARP or neighbor discovery, of those that were asked.
    pub silent: BTreeSet<IpAddr>,
    /// Who answers an echo request of its gateway, and none of an address of this host's elsewhere.
    pub cut_off: BTreeSet<IpAddr>,
    /// Addresses that others on the link have too, by interface: the kernel found them so, and does not use them.
    pub doubled: Vec<(String, IpAddr)>,
    /// Programs of fwd's that are not where they were attached.
    pub detached: Vec<ForeignProgram>,
    /// Programs that are not fwd's.
    pub programs: Vec<ForeignProgram>,
    pub firewall: Firewall,
    /// Whether the kernel takes frames between members of Linux bridges through the host's IP rules.
    pub bridges_filter: bool,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    pub ifindex: u32,
    pub has_carrier: bool,
    /// Whether it forwards; `None`: it does not have the family.
    pub forwards4: Option<bool>,
    pub forwards6: Option<bool>,
    /// IPv4 reverse path filter: a packet is dropped unless its answer would leave here.
    pub is_strict_reverse_path: bool,
    /// Why it answers nobody who asks for its MAC by ARP.
    pub answers_no_arp: Option<NoArp>,
    /// Whether it takes VLAN tags out of frames, which hides them from XDP.
    pub strips_vlan: bool,
    /// Whether it joins received frames into such as cannot be sent on.
    pub has_lro: bool,
}

/// Why an interface does not answer ARP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoArp {
    /// `ip link set … arp off`.
    SwitchedOff,
    /// The sysctl `arp_ignore`.
    Ignored,
}

/// A way to everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    pub is_v4: bool,
    pub device: String,
    /// None: everything is on the link.
    pub gateway: Option<IpAddr>,
}

/// A program on an interface, or the lack of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignProgram {
    pub device: String,
    /// `XDP`, `TC ingress`, `TC egress`.
    pub point: &'static str,
    /// Its name or kind, and number, as far as the kernel tells.
    pub name: String,
}

/// The host's packet filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Firewall {
    /// What `nft -j list ruleset` prints; none where there is no `nft`.
    pub nft: Option<Value>,
    /// What `iptables-legacy-save` and its IPv6 twin print, where such tables are in use.
    pub legacy: Vec<String>,
}

/// What a packet to a guest's service met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    /// TCP: it accepts; UDP: it answers.
    Service,
    /// TCP: it accepts, and closes without a word.
    Closes,
    /// Nothing listens there: RST, or port unreachable.
    Refusal,
    Silence,
    /// An error of ICMP came back that is no port unreachable, which a firewall sends: what it says.
    Rejection(String),
    /// UDP: no error came back, and no answer, which the protocol does not ask for.
    NoWord,
    /// This host could not even send it.
    Unsendable(String),
}
