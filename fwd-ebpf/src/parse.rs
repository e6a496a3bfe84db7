//! Bytes to typed headers. What cannot be read, or not yet, is a drop reason.
//!
//! IPv4 (RFC 791), IPv6 (RFC 8200); TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792, RFC 4443). Options, extension
//! headers and fragments are read by `chain`. Lengths are checked against the frame, so a later stage reads nothing
//! that the packet does not have. Header checksums are not: the receiver's stack does.

use fwd_common::{
    addr::{Address, Mac},
    drop::DropReason,
    flow::{FlowKey, key_kind},
    id::Zone,
    message,
    proto::{EtherType, IpProto, icmp, icmpv6, tcp},
    sctp::signals,
};

use crate::{
    chain,
    frame::{Deliver, Frame, Window},
    maps::Family,
};

/// Where the L3 header begins.
pub const L3: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;

/// Where the L4 header begins.
#[inline(always)]
pub const fn l4<A: Address>() -> usize {
    if A::IS_V6 { L3 + IPV6_LEN } else { L3 + IPV4_LEN }
}

/// The Ethernet header.
pub struct Ether {
    pub dst: Mac,
    pub src: Mac,
    pub ether_type: EtherType,
}

/// What kind of packet this is to the stages.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Has L4 ports, or an echo id: can be translated.
    Ports,
    /// A protocol without either.
    Other,
    /// ICMP error: belongs to the flow of the packet that it quotes.
    IcmpError,
    /// Neighbor discovery or multicast listener discovery: belongs to no flow.
    Neighborhood,
}

/// A parsed packet.
#[derive(Clone, Copy)]
pub struct Packet<A> {
    pub key: FlowKey<A>,
    /// What rules compare, in network byte order: the destination L4 port, or ICMP's type and code.
    pub service: u16,
    /// TCP's, or what says the same in SCTP.
    pub tcp_flags: u8,
    pub kind: Kind,
    /// Where the L4 header is; 0: not in this frame, which is a later fragment.
    pub l4: usize,
}

/// What follows the L3 headers.
#[derive(Clone, Copy)]
pub struct Body {
    pub at: usize,
    /// Bytes of it in this frame, and in all; of a fragment's datagram at most so many.
    pub len: usize,
    pub whole: usize,
}

impl<A: Address> Packet<A> {
    /// Makes it one of which only the L3 header was read. Field by field: whole, it would be made on the stack first.
    #[inline(always)]
    pub fn begin(&mut self, (src, dst): (A, A), (zone, proto): (Zone, IpProto), l4: usize) {
        (self.key.src, self.key.dst, self.key.sport, self.key.dport) = (src, dst, 0, 0);
        (self.key.zone, self.key.proto, self.key.kind) = (zone, proto, key_kind::FLOW);
        (self.service, self.tcp_flags, self.kind, self.l4) = (0, 0, Kind::Other, l4);
    }

    /// A segment of TCP that opens no connection; an answer to a SYN opens none either.
    #[inline(always)]
    pub fn is_midstream(&self) -> bool {
        self.key.proto == IpProto::TCP && self.tcp_flags & (tcp::SYN | tcp::ACK) != tcp::SYN
    }
}

/// The Ethernet header as it stands, whatever follows.
///
/// # Errors
/// `RuntFrame`.
#[inline(always)]
pub fn ether_header<F: Frame>(frame: F) -> Result<Ether, DropReason> {
    frame.pull(L3);
    let w = frame.window::<14>(0).ok_or(DropReason::RuntFrame)?;
    let ether_type = EtherType(u16::from_be(w.get(12)));
    Ok(Ether { dst: w.get(0), src: w.get(6), ether_type })
}

/// The Ethernet header of an untagged frame.
///
/// # Errors
/// `RuntFrame`, `VlanTagged`.
#[inline(always)]
pub fn ether<F: Frame>(frame: F) -> Result<Ether, DropReason> {
    let ether = ether_header(frame)?;
    if frame.has_vlan_metadata() || matches!(ether.ether_type, EtherType::VLAN | EtherType::SERVICE_VLAN) {
        return Err(DropReason::VlanTagged);
    }
    Ok(ether)
}

