//! Forwards: an outside address and L4 port lead to a VM port, from outside and from other VMs.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use fwd_common::{
    addr::Ip,
    dhcp,
    drop::DropReason,
    flow::{FlowEntry, FlowKey, flag},
    forward::{self, Forward, ForwardKey},
    network::{self, Network},
    port::Port,
    proto::IpProto,
    verdict::{Action, Dropped, Outcome, Verdict},
};

use super::{admit, mapping, nat, route, source};
use crate::{
    frame::Frame,
    maps::{self, Family},
    parse::{Kind, Packet},
    report::Ingress,
};

/// The forward that takes an outside packet, into `to`; without one it is a mapping's, a routed network's, or the
/// host's. A mapping goes before a forward of every L4 port.
///
/// # Errors
/// `NoNeighbor` where the target's MAC is not known; `ForwardClientDenied`; and what [`source::from_outside`] and
/// [`route::inward`] refuse.
#[inline(never)]
pub fn find<F: Frame, A: Family>(
    frame: F,
    ingress: &Ingress,
    packet: &Packet<A>,
    to: &mut FlowEntry<A>,
) -> Outcome<Verdict> {
    let key = &packet.key;
    let found = public(key);
    if found.is_none_or(is_whole)
        && let Some(mapping) = mapping::met::<F, A>(key)
        && !nat::has_socket(frame, key)
    {
        source::from_outside(key.src)?;
        return mapping.lead(to);
    }
    let Some(forward) = found else { return route::inward(to) };
    // A connection that a socket of the host has is the host's, also after a forward was added over it.
    let is_midstream = packet.is_midstream();
    if leaves_to_host(forward, packet) || (may_leave(forward, is_midstream) && nat::has_socket(frame, key)) {
        return Outcome::ok(Verdict::HOST);
    }
    if ingress.id == forward.port {
        return Outcome::dropped(DropReason::NoNeighbor);
    }
    source::from_outside(key.src)?;
    lead(forward, key, to)
}

/// The forward that takes a VM's packet to an address of this host; without one it is the host's. The target
/// sees the VM's own address, but for targets that would answer it past this host, or that could not tell it
/// from one of their own: these see their gateway's.
///
/// # Errors
/// As for [`find`].
#[inline(never)]
pub fn from_inside<F: Frame, A: Family>(
    frame: F,
    from: &Network,
    ingress: &Ingress,
    packet: &Packet<A>,
    to: &mut FlowEntry<A>,
) -> Outcome<Verdict> {
    let key = &packet.key;
    let found = public(key);
    if found.is_none_or(is_whole)
        && let Some(mapping) = mapping::met::<F, A>(key)
    {
        return mapping.hairpin(from, ingress, key, to);
    }
    let Some(forward) = found else { return Outcome::ok(Verdict::HOST) };
    if leaves_to_host(forward, packet) || (may_leave(forward, false) && nat::has_socket(frame, key)) {
        return Outcome::ok(Verdict::HOST);
    }
    let verdict = lead(forward, key, to)?;
    if verdict.action != Action::Next {
        return Outcome::ok(verdict);
    }
    let port = maps::port(forward.port).ok_or(DropReason::PortDown)?;
    let network = maps::network(port.network)?;
    let is_alike = from.has(network::flag::PRIVATE) || network.has(network::flag::PRIVATE);
    if is_alike || port.network == ingress.port.network {
        as_gateway(to, port)?;
    }
    Outcome::ok(verdict)
}

/// The forward that takes what a process of this host sends to an address of this host; without one, or where
/// another process listens, it is the host's. The target sees the address of this host from which it came, or its
/// gateway's for a loopback address, and in a private network, which may have that address itself.
///
/// # Errors
/// As for [`find`].
#[inline(never)]
pub fn from_host<F: Frame, A: Family>(
    frame: F,
    packet: &Packet<A>,
    to: &mut FlowEntry<A>,
) -> Outcome<Verdict> {
    let key = &packet.key;
    let Some(forward) = live(key.proto, key.dst.ip(), key.dport) else { return Outcome::ok(Verdict::HOST) };
    if leaves_to_host(forward, packet) || nat::has_socket(frame, key) {
        return Outcome::ok(Verdict::HOST);
    }
    let verdict = lead(forward, key, to)?;
    if verdict.action != Action::Next {
        return Outcome::ok(verdict);
    }
    let port = maps::port(forward.port).ok_or(DropReason::PortDown)?;
    if key.src.is_nobody() || maps::network(port.network)?.has(network::flag::PRIVATE) {
        as_gateway(to, port)?;
    }
    Outcome::ok(verdict)
}

/// Makes the target's gateway the source.
#[inline(always)]
fn as_gateway<A: Family>(to: &mut FlowEntry<A>, target: &Port) -> Outcome<()> {
    to.src = nat::address(target);
    to.flags |= flag::SOURCE_TRANSLATED;
    if to.src == A::default() { Outcome::dropped(DropReason::NoRoute) } else { Outcome::ok(()) }
}

