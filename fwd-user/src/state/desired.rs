//! The accepted document with its revision and the numbers that its objects have in the datapath.

use std::collections::BTreeMap;

use fwd_common::id::{ForwardId, NetworkId, PortId, RuleId};

use crate::api::spec::Document;

/// What was accepted. Built by `state::edit` only, so it is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// 0: nothing was accepted yet.
    pub revision: u64,
    pub document: Document,
    pub numbers: Numbers,
}

/// Names to numbers. A number is never given twice while its object lives, and is kept across restarts;
/// a deleted object's number comes back only when all others were used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// VM ports by name.
    pub ports: BTreeMap<String, PortId>,
    /// Uplinks by device.
    pub uplinks: BTreeMap<String, PortId>,
    /// Networks' host ports by the network's name.
    pub host_ports: BTreeMap<String, PortId>,
    pub networks: BTreeMap<String, NetworkId>,
    pub forwards: BTreeMap<String, ForwardId>,
    pub rules: BTreeMap<String, RuleId>,
    /// Exact sets of what rules can name a VM port by (canonical text) to `Identity::vm`.
    pub identities: BTreeMap<String, u32>,
    /// Exact sets of CIDR ends (canonical text) to `ClassId`.
    pub classes: BTreeMap<String, u32>,
}