/// Source and destination of a packet whose other headers may be unreadable.
///
/// # Errors
/// `TruncatedHeader`.
#[inline(always)]
pub fn addresses<F: Frame, A: Address>(frame: F) -> Result<(A, A), DropReason> {
    frame.pull(l4::<A>());
    if A::IS_V6 {
        let w = frame.window::<IPV6_LEN>(L3).ok_or(DropReason::TruncatedHeader)?;
        Ok((w.get(8), w.get(24)))
    } else {
        let w = frame.window::<IPV4_LEN>(L3).ok_or(DropReason::TruncatedHeader)?;
        Ok((w.get(12), w.get(16)))
    }
}

/// Destination address; none where there is no header.
#[inline(always)]
pub fn destination<F: Frame, A: Address>(frame: F) -> Option<A> {
    if A::IS_V6 {
        Some(frame.window::<IPV6_LEN>(L3)?.get(24))
    } else {
        Some(frame.window::<IPV4_LEN>(L3)?.get(16))
    }
}

/// Length of the L3 packet as its header has it; 0 where there is no header.
#[inline(always)]
pub fn l3_len<F: Frame, A: Address>(frame: F) -> u16 {
    if A::IS_V6 {
        let payload = frame.window::<IPV6_LEN>(L3).map_or(0, |w| u16::from_be(w.get(4)));
        payload.saturating_add(IPV6_LEN as u16)
    } else {
        frame.window::<IPV4_LEN>(L3).map_or(0, |w| u16::from_be(w.get(2)))
    }
}

/// TTL or hop limit; 0 where there is no header.
#[inline(always)]
pub fn ttl<F: Frame, A: Address>(frame: F) -> u8 {
    let (v4, v6) = (8, 7);
    frame.window::<1>(L3 + if A::IS_V6 { v6 } else { v4 }).map_or(0, |w| w.get(0))
}

/// L3 and L4 headers of a packet that came in in a zone.
///
/// # Errors
/// The reason why it cannot be read.
#[inline(always)]
pub fn packet<F: Deliver, A: Family>(frame: F, zone: Zone) -> Result<&'static Packet<A>, DropReason> {
    let read = frame.parse::<A>(zone);
    if read.is_drop() {
        return Err(read.drop().reason);
    }
    last::<F, A>()
}

/// The packet that was read last.
///
/// # Errors
/// `Internal`.
#[inline(always)]
pub fn last<F: Frame, A: Family>() -> Result<&'static Packet<A>, DropReason> {
    let row = A::reading().get_ptr(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row: written when a packet is read, by nobody else.
    Ok(unsafe { &(*row).packet })
}

/// Reads a packet into scratch.
///
/// # Errors
/// The reason why it cannot be read.
#[inline(always)]
pub fn read<F: Frame, A: Family>(frame: F, zone: Zone) -> Result<(), DropReason> {
    let row = A::reading().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row.
    let row = unsafe { &mut *row };
    frame.pull(l4::<A>() + 8);
    if chain::is_one::<F, A>(frame) {
        return chain::read(frame, zone, row);
    }
    plain(frame, zone, &mut row.packet)
}

/// Verifier: like what `chain` does a function of its own, so that their stacks are not added up.
#[inline(never)]
fn plain<F: Frame, A: Family>(frame: F, zone: Zone, packet: &mut Packet<A>) -> Result<(), DropReason> {
    let (proto, len) = if A::IS_V6 { ipv6(frame)? } else { ipv4(frame)? };
    packet.begin(addresses::<F, A>(frame)?, (zone, proto), l4::<A>());
    l4_header(frame, packet, &Body { at: l4::<A>(), len, whole: len })
}

/// Protocol, and bytes behind a header without options.
#[inline(always)]
fn ipv4<F: Frame>(frame: F) -> Result<(IpProto, usize), DropReason> {
    let w = frame.window::<IPV4_LEN>(L3).ok_or(DropReason::TruncatedHeader)?;
    let total = u16::from_be(w.get(2)) as usize;
    if w.get::<u8>(0) != 0x45 || total < IPV4_LEN || L3 + total > frame.len() as usize {
        return Err(DropReason::BadIpv4Header);
    }
    Ok((w.get(9), total - IPV4_LEN))
}

/// Protocol, and bytes behind a header without extensions.
#[inline(always)]
fn ipv6<F: Frame>(frame: F) -> Result<(IpProto, usize), DropReason> {
    let w = frame.window::<IPV6_LEN>(L3).ok_or(DropReason::TruncatedHeader)?;
    let payload = u16::from_be(w.get(4)) as usize;
    if w.get::<u8>(0) >> 4 != 6 || L3 + IPV6_LEN + payload > frame.len() as usize {
        return Err(DropReason::BadIpv6Header);
    }
    Ok((w.get(6), payload))
}

