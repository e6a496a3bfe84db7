//! Observations: what the daemon says of the network as it is, in the names of `-o json`. Filled by
//! `observe` (counters, flows, drops) and by the daemon (devices, hooks, revisions); nothing here is an
//! input of a decision.
//!
//! Objects are names, counts are integers, absent is null, times are RFC 3339 in UTC. Ways are the guest's:
//! `out` and `egress` are from the port, `in` and `ingress` are to it.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::spec::Hook;

/// A count each way, the guest's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ways {
    pub out: u64,
    #[serde(rename = "in")]
    pub in_: u64,
}

/// Packets and bytes. GSO frames count by their segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// What became of the frames that came in at one hook: at rest,
/// `received = forwarded + host + answered + dropped + passed_up`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookCounters {
    pub received: Traffic,
    /// Handed to another device; a flood is one.
    pub forwarded: Traffic,
    /// Left to the host's stack.
    pub host: Traffic,
    pub answered: Traffic,
    pub dropped: Traffic,
    /// XDP only: left to TCX, which counts them as received once more.
    pub passed_up: Traffic,
}

/// A port's ledgers, and what the kernel lost between and behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortCounters {
    pub xdp: HookCounters,
    pub skb: HookCounters,
    /// Copies that floods of this port's frames made.
    pub copies: Traffic,
    /// Frames sent to this port's device, whoever sent them, as the device counts them: a GSO frame is one.
    #[serde(default)]
    pub sent: Traffic,
    /// Packets that XDP passed up and TCX never saw: the kernel dropped them.
    pub lost_between_hooks: u64,
    /// Packets handed to this port's device that it refused, as the device counts them.
    pub egress_lost: u64,
    /// Packets that came in and left no trace in the ledgers: 0 at rest.
    pub unaccounted: i64,
    /// Flows that count against the port's limit, and those of them that nobody answered.
    pub flows: u32,
    pub half_open: u32,
}

/// Two machines of a network with one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DuplicateAddress {
    pub network: String,
    pub addr: IpAddr,
    pub owner: ClaimEnd,
    /// Who else says that it has it, and when it said so last.
    pub other: ClaimEnd,
    pub ago_secs: u64,
}

/// A machine that says that it has an address, and the port behind which it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimEnd {
    pub mac: String,
    pub port: String,
}

/// Whether an object does what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectState {
    Ready,
    /// Something that it needs is not there yet: the device, an address.
    Pending,
    /// Works, but not as it could; the reason says what to do.
    Degraded,
    /// Somebody else holds what it needs.
    Conflict,
}

impl ObjectState {
    /// Every state, in the order of metrics and docs.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Pending, Self::Degraded, Self::Conflict];

    /// The state as text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Pending => "pending",
            Self::Degraded => "degraded",
            Self::Conflict => "conflict",
        }
    }
}

/// The hook that does a port's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    Xdp,
    Skb,
}

impl Path {
    /// The path as text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Skb => "skb",
        }
    }
}

/// `port show`, `uplink show`: a port, an uplink (its name is its device, no network unless bridged) or a
/// network's port towards the host, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStatus {
    pub name: String,
    /// Null while the domain that has it does not run.
    pub device: Option<String>,
    /// A VM port's interface of a libvirt domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<String>,
    pub network: Option<String>,
    /// The configured one, or the one seen.
    pub mac: Option<String>,
    /// Configured ones, then those seen.
    pub ips: Vec<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub trust: bool,
    /// The hook in use; none while there is no device.
    pub hook: Option<Hook>,
    /// The hook that was asked for.
    pub configured_hook: Hook,
    /// Why this hook.
    pub hook_reason: String,
    pub state: ObjectState,
    /// Why not `ready`, and what to do.
    pub state_reason: Option<String>,
    pub ifindex: Option<u32>,
    pub mtu: Option<u32>,
    pub counters: PortCounters,
}

/// Where a flow is in its life.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum FlowState {
    HalfOpen,
    Established,
    Closing,
}