/// Whether a forward may take a packet that a process of this host sends to this host. Of SCTP none does: the
/// host's sockets of it cannot be seen.
#[inline(always)]
pub fn listens<A: Family>(key: &FlowKey<A>) -> bool {
    key.proto != IpProto::SCTP && live(key.proto, key.dst.ip(), key.dport).is_some()
}

/// The forward that has a packet of anybody else than this host.
#[inline(always)]
fn public<A: Family>(key: &FlowKey<A>) -> Option<&'static Forward> {
    live(key.proto, key.dst.ip(), key.dport).filter(|forward| !forward.has(forward::flag::LOOPBACK))
}

/// Whether a forward of every L4 port leaves a packet to the host whoever has a socket: an answer to its own
/// ping, what has neither L4 ports nor an echo id, and its DHCP client's, which may listen on no socket.
#[inline(always)]
fn leaves_to_host<A: Family>(forward: &Forward, packet: &Packet<A>) -> bool {
    let key = &packet.key;
    is_whole(forward)
        && (packet.kind != Kind::Ports
            || (key.proto == A::ICMP && key.dport != 0)
            || (key.proto == IpProto::UDP && dhcp::CLIENTS.contains(&key.dport)))
}

#[inline(always)]
const fn is_whole(forward: &Forward) -> bool {
    forward.has(forward::flag::WHOLE)
}

/// Whether a socket of the host goes before a forward.
#[inline(always)]
const fn may_leave(forward: &Forward, is_midstream: bool) -> bool {
    is_midstream || is_whole(forward)
}

/// To where a forward leads, if it still does and is for this client.
#[inline(always)]
fn lead<A: Family>(forward: &Forward, key: &FlowKey<A>, to: &mut FlowEntry<A>) -> Outcome<Verdict> {
    let Some(port) = maps::port(forward.port) else { return Outcome::dropped(DropReason::PortDown) };
    let neighbor = maps::neighbor(port.network, forward.to).ok_or(DropReason::NoNeighbor)?;
    if neighbor.port != forward.port {
        return Outcome::dropped(DropReason::NoNeighbor);
    }
    let verdict = admit::leave_by(to, forward.port, port);
    // Once more, after the generation was read: an edit in between shows in one of the two.
    let Some(again) = live(key.proto, key.dst.ip(), key.dport).filter(|again| again.id == forward.id) else {
        return Outcome::ok(Verdict::HOST);
    };
    check_client(again, key)?;
    to.flags |= flag::ROUTED | flag::TRANSLATED;
    to.dst = A::from_ip(forward.to);
    to.dport = target(forward, key.dport);
    to.out_dst = neighbor.mac;
    to.forward = forward.id;
    Outcome::ok(verdict)
}

/// Whether the forward that admitted a flow would admit it now. Flows without one pass.
///
/// # Errors
/// `ForwardRemoved` where it leads elsewhere or nowhere, `ForwardClientDenied` where it is for others now.
#[inline(always)]
pub fn check<A: Family>(key: &FlowKey<A>, entry: &FlowEntry<A>) -> Outcome<()> {
    if entry.forward.0 == 0 {
        return Outcome::ok(());
    }
    let leads = |f: &&Forward| {
        f.id == entry.forward
            && f.port == entry.egress
            && A::from_ip(f.to) == entry.dst
            && target(f, key.dport) == entry.dport
    };
    match live(key.proto, key.dst.ip(), key.dport).filter(leads) {
        Some(forward) => check_client(forward, key),
        None => Outcome::dropped(DropReason::ForwardRemoved),
    }
}

/// Whether a forward is for a client: by the address that it has where it is, VM or not.
#[inline(always)]
fn check_client<A: Family>(forward: &Forward, key: &FlowKey<A>) -> Outcome<()> {
    if !forward.has(forward::flag::LIMITED) || maps::is_client(forward.id, key.src.ip()) {
        Outcome::ok(())
    } else {
        Outcome::dropped(Dropped::by_forward(forward.id))
    }
}

/// Whether some forward takes this L4 port: it is not for translations to have. One of every L4 port has what
/// translations leave.
#[inline(always)]
pub fn owns(proto: IpProto, addr: Ip, l4_port: u16) -> bool {
    live(proto, addr, l4_port).is_some_and(|forward| !forward.has(forward::flag::WHOLE))
}

/// Whether a flow from outside is one that the host may take back from a forward of every L4 port.
#[inline(always)]
pub fn is_left_over<A: Family>(key: &FlowKey<A>) -> bool {
    live(key.proto, key.dst.ip(), key.dport).is_some_and(|forward| forward.has(forward::flag::WHOLE))
}

#[inline(always)]
fn live(proto: IpProto, addr: Ip, l4_port: u16) -> Option<&'static Forward> {
    // SAFETY: reads a clock.
    let is_live = |f: &&Forward| f.expires_ns == 0 || unsafe { bpf_ktime_get_ns() } < f.expires_ns;
    maps::forward(ForwardKey::new(proto, addr, l4_port)).filter(is_live)
}

/// The L4 port in the VM, in network byte order.
#[inline(always)]
fn target(forward: &Forward, l4_port: u16) -> u16 {
    u16::from_be(l4_port).wrapping_add(forward.l4_offset).to_be()
}
