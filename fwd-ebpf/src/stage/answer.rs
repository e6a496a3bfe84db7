//! Answers: what the sender of a dropped packet is told, and how often.
//!
//! TTL exceeded and too big are answered instead of dropped; a rule that rejects drops, and tells so. Never
//! answered are ICMP errors, what is for a group, later fragments, and sources that are no single host's
//! (RFC 1122, 3.2.2; RFC 4443, 2.4). Each port may cause [`PER_TICK`] answers in a tick; beyond that the packet
//! is a plain drop. Answers need room, so XDP leaves them to TCX, as long as the port has any left.

use fwd_common::{
    addr::Ip,
    drop::DropReason,
    id::PortId,
    proto::{IpProto, icmp, icmpv6, tcp},
};

use super::{budget, table::Flows};
use crate::{
    frame::{Deliver, Frame, Refused, Skb},
    icmp::{self as message, Message},
    maps::{self, Family},
    parse::{self, Kind, Packet},
    report::Ingress,
    reset, sctp,
};

/// Some 240 a second.
const PER_TICK: u32 = 32;

/// Whether a drop for this reason is answered.
#[inline(always)]
pub const fn is_answered(reason: u8) -> bool {
    reason == DropReason::TtlExceeded as u8
        || reason == DropReason::PacketTooBig as u8
        || reason == DropReason::PolicyRejected as u8
        || reason == DropReason::PrefixUnmapped as u8
}

/// Whether a port has answers left in this tick.
#[inline(always)]
pub fn has_budget(port: PortId) -> bool {
    budget::is_left(&maps::ANSWER_BUDGET, port, PER_TICK)
}

/// Takes one of a port's answers of this tick, if there is one left.
#[inline(always)]
pub fn take(port: PortId) -> bool {
    budget::take(&maps::ANSWER_BUDGET, port, 1, PER_TICK)
}

/// Makes the frame the answer to its packet, which was dropped; whether it is now one.
#[inline(always)]
pub fn answer<const P: u32, A: Family>(frame: Skb<P>, ingress: &Ingress, reason: DropReason) -> bool
where
    Skb<P>: Deliver,
{
    let Ok(ether) = parse::ether(frame) else { return false };
    let Ok(packet) = parse::packet::<_, A>(frame, ingress.port.zone) else { return false };
    let is_single = !ether.dst.is_group() && !packet.key.dst.is_group() && !packet.key.src.is_nobody();
    let is_message = matches!(packet.kind, Kind::IcmpError | Kind::Neighborhood);
    let is_plain = packet.l4 == parse::l4::<A>();
    // What the kernel would fill into its quotation, no sum could allow for.
    if packet.key.proto == IpProto::SCTP && is_plain && sctp::owes_checksum(frame, parse::l4::<A>()) {
        return false;
    }
    if !is_single || is_message || packet.l4 == 0 || packet.tcp_flags & tcp::RST != 0 || !take(ingress.id) {
        return false;
    }
    if reason == DropReason::PolicyRejected && packet.key.proto == IpProto::TCP {
        return is_plain && reset::make(frame, &packet.key).is_ok();
    }
    let message = message::<A>(reason, egress_mtu::<P, A>(packet));
    icmp_from_here(frame, ingress, packet, message).is_ok()
}

/// From this host's address on the port's side; where it has none (a bridge), in the name of the destination.
#[inline(always)]
fn icmp_from_here<const P: u32, A: Family>(
    frame: Skb<P>,
    ingress: &Ingress,
    packet: &Packet<A>,
    message: Message,
) -> Result<(), Refused>
where
    Skb<P>: Frame,
{
    let own = if A::IS_V6 { &ingress.port.own6 } else { &ingress.port.own4 };
    let own = if *own == Ip::NONE { packet.key.dst } else { A::from_ip(*own) };
    // Of a packet whose L4 header is elsewhere the kernel owes no checksum, or not at the usual place.
    let proto = if packet.l4 == parse::l4::<A>() { packet.key.proto } else { IpProto::default() };
    message::make(frame, message, (&own, &packet.key.src), proto)
}

#[inline(always)]
fn message<A: Family>(reason: DropReason, mtu: u16) -> Message {
    let mtu = (mtu as u32).to_be();
    match (reason, A::IS_V6) {
        (DropReason::TtlExceeded, false) => Message { kind: icmp::TIME_EXCEEDED, code: 0, rest: 0 },
        (DropReason::TtlExceeded, true) => Message { kind: icmpv6::TIME_EXCEEDED, code: 0, rest: 0 },
        (DropReason::PacketTooBig, false) => {
            Message { kind: icmp::UNREACHABLE, code: icmp::FRAGMENTATION_NEEDED, rest: mtu }
        }
        (DropReason::PacketTooBig, true) => Message { kind: icmpv6::PACKET_TOO_BIG, code: 0, rest: mtu },
        (_, false) => Message { kind: icmp::UNREACHABLE, code: icmp::PROHIBITED, rest: 0 },
        (_, true) => Message { kind: icmpv6::UNREACHABLE, code: icmpv6::PROHIBITED, rest: 0 },
    }
}

/// The MTU of where the packet should have gone: its flow says so, or the flow that was to be admitted.
#[inline(always)]
fn egress_mtu<const P: u32, A: Family>(packet: &Packet<A>) -> u16
where
    Skb<P>: Frame,
{
    let egress = match Flows::get(&packet.key) {
        Some(entry) => entry.egress,
        None => match A::scratch().get_ptr_mut(<Skb<P> as Frame>::PROGRAM) {
            // SAFETY: this CPU's and this program's row.
            Some(pair) => unsafe { (*pair).entry.egress },
            None => PortId(0),
        },
    };
    maps::port(egress).map_or(0, |port| port.mtu)
}
