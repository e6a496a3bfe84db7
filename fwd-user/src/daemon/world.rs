//! What readers see of the writer's state: one picture, replaced as a whole after each edit.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use crate::{api::error::ApiError, compile::Compiled, host::Inventory, state::Desired};

/// The accepted document, the host, and what was made of both.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What edits are made on.
    pub accepted: Arc<Desired>,
    /// What runs: what was accepted, with the ports that devices of a pattern are.
    pub desired: Arc<Desired>,
    pub inventory: Arc<Inventory>,
    pub compiled: Arc<Compiled>,
    /// The last revision whose rows are in force.
    pub applied: u64,
    /// The revision that a start comes up with.
    pub confirmed: u64,
    /// When what is not confirmed will be rolled back.
    pub confirm_until: Option<SystemTime>,
    /// Devices that refused a program, by ifindex.
    pub refused: Arc<BTreeMap<u32, ApiError>>,
}
