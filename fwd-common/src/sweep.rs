//! What user space asks of the program that changes flow tables on its behalf, so that the kernel stays
//! their only writer. A command is the start of a test run's frame, and its answer is written over it.

use crate::{
    addr::{Address, Ip},
    flow::FlowKey,
    id::Zone,
    proto::IpProto,
};

/// What is asked.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Delete expired flows in `slots` slots from `first_slot` on.
    Reclaim = 1,
    /// Decide stale flows in these slots anew, and cut those that are no longer permitted.
    Recheck = 2,
    /// Delete the flow whose original direction has this key.
    Delete = 3,
    /// Cut the flows in these slots that the rule `id` admitted; that the forward `id` did; that have the
    /// port `id` at an end.
    CutRule = 4,
    CutForward = 5,
    CutPort = 6,
}

/// A command and its answer. Addresses and L4 ports in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// [`Op`] as a number.
    pub op: u32,
    /// 0: IPv4, 1: IPv6.
    pub family: u32,
    pub first_slot: u32,
    pub slots: u32,
    pub src: Ip,
    pub dst: Ip,
    pub sport: u16,
    pub dport: u16,
    pub zone: Zone,
    pub proto: IpProto,
    pub _pad: u8,
    /// Answer: flows that were looked at, deleted because expired, and cut.
    pub inspected: u32,
    pub expired: u32,
    pub cut: u32,
    /// What [`Op::CutRule`] and its like are about, as a number.
    pub id: u32,
}

impl Command {
    /// To delete the flow whose original direction has this key.
    pub fn delete<A: Address>(key: &FlowKey<A>) -> Self {
        let FlowKey { src, dst, sport, dport, zone, proto, kind: _ } = *key;
        Self {
            op: Op::Delete as u32,
            family: A::IS_V6.into(),
            src: src.ip(),
            dst: dst.ip(),
            sport,
            dport,
            zone,
            proto,
            ..Self::default()
        }
    }
}

/// Most slots of one command.
pub const MAX_SLOTS: u32 = 8192;
