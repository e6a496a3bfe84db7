//! Delivery of a packet whose flow entry is at hand.

use fwd_common::{
    drop::DropReason,
    flow::{FlowEntry, Half, flag},
    port::Port,
    proto::IpProto,
    verdict::{Outcome, Verdict},
};

use super::flow::Hit;
use crate::{
    frame::{BY_FRAGMENTS, Deliver, Hook},
    maps::Family,
    parse::{self, Packet},
    report, rewrite,
};

/// Rewrites and forwards a packet of a known flow.
///
/// # Errors
/// What [`check`] finds, and `RewriteFailed`.
#[inline(always)]
pub fn known<F: Deliver, A: Family>(frame: F, packet: &Packet<A>, hit: Hit<A>) -> Outcome<Verdict> {
    let Hit { half: Half { entry, .. }, egress } = hit;
    if !is_for::<F>(egress, entry.flags) {
        return Outcome::ok(Verdict::PASS_UP);
    }
    check::<F, A>(frame, egress, entry.flags)?;
    let count = report::size_of_frame(frame);
    entry.packets += count.packets;
    entry.bytes += count.bytes;
    send(frame, (packet.key.proto, packet.l4), entry, egress)
}

/// Whether this hook can deliver it.
#[inline(always)]
pub fn is_for<F: Deliver>(egress: &Port, flags: u16) -> bool {
    F::can_reach(egress) && (F::HOOK == Hook::Skb || flags & flag::UNRESOLVED == 0)
}

/// Whether the packet may leave.
///
/// # Errors
/// `PortDown`, `TtlExceeded`, `PacketTooBig`.
#[inline(always)]
pub fn check<F: Deliver, A: Family>(frame: F, egress: &Port, flags: u16) -> Result<(), DropReason> {
    if egress.ifindex == 0 {
        return Err(DropReason::PortDown);
    }
    if flags & flag::ROUTED != 0 && parse::ttl::<F, A>(frame) <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    // A redirect of too large a frame would succeed, and the device would drop it without a word.
    let l3_len = match frame.gso_size() {
        0 => frame.len() as usize - parse::L3,
        BY_FRAGMENTS if frame.has_short_segments(egress.ifindex) => 0,
        segment => parse::l4::<A>() - parse::L3 + 20 + segment as usize,
    };
    if l3_len > egress.mtu as usize { Err(DropReason::PacketTooBig) } else { Ok(()) }
}

/// Rewrites a packet that [`check`] let pass.
///
/// # Errors
/// `RewriteFailed`.
#[inline(always)]
pub fn send<F: Deliver, A: Family>(
    frame: F,
    l4: (IpProto, usize),
    entry: &FlowEntry<A>,
    egress: &'static Port,
) -> Outcome<Verdict> {
    rewrite::apply(frame, l4, entry, egress.gateway_mac)?;
    if entry.has(flag::UNRESOLVED) {
        return Outcome::ok(Verdict::forward_by_host(entry.egress));
    }
    Outcome::ok(Verdict::forward(entry.egress))
}
