//! Packets with more than nothing between their L3 and L4 headers, and datagrams in pieces: IPv4 options (RFC 791,
//! 3.1), IPv6 extension headers (RFC 8200, 4), fragments (RFC 791, 3.2; RFC 8200, 4.5).
//!
//! - Looked behind are [`MAX_OPTIONS`] options, and [`MAX_HEADERS`] extension headers that end within [`FARTHEST`] bytes.
//! - Routed by the sender (source routes, routing headers with hops to go or of type 0): refused, since rules see
//!   the next hop only (RFC 7126, 4.3; RFC 5095).
//! - A first fragment must hold its whole L4 header, which is kept for those that follow (`FRAGMENTS4`,
//!   `FRAGMENTS6`). A later one is then a packet like others whose L4 header is elsewhere. It may not cover what
//!   the first one had (RFC 1858, RFC 5722), so no fragment changes what rules saw.
//! - ICMP errors and discovery do not come so (RFC 6980), but for listener reports, whose option alerts routers.
//!
//! Only TCX looks: XDP passes such packets up, so that fragments do not overtake each other.

use fwd_common::{
    drop::DropReason,
    fragment::{FirstFragment, FragmentKey, is_possible},
    id::Zone,
    proto::{IpProto, icmpv6, ip_option},
};

use crate::{
    frame::{Frame, Hook, opaque},
    maps::Family,
    parse::{self, Body, Kind, L3, Packet},
    report,
};

const MAX_OPTIONS: usize = 10;
const MAX_HEADERS: usize = 5;
/// Where an L4 header begins at the latest; a mask.
pub const FARTHEST: usize = 0x1ff;

/// A packet while it is read, and as it was read: too large for the stack.
#[repr(C)]
pub struct Reading<A> {
    pub packet: Packet<A>,
    chain: Chain,
    key: FragmentKey<A>,
    first: FirstFragment,
}

/// Where the headers lead.
#[repr(C)]
struct Chain {
    body: Body,
    proto: IpProto,
    /// 1: a fragment.
    is_piece: u8,
    has_more: u8,
    /// In bytes.
    offset: u16,
    /// Bytes of the datagram that the fragment has.
    piece: u16,
    id: u32,
}

/// Whether a packet is of these.
#[inline(always)]
pub fn is_one<F: Frame, A: Family>(frame: F) -> bool {
    if A::IS_V6 {
        let Some(w) = frame.window::<40>(L3) else { return false };
        w.get::<u8>(0) >> 4 == 6 && w.get::<IpProto>(6).is_ipv6_extension()
    } else {
        let Some(w) = frame.window::<20>(L3) else { return false };
        let first: u8 = w.get(0);
        first >> 4 == 4 && (first & 0xf > 5 || w.get::<u16>(6) & 0x3fff_u16.to_be() != 0)
    }
}

/// Whether the packet that was read last is a fragment.
#[inline(always)]
pub fn is_piece<F: Frame, A: Family>(frame: F) -> bool {
    if F::HOOK == Hook::Xdp || !is_one::<F, A>(frame) {
        return false;
    }
    // SAFETY: this CPU's and this program's row.
    A::reading().get_ptr(F::PROGRAM).is_none_or(|row| unsafe { (*row).chain.is_piece != 0 })
}

/// Reads such a packet.
///
/// # Errors
/// The reason why it cannot be read.
#[inline(always)]
pub fn read<F: Frame, A: Family>(frame: F, zone: Zone, row: &mut Reading<A>) -> Result<(), DropReason> {
    if F::HOOK == Hook::Xdp {
        // It was passed up, or is told of only.
        return Err(DropReason::Internal);
    }
    headers::<F, A>(frame, &mut row.chain)?;
    judge(frame, zone, row)
}

/// Verifier: like what follows a function of its own, so that their stacks are not added up.
#[inline(never)]
fn headers<F: Frame, A: Family>(frame: F, chain: &mut Chain) -> Result<(), DropReason> {
    if A::IS_V6 { ipv6(frame, chain) } else { ipv4(frame, chain) }
}

