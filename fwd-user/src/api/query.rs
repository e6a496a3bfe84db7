//! What a list of observations is narrowed by. All that is given must match.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::{
    error::{ApiError, Code},
    event::FlowVerdict,
    status::{Direction, FlowState},
};

/// Options of `flow list|watch|show|delete|count` and `nat table`. Not every list knows all of them: what one
/// does not is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct FlowQuery {
    /// The flow that a list calls so.
    pub name: Option<String>,
    /// A port at either end.
    pub port: Option<String>,
    /// A port of this group at either end.
    pub group: Option<String>,
    /// Where the source, the destination or what one of them becomes lies.
    #[param(value_type = Option<String>)]
    pub peer: Option<IpNet>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or a number.
    pub proto: Option<String>,
    pub rule: Option<String>,
    pub state: Option<FlowState>,
    /// A revision: flows that its edit cut.
    pub cut_by: Option<u64>,
    /// Of starts and ends.
    pub verdict: Option<FlowVerdict>,
    /// Seconds: starts and ends since so long ago first.
    pub since_secs: Option<u64>,
    /// Seconds: starts and ends until so long ago, and none that are to come.
    pub until_secs: Option<u64>,
    pub limit: Option<usize>,
}

impl FlowQuery {
    /// Refuses what live flows do not have.
    ///
    /// # Errors
    /// Names the option.
    pub fn of_live(&self) -> Result<(), ApiError> {
        let starts_and_ends = "the stream of starts and ends";
        refuse("verdict", self.verdict.is_some(), starts_and_ends)?;
        refuse("since_secs", self.since_secs.is_some(), starts_and_ends)?;
        refuse("until_secs", self.until_secs.is_some(), starts_and_ends)
    }

    /// Refuses to ask for what an edit cut.
    ///
    /// # Errors
    /// Names the option.
    pub fn of_no_edit(&self) -> Result<(), ApiError> {
        refuse("cut_by", self.cut_by.is_some(), "the list of flows and their count")
    }

    /// The times of a stream.
    pub const fn times(&self) -> Times {
        Times { since_secs: self.since_secs, until_secs: self.until_secs }
    }
}

fn refuse(option: &str, is_given: bool, whose: &str) -> Result<(), ApiError> {
    if !is_given {
        return Ok(());
    }
    let refused = ApiError::new(Code::BadRequest, format!("Option {option} is one of {whose} only."));
    Err(refused.hint("Leave it out here."))
}

/// From when to when a stream tells, in seconds before it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// None: nothing that has been.
    pub since_secs: Option<u64>,
    /// None: what is to come, too.
    pub until_secs: Option<u64>,
}

impl Times {
    /// # Errors
    /// It would end before it began.
    pub fn check(self) -> Result<(), ApiError> {
        match (self.since_secs, self.until_secs) {
            (Some(since), Some(until)) if since <= until => Err(ApiError::new(
                Code::BadRequest,
                format!("From {since}s ago until {until}s ago there is no time."),
            )
            .hint("Give --since the earlier moment, as --since 10m --until 5m.")),
            _ => Ok(()),
        }
    }
}

/// Options of a list of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Of rules: also what passes in closed networks without one.
    pub implicit: bool,
}

/// Options of `drop list|watch`. What the counters of the list do not know is refused there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DropQuery {
    /// The port on which it came in.
    pub port: Option<String>,
    /// The group of that port.
    pub group: Option<String>,
    pub reason: Option<String>,
    pub rule: Option<String>,
    /// Of the port that refused it.
    pub direction: Option<Direction>,
    /// Of drops, not of counters: where the source or the destination lies.
    #[param(value_type = Option<String>)]
    pub peer: Option<IpNet>,
    /// Of drops, not of counters: `tcp`, `udp`, `icmp`, `icmpv6`, a number, or `arp`.
    pub proto: Option<String>,
    /// Seconds: only what was seen since so long ago.
    pub since_secs: Option<u64>,
    /// Of drops, not of counters. Seconds: until so long ago, and none that are to come.
    pub until_secs: Option<u64>,
    pub limit: Option<usize>,
}

impl DropQuery {
    /// Refuses what counters do not know.
    ///
    /// # Errors
    /// Names the option.
    pub fn of_counters(&self) -> Result<(), ApiError> {
        let stream = "the stream of drops";
        refuse("peer", self.peer.is_some(), stream)?;
        refuse("proto", self.proto.is_some(), stream)?;
        refuse("until_secs", self.until_secs.is_some(), stream)
    }

    /// The times of a stream.
    pub const fn times(&self) -> Times {
        Times { since_secs: self.since_secs, until_secs: self.until_secs }
    }
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
