//! What metrics need beside the maps: what the daemon knows of devices, hooks, rows and revisions.

use std::collections::HashMap;

use fwd_common::id::PortId;

use crate::{
    api::{settings::MetricsDetail, status::ObjectState},
    observe::devices::DeviceCounters,
};

/// A port as the daemon knows it. The maps know the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    pub id: PortId,
    pub device: String,
    /// Of a VM port that follows an interface of libvirt, its domain.
    pub domain: Option<String>,
    pub mac: Option<String>,
    pub state: ObjectState,
}

/// A hook that a device should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFacts {
    pub device: String,
    /// `xdp`, `tcx_ingress`, `tcx_egress`.
    pub hook: &'static str,
    pub is_attached: bool,
}

/// The document's revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    pub accepted: u64,
    pub applied: u64,
    pub confirmed: u64,
}

/// All of it, at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    pub detail: MetricsDetail,
    pub ports: Vec<PortFacts>,
    pub hooks: Vec<HookFacts>,
    /// By ifindex.
    pub devices: HashMap<u32, DeviceCounters>,
    /// Rows of the maps that user space writes (`Tables::rows_by_map`).
    pub map_entries: Vec<(&'static str, u64)>,
    pub revisions: Revisions,
    /// Events shed in user space, by consumer.
    pub events_shed: Vec<(&'static str, u64)>,
}
