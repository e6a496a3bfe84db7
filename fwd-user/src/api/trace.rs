//! What `fwd trace` asks and is told.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    spec::{Action, Tier},
    status::{Direction, Path},
};

/// What to trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct TraceQuery {
    /// Where the packet comes in: a port's name, an uplink's device, `host:NETWORK`, or `outside`.
    pub port: String,
    /// `tcp 10.0.0.5:40000 > 10.0.0.9:443 syn`, or `frame` and the frame's bytes in hexadecimal.
    pub packet: String,
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    pub verdict: TraceVerdict,
    /// Why it would be dropped or answered.
    pub reason: Option<String>,
    /// What that means, and what to do about it.
    pub meaning: Option<String>,
    pub remedy: Option<String>,
    /// Which end's rules decided.
    pub direction: Option<Direction>,
    /// The rule that decided; null: the default did, or no rule was asked.
    pub rule: Option<String>,
    /// All rules that apply, at each end the one that wins first.
    pub rules: Vec<TraceRule>,
    /// The port on which it comes in, and its network.
    pub port: String,
    pub network: Option<String>,
    /// The port by which it leaves.
    pub egress: Option<String>,
    pub forward: Option<String>,
    /// What the source, or the destination, becomes.
    pub translated: Option<String>,
    /// The live flow that it belongs to.
    pub flow: Option<String>,
    pub stages: Vec<TraceStage>,
    /// As it comes in.
    pub frame: TraceFrame,
    /// As it leaves, or the answer to it.
    pub sent: Option<TraceFrame>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceVerdict {
    Forward,
    Host,
    Answered,
    Drop,
}

/// A rule that applies to the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceRule {
    pub rule: String,
    pub action: Action,
    pub tier: Tier,
    pub priority: u16,
    /// At which end: the sender's egress, or the receiver's ingress.
    pub direction: Direction,
    pub wins: bool,
    /// It is told only, and decides nothing.
    pub staged: bool,
}

/// One stage of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceStage {
    pub stage: String,
    pub path: Path,
    pub result: TraceResult,
    pub detail: Option<String>,
}

/// What a stage made of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceResult {
    Pass,
    Drop,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceFrame {
    /// In words.
    pub text: String,
    /// In hexadecimal.
    pub bytes: String,
}
