//! The pipeline: the steps in order, each made of stages, and nothing else.
//!
//! ```text
//! frame ─ hit ───────────── current, settled, same Ethernet addresses ─┐
//!          └ revisit ────── expired? edited? stage? ─ hit ─────────────┤
//!             └ guard ────── source ─ neighborhood ────────────────────┤
//!                ├ related ─ error ────────────────────────────────────┤
//!                └ first ─── forward | route | fdb ─ policy            ├─ rewrite ─ deliver ─ finish
//!                   └ admit ─ quota ─ slot ─ nat ─ insert ───────────────┘
//! ```
//!
//! A step that cannot decide says [`Action::Next`]. All but `hit` are global functions (`global`).

use fwd_common::{
    addr::{Mac, V4, V6},
    counter::Count,
    drop::DropReason,
    id::PortId,
    port::{self, PortKind},
    proto::EtherType,
    verdict::{Action, Outcome, Verdict},
};

use crate::{
    chain, finish,
    frame::{Deliver, Hook},
    global,
    maps::{self, Family},
    parse::{self, Kind},
    report::{self, Ingress},
    stage::{
        admit, deliver, error, fdb, flood, flow,
        flow::Revisited,
        forward,
        hit::{self, Hit},
        host, lease, mapping, neighborhood, policy,
        recheck::Kept,
        refusal, route, source,
    },
};

/// Decides a frame that came in on a device.
#[inline(always)]
pub fn run<F: Deliver>(frame: F) -> i32 {
    let id = match maps::port_of_device(frame.ifindex()) {
        Some(id) => id,
        None if F::HOOK == Hook::Skb && F::IS_INGRESS && host::is_published(frame) => port::LOOPBACK,
        None => return F::NEXT,
    };
    if frame.take_mark() {
        return F::NEXT;
    }
    decide(frame, id)
}

/// Decides a frame that came in on a port and says so to the hook.
#[inline(always)]
pub fn decide<F: Deliver>(frame: F, id: PortId) -> i32 {
    let code = fast(frame, id);
    if !matches!(code, MISSED | NEW | SPOOFED | REFUSED) {
        return code;
    }
    let Some(ingress) = Ingress::counted::<F>(id) else { return F::NEXT };
    // Devices take frames in pieces or do not; TCX gets them whole.
    let rest = frame.rest();
    if rest != 0 {
        let bytes = Count { packets: 0, bytes: rest };
        ingress.count(|l| &mut l.received, bytes);
        ingress.count(|l| &mut l.passed_up, bytes);
    }
    let verdict = match code {
        _ if rest != 0 => Outcome::ok(Verdict::PASS_UP),
        SPOOFED => Outcome::dropped(DropReason::SourceMacSpoofed),
        REFUSED => Outcome::dropped(DropReason::RewriteFailed),
        _ => match parse::ether_header(frame) {
            Ok(ether) if ether.ether_type == EtherType::IPV4 => {
                miss::<F, V4>(frame, &ingress, ether.dst, code)
            }
            Ok(ether) if ether.ether_type == EtherType::IPV6 => {
                miss::<F, V6>(frame, &ingress, ether.dst, code)
            }
            _ => frame.other(id),
        },
    };
    finish::finish(frame, &ingress, verdict)
}

// What `fast` says instead of a hook's code; the frame was counted as received.
const MISSED: i32 = i32::MIN;
const NEW: i32 = i32::MIN + 1;
const SPOOFED: i32 = i32::MIN + 2;
const REFUSED: i32 = i32::MIN + 3;

/// Counts a frame in, and decides it if it is a packet of a known flow. All of the hit path is in here.
///
/// Verifier: a function of its own, so that its stack is not added to that of the slow path (512 bytes, 6.18).
#[inline(never)]
fn fast<F: Deliver>(frame: F, id: PortId) -> i32 {
    let Some(ingress) = Ingress::at::<F>(id) else { return F::NEXT };
    let size = report::size_of_frame(frame);
    report::received(&ingress, size);
    match parse::ether_header(frame) {
        Ok(ether) if ether.ether_type == EtherType::IPV4 => hit::<F, V4>(frame, &ingress, size),
        Ok(ether) if ether.ether_type == EtherType::IPV6 => hit::<F, V6>(frame, &ingress, size),
        _ => MISSED,
    }
}

#[inline(always)]
fn hit<F: Deliver, A: Family>(frame: F, ingress: &Ingress, size: Count) -> i32 {
    match hit::hit::<F, A>(frame, ingress, size) {
        Hit::Miss => MISSED,
        Hit::New => NEW,
        Hit::Spoofed => SPOOFED,
        Hit::Dropped(drop) => finish::drop_again(frame, ingress, size, drop),
        Hit::PassUp => finish::pass_up(frame, ingress, size),
        Hit::Forward(id, egress) => finish::forward(frame, ingress, size, (id, egress)),
        Hit::Refused => REFUSED,
    }
}

