//! What the host itself sends out of an uplink. On a bridged one its frames to VMs are taken here; on any
//! other they only end flows that hold a tuple the host uses now: the host wins. What its processes send to its
//! own addresses, by `lo`, is looked at where a forward publishes it.

use core::hint::black_box;

use fwd_common::{
    addr::{V4, V6},
    event::End,
    flow::flag,
    id::{PortId, RuleId, Zone},
    port::{self, PortKind},
    proto::EtherType,
};

use super::{
    fdb, forward,
    table::{self, Flows},
};
use crate::{
    finish,
    frame::{Bare, Deliver, Frame},
    maps::{self, Family},
    parse::{self, Packet},
    pipeline,
    report::Ingress,
};

/// Every frame that leaves by an uplink. Those that fwd itself sends carry the mark.
#[inline(always)]
pub fn run<F: Deliver>(frame: F) -> i32 {
    let Some(uplink) = Ingress::of(frame) else { return F::NEXT };
    if frame.take_mark() {
        return F::NEXT;
    }
    let id = addressee(frame, &uplink);
    if id == PortId(0) { F::NEXT } else { pipeline::decide(frame, id) }
}

/// The same of a tunnel, which is never bridged.
#[inline(always)]
pub fn run_bare(frame: Bare) -> i32 {
    if let Some(uplink) = Ingress::of(frame)
        && !frame.take_mark()
    {
        is_read(match frame.ether_type() {
            EtherType::IPV4 => end_flow_of_bare::<V4>(frame, &uplink),
            EtherType::IPV6 => end_flow_of_bare::<V6>(frame, &uplink),
            _ => 0,
        });
    }
    finish::TCX_NEXT
}

#[inline(never)]
fn end_flow_of_bare<A: Family>(frame: Bare, uplink: &Ingress) -> u32 {
    match parse::read::<_, A>(frame, uplink.port.zone).and_then(|()| parse::last::<Bare, A>()) {
        Ok(packet) => end_flow_of_host(packet, uplink),
        Err(_) => 0,
    }
}

/// Whether a frame that comes in on `lo` is for an address and L4 port that some forward publishes. One that fwd
/// itself put in there is not.
#[inline(never)]
pub fn is_published<F: Deliver>(frame: F) -> bool {
    /// LOOPBACK_IFINDEX, in every namespace.
    const LO: u32 = 1;
    if frame.ifindex() != LO || frame.take_mark() || maps::port(port::LOOPBACK).is_none() {
        return false;
    }
    match parse::ether(frame) {
        Ok(ether) if ether.ether_type == EtherType::IPV4 => listens::<F, V4>(frame),
        Ok(ether) if ether.ether_type == EtherType::IPV6 => listens::<F, V6>(frame),
        _ => false,
    }
}

#[inline(always)]
fn listens<F: Deliver, A: Family>(frame: F) -> bool {
    parse::packet::<F, A>(frame, Zone(port::LOOPBACK.0)).is_ok_and(|packet| forward::listens(&packet.key))
}

/// The port that stands for the host on a bridged uplink, if the frame is for a VM or for all; else port 0:
/// the frame goes on outside and is not counted.
#[inline(never)]
fn addressee<F: Deliver>(frame: F, uplink: &Ingress) -> PortId {
    let Ok(ether) = parse::ether(frame) else { return PortId(0) };
    if uplink.is_bridged() {
        let id = uplink.port.network;
        let Ok(network) = maps::network(id) else { return PortId(0) };
        let is_for_vm = maps::port(fdb::seen(id, ether.dst)).is_some_and(|port| port.is(PortKind::Vm));
        return if is_for_vm || ether.dst.is_group() { network.host_port } else { PortId(0) };
    }
    is_read(match ether.ether_type {
        EtherType::IPV4 => end_flow_of_frame::<F, V4>(frame, uplink),
        EtherType::IPV6 => end_flow_of_frame::<F, V6>(frame, uplink),
        _ => 0,
    });
    PortId(0)
}

#[inline(never)]
fn end_flow_of_frame<F: Deliver, A: Family>(frame: F, uplink: &Ingress) -> u32 {
    parse::packet::<F, A>(frame, uplink.port.zone).map_or(0, |packet| end_flow_of_host(packet, uplink))
}

/// Verifier: an answer that nobody reads is none to LLVM, which then leaves any register in its place ("cannot return
/// stack pointer to the caller", 6.18).
#[inline(always)]
fn is_read(answer: u32) {
    black_box(answer);
}

/// Cuts the flow whose packets would have the key of replies to this packet of the host: a translated one by its
/// replies, or one that a forward of every L4 port took; how many.
#[inline(always)]
fn end_flow_of_host<A: Family>(packet: &Packet<A>, uplink: &Ingress) -> u32 {
    let reply_key = packet.key.reversed(uplink.port.zone);
    let Some(reply) = Flows::find(&reply_key) else { return 0 };
    let original = if reply.entry.has(flag::ORIGINAL) {
        if !forward::is_left_over(&reply_key) {
            return 0;
        }
        reply_key
    } else if reply.entry.has(flag::SOURCE_TRANSLATED) {
        let Some(original) = Flows::partner(reply) else { return 0 };
        original.key
    } else {
        return 0;
    };
    table::end_flow(&original, End::CutByHostSocket, RuleId(0)) as u32
}
