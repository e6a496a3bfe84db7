//! What a list of observations is narrowed by. All that is given must match.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::status::FlowState;

/// Options of `flow list|watch|show|delete|count` and `nat table`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct FlowQuery {
    /// The flow that a list calls so.
    pub name: Option<String>,
    /// A port at either end.
    pub port: Option<String>,
    /// Where the source, the destination or what one of them becomes lies.
    #[param(value_type = Option<String>)]
    pub peer: Option<IpNet>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or a number.
    pub proto: Option<String>,
    pub rule: Option<String>,
    pub state: Option<FlowState>,
    pub cut_by: Option<u64>,
    pub limit: Option<usize>,
}

/// Options of a list of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Of rules: also what passes in closed networks without one.
    pub implicit: bool,
}

/// Options of `drop list|watch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DropQuery {
    pub port: Option<String>,
    pub reason: Option<String>,
    pub rule: Option<String>,
    /// Seconds: only what was seen since so long ago.
    pub since_secs: Option<u64>,
}

/// Options of `bench`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct BenchQuery {
    /// Names, separated by commas; none: all ports.
    pub port: Option<String>,
    /// How long to look, from 1 to 3600.
    pub secs: u64,
}

impl BenchQuery {
    /// The ports asked about.
    pub fn ports(&self) -> Vec<&str> {
        self.port.iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty()).collect()
    }
}

impl Default for BenchQuery {
    fn default() -> Self {
        Self { port: None, secs: 5 }
    }
}
