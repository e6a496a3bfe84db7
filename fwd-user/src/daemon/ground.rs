//! What the daemon acts on: this host and the datapath in its kernel, or memory.

use crate::{
    api::{error::ApiError, spec::Document},
    host::Inventory,
};

mod memory;

pub use memory::Memory;

/// The host and its datapath, as the writer needs them.
pub trait Ground: Send {
    /// What the host looks like at the moment.
    ///
    /// # Errors
    /// Netlink cannot be asked.
    fn inventory(&mut self) -> Result<Inventory, ApiError>;

    /// Makes what a document needs of the host itself (veths, addresses, sysctls), and removes what none
    /// needs any more.
    ///
    /// # Errors
    /// The host refuses; what was made before stays, and is made good by preparing for the old document.
    fn prepare(&mut self, document: &Document) -> Result<(), ApiError>;

    /// Gives the host back as it was.
    ///
    /// # Errors
    /// All that could not be undone, in one sentence; the rest is done.
    fn tear_down(self: Box<Self>) -> Result<(), ApiError>;
}
