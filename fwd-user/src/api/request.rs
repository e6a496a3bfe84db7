//! What a request to the daemon carries: options of writes, and who asks.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Options of every write, as query parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// Answer with the plan, and change nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// With `dry_run`: also which live flows would be cut, or permitted again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub against_flows: bool,
    /// Refuse if the document is no longer at this revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Add: succeed if an equal object exists.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_exist: bool,
    /// Delete: succeed if there is no such object.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub if_exists: bool,
    /// What becomes of live flows.
    #[serde(skip_serializing_if = "Existing::is_default")]
    pub existing: Existing,
    /// Decide live flows before the answer, which tells how many were cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
    /// Go back to the last confirmed revision after so many seconds, unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
}

/// What becomes of flows that live when an edit binds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// They are decided anew
    #[default]
    Recheck,
    /// They stay until they end
    Keep,
    /// Those that the edited object admitted end; others are decided anew
    Cut,
}

impl Existing {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Options of a rollback, as query parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RollbackQuery {
    /// Where to; left out: to the last confirmed revision, or to the one before if all are confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Answer with the plan, and change nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Refuse if the document is no longer at this revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
}

/// Which revisions to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The latest so many only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Who asked, by the socket's peer credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    pub uid: u32,
    pub pid: Option<i32>,
}