/// Reads what flows and rules need of the L4 header.
///
/// # Errors
/// `TruncatedHeader`, `BadL4Header`.
#[inline(always)]
pub fn l4_header<F: Frame, A: Address>(
    frame: F,
    packet: &mut Packet<A>,
    body: &Body,
) -> Result<(), DropReason> {
    match packet.key.proto {
        IpProto::TCP => tcp(frame, packet, body),
        IpProto::UDP => udp(frame, packet, body),
        IpProto::SCTP => sctp(frame, packet, body),
        p if p == A::ICMP => icmp(frame, packet, body),
        _ => Ok(()),
    }
}

#[inline(always)]
fn tcp<F: Frame, A: Address>(frame: F, packet: &mut Packet<A>, body: &Body) -> Result<(), DropReason> {
    frame.pull(body.at + 20);
    let w = frame.window::<20>(body.at).ok_or(DropReason::TruncatedHeader)?;
    let header = (w.get::<u8>(12) >> 4) as usize * 4;
    if header < 20 || header > body.len {
        return Err(DropReason::BadL4Header);
    }
    packet.tcp_flags = w.get(13);
    ports(packet, w.get(0), w.get(2));
    Ok(())
}

#[inline(always)]
fn udp<F: Frame, A: Address>(frame: F, packet: &mut Packet<A>, body: &Body) -> Result<(), DropReason> {
    frame.pull(body.at + 8);
    let w = frame.window::<8>(body.at).ok_or(DropReason::TruncatedHeader)?;
    let udp_len = u16::from_be(w.get(4)) as usize;
    if udp_len < 8 || body.len < 8 || udp_len > body.whole {
        return Err(DropReason::BadL4Header);
    }
    ports(packet, w.get(0), w.get(2));
    Ok(())
}

/// The common header, and the type of the first chunk. A packet without any does nothing, and is the receiver's to
/// discard.
#[inline(always)]
fn sctp<F: Frame, A: Address>(frame: F, packet: &mut Packet<A>, body: &Body) -> Result<(), DropReason> {
    frame.pull(body.at + 16);
    let w = frame.window::<12>(body.at).ok_or(DropReason::TruncatedHeader)?;
    if body.len < 12 {
        return Err(DropReason::BadL4Header);
    }
    ports(packet, w.get(0), w.get(2));
    let chunk = if body.len < 16 { None } else { frame.window::<16>(body.at) };
    packet.tcp_flags = chunk.map_or(0, |w| signals(w.get(12)));
    Ok(())
}

#[inline(always)]
fn ports<A>(packet: &mut Packet<A>, sport: u16, dport: u16) {
    (packet.key.sport, packet.key.dport, packet.service) = (sport, dport, dport);
    packet.kind = Kind::Ports;
}

#[inline(always)]
fn icmp<F: Frame, A: Address>(frame: F, packet: &mut Packet<A>, body: &Body) -> Result<(), DropReason> {
    frame.pull(body.at + 8);
    let w: Window<8> = frame.window(body.at).ok_or(DropReason::TruncatedHeader)?;
    if body.len < 8 {
        return Err(DropReason::BadL4Header);
    }
    packet.service = w.get(0);
    packet.kind = kind_of_message::<A>(w.get(0));
    if matches!(packet.kind, Kind::Ports | Kind::Other) {
        (packet.key.sport, packet.key.dport) = message::key::<A>(packet.service, w.get(4));
    }
    Ok(())
}

#[inline(always)]
const fn kind_of_message<A: Address>(kind: u8) -> Kind {
    if A::IS_V6 {
        match kind {
            icmpv6::ECHO_REQUEST | icmpv6::ECHO_REPLY => Kind::Ports,
            0..icmpv6::FIRST_INFORMATIONAL => Kind::IcmpError,
            icmpv6::MLD_QUERY..=icmpv6::REDIRECT | icmpv6::MLDV2_REPORT => Kind::Neighborhood,
            _ => Kind::Other,
        }
    } else {
        match kind {
            icmp::ECHO_REQUEST | icmp::ECHO_REPLY => Kind::Ports,
            icmp::UNREACHABLE..=icmp::REDIRECT | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => {
                Kind::IcmpError
            }
            _ => Kind::Other,
        }
    }
}
