//! ICMP errors belong to the flow of the packet that they quote (RFC 5508, 4.2; RFC 4443, 2.4), and are permitted
//! as that flow is. They go with the flow's direction that answers the quoted packet: to its egress, outer
//! addresses and quotation translated. They never open, refresh or count in a flow.
//!
//! Both hooks do it: sizes do not change.

use fwd_common::{
    conntrack::Stage,
    drop::DropReason,
    flow::{FlowEntry, Pair, flag},
    port::{self, Port, PortKind},
    proto::{IpProto, icmp},
    verdict::{Outcome, Verdict},
};

use super::{
    deliver,
    flow::{self, Revisited},
    table::Flows,
};
use crate::{
    frame::{ChecksumFix, Deliver, Frame},
    maps::{self, Family},
    parse, quote,
    report::{self, Ingress},
    rewrite::{self, fold},
};

/// Judges an ICMP error, and sends it on its way; [`Verdict::NEXT`]: to where its frame is addressed.
///
/// # Errors
/// `IcmpErrorUnrelated` where a guest quotes a packet of no flow, `IcmpRedirect` where it redirects.
#[inline(always)]
pub fn judge<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    let is_guest = ingress.port.is(PortKind::Vm) && !ingress.port.has(port::flag::TRUSTED);
    if is_guest && is_redirect::<F, A>(frame) {
        return Outcome::dropped(DropReason::IcmpRedirect);
    }
    let pair = A::scratch().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row.
    let pair = unsafe { &mut *pair };
    let start = quote::key(frame, ingress.port.zone, &mut pair.reply_key);
    let proto = pair.reply_key.proto;
    let Some((entry, egress)) = live(frame, start, pair) else { return unrelated(ingress) };
    if !entry.has(flag::TRANSLATED | flag::ROUTED) {
        return Outcome::ok(Verdict::NEXT);
    }
    if !deliver::is_for::<F>(egress, entry.flags) {
        return Outcome::ok(Verdict::PASS_UP);
    }
    deliver::check::<F, A>(frame, egress, entry.flags)?;
    translate(frame, (start, proto), &pair.reply_key.src, (entry, egress))?;
    Outcome::ok(if entry.has(flag::UNRESOLVED) {
        Verdict::forward_by_host(entry.egress)
    } else {
        Verdict::forward(entry.egress)
    })
}

/// Whether the flow that an error belongs to was decided before an edit; scratch then has its original
/// direction's key.
#[inline(always)]
pub fn revisit<F: Frame, A: Family>(frame: F, ingress: &Ingress) -> Revisited {
    let Some(pair) = A::scratch().get_ptr_mut(F::PROGRAM) else { return Revisited::Nothing };
    // SAFETY: this CPU's and this program's row.
    let pair = unsafe { &mut *pair };
    let start = quote::key(frame, ingress.port.zone, &mut pair.reply_key);
    let Some((entry, egress)) = live(frame, start, pair) else { return Revisited::Nothing };
    if entry.is_current(ingress.port.generation.wrapping_add(egress.generation)) {
        return Revisited::Nothing;
    }
    if entry.has(flag::ORIGINAL) {
        pair.key = pair.reply_key;
    }
    Revisited::Stale
}

/// What an uplink's error is that belongs to no flow: the host's affair. A guest's is nobody's.
#[inline(always)]
fn unrelated(ingress: &Ingress) -> Outcome<Verdict> {
    if ingress.port.is(PortKind::Uplink) && !ingress.is_bridged() {
        Outcome::ok(Verdict::HOST)
    } else {
        Outcome::dropped(DropReason::IcmpErrorUnrelated)
    }
}

#[inline(always)]
fn is_redirect<F: Frame, A: Family>(frame: F) -> bool {
    let kind = frame.window::<1>(parse::l4::<A>()).map(|w| w.get::<u8>(0));
    !A::IS_V6 && kind == Some(icmp::REDIRECT)
}

/// The entry of the direction that the error goes with (its key is in `reply_key`), if its flow is alive and
/// the error is addressed to the quoted packet's sender. Leaves the partner's key in `key`.
#[inline(always)]
fn live<F: Frame, A: Family>(
    frame: F,
    start: usize,
    pair: &mut Pair<A>,
) -> Option<(&'static FlowEntry<A>, &'static Port)> {
    if start == 0 || parse::destination::<F, A>(frame)? != pair.reply_key.dst {
        return None;
    }
    let half = Flows::find(&pair.reply_key)?;
    let partner = Flows::partner(half)?;
    pair.key = partner.key;
    let (entry, partner) = (&half.entry, &partner.entry);
    let egress = maps::port(entry.egress)?;
    let settings = maps::settings().ok()?;
    let is_over = entry.life.stage() == Stage::Dead
        || flow::is_expired(settings, pair.key.proto, (entry, partner), report::now());
    if is_over { None } else { Some((entry, egress)) }
}

/// Translates quotation and outer header, as a packet of the direction would be. The outer source stays, for it
/// is the quoted destination or a router on the way to it, but where this direction's source (`src`) is
/// translated: inside addresses are not told outside (RFC 5508, REQ-5).
#[inline(always)]
fn translate<F: Frame, A: Family>(
    frame: F,
    (start, proto): (usize, IpProto),
    src: &A,
    (entry, egress): (&FlowEntry<A>, &Port),
) -> Result<(), DropReason> {
    let (mut l3_delta, mut quotation) = (0, 0);
    if entry.has(flag::TRANSLATED) {
        let mut difference = rewrite::destination(frame, &entry.dst)?;
        if entry.src != *src {
            difference += rewrite::source(frame, &entry.src)?;
        }
        l3_delta = fold(difference);
        quotation = quote::translate(frame, start, proto, entry)?;
    }
    let hops = entry.has(flag::ROUTED) as u8;
    if hops != 0 {
        rewrite::macs(frame, egress.gateway_mac, entry.out_dst)?;
    }
    rewrite::hops::<F, A>(frame, hops, l3_delta)?;
    let fix = ChecksumFix {
        offset: parse::l4::<A>() + 2,
        // ICMP over IPv4 has no pseudo-header.
        addresses: if A::IS_V6 { l3_delta } else { 0 },
        l4_ports: quotation,
        is_udp: false,
    };
    frame.fix_checksum(fix).map_err(|_| DropReason::RewriteFailed)
}
