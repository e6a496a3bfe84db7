//! The one exit: a verdict becomes a hook's code and one column of the ledger; a drop is counted by reason
//! and told.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use fwd_common::{
    addr::{V4, V6},
    counter::Count,
    drop::DropReason,
    flow::FlowKey,
    id::{PortId, Zone},
    port::{self, Port},
    proto::EtherType,
    verdict::{Action, Outcome, Verdict},
};

use crate::{
    frame::{Deliver, Hook},
    log,
    maps::{self, Family},
    parse::{self, Ether},
    report::{self, Ingress, Told},
    stage::answer,
};

pub const XDP_NEXT: i32 = xdp_action::XDP_PASS as i32;
pub const XDP_DROP: i32 = xdp_action::XDP_DROP as i32;
/// TCX_NEXT. TC_ACT_OK would end the chain and hide the programs of others behind this one.
pub const TCX_NEXT: i32 = TC_ACT_UNSPEC;
pub const TCX_DROP: i32 = TC_ACT_SHOT;

/// Counts a verdict and turns it into the hook's code.
#[inline(always)]
pub fn finish<F: Deliver>(frame: F, ingress: &Ingress, verdict: Outcome<Verdict>) -> i32 {
    let size = report::size_of_frame(frame);
    if verdict.is_drop() {
        return refuse(frame, ingress, verdict, size);
    }
    let verdict = verdict.value();
    match verdict.action {
        Action::Forward | Action::ForwardByHost => {
            // A port deleted since the stages saw it: lost behind the egress, like a frame in its queue.
            let Some(port) = maps::port(verdict.port) else {
                ingress.count(|l| &mut l.forwarded, size);
                return F::DROP;
            };
            if verdict.action == Action::ForwardByHost {
                ingress.count(|l| &mut l.forwarded, size);
                return frame.redirect_by_host(port);
            }
            forward(frame, ingress, size, (verdict.port, port))
        }
        Action::Answered => {
            ingress.count(|l| &mut l.answered, size);
            leave(frame, (ingress.id, ingress.port))
        }
        Action::Flooded => {
            ingress.count(|l| &mut l.forwarded, size);
            F::DROP
        }
        Action::Next | Action::Related => {
            ingress.count(|l| &mut l.dropped, size);
            frame.lose(ingress.id, Outcome::dropped(DropReason::Internal));
            F::DROP
        }
        Action::Host | Action::PassUp => pass_up(frame, ingress, size),
    }
}

/// Counts a frame that goes on to the host's stack, or to TCX.
#[inline(always)]
pub fn pass_up<F: Deliver>(_: F, ingress: &Ingress, size: Count) -> i32 {
    match F::HOOK {
        Hook::Xdp => ingress.count(|l| &mut l.passed_up, size),
        Hook::Skb => ingress.count(|l| &mut l.host, size),
    }
    F::NEXT
}

/// Counts a drop like one a moment ago, and tells it: without a call, unless it is told.
#[inline(always)]
pub fn drop_again<F: Deliver>(frame: F, ingress: &Ingress, size: Count, drop: Outcome<Verdict>) -> i32 {
    ingress.count(|l| &mut l.dropped, size);
    count_and_tell(frame, ingress.id, drop, size);
    F::DROP
}

/// Counts a frame out by a port, and hands it to the port's device.
#[inline(always)]
pub fn forward<F: Deliver>(frame: F, ingress: &Ingress, size: Count, egress: (PortId, &Port)) -> i32 {
    ingress.count(|l| &mut l.forwarded, size);
    leave(frame, egress)
}

#[inline(always)]
fn leave<F: Deliver>(frame: F, (id, port): (PortId, &Port)) -> i32 {
    if F::HOOK == Hook::Skb && port.has(port::flag::INTO) {
        frame.redirect_into(port)
    } else {
        frame.redirect(id, port)
    }
}

