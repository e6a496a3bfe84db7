//! What the datapath tells at once, as `drop watch`, `flow watch` and the flow log have it: one object an event.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    query::{DropQuery, FlowQuery},
    status::{Direction, FlowState, Ways},
};

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropEvent {
    pub time: String,
    /// The port on which it came in.
    pub port: Option<String>,
    pub network: Option<String>,
    pub reason: String,
    /// Of the port that refused it.
    pub direction: Direction,
    pub rule: Option<String>,
    /// The forward that is not for its sender.
    pub forward: Option<String>,
    /// `tcp`, `udp`, …; of frames that are not IP the ethertype as `0x88cc`.
    pub protocol: String,
    /// As it came in: `addr:l4port`, or the source MAC where there is no address.
    pub source: String,
    pub destination: Option<String>,
    /// Bytes of the frame.
    pub bytes: u32,
    /// The first of them, two hexadecimal digits each.
    pub head: String,
}

/// A flow that began or ended, in the words of `flow list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowEvent {
    pub time: String,
    pub event: FlowEventName,
    /// What `flow list` called it.
    pub name: String,
    pub network: Option<String>,
    /// The port against whose limit it counts.
    pub port: Option<String>,
    /// The port at its other end.
    pub peer_port: Option<String>,
    pub protocol: String,
    pub source: String,
    pub destination: String,
    pub translated: Option<String>,
    /// ICMP: the echo's id as the opener sent it.
    pub id: Option<u16>,
    pub state: FlowState,
    /// The rule that permitted it; null: the default did.
    pub rule: Option<String>,
    pub forward: Option<String>,
    /// `forward`; of one that policy cut, `drop`.
    pub verdict: FlowVerdict,
    /// Why it ended; null of one that began.
    pub close_reason: Option<CloseReason>,
    /// The rule that cut it; null: the default did, or no rule.
    pub cut_by: Option<String>,
    pub started: Option<String>,
    /// When it was cut, or when its last packet came.
    pub ended: Option<String>,
    pub packets: Ways,
    pub bytes: Ways,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowEventName {
    FlowStart,
    FlowEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FlowVerdict {
    Forward,
    Drop,
}

/// Why a flow ended; of what was cut as `fwd_flows_cut_total` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// TCP: both sides had finished.
    Finished,
    /// TCP: one side reset it.
    Reset,
    /// Silent for its timeout.
    Expired,
    /// TCP: a SYN opened its tuple anew.
    Reopened,
    /// An edit no longer permits it.
    Policy,
    /// An edit, or the host's routes, lead it elsewhere.
    Route,
    /// `fwd flow delete`.
    Delete,
    /// The host used its tuple.
    HostSocket,
}

impl DropEvent {
    /// Whether a query asks for it; `members` are the ports of its group. Times and `limit` are for who reads
    /// the stream.
    pub fn is_wanted(&self, query: &DropQuery, members: Option<&BTreeSet<String>>) -> bool {
        let is = |asked: &Option<String>, is: &Option<String>| asked.is_none() || asked == is;
        is(&query.port, &self.port)
            && is(&query.rule, &self.rule)
            && has_member(members, [&self.port])
            && query.reason.as_ref().is_none_or(|reason| *reason == self.reason)
            && query.direction.is_none_or(|direction| direction == self.direction)
            && query.proto.as_ref().is_none_or(|proto| *proto == self.protocol)
            && has_peer(query.peer, [Some(&self.source), self.destination.as_ref()])
    }
}

impl FlowEvent {
    /// Whether a query asks for it; `members` are the ports of its group. Times, `limit` and `cut_by` are for
    /// who reads the stream.
    pub fn is_wanted(&self, query: &FlowQuery, members: Option<&BTreeSet<String>>) -> bool {
        let ports = [&self.port, &self.peer_port];
        query.name.as_ref().is_none_or(|name| *name == self.name)
            && query.port.as_ref().is_none_or(|name| ports.iter().any(|port| port.as_ref() == Some(name)))
            && has_member(members, ports)
            && query
                .rule
                .as_ref()
                .is_none_or(|rule| [&self.rule, &self.cut_by].iter().any(|one| one.as_ref() == Some(rule)))
            && query.proto.as_ref().is_none_or(|proto| *proto == self.protocol)
            && query.state.is_none_or(|state| state == self.state)
            && query.verdict.is_none_or(|verdict| verdict == self.verdict)
            && has_peer(query.peer, [Some(&self.source), Some(&self.destination), self.translated.as_ref()])
    }
}

fn has_member<const N: usize>(members: Option<&BTreeSet<String>>, ports: [&Option<String>; N]) -> bool {
    members.is_none_or(|members| ports.into_iter().flatten().any(|port| members.contains(port)))
}

/// Whether one of the ends (`addr:l4port`, or an address) lies there.
fn has_peer<const N: usize>(peer: Option<IpNet>, ends: [Option<&String>; N]) -> bool {
    let addr = |end: &String| end.parse().or_else(|_| end.parse::<SocketAddr>().map(|end| end.ip())).ok();
    peer.is_none_or(|peer| {
        ends.into_iter().flatten().filter_map(addr).any(|addr: IpAddr| peer.contains(&addr))
    })
}