#[inline(never)]
fn judge<F: Frame, A: Family>(frame: F, zone: Zone, row: &mut Reading<A>) -> Result<(), DropReason> {
    let Reading { packet, chain, key, first } = row;
    let addresses = parse::addresses::<F, A>(frame)?;
    packet.begin(addresses, (zone, chain.proto), chain.body.at);
    (key.src, key.dst, key.id, key.zone) = (addresses.0, addresses.1, chain.id, zone);
    (key.proto, key._pad) = (if A::IS_V6 { IpProto::default() } else { chain.proto }, 0);
    let is_piece = chain.is_piece != 0;
    if is_piece && !is_possible(chain.offset, chain.piece, chain.has_more != 0) {
        return Err(DropReason::FragmentInvalid);
    }
    if chain.offset != 0 {
        return later(key, chain.offset, packet);
    }
    // Verifier: what was stored in a map's row is any number when it is loaded again.
    let at = opaque(chain.body.at) & FARTHEST;
    if let Err(reason) = parse::l4_header(frame, packet, &Body { at, ..chain.body }) {
        let is_cut = is_piece && matches!(reason, DropReason::TruncatedHeader | DropReason::BadL4Header);
        return Err(if is_cut { DropReason::FragmentTiny } else { reason });
    }
    may_come_so(is_piece, packet)?;
    if is_piece {
        (first.sport, first.dport, first.service) = (packet.key.sport, packet.key.dport, packet.service);
        (first.end, first.proto, first.seen) = (chain.piece, chain.proto, report::now());
        (first.has_ports, first._pad) = ((packet.kind == Kind::Ports) as u8, [0; 2]);
        // Without room for it those that follow are drops by name.
        let _ = A::fragments().insert(&*key, &*first, 0);
    }
    Ok(())
}

/// Whether a message of this kind may have options or extension headers, or come in fragments.
#[inline(always)]
fn may_come_so<A: Family>(is_piece: bool, packet: &Packet<A>) -> Result<(), DropReason> {
    let kind = packet.service.to_ne_bytes()[0];
    let is_report = matches!(kind, icmpv6::MLD_QUERY..=icmpv6::MLD_DONE | icmpv6::MLDV2_REPORT);
    match packet.kind {
        Kind::Ports | Kind::Other => Ok(()),
        _ if is_piece => Err(DropReason::FragmentInvalid),
        Kind::Neighborhood if is_report => Ok(()),
        _ if A::IS_V6 => Err(DropReason::Ipv6Extension),
        _ => Err(DropReason::Ipv4Options),
    }
}

/// Reads a later fragment: its L4 header is that of its datagram's first.
#[inline(always)]
fn later<A: Family>(key: &FragmentKey<A>, offset: u16, packet: &mut Packet<A>) -> Result<(), DropReason> {
    let first = A::fragments().get_ptr(key).ok_or(DropReason::FragmentBeforeFirst)?;
    // SAFETY: a row may be used again for another datagram while it is read: one fragment is then decided as one
    // of that datagram, and leaves as such, or not at all.
    let first = unsafe { &*first };
    if !first.is_fresh(report::now()) {
        return Err(DropReason::FragmentBeforeFirst);
    }
    if offset < first.end {
        return Err(DropReason::FragmentOverlap);
    }
    packet.l4 = 0;
    (packet.key.sport, packet.key.dport, packet.service) = (first.sport, first.dport, first.service);
    packet.key.proto = first.proto;
    packet.kind = if first.has_ports != 0 { Kind::Ports } else { Kind::Other };
    Ok(())
}

#[inline(always)]
fn ipv4<F: Frame>(frame: F, chain: &mut Chain) -> Result<(), DropReason> {
    const MOST: usize = 60;
    frame.pull(L3 + MOST + 20);
    let w = frame.window::<20>(L3).ok_or(DropReason::TruncatedHeader)?;
    let header = (w.get::<u8>(0) & 0xf) as usize * 4;
    let total = u16::from_be(w.get(2)) as usize;
    if total < header || L3 + total > frame.len() as usize {
        return Err(DropReason::BadIpv4Header);
    }
    let bits = u16::from_be(w.get(6));
    let is_piece = bits & 0x3fff != 0;
    let len = total - header;
    let whole = if is_piece { u16::MAX as usize } else { len };
    chain.body = Body { at: L3 + header, len, whole };
    (chain.proto, chain.id) = (w.get(9), w.get::<u16>(4) as u32);
    (chain.is_piece, chain.has_more) = (is_piece as u8, (bits & 0x2000 != 0) as u8);
    (chain.offset, chain.piece) = (bits << 3, len as u16);
    options(frame, L3 + header)
}