impl FlowState {
    /// Every state, in the order of metrics and docs.
    pub const ALL: [Self; 3] = [Self::HalfOpen, Self::Established, Self::Closing];

    /// The state as text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfOpen => "half_open",
            Self::Established => "established",
            Self::Closing => "closing",
        }
    }
}

/// A row of `flow list` and `nat table`: both directions of one flow. `source` and `destination` are as the
/// opener's packets come in; `translated` is what the source (masquerade) or the destination (forward)
/// becomes, null where nothing changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowRow {
    /// What `flow show` and `flow delete` call it, while it lives.
    pub name: String,
    pub network: Option<String>,
    /// The port against whose limit it counts.
    pub port: Option<String>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the protocol's number.
    pub protocol: String,
    /// `addr:l4port`; of ICMP the address.
    pub source: String,
    pub destination: String,
    pub translated: Option<String>,
    /// ICMP: the echo's id as the opener sent it.
    pub id: Option<u16>,
    pub state: FlowState,
    /// The rule that permitted it; null: the default did.
    pub rule: Option<String>,
    pub forward: Option<String>,
    /// What carries the opener's packets.
    pub path: Path,
    pub packets: Ways,
    pub bytes: Ways,
    /// Seconds since its last packet, of either direction.
    pub age_secs: u64,
}

/// `flow count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowCount {
    /// Flows that the filters match.
    pub flows: u64,
    /// Those of them that nobody answered.
    pub half_open: u64,
    /// Most flows of each family.
    pub limit: u64,
    /// With `--cut-by`: flows that the revision's edit cut.
    pub cut: Option<u64>,
}

/// Which way, as the port's guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Egress,
    Ingress,
}

/// A row of `drop list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropRow {
    pub reason: String,
    /// The port on which it came in.
    pub port: Option<String>,
    pub network: Option<String>,
    /// Of the port that refused it.
    pub direction: Direction,
    pub rule: Option<String>,
    /// The forward that is not for its sender.
    pub forward: Option<String>,
    pub packets: u64,
    pub bytes: u64,
    pub last_seen: Option<String>,
}

/// A row of `drop reasons`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropReasonRow {
    pub number: u8,
    pub reason: String,
    pub meaning: String,
    pub remedy: String,
    /// Since the datapath was first loaded.
    pub packets: u64,
}

/// A row of `network leases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseRow {
    pub network: String,
    pub address: String,
    /// Null where a DHCPv6 client does not tell it.
    pub mac: Option<String>,
    /// The port that has the MAC.
    pub port: Option<String>,
    /// Null: it has no end.
    pub expires: Option<String>,
}

/// `status --check`: the ledgers held against each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Whether every packet is accounted for.
    pub exact: bool,
    /// Packets without a trace, over all ports: 0 at rest.
    pub residue: i64,
    pub ports: Vec<PortCheck>,
    /// What does not add up, one sentence each.
    pub findings: Vec<String>,
}

/// One port of [`Check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortCheck {
    pub port: String,
    pub counters: PortCounters,
    /// Drops of this port by reason, which add up to its ledgers' `dropped`.
    pub drops: BTreeMap<String, u64>,
}

/// `bench`: what live traffic cost while it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bench {
    /// How long that was.
    pub secs: f64,
    pub programs: Vec<ProgramRate>,
    /// Ways on which something came in.
    pub ports: Vec<PortRate>,
}

/// One program of [`Bench`], on all ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgramRate {
    pub program: String,
    /// Once a frame; a GSO frame is one.
    pub runs_per_sec: u64,
    /// With what the kernel's clock takes; absent: it did not run.
    pub ns_per_run: Option<f64>,
    /// Of one CPU.
    pub cpu_percent: f64,
}

/// One port and hook of [`Bench`]: packets a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortRate {
    pub port: String,
    pub path: Path,
    pub received: u64,
    /// Bits a second of those.
    pub bits: u64,
    pub forwarded: u64,
    pub host: u64,
    pub answered: u64,
    pub dropped: u64,
    pub passed_up: u64,
}