/// A packet that did not hit.
#[inline(always)]
fn miss<F: Deliver, A: Family>(frame: F, ingress: &Ingress, dst: Mac, code: i32) -> Outcome<Verdict> {
    // Fragments stay in order: none is passed up for another reason than its neighbors.
    if F::HOOK == Hook::Xdp && chain::is_one::<F, A>(frame) {
        return Outcome::ok(Verdict::PASS_UP);
    }
    if dst.is_group() {
        return frame.group::<A>(ingress.id);
    }
    let revisited = if code == NEW { Revisited::Nothing } else { frame.revisit::<A>(ingress.id)? };
    let is_known = match revisited {
        Revisited::Nothing => false,
        Revisited::Known => true,
        Revisited::Stale => match frame.recheck::<A>()? {
            Kept::Yes => true,
            Kept::DecideAsNew => false,
            // A reply that was refused until now has not moved its flow on.
            Kept::Reopened => frame.revisit::<A>(ingress.id)? != Revisited::Nothing,
        },
    };
    let mut verdict = Verdict::NEXT;
    if is_known {
        verdict = known::<F, A>(frame, ingress)?;
    }
    if verdict.action == Action::Next {
        verdict = frame.guard::<A>(ingress.id)?;
    }
    if verdict.action == Action::Related {
        verdict = frame.related::<A>(ingress.id)?;
    }
    if verdict.action == Action::Next {
        verdict = frame.first::<A>(ingress.id)?;
    }
    if verdict.action == Action::Next {
        if mapping::is_wanted::<F, A>() {
            frame.reserve::<A>(ingress.id, global::slot::<A>())?;
        }
        verdict = frame.admit::<A>(ingress.id, global::slot::<A>())?;
    }
    Outcome::ok(verdict)
}

/// A packet of a flow that was brought up to date goes where its entry says.
#[inline(never)]
fn known<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    if let Ok(ether) = parse::ether(frame)
        && let Ok(packet) = parse::packet::<F, A>(frame, ingress.port.zone)
        && let Some(found) = flow::find(ingress, &ether, packet)
    {
        if found.is_refused() {
            policy::check(frame, ingress, packet, &found.half.entry)?;
        }
        return deliver::known(frame, packet, found);
    }
    Outcome::ok(Verdict::NEXT)
}

/// A packet that did not hit: if it is of a flow, expiry, stage, and edits since are looked at.
#[inline(always)]
pub fn revisit<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Revisited> {
    let Ok(ether) = parse::ether(frame) else { return Outcome::ok(Revisited::Nothing) };
    let Ok(packet) = parse::packet::<F, A>(frame, ingress.port.zone) else {
        return Outcome::ok(Revisited::Nothing);
    };
    if packet.kind == Kind::IcmpError {
        return Outcome::ok(error::revisit::<F, A>(frame, ingress));
    }
    flow::revisit::<F, A>(ingress, &ether, packet)
}

/// Source guard; and packets that no flow is made for.
#[inline(always)]
pub fn guard<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    let ether = match parse::ether(frame) {
        Err(reason) => return ingress.unparsed(reason),
        Ok(ether) => ether,
    };
    let packet = match parse::packet::<F, A>(frame, ingress.port.zone) {
        Err(reason) => return ingress.unparsed(reason),
        Ok(packet) => packet,
    };
    if let Err(reason) = source::check(frame, ingress, &ether, packet) {
        let drop = Outcome::dropped(reason);
        refusal::remember(ingress, &ether, packet, None, drop);
        return drop;
    }
    if lease::is_from_server(ingress, packet) {
        if F::HOOK == Hook::Xdp {
            return Outcome::ok(Verdict::PASS_UP);
        }
        lease::note(frame, ingress, packet);
        return neighborhood::switch(frame, ingress, &ether);
    }
    match packet.kind {
        Kind::Neighborhood => neighborhood::unicast(frame, ingress, &ether, packet),
        Kind::IcmpError => Outcome::ok(Verdict::RELATED),
        Kind::Ports | Kind::Other => Outcome::ok(Verdict::NEXT),
    }
}

/// An ICMP error: where the flow goes that it belongs to; of no flow, as its network switches.
#[inline(always)]
pub fn related<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    let verdict = error::judge::<F, A>(frame, ingress)?;
    if verdict.action != Action::Next {
        return Outcome::ok(verdict);
    }
    match parse::ether(frame) {
        Ok(ether) => neighborhood::switch(frame, ingress, &ether),
        Err(reason) => ingress.unparsed(reason),
    }
}

/// The first packet of a flow: decides all but the translated L4 port, and leaves the flow to be admitted in scratch.
#[inline(always)]
pub fn first<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    let Ok(ether) = parse::ether(frame) else { return Outcome::dropped(DropReason::Internal) };
    let Ok(packet) = parse::packet::<F, A>(frame, ingress.port.zone) else {
        return Outcome::dropped(DropReason::Internal);
    };
    let to = admit::candidate::<F, A>(ingress, &ether, packet)?;
    let verdict = if F::IS_INGRESS && ingress.port.is(PortKind::Uplink) && !ingress.is_bridged() {
        forward::find(frame, ingress, packet, to)?
    } else if F::HOOK == Hook::Skb && F::IS_INGRESS && ingress.id == port::LOOPBACK {
        forward::from_host(frame, packet, to)?
    } else if ether.dst == ingress.port.gateway_mac {
        route::find(frame, ingress, packet, to)?
    } else {
        fdb::find(frame, ingress, &ether, packet, to)?
    };
    if verdict.action == Action::Next {
        let rule = policy::check(frame, ingress, packet, to);
        if !policy::is_of_one_packet::<F, A>() {
            refusal::remember(ingress, &ether, packet, Some(to), rule);
        }
        to.rule = rule?;
        policy::check_replies::<F, A>(ingress, packet, to)?;
    }
    Outcome::ok(verdict)
}

/// A packet to a group MAC.
#[inline(always)]
pub fn group<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    match parse::ether(frame) {
        Err(reason) => ingress.unparsed(reason),
        Ok(ether) => flood::group::<F, A>(frame, ingress, &ether),
    }
}

/// A frame that is not IP.
#[inline(always)]
pub fn other<F: Deliver>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    match parse::ether(frame) {
        Err(reason) => ingress.unparsed(reason),
        Ok(ether) => neighborhood::place(frame, ingress, &ether),
    }
}
