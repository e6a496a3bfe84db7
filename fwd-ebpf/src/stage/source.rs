//! Source guard: a VM port sends with its own MAC and its own addresses only.
//!
//! Addresses are first come, first served where a port may learn them: a row of `NEIGHBORS` that another port
//! holds is never taken over.

use aya_ebpf::bindings::BPF_NOEXIST;
use fwd_common::{
    addr::{Ip, Mac},
    dhcp,
    drop::DropReason,
    event::{Event, EventKind},
    flow::FlowKey,
    neighbor::{self, Neighbor, NetworkAddress},
    port::{self, PortKind},
    proto::IpProto,
};

use super::table;
use crate::{
    atomic::shared,
    chain,
    frame::{Frame, opaque},
    maps::{self, Family},
    parse::{Ether, Packet},
    report::{self, Ingress},
};

/// Checks a packet's source.
///
/// # Errors
/// `SourceMacSpoofed`, `SourceAddressSpoofed`, `SourceAddressInvalid`, `RogueServer`.
#[inline(always)]
pub fn check<F: Frame, A: Family>(
    frame: F,
    ingress: &Ingress,
    ether: &Ether,
    packet: &Packet<A>,
) -> Result<(), DropReason> {
    if !ingress.port.is(PortKind::Vm) {
        return Ok(());
    }
    mac(ingress, ether)?;
    let key = &packet.key;
    if key.proto == IpProto::UDP && !ingress.port.has(port::flag::TRUSTED) {
        check_dhcp(frame, ether, packet)?;
    }
    if key.src == A::default() && may_lack_address(key) {
        return Ok(());
    }
    if key.src.is_nobody() {
        return Err(DropReason::SourceAddressInvalid);
    }
    address(ingress, ether.src, key.src.ip(), DropReason::SourceAddressSpoofed)
}

/// Who has no address yet asks for one (RFC 2131, 4.1), or whether somebody else has it, and says to which groups it
/// belongs (RFC 4862, 5.4.2; RFC 3810, 5.2.13).
#[inline(always)]
fn may_lack_address<A: Family>(key: &FlowKey<A>) -> bool {
    if A::IS_V6 {
        key.proto == IpProto::ICMPV6 && key.dst.is_group()
    } else {
        key.proto == IpProto::UDP && key.sport == dhcp::CLIENTS[0]
    }
}

/// A guest serves no DHCP, and asks for itself alone: a server gives one lease for each `chaddr`.
#[inline(always)]
fn check_dhcp<F: Frame, A: Family>(frame: F, ether: &Ether, packet: &Packet<A>) -> Result<(), DropReason> {
    const CHADDR: usize = 8 + dhcp::at::CHADDR;
    let server = dhcp::SERVERS[A::IS_V6 as usize];
    if packet.key.sport == server {
        return Err(DropReason::RogueServer);
    }
    if A::IS_V6 || packet.key.dport != server {
        return Ok(());
    }
    // A later fragment has no header that the first has not shown.
    if packet.l4 == 0 {
        return Ok(());
    }
    let chaddr = (opaque(packet.l4) & chain::FARTHEST) + CHADDR;
    frame.pull(chaddr + 6);
    let w = frame.window::<6>(chaddr).ok_or(DropReason::TruncatedHeader)?;
    if w.get::<Mac>(0) == ether.src { Ok(()) } else { Err(DropReason::SourceMacSpoofed) }
}

/// Checks a VM port's source MAC, or learns it.
///
/// # Errors
/// `SourceMacSpoofed`.
#[inline(always)]
pub fn mac(ingress: &Ingress, ether: &Ether) -> Result<(), DropReason> {
    let port = ingress.port;
    if port.has(port::flag::TRUSTED) || ether.src == port.mac {
        return Ok(());
    }
    if !port.has(port::flag::LEARN_MAC) {
        return Err(DropReason::SourceMacSpoofed);
    }
    learn_mac(ingress, ether.src)
}

