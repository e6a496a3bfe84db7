//! What the daemon acts on: this host and the datapath in its kernel, or memory.

use std::collections::BTreeMap;

use fwd_common::{id::PortId, sweep::Command};

use super::sockets::Socket;
use crate::{
    api::error::ApiError,
    compile::{Attachment, Tables},
    host::{Greeting, Inventory, Wanted},
    plan::MapOp,
};

mod kernel;
mod memory;

pub use kernel::{KernelGround, target, tear_down};
pub use memory::MemoryGround;

/// The host and its datapath, as the writer needs them.
pub trait Ground: Send {
    /// What the host looks like at the moment, with the host ports of these networks told apart.
    ///
    /// # Errors
    /// The kernel does not answer.
    fn inventory(&mut self, networks: &[&str]) -> Result<Inventory, ApiError>;

    /// The host's own listening sockets.
    fn sockets(&self) -> Vec<Socket>;

    /// Makes what is wanted of the host itself, and gives back what no longer is.
    ///
    /// # Errors
    /// The host refuses a step; preparing for what was wanted before makes it good.
    fn prepare(&mut self, wanted: &Wanted) -> Result<(), ApiError>;

    /// Brings every device to the programs that it is to have. Goes on after failures and returns them by
    /// ifindex.
    fn attach(&mut self, ports: &BTreeMap<PortId, Attachment>) -> Vec<(u32, ApiError)>;

    /// Has gateways tell their MACs to guests that have just joined, and ask for those that have not spoken. Goes on
    /// after failures and returns them.
    fn greet(&self, greetings: &[Greeting<'_>]) -> Vec<ApiError>;

    /// Writes rows.
    ///
    /// # Errors
    /// The kernel refuses; the rows are then those of [`Self::tables`].
    fn apply(&mut self, plan: &[MapOp]) -> Result<(), ApiError>;

    /// Ends flows by their keys; how many there were.
    ///
    /// # Errors
    /// The kernel refuses.
    fn end_flows(&mut self, commands: &[Command]) -> Result<u64, ApiError>;

    /// The rows that are there.
    ///
    /// # Errors
    /// They cannot be read.
    fn tables(&self) -> Result<Tables, ApiError>;

    /// Gives the host back as it was.
    ///
    /// # Errors
    /// All that could not be undone; the rest is done.
    fn tear_down(self: Box<Self>) -> Result<(), ApiError>;
}