/// A drop, or the answer in its place. What a rule rejects is a drop, answered or not: what is counted for a
/// rule does not depend on how often it tells.
#[inline(always)]
fn refuse<F: Deliver>(frame: F, ingress: &Ingress, drop: Outcome<Verdict>, size: Count) -> i32 {
    let reason = drop.word() as u8;
    let is_answered = answer::is_answered(reason);
    if is_answered && F::HOOK == Hook::Xdp && answer::has_budget(ingress.id) {
        ingress.count(|l| &mut l.passed_up, size);
        return F::NEXT;
    }
    let is_rejected = reason == DropReason::PolicyRejected as u8;
    if is_rejected {
        ingress.count(|l| &mut l.dropped, size);
        frame.lose(ingress.id, drop);
    }
    if is_answered && F::HOOK == Hook::Skb && is_made(frame, ingress, drop) {
        if !is_rejected {
            ingress.count(|l| &mut l.answered, size);
        }
        return leave(frame, (ingress.id, ingress.port));
    }
    if !is_rejected {
        ingress.count(|l| &mut l.dropped, size);
        frame.lose(ingress.id, drop);
    }
    F::DROP
}

#[inline(always)]
fn is_made<F: Deliver>(frame: F, ingress: &Ingress, drop: Outcome<Verdict>) -> bool {
    match parse::ether_header(frame) {
        Ok(ether) if ether.ether_type == EtherType::IPV4 => frame.answer::<V4>(ingress.id, drop),
        Ok(ether) if ether.ether_type == EtherType::IPV6 => frame.answer::<V6>(ingress.id, drop),
        _ => false,
    }
}

/// Counts a drop by reason, port and rule, and tells it.
#[inline(always)]
pub fn lose<F: Deliver>(frame: F, port: PortId, drop: Outcome<Verdict>) {
    count_and_tell(frame, port, drop, report::size_of_frame(frame));
}

#[inline(always)]
fn count_and_tell<F: Deliver>(frame: F, port: PortId, drop: Outcome<Verdict>, size: Count) {
    log::dropped::<F>(port.0 as u32, drop.word());
    if report::dropped(port, drop.drop(), size) {
        frame.tell(port, drop);
    }
}

/// Tells a drop.
#[inline(always)]
pub fn tell<F: Deliver>(frame: F, port: PortId, outcome: Outcome<Verdict>) {
    // Verifier: read between the two, not within the second, so that its stack is not added to theirs.
    let is_read = match parse::ether_header(frame) {
        Ok(ether) if ether.ether_type == EtherType::IPV4 => !frame.parse::<V4>(Zone::default()).is_drop(),
        Ok(ether) if ether.ether_type == EtherType::IPV6 => !frame.parse::<V6>(Zone::default()).is_drop(),
        _ => false,
    };
    event(frame, port, outcome.word(), is_read);
}

/// Tells a drop; if the packet could be read, of what scratch has of it.
#[inline(never)]
fn event<F: Deliver>(frame: F, port: PortId, drop: u64, is_read: bool) {
    let len = report::size_of_frame(frame).bytes;
    let (drop, told) = (Outcome::<Verdict>::from_word(drop).drop(), told(frame, is_read));
    report::tell_drop(port, drop, len, told, |head| frame.head(head));
}

/// What can be read of a frame that is dropped.
#[inline(always)]
fn told<F: Deliver>(frame: F, is_read: bool) -> Told {
    let Ok(ether) = parse::ether_header(frame) else { return Told::default() };
    match ether.ether_type {
        EtherType::IPV4 => told_ip::<F, V4>(frame, &ether, is_read),
        EtherType::IPV6 => told_ip::<F, V6>(frame, &ether, is_read),
        _ => Told { ether_type: ether.ether_type.0, frame_src: ether.src, ..Told::default() },
    }
}

#[inline(always)]
fn told_ip<F: Deliver, A: Family>(frame: F, ether: &Ether, is_read: bool) -> Told {
    let mut told = Told { ether_type: ether.ether_type.0, frame_src: ether.src, ..Told::default() };
    if is_read && let Ok(packet) = parse::last::<F, A>() {
        let FlowKey { src, dst, sport, dport, proto, .. } = packet.key;
        (told.src, told.dst, told.sport, told.dport, told.proto) = (src.ip(), dst.ip(), sport, dport, proto);
    } else if let Ok((src, dst)) = parse::addresses::<F, A>(frame) {
        (told.src, told.dst) = (src.ip(), dst.ip());
    }
    told
}
