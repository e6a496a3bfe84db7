//! What the datapath tells at once, through `EVENTS`. Counters are the truth; events may be shed.

use crate::{
    addr::{Ip, Mac},
    id::{PortId, RuleId},
    proto::IpProto,
};

/// What happened.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Drop = 1,
    FlowStart = 2,
    FlowEnd = 3,
    /// A port's MAC or address was seen for the first time.
    Learnt = 4,
}

impl EventKind {
    pub const fn from_number(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Drop,
            2 => Self::FlowStart,
            3 => Self::FlowEnd,
            4 => Self::Learnt,
            _ => return None,
        })
    }
}

/// One record of `EVENTS`. Addresses and L4 ports as the packet came in, in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since boot.
    pub at_ns: u64,
    pub src: Ip,
    pub dst: Ip,
    pub rule: RuleId,
    /// Bytes of the frame; of an ended flow, 0.
    pub len: u32,
    pub sport: u16,
    pub dport: u16,
    /// The port on which it came in.
    pub port: PortId,
    /// [`EventKind`] as a number.
    pub kind: u8,
    /// A drop's [`DropReason`](crate::drop::DropReason) as a number.
    pub reason: u8,
    pub proto: IpProto,
    /// [`Direction`](crate::policy::Direction) as a number.
    pub direction: u8,
    pub frame_src: Mac,
    pub ether_type: u16,
    pub _pad: [u8; 6],
}
