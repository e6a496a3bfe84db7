//! The document: what an operator asks for. One schema for the file, `config show`, the API's objects and
//! `-o json|yaml`. Fields that are text keep the operator's spelling; [`super::text`] parses them.

use std::collections::BTreeMap;

use imbl::Vector;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

use super::{
    document::unique,
    served,
    written::{l4_ports, one_or_many, one_or_many_cidrs},
};

/// The value of `api` in every document and answer.
pub const API: &str = "fwd/v1";

/// The schema that a document is written in; any other is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ApiVersion {
    #[default]
    #[serde(rename = "fwd/v1")]
    V1,
}

/// Everything that is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    pub api: ApiVersion,
    #[serde(deserialize_with = "unique")]
    pub settings: BTreeMap<String, serde_json::Value>,
    pub uplinks: Vec<Uplink>,
    pub networks: Vec<Network>,
    pub ports: Vec<Port>,
    pub forwards: Vec<Forward>,
    pub nats: Vec<Nat>,
    pub groups: Vec<Group>,
    pub sets: Vec<Set>,
    /// Copies share what is the same: there may be many, and few are edited at a time.
    #[schema(value_type = Vec<Policy>)]
    pub policies: Vector<Policy>,
}

/// Which hook a port or uplink is to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    #[default]
    Auto,
    Xdp,
    Tcx,
}

/// An interface towards the outside. Its name is its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    pub device: String,
    #[serde(default)]
    pub hook: Hook,
    /// Take the interface from a Linux bridge that has it, and give it back later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
}

/// What a network joins its ports to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Nat,
    Routed,
    Bridge,
    Host,
    Isolated,
}

/// What passes where no rule applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DefaultPolicy {
    #[default]
    Open,
    Closed,
}

/// One address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub name: String,
    pub mode: Mode,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<IpNet>,
    /// One per subnet; left out: the first host address of each.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<IpAddr>,
    #[serde(default)]
    pub uplink: Option<String>,
    /// `off`, or `FIRST-LAST`, several with commas; left out: on where this host is the gateway, with all
    /// addresses of its subnets. `snoop`, on a bridge: guests have the IPv4 addresses that DHCP outside gives to
    /// them, and no others.
    #[serde(default, deserialize_with = "served::dhcp")]
    pub dhcp: Option<String>,
    /// Left out: on where this host is the gateway.
    #[serde(default, deserialize_with = "served::switch")]
    pub dns: Option<bool>,
    /// Time servers that DHCP tells (RFC 2132, 8.3; RFC 5908).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub ntp: Vec<IpAddr>,
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    #[serde(default)]
    pub default_policy: DefaultPolicy,
    #[serde(default)]
    pub private: bool,
    #[serde(default)]
    pub isolate_ports: bool,
    /// Whether IPv6 of a `nat` network is translated; left out: of its unique local addresses (RFC 4193), while global
    /// ones are routed, both ways, unless the network has translations of IPv6 of its own, or repeats elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "served::switch")]
    pub nat66: Option<bool>,
}

fn default_mtu() -> u16 {
    1500
}

impl Network {
    /// Whether this host has a port in it: towards its gateway addresses, or its own place behind a bridged
    /// uplink.
    pub fn has_host_port(&self) -> bool {
        self.mode == Mode::Bridge || self.has_gateway()
    }

    /// Whether this host has addresses in it, on a veth: as its gateway, or for an isolated network's services.
    pub fn has_gateway(&self) -> bool {
        match self.mode {
            Mode::Nat | Mode::Routed | Mode::Host => true,
            Mode::Isolated => self.asks_for_services(),
            Mode::Bridge => false,
        }
    }

    /// Whether the host's addresses in it live in a namespace of their own: nothing but its services is
    /// reached there.
    pub fn is_apart(&self) -> bool {
        self.private || self.mode == Mode::Isolated
    }

    /// The host's addresses in it, with their subnets' prefix lengths, in the order of the subnets.
    pub fn gateway_nets(&self) -> Vec<IpNet> {
        if !self.has_gateway() {
            return Vec::new();
        }
        let gateway_of = |subnet: &IpNet| {
            let given = self.gateways.iter().copied().find(|addr| subnet.contains(addr));
            let addr = given.or_else(|| subnet.hosts().find(|addr| *addr != subnet.network()))?;
            IpNet::new(addr, subnet.prefix_len()).ok()
        };
        self.subnets.iter().filter_map(gateway_of).collect()
    }
}

/// The name by which a network's port towards the host is shown and counted.
pub fn host_port_name(network: &str) -> String {
    format!("fwd-{network}")
}

