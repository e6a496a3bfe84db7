//! Broadcast, multicast and unknown unicast: copies to the members of the network, and to nobody else.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use fwd_common::{
    addr::Address,
    counter::{Count, Ledger},
    dhcp,
    drop::DropReason,
    id::{NetworkId, PortId},
    network::{MAX_MEMBERS, Mode},
    policy::L4,
    port::{self, PortKind},
    proto::{IpProto, icmp},
    verdict::{Outcome, Verdict},
};

use super::{budget, fdb, lease, neighborhood, policy, proxy, source};
use crate::{
    frame::{Deliver, Frame, Hook, Skb},
    maps::{self, Family},
    parse::{self, Ether, Kind},
    report::{self, Ingress},
    trace,
};

/// A packet to a group MAC. XDP leaves all of them to TCX.
///
/// # Errors
/// What source guard and policy refuse.
#[inline(always)]
pub fn group<F: Deliver, A: Family>(frame: F, ingress: &Ingress, ether: &Ether) -> Outcome<Verdict> {
    let is_uplink = ingress.port.is(PortKind::Uplink);
    if is_uplink && (!ingress.is_bridged() || ether.dst.is_bridge_reserved()) {
        let is_answered = !ingress.is_bridged() && proxy::answers::<F, A>(frame, ingress);
        return Outcome::ok(if is_answered { Verdict::ANSWERED } else { Verdict::HOST });
    }
    if F::HOOK == Hook::Xdp {
        return Outcome::ok(Verdict::PASS_UP);
    }
    if ether.dst.is_bridge_reserved() {
        return Outcome::dropped(DropReason::LinkLocalFrame);
    }
    let packet = if ingress.port.is(PortKind::Vm) {
        check::<F, A>(frame, ingress, ether)?;
        parse::last::<F, A>()
    } else {
        parse::packet::<F, A>(frame, ingress.port.zone)
    };
    if let Ok(packet) = packet
        && lease::is_from_server(ingress, packet)
    {
        lease::note(frame, ingress, packet);
    }
    fdb::learn(ingress, ether.src)?;
    frame.flood(ingress)
}

/// Source guard and the sender's rules. What a network cannot do without is exempt from rules: neighbor
/// discovery and DHCP.
#[inline(always)]
fn check<F: Deliver, A: Family>(frame: F, ingress: &Ingress, ether: &Ether) -> Outcome<()> {
    source::mac(ingress, ether)?;
    let epoch = maps::settings()?.epoch;
    let is_open = ingress.port.view(epoch).policy == Default::default();
    match parse::packet::<F, A>(frame, ingress.port.zone) {
        Ok(packet) => {
            source::check(frame, ingress, ether, packet)?;
            if packet.kind == Kind::Neighborhood {
                neighborhood::check_nd(frame, ingress, ether, packet)?;
                return Outcome::ok(());
            }
            if packet.kind == Kind::IcmpError && !ingress.port.has(port::flag::TRUSTED) {
                return Outcome::dropped(reason_of_error(packet));
            }
            ask::<F, A>(ingress, packet, is_open)
        }
        Err(reason) => Outcome::dropped(reason),
    }
}

/// The rules: those of both ends where the packet is for one VM, whose rules a group's MAC must not get around.
#[inline(always)]
fn ask<F: Deliver, A: Family>(ingress: &Ingress, packet: &parse::Packet<A>, is_open: bool) -> Outcome<()> {
    let key = &packet.key;
    let l4 = L4::new(key.proto, packet.service, key.sport);
    if let Some(owner) = maps::neighbor(ingress.port.network, key.dst.ip()) {
        let to = maps::port(owner.port).ok_or(DropReason::PortDown)?;
        policy::ask::<F, A>((ingress.port, to), (key.src.ip(), key.dst.ip()), l4)?;
    } else if !is_open && !is_dhcp_request(packet) {
        policy::ask_sender(ingress.port, key.dst.ip(), l4)?;
    }
    Outcome::ok(())
}

