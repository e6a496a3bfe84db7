//! The pipeline: the steps in order, each made of stages, and nothing else.
//!
//! ```text
//! frame ─ hit ───────────── current, settled, same Ethernet addresses ─┐
//!          └ revisit ────── expired? edited? stage? ─ hit ─────────────┤
//!             └ guard ────── source ─ neighborhood | error ────────────┤
//!                └ first ─── forward | route | fdb ─ policy            ├─ rewrite ─ deliver ─ finish
//!                   └ admit ─ quota ─ slot ─ nat ─ insert ───────────────┘
//! ```
//!
//! A step that cannot decide says [`Action::Next`]. All but `hit` are global functions (`global`).

use fwd_common::{
    addr::{Mac, V4, V6},
    drop::DropReason,
    port::PortKind,
    proto::EtherType,
    verdict::{Action, Outcome, Verdict},
};

use crate::{
    finish,
    frame::Deliver,
    global,
    maps::Family,
    parse::{self, Kind},
    report::{self, Ingress},
    stage::{
        admit, deliver, error, fdb, flood, flow, flow::Revisited, forward, neighborhood, policy,
        recheck::Kept, route, source,
    },
};

/// Decides a frame and says so to the hook.
#[inline(always)]
pub fn run<F: Deliver>(frame: F) -> i32 {
    let Some(ingress) = Ingress::of(frame) else { return F::NEXT };
    if frame.take_mark(ingress.settings.mark) {
        return F::NEXT;
    }
    report::received(frame, &ingress);
    let verdict = decide(frame, &ingress);
    finish::finish(frame, &ingress, verdict)
}

/// Decides a frame that came in on a port.
#[inline(always)]
pub fn decide<F: Deliver>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    match parse::ether_header(frame) {
        Ok(ether) if ether.ether_type == EtherType::IPV4 => ip::<F, V4>(frame, ingress, ether.dst),
        Ok(ether) if ether.ether_type == EtherType::IPV6 => ip::<F, V6>(frame, ingress, ether.dst),
        _ => frame.other(ingress.id),
    }
}

#[inline(always)]
fn ip<F: Deliver, A: Family>(frame: F, ingress: &Ingress, dst: Mac) -> Outcome<Verdict> {
    if dst.is_group() {
        return frame.group::<A>(ingress.id);
    }
    let mut verdict = hit::<F, A, true>(frame, ingress)?;
    if verdict.action == Action::Next {
        let is_known = match frame.revisit::<A>(ingress.id)? {
            Revisited::Nothing => false,
            Revisited::Known => true,
            Revisited::Stale => frame.recheck::<A>()? == Kept::Yes,
        };
        if is_known {
            verdict = hit::<F, A, false>(frame, ingress)?;
        }
    }
    if verdict.action == Action::Next {
        verdict = frame.guard::<A>(ingress.id)?;
    }
    if verdict.action == Action::Next {
        verdict = frame.first::<A>(ingress.id)?;
    }
    if verdict.action == Action::Next {
        verdict = frame.admit::<A>(ingress.id, global::slot::<A>())?;
    }
    Outcome::ok(verdict)
}

/// A packet of a known flow goes where its entry says; at first sight only if the flow is current and settled.
#[inline(never)]
fn hit<F: Deliver, A: Family, const AT_FIRST_SIGHT: bool>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    if let Ok(ether) = parse::ether(frame)
        && let Ok(packet) = parse::packet::<F, A>(frame, ingress.port.zone)
        && let Some(hit) = flow::find(ingress, &ether, &packet)
        && (!AT_FIRST_SIGHT || hit.is_settled(ingress, &packet))
    {
        return deliver::known(frame, &packet, hit);
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
    flow::revisit::<F, A>(ingress, &ether, &packet)
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
    source::check(ingress, &ether, &packet)?;
    match packet.kind {
        Kind::Neighborhood => neighborhood::unicast(frame, ingress, &ether, &packet),
        Kind::IcmpError => {
            let verdict = frame.related::<A>(ingress.id)?;
            if verdict.action == Action::Next {
                neighborhood::switch(frame, ingress, &ether)
            } else {
                Outcome::ok(verdict)
            }
        }
        Kind::Ports | Kind::Other => Outcome::ok(Verdict::NEXT),
    }
}

/// An ICMP error: where the flow goes that it belongs to.
#[inline(always)]
pub fn related<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    error::judge::<F, A>(frame, ingress)
}

/// The first packet of a flow: decides all but the translated L4 port, and leaves the flow to be admitted in scratch.
#[inline(always)]
pub fn first<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    let Ok(ether) = parse::ether(frame) else { return Outcome::dropped(DropReason::Internal) };
    let Ok(packet) = parse::packet::<F, A>(frame, ingress.port.zone) else {
        return Outcome::dropped(DropReason::Internal);
    };
    let to = admit::candidate::<F, A>(ingress, &ether, &packet)?;
    let verdict = if F::IS_INGRESS && ingress.port.is(PortKind::Uplink) && !ingress.is_bridged() {
        forward::find(frame, ingress, &packet, to)?
    } else if ether.dst == ingress.port.gateway_mac {
        route::find(frame, ingress, &packet, to)?
    } else {
        fdb::find(frame, ingress, &ether, &packet, to)?
    };
    if verdict.action == Action::Next {
        to.rule = policy::check(ingress, &packet, to)?;
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
