//! The only writer of maps.

mod attach;
mod bpffs;
mod clsact;
mod error;
mod flows;
mod foreign;
mod grace;
mod kernel;
mod links;
mod log;
mod maps;
mod memory;
mod object;
mod occupant;
mod pins;
mod read;
mod request;
mod rights;
mod sizes;
mod sweep;
mod sys;
mod table;
mod teardown;
mod tracer;

pub use attach::{Target, Tc};
pub use error::Error;
pub use flows::FlowTable;
pub use foreign::{detached, foreign, is_own_filter};
pub use kernel::{Kernel, Options};
pub use log::LogLevel;
pub use memory::Memory;
pub use object::{OBJECT, capacities};
pub use pins::Pins;
pub use sizes::Sizes;
pub use sweep::{Sweeper, Swept};
pub(crate) use sys::{BatchCursor, lookup_batch};
pub use sys::{Point, release_free_memory};
pub use table::{Prefix, Table};
pub use teardown::tear_down;
pub use tracer::{Conversation, Injected, Key, Passage, Traced, Tracer};

use crate::{compile::Tables, plan::MapOp};

/// Where plans are applied: the kernel, or memory (`--dry-run`, tests).
pub trait Datapath {
    type Error: std::error::Error + Send + Sync + 'static;

    /// Applies a plan in order.
    ///
    /// # Errors
    /// Stops at the first write that fails and names the map and the object; a plan puts new rows before
    /// it commits, so up to `Commit` a failed plan has changed no verdict and can be undone by diffing anew.
    fn apply(&mut self, plan: &[MapOp]) -> Result<(), Self::Error>;

    /// The rows that are there: what a plan is made against after a restart.
    fn tables(&self) -> Result<Tables, Self::Error>;
}