/// One attachment of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub name: String,
    /// The interface, or a pattern of taps and veths, as `vnet*`; left out where `libvirt` names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// `DOMAIN[/N]`: the N-th interface of a domain of libvirt, from 0, whatever its name is while the domain runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<String>,
    pub network: String,
    /// Left out: the first one seen, until the device goes.
    #[serde(default)]
    pub mac: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub ips: Vec<IpAddr>,
    /// Source addresses that the port may use beside its own.
    #[serde(default, deserialize_with = "one_or_many_cidrs")]
    #[schema(value_type = Vec<String>)]
    pub allow_addresses: Vec<IpNet>,
    #[serde(default, deserialize_with = "unique")]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub hook: Hook,
    /// No source guard.
    #[serde(default)]
    pub trust: bool,
    /// Take the interface from a Linux bridge that has it, and give it back later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
}

impl Port {
    /// Whether it stands for every tap and veth that matches, each of which is a port by itself.
    pub fn is_pattern(&self) -> bool {
        self.device.contains(['*', '?'])
    }

    /// The name of the port that a device of this pattern is.
    pub fn name_of(&self, device: &str) -> String {
        format!("{}.{device}", self.name)
    }

    /// The name that the document has for it: of a device of a pattern the pattern's.
    pub fn given_name(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(given, _)| given)
    }
}

/// Publication of an outside address and L4 port onto a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    pub name: String,
    /// `PROTO:ADDR:L4PORT[-L4PORT]`, the address optional, IPv6 in brackets; or `PROTO:ADDR`, `PROTO:*`: all that no
    /// other forward and no socket of the host has.
    pub listen: String,
    /// `PORT:L4PORT[-L4PORT]`; `PORT` where every L4 port is forwarded.
    pub to: String,
    /// Clients that may use it; empty: all.
    #[serde(default, deserialize_with = "one_or_many_cidrs")]
    #[schema(value_type = Vec<String>)]
    pub from: Vec<IpNet>,
    /// Take an L4 port on which this host listens itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// When it ends, RFC 3339; null: never.
    #[serde(default)]
    pub expires: Option<String>,
}

/// How flows to outside are translated: under an address (`address`), one address for one port
/// (`one_to_one`), by prefix (`prefix`), or not at all (`exempt`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nat {
    pub name: String,
    /// The network whose flows it translates; of an exemption null: every nat network that is not private.
    #[serde(default)]
    pub network: Option<String>,
    /// The address that outside sees.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// `FIRST-LAST`: no other L4 ports of `address` are used; null: the VM's own, else one of nat_l4_ports.
    #[serde(default)]
    pub l4_ports: Option<String>,
    /// `ADDR=PORT`: the outside address is the port's, both ways.
    #[serde(default)]
    pub one_to_one: Option<String>,
    /// Destinations outside that are reached untranslated.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub exempt: Option<IpNet>,
    /// `INSIDE=OUTSIDE`: two prefixes of IPv6 whose addresses are each other's, both ways (RFC 6296).
    #[serde(default)]
    pub prefix: Option<String>,
    /// One address and L4 port of a guest has one of each outside, whomever it talks to, and whoever sends there
    /// reaches it: TCP and UDP of all of `network`, with or without an `address`.
    #[serde(default)]
    pub endpoint_independent: bool,
}

/// A named set of ports: by name, by label, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    #[serde(default)]
    pub members: Vec<String>,
    /// `key=value[,key=value]`: all must match.
    #[serde(default)]
    pub selector: Option<String>,
}

/// A named list of CIDRs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    pub name: String,
    #[serde(deserialize_with = "one_or_many_cidrs")]
    #[schema(value_type = Vec<String>)]
    pub cidrs: Vec<IpNet>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Allow,
    Deny,
    /// Deny, and tell the sender.
    Reject,
}

/// Whose rule it is. Where an operator's rule applies, it decides, whatever the priorities of tenants' rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Operator,
    #[default]
    Tenant,
}

impl Tier {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub name: String,
    pub action: Action,
    /// Ends; empty: any. A rule speaks for both: for what `from` sends and for what `to` receives.
    #[serde(default, deserialize_with = "one_or_many")]
    pub from: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub to: Vec<String>,
    /// Empty: any.
    #[serde(default, deserialize_with = "one_or_many")]
    pub services: Vec<String>,
    /// L4 ports from which it comes, of TCP, UDP and SCTP: `53`, `1024-65535`; empty, or `any`: any.
    #[serde(default, deserialize_with = "l4_ports", skip_serializing_if = "Vec::is_empty")]
    pub source_l4_ports: Vec<String>,
    #[serde(default, skip_serializing_if = "Tier::is_default")]
    pub tier: Tier,
    /// Within its tier, the higher wins.
    #[serde(default = "default_priority")]
    pub priority: u16,
    /// Of `allow`: permits what matches it, and not what answers that.
    #[serde(default)]
    pub stateless: bool,
    /// It decides nothing: what it would do is counted.
    #[serde(default)]
    pub stage: bool,
    /// What it decides is told in the daemon's log.
    #[serde(default)]
    pub log: bool,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When it ends, RFC 3339; null: never.
    #[serde(default)]
    pub expires: Option<String>,
    #[serde(default)]
    pub reason: String,
}

fn default_priority() -> u16 {
    1000
}

fn yes() -> bool {
    true
}
