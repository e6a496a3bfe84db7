//! Settings that change at run time (`SETTINGS`, one row), and those fixed at load (constants of the object).

use crate::{conntrack::TimeoutClass, nat::L4Range};

/// The row of `SETTINGS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Counts edits of policy; its parity picks the [`View`](crate::port::View) that holds.
    pub epoch: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// By [`TimeoutClass`], in [`Tick`](crate::flow::Tick)s.
    pub timeouts: [u32; TimeoutClass::COUNT],
    /// Most flows of a family; at most what the tables were made for.
    pub flow_limit: u32,
    /// Most half-open flows of a family.
    pub half_open_limit: u32,
    pub nat_l4_ports: L4Range,
    /// The skb mark bit of frames that fwd itself emits; 0: none.
    pub mark: u32,
    /// FDB entries not seen for so many ticks no longer count.
    pub fdb_timeout: u32,
    /// Events each CPU may send within one tick: of drops, and of flows.
    pub events_per_tick: u32,
    pub flow_events_per_tick: u32,
    /// Copies that the floods of one VM port may make within one tick.
    pub copies_per_tick: u32,
}

/// Bits of [`Settings::flags`].
pub mod flag {
    /// TCP without SYN may open a flow.
    pub const MIDSTREAM_TCP: u32 = 1;
    /// Flow start and end are told.
    pub const FLOW_EVENTS: u32 = 2;
    /// An edit is under way that lets live flows live: what it no longer permits is marked, not cut.
    pub const KEEP_FLOWS: u32 = 4;
    /// Some network has endpoint-independent mappings.
    pub const MAPPINGS: u32 = 8;
}
