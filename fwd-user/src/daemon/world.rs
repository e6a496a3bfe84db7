//! What readers see of the writer's state: one picture, replaced as a whole after each edit.

use std::{collections::BTreeMap, sync::Arc};

use crate::{api::error::ApiError, compile::Compiled, host::Inventory, state::Desired};

/// The accepted document, the host, and what was made of both.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub desired: Arc<Desired>,
    pub inventory: Arc<Inventory>,
    pub compiled: Arc<Compiled>,
    /// The last revision whose rows are in force.
    pub applied: u64,
    /// Devices that refused a program, by ifindex.
    pub refused: Arc<BTreeMap<u32, ApiError>>,
}
