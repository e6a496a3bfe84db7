//! What the daemon answers beside objects and observations: writes, plans, revisions, its own state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{error::ApiError, json::Json, status::FlowRow};

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorAnswer {
    pub api: String,
    #[schema(value_type = Object)]
    pub error: ApiError,
}

/// The answer to a write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Written {
    pub api: String,
    /// The revision now; unchanged if nothing was.
    pub revision: u64,
    /// `KIND/NAME` of what was added, changed or deleted.
    pub changed: Vec<String>,
    /// Live flows that the edit cut; null where they were not counted.
    pub cut: Option<u64>,
    /// With `dry_run`: what would be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
}

/// What an edit would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanSummary {
    /// `KIND/NAME`.
    pub added: Vec<String>,
    pub altered: Vec<Altered>,
    pub deleted: Vec<String>,
    /// Ports whose live flows are decided anew.
    pub rechecked: Vec<String>,
    pub map_writes: Vec<MapWrites>,
    /// With `against_flows`: live flows that would fare otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<Impact>,
}

/// What an edit would do to live flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Impact {
    pub cut: Vec<FlowImpact>,
    /// Flows that go on only because an edit kept them, and that would be permitted again.
    pub allowed: Vec<FlowImpact>,
    /// Flows of stateless rules that go on, and whose answers would be refused; permitted.
    pub answers_refused: Vec<FlowImpact>,
    pub answers_permitted: Vec<FlowImpact>,
}

/// A live flow, and what would decide it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowImpact {
    #[serde(flatten)]
    pub flow: FlowRow,
    /// The rule that would decide; null: the default, or none.
    pub by: Option<String>,
    /// Why it would be cut, or its answers refused, a drop reason; null: it would not.
    pub reason: Option<String>,
}

/// An object that an edit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Altered {
    /// `KIND/NAME`.
    pub object: String,
    pub fields: Vec<FieldChange>,
}

/// A field that an edit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    pub field: String,
    pub from: Value,
    pub to: Value,
}

/// Writes to one map, and how full it is afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapWrites {
    pub map: String,
    pub puts: u64,
    pub deletes: u64,
    /// Rows now, afterwards, and the most there may be; null where that is not counted.
    pub before: Option<u64>,
    pub entries: Option<u64>,
    pub capacity: Option<u64>,
    /// Bytes that these rows take now and afterwards, about; null where the map took what it takes when it was made.
    pub memory_before: Option<u64>,
    pub memory: Option<u64>,
}

/// An accepted edit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    pub revision: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// Who asked, by the socket's peer credentials: a user's name or number.
    pub author: String,
    /// The user and the process that asked; null: fwd itself, or not known.
    pub uid: Option<u32>,
    pub pid: Option<i32>,
    /// `KIND/NAME` of what was added, changed or deleted, with `+`, `~` or `-` in front.
    pub changes: Vec<String>,
    /// The same objects, as they were and as they became.
    pub diff: Vec<ObjectDiff>,
}

/// An object before and after an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectDiff {
    /// `KIND/NAME`.
    pub object: String,
    /// Null: it was not there.
    #[schema(value_type = Option<Value>)]
    pub before: Option<Json>,
    /// Null: it is gone.
    #[schema(value_type = Option<Value>)]
    pub after: Option<Json>,
}

/// `fwd status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonStatus {
    pub api: String,
    pub kind: String,
    pub version: String,
    pub commit: String,
    pub abi: u32,
    pub pid: u32,
    /// RFC 3339, UTC.
    pub started: String,
    /// Where rows are written: `kernel` or `memory`.
    pub datapath: String,
    pub revision: RevisionState,
    pub options: DaemonOptions,
    /// Objects by kind.
    pub objects: BTreeMap<String, u64>,
    pub flows: u64,
    pub flows_limit: u64,
    pub dropped_packets: u64,
    /// The interfaces of this network namespace, and what fwd does with each.
    pub interfaces: Vec<Interface>,
    /// What is not as it should be, one sentence each.
    pub problems: Vec<String>,
}

/// How far edits have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevisionState {
    pub accepted: u64,
    pub applied: u64,
    /// The one that a start comes up with.
    pub confirmed: u64,
    /// Until when what is not confirmed stays, RFC 3339, UTC; null: all is confirmed.
    pub confirm_until: Option<String>,
}

/// The options that a daemon was started with, but for where it logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonOptions {
    pub socket: String,
    pub state_dir: String,
    pub bpffs: String,
    pub libvirt: String,
    pub metrics: String,
    pub datapath_log: String,
}

/// An interface of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    pub device: String,
    pub kind: String,
    pub up: bool,
    pub addresses: Vec<String>,
    /// `uplink`, `port web1`, `host port of vmnat`, `bridge br0` (not fwd's), or null.
    pub used_as: Option<String>,
}
