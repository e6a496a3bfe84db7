//! The packet that an ICMP error quotes: its flow, and its translation back (RFC 5508, 4; RFC 4443, 3).
//!
//! Eight bytes of L4 are enough. What is quoted went out under a flow's translation, so the sender of the
//! original knows it by other addresses and L4 ports: these, the quoted IPv4 header's checksum, and the quoted
//! L4 checksum where the quotation reaches so far are put back. Quoted later fragments have no L4 header, and
//! quoted IPv4 options are not looked behind: neither belongs to a flow.

use fwd_common::{
    drop::DropReason,
    flow::{FlowEntry, FlowKey, flag, key_kind},
    id::Zone,
    message,
    proto::IpProto,
};

use crate::{
    frame::Frame,
    maps::Family,
    parse::{self, L3},
    rewrite::{adjusted, fold, word_difference},
    sctp,
};

/// The IPv6 fragment header (RFC 8200, 4.5).
const FRAGMENT_LEN: usize = 8;
/// The last word that a translation may change: TCP's checksum.
const TCP_CHECKSUM: usize = 16;

/// Where the quoted L3 header begins.
#[inline(always)]
const fn l3<A: Family>() -> usize {
    parse::l4::<A>() + 8
}

/// Where the quoted L4 header begins, without a fragment header.
#[inline(always)]
const fn l4<A: Family>() -> usize {
    l3::<A>() + parse::l4::<A>() - L3
}

/// Reads into `key` what a reply to the quoted packet would have in a zone: the key of the flow direction that
/// the error goes with. Where the quoted L4 header begins; 0: the quotation is of no flow.
#[inline(always)]
pub fn key<F: Frame, A: Family>(frame: F, zone: Zone, key: &mut FlowKey<A>) -> usize {
    frame.pull(l4::<A>() + FRAGMENT_LEN + TCP_CHECKSUM + 2);
    frame.pull(l4::<A>() + 8);
    let mut start = l4::<A>();
    if A::IS_V6 {
        let Some(w) = frame.window::<40>(l3::<A>()) else { return 0 };
        (key.dst, key.src, key.proto) = (w.get(8), w.get(24), w.get(6));
        if key.proto == IpProto::FRAGMENT {
            let Some(fragment) = frame.window::<FRAGMENT_LEN>(start) else { return 0 };
            if fragment.get::<u16>(2) & 0xfff8_u16.to_be() != 0 {
                return 0;
            }
            key.proto = fragment.get(0);
            start += FRAGMENT_LEN;
        }
    } else {
        let Some(w) = frame.window::<20>(l3::<A>()) else { return 0 };
        if w.get::<u8>(0) != 0x45 || w.get::<u16>(6) & 0x1fff_u16.to_be() != 0 {
            return 0;
        }
        (key.dst, key.src, key.proto) = (w.get(12), w.get(16), w.get(9));
    }
    let Some(w) = frame.window::<8>(start) else { return 0 };
    (key.dport, key.sport) = match key.proto {
        IpProto::TCP | IpProto::UDP | IpProto::SCTP => (w.get(0), w.get(2)),
        proto if proto == A::ICMP => message::key::<A>(w.get(0), w.get(4)),
        _ => (0, 0),
    };
    (key.zone, key.kind) = (zone, key_kind::FLOW);
    start
}

/// Translates the quoted packet back, by the entry of the direction that the error goes with. The difference
/// that this makes to a sum over the quotation.
///
/// # Errors
/// `TruncatedHeader` where the frame shrank since [`key`] read it.
#[inline(always)]
pub fn translate<F: Frame, A: Family>(
    frame: F,
    start: usize,
    proto: IpProto,
    entry: &FlowEntry<A>,
) -> Result<u16, DropReason> {
    let mut difference = entry.l3_delta as u32 + entry.l4_delta as u32;
    if A::IS_V6 {
        let w = frame.window::<40>(l3::<A>()).ok_or(DropReason::TruncatedHeader)?;
        w.set(8, entry.dst);
        w.set(24, entry.src);
    } else {
        let w = frame.window::<20>(l3::<A>()).ok_or(DropReason::TruncatedHeader)?;
        let old: u16 = w.get(10);
        let new = adjusted(old, entry.l3_delta as u32);
        difference += word_difference(old, new);
        w.set(10, new);
        w.set(12, entry.dst);
        w.set(16, entry.src);
    }
    if entry.has(flag::PREFIX) {
        return Ok(fold(difference));
    }
    if proto == IpProto::SCTP {
        return Ok(fold(difference + quoted_sctp::<F, A>(frame, start, (entry.dport, entry.sport))?));
    }
    let w = frame.window::<8>(start).ok_or(DropReason::TruncatedHeader)?;
    let is_icmp = proto == A::ICMP;
    if is_icmp {
        w.set(4, entry.sport | entry.dport);
    } else {
        w.set(0, entry.dport);
        w.set(2, entry.sport);
    }
    let has_pseudo_header = A::IS_V6 || !is_icmp;
    let by = entry.l4_delta as u32 + if has_pseudo_header { entry.l3_delta as u32 } else { 0 };
    difference += match proto {
        IpProto::TCP => fix::<F>(frame, start + TCP_CHECKSUM, by),
        IpProto::UDP if w.get::<u16>(6) == 0 => 0,
        IpProto::UDP => fix::<F>(frame, start + 6, by),
        _ => fix::<F>(frame, start + 2, by),
    };
    Ok(fold(difference))
}

/// Sets the quoted L4 ports, and the checksum if the quotation reaches so far; the difference that the latter makes.
#[inline(always)]
fn quoted_sctp<F: Frame, A: Family>(frame: F, start: usize, l4_ports: (u16, u16)) -> Result<u32, DropReason> {
    let Some(w) = frame.window::<12>(start) else {
        let w = frame.window::<8>(start).ok_or(DropReason::TruncatedHeader)?;
        w.set(0, l4_ports.0);
        w.set(2, l4_ports.1);
        return Ok(0);
    };
    let header = frame.window::<20>(l3::<A>()).ok_or(DropReason::TruncatedHeader)?;
    let len = if A::IS_V6 {
        u16::from_be(header.get(4)).wrapping_add(l4::<A>() as u16)
    } else {
        u16::from_be(header.get(2)).wrapping_add(l3::<A>() as u16)
    };
    let old: (u16, u16) = (w.get(8), w.get(10));
    sctp::change(&w, l4_ports, len.wrapping_sub(start as u16));
    Ok(word_difference(old.0, w.get(8)) + word_difference(old.1, w.get(10)))
}

/// Corrects a quoted checksum, if the quotation reaches so far; the difference that this makes.
#[inline(always)]
fn fix<F: Frame>(frame: F, offset: usize, by: u32) -> u32 {
    let Some(w) = frame.window::<2>(offset) else { return 0 };
    let old: u16 = w.get(0);
    let new = adjusted(old, by);
    w.set(0, new);
    word_difference(old, new)
}
