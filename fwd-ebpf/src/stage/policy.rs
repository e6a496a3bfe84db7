//! Policy: the sender's egress and the receiver's ingress are both asked. Rules on forwarded traffic see the
//! outside client and the VM's own L4 port.

use fwd_common::{
    addr::Ip,
    drop::DropReason,
    flow::{FlowEntry, FlowKey, flag},
    id::{ClassId, Identity, RuleId},
    message,
    policy::{self, Denied, Direction, L4, PolicyKey, Staged, note},
    port::{self, Port, PortKind},
    verdict::{Dropped, Outcome},
};

use crate::{
    frame::{Frame, Hook},
    maps::{self, Family, PolicyMaps},
    parse::Packet,
    report::{self, Ingress},
};

/// The rule that permits a packet (0: the default): a new flow's first one, or one that answers a flow of a stateless
/// rule.
///
/// # Errors
/// The drop that names the rule which does not.
#[inline(always)]
pub fn check<F: Frame, A: Family>(
    frame: F,
    ingress: &Ingress,
    packet: &Packet<A>,
    to: &FlowEntry<A>,
) -> Outcome<RuleId> {
    let egress = maps::port(to.egress).ok_or(DropReason::PortDown)?;
    let key = &packet.key;
    // A forward changes the L4 port before rules see it; of ICMP they see type and code.
    let service = if key.proto == A::ICMP { packet.service } else { to.dport };
    let l4 = L4::new(key.proto, service, key.sport);
    let asked = ask::<F, A>((ingress.port, egress), (key.src.ip(), to.dst.ip()), l4);
    // What XDP rejects is decided again by TCX.
    if asked.is_drop() && (F::HOOK == Hook::Skb || asked.drop().reason != DropReason::PolicyRejected) {
        report::would_pass(staged::<F, A>()?.rule, report::size_of_frame(frame));
    }
    asked
}

/// Asks about what will answer a flow to be admitted, right after [`check`] has permitted it. Leaves in scratch what is
/// to become of the replies.
#[inline(always)]
pub fn check_replies<F: Frame, A: Family>(
    ingress: &Ingress,
    packet: &Packet<A>,
    to: &mut FlowEntry<A>,
) -> Outcome<()> {
    let egress = maps::port(to.egress).ok_or(DropReason::PortDown)?;
    let asked = ask_replies::<F, A>((ingress.port, egress), &packet.key, to, packet.service);
    if asked.is_drop() {
        to.flags |= flag::REPLY_REFUSED;
    } else if asked.value() != to.rule
        && let Some(pair) = A::scratch().get_ptr_mut(F::PROGRAM)
    {
        // SAFETY: this CPU's and this program's row.
        unsafe { (*pair).reply_rule = asked.value() };
    }
    Outcome::ok(())
}

/// The rule that permits what answers a flow that [`ask`] has just found permitted: both ends are asked as about a first
/// packet the other way, if it was by a stateless rule; else nobody is. `key` and `entry` are the original direction's, and
/// of ICMP `service` is its type and code.
///
/// # Errors
/// As for [`check`].
#[inline(always)]
pub fn ask_replies<F: Frame, A: Family>(
    (from, to): (&Port, &Port),
    key: &FlowKey<A>,
    entry: &FlowEntry<A>,
    service: u16,
) -> Outcome<RuleId> {
    if !staged::<F, A>()?.has(note::STATELESS) {
        return Outcome::ok(RuleId(0));
    }
    let service = if key.proto == A::ICMP { message::answered::<A>(service) } else { key.sport };
    let l4 = L4::new(key.proto, service, entry.dport);
    // What staged rules would do to either direction is told once, for the flow.
    ask_also::<F, A>((to, from), (entry.dst.ip(), key.src.ip()), l4)
}

/// What staged rules would do, of the decision made last.
#[inline(always)]
pub fn staged<F: Frame, A: Family>() -> Result<&'static mut Staged, DropReason> {
    let pair = A::scratch().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row.
    Ok(unsafe { &mut (*pair).staged })
}

/// Whether the decision made last is of this packet alone: a staged rule counts each that it refuses, or it looked at the
/// source L4 port.
#[inline(always)]
pub fn is_of_one_packet<F: Frame, A: Family>() -> bool {
    staged::<F, A>().is_ok_and(|staged| staged.rule != RuleId(0) || staged.has(note::BY_SOURCE))
}

/// Asks both ends of a flow.
///
/// # Errors
/// As for [`check`].
#[inline(never)]
pub fn ask<F: Frame, A: Family>(ports: (&Port, &Port), addresses: (Ip, Ip), l4: L4) -> Outcome<RuleId> {
    let staged = staged::<F, A>()?;
    *staged = Staged::default();
    ask_both(ports, addresses, l4, staged)
}

/// The same beside what was noted before.
///
/// Verifier: no part of [`ask`], whose stack is not to be added to this one's.
#[inline(never)]
fn ask_also<F: Frame, A: Family>(ports: (&Port, &Port), addresses: (Ip, Ip), l4: L4) -> Outcome<RuleId> {
    ask_both(ports, addresses, l4, staged::<F, A>()?)
}

#[inline(always)]
fn ask_both(
    (from, to): (&Port, &Port),
    (src, dst): (Ip, Ip),
    l4: L4,
    staged: &mut Staged,
) -> Outcome<RuleId> {
    if from.flags & to.flags & port::flag::ISOLATED != 0 {
        return Outcome::dropped(DropReason::ModeForbids);
    }
    let epoch = maps::settings()?.epoch;
    let sent = one_end(epoch, (from, Direction::Egress), (to, dst), l4, staged)?;
    let received = one_end(epoch, (to, Direction::Ingress), (from, src), l4, staged)?;
    Outcome::ok(if received == RuleId(0) { sent } else { received })
}

/// Asks the sender only: for packets to many, or to nobody known.
///
/// # Errors
/// As for [`check`].
#[inline(always)]
pub fn ask_sender(from: &Port, dst: Ip, l4: L4) -> Outcome<RuleId> {
    let epoch = maps::settings()?.epoch;
    let peer = Identity::outside(class(epoch, dst));
    decide(epoch, (from, Direction::Egress), peer, l4, &mut Staged::default())
}

#[inline(always)]
fn one_end(
    epoch: u32,
    (asked, direction): (&Port, Direction),
    (peer, peer_addr): (&Port, Ip),
    l4: L4,
    staged: &mut Staged,
) -> Outcome<RuleId> {
    if !asked.is(PortKind::Vm) || asked.view(epoch).policy == Default::default() {
        return Outcome::ok(RuleId(0));
    }
    let identity = if peer.is(PortKind::Vm) {
        peer.view(epoch).identity
    } else if peer.is(PortKind::Host) {
        Identity::host(class(epoch, peer_addr))
    } else {
        Identity::outside(class(epoch, peer_addr))
    };
    decide(epoch, (asked, direction), identity, l4, staged)
}

#[inline(always)]
fn decide(
    epoch: u32,
    (asked, direction): (&Port, Direction),
    peer: Identity,
    l4: L4,
    staged: &mut Staged,
) -> Outcome<RuleId> {
    let key = PolicyKey::new(asked.view(epoch).policy, direction, peer);
    match policy::decide(&PolicyMaps { epoch }, key, l4, staged) {
        Ok(rule) => Outcome::ok(rule),
        Err(Denied { reason, rule }) => Outcome::dropped(Dropped { reason, rule, direction }),
    }
}

#[inline(always)]
fn class(epoch: u32, addr: Ip) -> ClassId {
    maps::class(epoch, addr)
}
