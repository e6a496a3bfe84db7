//! What readers see of the writer's state: one picture, replaced as a whole after each edit.

use crate::{host::Inventory, state::Desired};

/// The accepted document and the host.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub desired: Desired,
    pub inventory: Inventory,
    /// The last revision whose rows are in force.
    pub applied: u64,
    /// What is not as it should be, one sentence each.
    pub problems: Vec<String>,
}