/// An ICMP error is never for a group (RFC 1122, 3.2.2; RFC 4443, 2.4).
#[inline(always)]
fn reason_of_error<A: Address>(packet: &parse::Packet<A>) -> DropReason {
    if !A::IS_V6 && packet.service.to_ne_bytes()[0] == icmp::REDIRECT {
        DropReason::IcmpRedirect
    } else {
        DropReason::IcmpErrorUnrelated
    }
}

/// A DHCP or DHCPv6 client's message (RFC 2131, 4.1; RFC 8415, 7.2).
#[inline(always)]
fn is_dhcp_request<A: Address>(packet: &parse::Packet<A>) -> bool {
    packet.key.proto == IpProto::UDP && packet.key.dport == dhcp::SERVERS[A::IS_V6 as usize]
}

/// What the loop over members needs.
struct Copies<'a> {
    skb: *mut c_void,
    ingress: &'a Ingress,
    network: NetworkId,
    sent: u32,
}

/// Copies a frame to all other members of its network. Nothing in scratch is used after this: each copy may
/// run another program on this CPU.
#[inline(always)]
pub fn copies<const P: u32>(frame: Skb<P>, ingress: &Ingress) -> Outcome<Verdict> {
    let id = ingress.port.network;
    let network = maps::network(id)?;
    let count = report::size_of_frame(frame);
    let members = network.members.min(MAX_MEMBERS) as u32;
    if ingress.port.is(PortKind::Vm) {
        let limit = maps::settings()?.copies_per_tick;
        if !budget::take(&maps::FLOOD_BUDGET, ingress.id, members, limit) {
            return Outcome::dropped(DropReason::FloodLimit);
        }
    }
    let mut copies = Copies { skb: frame.context(), ingress, network: id, sent: 0 };
    // SAFETY: the callback has the signature that the helper calls, and `copies` outlives the call.
    unsafe { bpf_loop(members, copy_to_member as *mut c_void, (&raw mut copies).cast(), 0) };
    let mut sent = copies.sent;
    let is_bridge = network.is(Mode::Bridge);
    if !is_bridge && network.host_port != ingress.id {
        sent += copy(frame, network.host_port);
    }
    if is_bridge && !ingress.port.is(PortKind::Uplink) && !ingress.port.has(port::flag::INTO) {
        frame.set_mark();
        sent += copy(frame, network.uplink);
    }
    count_copies(ingress.id, sent as u64 * count.packets, sent as u64 * count.bytes);
    if !is_bridge {
        return Outcome::ok(Verdict::FLOODED);
    }
    if ingress.port.is(PortKind::Vm) {
        // The frame itself goes to the host behind the uplink.
        return Outcome::ok(match maps::port(network.host_port) {
            Some(_) => Verdict::forward(network.host_port),
            None => Verdict::FLOODED,
        });
    }
    // It came from the uplink or from the host, and goes on as it is.
    Outcome::ok(Verdict::HOST)
}

#[inline(always)]
fn copy<const P: u32>(frame: Skb<P>, to: PortId) -> u32 {
    match maps::port(to) {
        Some(port) if port.ifindex != 0 => frame.clone_to(port.ifindex).is_ok() as u32,
        _ => 0,
    }
}

extern "C" fn copy_to_member(index: u32, copies: *mut Copies<'_>) -> i64 {
    // SAFETY: the helper passes back what `copies` passed to it.
    let copies = unsafe { &mut *copies };
    let Some(id) = maps::member(copies.network, index as u16) else { return 0 };
    let Some(port) = maps::port(id) else { return 0 };
    let is_isolated = port.flags & copies.ingress.port.flags & port::flag::ISOLATED != 0;
    if id == copies.ingress.id || port.ifindex == 0 || is_isolated {
        return 0;
    }
    // SAFETY: the context of this program's run.
    let code =
        unsafe { aya_ebpf::helpers::bpf_clone_redirect(copies.skb.cast(), port.ifindex, trace::no_copy()) };
    copies.sent += (code == 0) as u32;
    0
}

#[inline(always)]
fn count_copies(port: PortId, packets: u64, bytes: u64) {
    if let Some(ledger) = maps::LEDGERS.get_ptr_mut(port.0 as u32) {
        // SAFETY: this CPU's row.
        let Ledger { copies, .. } = unsafe { &mut *ledger };
        *copies += Count { packets, bytes };
    }
}
