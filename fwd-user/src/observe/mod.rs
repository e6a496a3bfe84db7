//! The only reader of what the datapath counts and tells: maps and ring buffer in, observed types of
//! [`api::status`](crate::api::status) and metrics out. Nothing here writes a map.
//!
//! [`Observer`] is what the daemon holds; the modules below it are pure functions over a [`View`].

mod batch;
pub mod bench;
pub mod claims;
mod clock;
mod cuts;
pub mod devices;
pub mod drops;
pub mod events;
pub mod flow_event;
mod flow_log;
mod flow_name;
pub mod flows;
mod former;
pub mod impact;
pub mod ledger;
mod log;
mod memory;
pub mod metrics;
mod names;
mod observer;
mod pinned;
mod reader;
mod recent;
mod record_file;
mod rule_log;
pub mod rules;
#[cfg(test)]
mod testing;
mod usage;
mod view;

pub use clock::Moment;
pub use events::{Events, Watched};
pub use flow_log::{FLOW_LOG, FlowLog};
pub use flow_name::FlowName;
pub use log::follow_log;
pub use memory::MemoryMaps;
pub use names::{Cause, NamedPort, NamedRule, Names, PortRole};
pub use observer::Observer;
pub use pinned::{EventRing, PinnedMaps, open_events};
pub use reader::{Family, FlowCounters, Maps, ProgramRuns, ReadError, Visit};
pub use record_file::{Keep, RecordFile};
pub use usage::Usage;
pub use view::View;

/// Why an observation could not be told.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("flow {0} does not exist")]
    Flow(String),
    #[error("port {0} does not exist")]
    Port(String),
    #[error("rule {0} does not exist")]
    Rule(String),
    #[error("group {0} does not exist")]
    Group(String),
    #[error("protocol {0} is not tcp, udp, sctp, icmp, icmpv6 or a number below 256")]
    Protocol(String),
    #[error("drop reason {0} does not exist")]
    Reason(String),
    #[error("revision {0} was not made by this daemon")]
    Revision(u64),
    #[error(transparent)]
    Read(#[from] ReadError),
}
