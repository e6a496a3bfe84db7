//! What the datapath tells at once, through `EVENTS`. Counters are the truth; events may be shed.

use crate::{
    addr::{Ip, Mac},
    conntrack::Life,
    counter::Count,
    flow::Tick,
    id::{ForwardId, PortId, RuleId, Zone},
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

/// Why a flow ended.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Silent for its timeout; of TCP that was reset or finished, the one for that.
    Expired = 0,
    /// A SYN opened its tuple anew.
    Reopened = 1,
    CutByPolicy = 2,
    CutByRoute = 3,
    CutByDelete = 4,
    CutByHostSocket = 5,
}

impl End {
    #[inline(always)]
    pub const fn from_number(n: u8) -> Option<Self> {
        Some(match n {
            0 => Self::Expired,
            1 => Self::Reopened,
            2 => Self::CutByPolicy,
            3 => Self::CutByRoute,
            4 => Self::CutByDelete,
            5 => Self::CutByHostSocket,
            _ => return None,
        })
    }

    #[inline(always)]
    pub const fn is_cut(self) -> bool {
        !matches!(self, Self::Expired | Self::Reopened)
    }
}

/// Whose budget an event is taken from; index into `EVENT_BUDGET`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Drops, and what was learnt.
    Drops = 0,
    Flows = 1,
}

impl Budget {
    /// Rows of `EVENT_BUDGET`.
    pub const COUNT: u32 = 2;
}

/// What every record of `EVENTS` begins with. Addresses and L4 ports as the packet came in, in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since boot.
    pub at_ns: u64,
    pub src: Ip,
    pub dst: Ip,
    pub rule: RuleId,
    /// Bytes of the frame; of a flow, 0.
    pub len: u32,
    pub sport: u16,
    pub dport: u16,
    /// The port on which it came in.
    pub port: PortId,
    /// [`EventKind`] as a number.
    pub kind: u8,
    /// A drop's [`DropReason`](crate::drop::DropReason), or an ended flow's [`End`], as a number.
    pub reason: u8,
    pub proto: IpProto,
    /// [`Direction`](crate::policy::Direction) as a number.
    pub direction: u8,
    pub frame_src: Mac,
    pub ether_type: u16,
    /// A flow's.
    pub zone: Zone,
    /// A drop's: how much of the frame follows.
    pub head_len: u8,
    pub _pad: [u8; 3],
}

/// Bytes of a dropped frame that are told: headers as far as the L4 ports, of both families.
pub const HEAD: usize = 64;

/// The record of a drop: an [`Event`] with the frame's first bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEvent {
    pub event: Event,
    /// [`Event::head_len`] bytes, as they were when the frame was dropped.
    pub head: [u8; HEAD],
}

/// The record of a flow that starts or ends: an [`Event`] with what the flow's two entries hold.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEvent {
    /// Ends as the opener's packets came in; the port on which they did; the rule that permitted them.
    pub event: Event,
    /// The opener's packets, and the others.
    pub out: Count,
    pub back: Count,
    /// Ends as the opener's packets left.
    pub left_src: Ip,
    pub left_dst: Ip,
    pub left_sport: u16,
    pub left_dport: u16,
    pub egress: PortId,
    /// The original direction's [`flag`](crate::flow::flag)s.
    pub flags: u16,
    pub forward: ForwardId,
    /// Of a flow that was cut: the rule that no longer permits it; 0: the default, or no rule.
    pub cut_by: RuleId,
    pub began: Tick,
    /// When the last packet came, of either direction.
    pub last_seen: Tick,
    /// Both directions' before the end.
    pub life: Life,
    pub back_life: Life,
}