/// Looks for source routes among the options before `end`.
#[inline(always)]
fn options<F: Frame>(frame: F, end: usize) -> Result<(), DropReason> {
    let mut at = L3 + 20;
    for _ in 0..MAX_OPTIONS {
        if at >= end {
            return Ok(());
        }
        let w = frame.window::<2>(opaque(at) & FARTHEST).ok_or(DropReason::TruncatedHeader)?;
        at += match w.get::<u8>(0) {
            ip_option::END => return Ok(()),
            ip_option::NOP => 1,
            ip_option::LOOSE_ROUTE | ip_option::STRICT_ROUTE => return Err(DropReason::Ipv4Options),
            _ => {
                let len = w.get::<u8>(1) as usize;
                if len < 2 || at + len > end {
                    return Err(DropReason::BadIpv4Header);
                }
                len
            }
        };
    }
    if at >= end { Ok(()) } else { Err(DropReason::Ipv4Options) }
}

#[inline(always)]
fn ipv6<F: Frame>(frame: F, chain: &mut Chain) -> Result<(), DropReason> {
    let start = L3 + 40;
    frame.pull(start + 8);
    let w = frame.window::<40>(L3).ok_or(DropReason::TruncatedHeader)?;
    let end = start + u16::from_be(w.get(4)) as usize;
    if end > frame.len() as usize {
        return Err(DropReason::BadIpv6Header);
    }
    chain.body.at = start;
    (chain.proto, chain.id) = (w.get(6), 0);
    (chain.is_piece, chain.has_more, chain.offset, chain.piece) = (0, 0, 0, 0);
    for _ in 0..MAX_HEADERS {
        if !chain.proto.is_ipv6_extension() || chain.offset != 0 {
            break;
        }
        extension(frame, chain, end)?;
    }
    if chain.offset == 0 && chain.proto.is_ipv6_extension() {
        return Err(DropReason::Ipv6Extension);
    }
    chain.body.len = end - chain.body.at;
    chain.body.whole = if chain.is_piece != 0 { u16::MAX as usize } else { chain.body.len };
    Ok(())
}

/// Steps over one extension header.
#[inline(always)]
fn extension<F: Frame>(frame: F, chain: &mut Chain, end: usize) -> Result<(), DropReason> {
    let at = opaque(chain.body.at) & FARTHEST;
    frame.pull(at + 8);
    let w = frame.window::<8>(at).ok_or(DropReason::TruncatedHeader)?;
    let units = w.get::<u8>(1) as usize;
    let len = match chain.proto {
        IpProto::HOP_BY_HOP | IpProto::DEST_OPTIONS => (units + 1) * 8,
        IpProto::AUTH => (units + 2) * 4,
        IpProto::ROUTING => {
            let (kind, hops): (u8, u8) = (w.get(2), w.get(3));
            if kind == 0 || hops != 0 {
                return Err(DropReason::Ipv6RoutingHeader);
            }
            (units + 1) * 8
        }
        IpProto::FRAGMENT => {
            let place = u16::from_be(w.get(2));
            (chain.offset, chain.has_more) = (place & 0xfff8, (place & 1) as u8);
            // One that is all of its datagram is no piece (RFC 6946).
            chain.is_piece |= (place & 0xfff9 != 0) as u8;
            chain.id = w.get(4);
            chain.piece = end.saturating_sub(at + 8) as u16;
            8
        }
        _ => return Err(DropReason::Ipv6Extension),
    };
    chain.proto = w.get(0);
    chain.body.at += len;
    if chain.body.at > end {
        return Err(DropReason::BadIpv6Header);
    }
    if chain.body.at > FARTHEST { Err(DropReason::Ipv6Extension) } else { Ok(()) }
}
