//! What `doctor` and `forward test` answer with: the way of a packet in five steps, what was found at each, and
//! how to mend it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where on the way of a packet something is, in the order in which one looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Interfaces, their carriers, hooks, MTUs and offloads.
    Link,
    /// Addresses of guests and uplinks, and who else claims them.
    Address,
    /// Routes, next hops, and whether neighbors answer.
    Route,
    /// Rules, forwards, L4 ports, flow tables, and the programs and rules of others on the way.
    Transport,
    /// What answers there: the guest's service, DHCP and DNS.
    Application,
}

impl Step {
    pub const ALL: [Self; 5] = [Self::Link, Self::Address, Self::Route, Self::Transport, Self::Application];

    /// The step as text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Route => "route",
            Self::Transport => "transport",
            Self::Application => "application",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    pub step: Step,
    /// Which kind of thing, in one word that stays: `no_carrier`, `foreign_program`, …
    pub check: String,
    /// `port web1`, `uplink eth0`, `network red`, `forward web`, or `host`.
    pub object: String,
    /// Object first, then what was found.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// `doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// Whether nothing was found.
    pub healthy: bool,
    /// By step.
    pub findings: Vec<Finding>,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    Passed,
    /// It could not be looked at: a step before it failed, or the protocol or the other end does not tell.
    Unknown,
    Failed,
}

impl StepState {
    /// The state as text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

/// One of the five steps of `forward test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepRow {
    pub step: Step,
    pub state: StepState,
    /// What was found, good or bad.
    pub found: Vec<String>,
    /// What to do; empty where nothing is wrong.
    pub remedies: Vec<String>,
}

/// `forward test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForwardTest {
    pub forward: String,
    pub listen: String,
    pub to: String,
    /// Whether no step failed.
    pub works: bool,
    /// The five steps, in order.
    pub steps: Vec<StepRow>,
}