#[inline(never)]
fn learn_mac(ingress: &Ingress, mac: Mac) -> Result<(), DropReason> {
    let row = maps::PORT_MACS.get_ptr_mut(ingress.id.0 as u32).ok_or(DropReason::Internal)?;
    // SAFETY: a row of six bytes; two CPUs that learn at once: the later one stays, and the other's guest is
    // told so by drops.
    let row = unsafe { &mut *row };
    if *row == Mac::NONE && !mac.is_group() {
        *row = mac;
        tell(ingress, mac, Ip::NONE);
    }
    if *row == mac { Ok(()) } else { Err(DropReason::SourceMacSpoofed) }
}

/// Checks the source of a packet from outside that leads to a VM. What is for this host its own stack judges.
///
/// # Errors
/// `SourceAddressInvalid`; `SourceAddressSpoofed` where it is an address of a network of this host.
#[inline(always)]
pub fn from_outside<A: Family>(src: A) -> Result<(), DropReason> {
    if src.is_nobody() {
        return Err(DropReason::SourceAddressInvalid);
    }
    if maps::network_of(src.ip()).is_some() { Err(DropReason::SourceAddressSpoofed) } else { Ok(()) }
}

/// Checks that an address belongs to a VM port, or learns it.
///
/// # Errors
/// `spoofed`, where it does not.
#[inline(never)]
pub fn address(ingress: &Ingress, mac: Mac, addr: Ip, spoofed: DropReason) -> Result<(), DropReason> {
    let port = ingress.port;
    if port.has(port::flag::TRUSTED) {
        return Ok(());
    }
    if let Some(neighbor) = maps::neighbor(port.network, addr) {
        return if neighbor.port == ingress.id { Ok(()) } else { Err(spoofed) };
    }
    if port.has(port::flag::ALLOWED_SOURCES) && maps::is_allowed_source(ingress.id, addr) {
        return Ok(());
    }
    let is_learnt = !(port.has(port::flag::LEASED) && addr.is_v4());
    let may_learn = (port.has(port::flag::LEARN_ADDRESSES) && is_learnt) || is_link_local(addr);
    if !may_learn || maps::is_host_address(port.network, addr) {
        return Err(spoofed);
    }
    learn(ingress, mac, addr, spoofed)
}

#[inline(never)]
fn learn(ingress: &Ingress, mac: Mac, addr: Ip, spoofed: DropReason) -> Result<(), DropReason> {
    let held = table::port_use(ingress.id).ok_or(DropReason::Internal)?;
    if shared(&mut held.addresses).load() >= ingress.port.mac_limit as u32 {
        return Err(spoofed);
    }
    let key = NetworkAddress { addr, network: ingress.port.network, _pad: 0 };
    let row = Neighbor { port: ingress.id, mac, flags: neighbor::flag::LEARNT, _pad: 0 };
    if maps::NEIGHBORS.insert(&key, &row, BPF_NOEXIST as u64).is_ok() {
        shared(&mut held.addresses).add(1);
        tell(ingress, mac, addr);
        return Ok(());
    }
    // Another CPU was first: for this port, or for one that now has the address.
    match maps::neighbor(ingress.port.network, addr) {
        Some(winner) if winner.port == ingress.id => Ok(()),
        _ => Err(spoofed),
    }
}

/// fe80::/10 (RFC 4291, 2.5.6).
#[inline(always)]
fn is_link_local(addr: Ip) -> bool {
    let first = addr.0[0].to_ne_bytes();
    first[0] == 0xfe && first[1] & 0xc0 == 0x80
}

#[inline(always)]
fn tell(ingress: &Ingress, mac: Mac, addr: Ip) {
    report::event(|| Event {
        port: ingress.id,
        kind: EventKind::Learnt as u8,
        src: addr,
        frame_src: mac,
        ..Event::default()
    });
}
