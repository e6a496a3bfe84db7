//! Routes: where a packet to the gateway's MAC goes, and what comes in from outside for a routed network.
//! Outside next hops are the host's: the kernel's FIB decides, asked in the name of a device whose forwarding
//! is on. Next hops inside are who has the address in its network.

use core::mem;

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibLookup,
    },
    helpers::bpf_fib_lookup,
};
use fwd_common::{
    addr::Mac,
    drop::DropReason,
    flow::{FlowEntry, flag},
    id::{NetworkId, PortId},
    network::{self, Mode},
    port::{self, PortKind},
    verdict::{Action, Outcome, Verdict},
};

use super::{admit, forward, mapping, nat, prefix, source};
use crate::{
    frame::Frame,
    maps::{self, Family},
    parse::{Kind, Packet},
    report::Ingress,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A next hop outside.
#[derive(Default)]
pub struct Hop {
    pub egress: PortId,
    /// None: not known to the host.
    pub mac: Mac,
}

/// The way of a packet that a VM sent to its gateway's MAC, into `to`.
///
/// # Errors
/// The reason why there is none.
#[inline(always)]
pub fn find<F: Frame, A: Family>(
    frame: F,
    ingress: &Ingress,
    packet: &Packet<A>,
    to: &mut FlowEntry<A>,
) -> Outcome<Verdict> {
    let (id, key) = (ingress.port.network, &packet.key);
    let network = maps::network(id)?;
    let is_private = network.has(network::flag::PRIVATE);
    if !network.is(Mode::Isolated) {
        let verdict = forward::from_inside(frame, network, ingress, packet, to)?;
        if verdict.action == Action::Next {
            return Outcome::ok(verdict);
        }
    }
    if maps::is_host_address(id, key.dst.ip())
        || (!is_private && maps::is_host_address(NetworkId(0), key.dst.ip()))
    {
        let host = maps::port(network.host_port).ok_or(DropReason::PortDown)?;
        return Outcome::ok(admit::leave_by(to, network.host_port, host));
    }
    // The kernel would send it to the default gateway.
    if key.dst.is_nobody() {
        return Outcome::dropped(DropReason::NoRoute);
    }
    if maps::neighbor(id, key.dst.ip()).is_some() {
        return inside(id, to);
    }
    let has_way_out = network.is(Mode::Nat) || network.is(Mode::Routed);
    if !has_way_out {
        return Outcome::dropped(DropReason::ModeForbids);
    }
    if A::IS_V6 {
        let verdict = prefix::from_inside(frame, id, to)?;
        if verdict.action == Action::Next {
            return Outcome::ok(verdict);
        }
    }
    if !is_private
        && let Some(other) = maps::network_of(key.dst.ip())
        && other != id
        && (network.routes(key.src.ip()) || maps::network(other)?.routes(key.dst.ip()))
    {
        return inside(other, to);
    }
    if network.routes(key.src.ip()) || nat::is_exempt(id, network, key.dst) {
        return outside(frame, network.fib_ifindex, to);
    }
    // An echo reply answers nothing here: its request would be a flow.
    if packet.kind != Kind::Ports || (key.proto == A::ICMP && key.sport == 0 && key.dport != 0) {
        return Outcome::dropped(DropReason::ProtocolUnsupported);
    }
    let mut hop = Hop::default();
    lookup::<F, A>(frame, network.fib_ifindex, (&key.src, &key.dst), &mut hop)?;
    let uplink = maps::port(hop.egress).ok_or(DropReason::NoRoute)?;
    to.src = nat::outside_address::<A>(ingress.port, uplink);
    if to.src == A::default() {
        return Outcome::dropped(DropReason::NoRoute);
    }
    to.out_dst = hop.mac;
    to.flags |= flag::ROUTED | flag::TRANSLATED | flag::SOURCE_TRANSLATED;
    mapping::ask(network, ingress.port, key.proto, to);
    if hop.mac == Mac::NONE {
        to.flags |= flag::UNRESOLVED;
    }
    Outcome::ok(admit::leave_by(to, hop.egress, uplink))
}

/// The way of a packet from outside that no forward takes: to a VM of a routed network, or of one whose prefix is
/// translated; else it is the host's.
///
/// # Errors
/// `NoNeighbor` where nobody has the address, `PrefixUnmapped`, and what [`source::from_outside`] refuses.
#[inline(always)]
pub fn inward<A: Family>(to: &mut FlowEntry<A>) -> Outcome<Verdict> {
    if maps::is_host_address(NetworkId(0), to.dst.ip()) {
        return Outcome::ok(Verdict::HOST);
    }
    if A::IS_V6
        && let Some(outside) = maps::prefix(NetworkId(0), to.dst.ip())
    {
        source::from_outside(to.src)?;
        return prefix::inward(outside, to);
    }
    let Some(id) = maps::network_of(to.dst.ip()) else { return Outcome::ok(Verdict::HOST) };
    if !maps::network(id)?.routes(to.dst.ip()) {
        return Outcome::ok(Verdict::HOST);
    }
    source::from_outside(to.src)?;
    inside(id, to)
}

/// To who has the destination in a network, unchanged but for MACs and TTL.
#[inline(always)]
pub fn inside<A: Family>(network: NetworkId, to: &mut FlowEntry<A>) -> Outcome<Verdict> {
    let neighbor = maps::neighbor(network, to.dst.ip()).ok_or(DropReason::NoNeighbor)?;
    let port = maps::port(neighbor.port).ok_or(DropReason::PortDown)?;
    to.out_dst = neighbor.mac;
    to.flags |= flag::ROUTED;
    Outcome::ok(admit::leave_by(to, neighbor.port, port))
}

/// Outside under its own address.
#[inline(always)]
pub fn outside<F: Frame, A: Family>(frame: F, ifindex: u32, to: &mut FlowEntry<A>) -> Outcome<Verdict> {
    let mut hop = Hop::default();
    lookup::<F, A>(frame, ifindex, (&to.src, &to.dst), &mut hop)?;
    let uplink = maps::port(hop.egress).ok_or(DropReason::NoRoute)?;
    to.out_dst = hop.mac;
    to.flags |= flag::ROUTED;
    if hop.mac == Mac::NONE {
        to.flags |= flag::UNRESOLVED;
    }
    Outcome::ok(admit::leave_by(to, hop.egress, uplink))
}

/// The next hop to an outside address, into `hop`.
///
/// # Errors
/// `NoRoute`, also where the route does not leave through an uplink.
#[inline(never)]
pub fn lookup<F: Frame, A: Family>(
    frame: F,
    ifindex: u32,
    (src, dst): (&A, &A),
    hop: &mut Hop,
) -> Result<(), DropReason> {
    // SAFETY: integers and unions of integers.
    let mut fib: FibLookup = unsafe { mem::zeroed() };
    fib.ifindex = ifindex;
    let (src, dst) = (src.ip().0, dst.ip().0);
    if A::IS_V6 {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = src;
        fib.__bindgen_anon_4.ipv6_dst = dst;
    } else {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = src[3];
        fib.__bindgen_anon_4.ipv4_dst = dst[3];
    }
    // SAFETY: the context is this program's, and the length is the structure's.
    let code = unsafe { bpf_fib_lookup(frame.context(), &mut fib, size_of::<FibLookup>() as i32, 0) };
    // Of an skb the helper looks at the size too, once it has found all: `deliver` does, and answers it.
    let is_resolved = [BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LKUP_RET_FRAG_NEEDED].map(i64::from).contains(&code);
    if !is_resolved && code != BPF_FIB_LKUP_RET_NO_NEIGH as i64 {
        return Err(DropReason::NoRoute);
    }
    hop.egress = maps::port_of_device(fib.ifindex).ok_or(DropReason::NoRoute)?;
    hop.mac = if is_resolved { Mac(fib.dmac) } else { Mac::NONE };
    let port = maps::port(hop.egress).ok_or(DropReason::NoRoute)?;
    // In a tunnel there is nobody to be found, whether the kernel has a neighbor of no address there or not.
    if port.has(port::flag::TUNNEL) {
        hop.mac = Mac::OF_TUNNEL;
    }
    if port.is(PortKind::Uplink) { Ok(()) } else { Err(DropReason::NoRoute) }
}
