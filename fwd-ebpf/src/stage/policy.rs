//! Policy: the sender's egress and the receiver's ingress are both asked. Rules on forwarded traffic see the
//! outside client and the VM's own L4 port.

use fwd_common::{
    addr::Ip,
    drop::DropReason,
    flow::FlowEntry,
    id::{ClassId, Identity, RuleId},
    policy::{self, Denied, Direction},
    port::{self, Port, PortKind},
    proto::IpProto,
    verdict::{Dropped, Outcome},
};

use crate::{
    maps::{self, Family, PolicyMaps},
    parse::Packet,
    report::Ingress,
};

/// The rule that permits a new flow (0: the default).
///
/// # Errors
/// The drop that names the rule which does not.
#[inline(always)]
pub fn check<A: Family>(ingress: &Ingress, packet: &Packet<A>, to: &FlowEntry<A>) -> Outcome<RuleId> {
    let egress = maps::port(to.egress).ok_or(DropReason::PortDown)?;
    let key = &packet.key;
    // A forward changes the L4 port before rules see it; of ICMP they see type and code.
    let service = if key.proto == A::ICMP { packet.service } else { to.dport };
    ask((ingress.port, egress), (key.src.ip(), to.dst.ip()), (key.proto, service))
}

/// Asks both ends of a flow; `service` in network byte order.
///
/// # Errors
/// As for [`check`].
#[inline(never)]
pub fn ask((from, to): (&Port, &Port), (src, dst): (Ip, Ip), service: (IpProto, u16)) -> Outcome<RuleId> {
    ask_both((from, to), (src, dst), service)
}

#[inline(always)]
fn ask_both((from, to): (&Port, &Port), (src, dst): (Ip, Ip), service: (IpProto, u16)) -> Outcome<RuleId> {
    if from.flags & to.flags & port::flag::ISOLATED != 0 {
        return Outcome::dropped(DropReason::ModeForbids);
    }
    let epoch = maps::settings()?.epoch;
    let sent = one_end(epoch, (from, Direction::Egress), (to, dst), service)?;
    let received = one_end(epoch, (to, Direction::Ingress), (from, src), service)?;
    Outcome::ok(if received == RuleId(0) { sent } else { received })
}

/// Asks the sender only: for packets to many, or to nobody known.
///
/// # Errors
/// As for [`check`].
#[inline(always)]
pub fn ask_sender(from: &Port, dst: Ip, service: (IpProto, u16)) -> Outcome<RuleId> {
    let epoch = maps::settings()?.epoch;
    decide(epoch, (from, Direction::Egress), Identity::outside(class(epoch, dst)), service)
}

#[inline(always)]
fn one_end(
    epoch: u32,
    (asked, direction): (&Port, Direction),
    (peer, peer_addr): (&Port, Ip),
    service: (IpProto, u16),
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
    decide(epoch, (asked, direction), identity, service)
}

#[inline(always)]
fn decide(
    epoch: u32,
    (asked, direction): (&Port, Direction),
    peer: Identity,
    service: (IpProto, u16),
) -> Outcome<RuleId> {
    match policy::decide(&PolicyMaps, asked.view(epoch).policy, direction, peer, service) {
        Ok(rule) => Outcome::ok(rule),
        Err(Denied { reason, rule }) => Outcome::dropped(Dropped { reason, rule, direction }),
    }
}

#[inline(always)]
fn class(epoch: u32, addr: Ip) -> ClassId {
    maps::class(epoch, addr)
}
