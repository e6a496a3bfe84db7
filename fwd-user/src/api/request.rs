//! What a request to the daemon carries: options of writes, and who asks.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Options of every write, as query parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// Answer with the plan, and change nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Refuse if the document is no longer at this revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Add: succeed if an equal object exists.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_exist: bool,
    /// Delete: succeed if there is no such object.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub if_exists: bool,
}

/// Who asked, by the socket's peer credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    pub uid: u32,
    pub pid: Option<i32>,
}
