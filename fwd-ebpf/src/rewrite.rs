//! Changes a frame as a flow entry says: MACs and TTL of routed packets, addresses, L4 ports and checksums of
//! translated ones (RFC 1624 for the checksums). Sizes never change.

use fwd_common::{
    addr::{Address, Mac},
    drop::DropReason,
    flow::{FlowEntry, flag},
    proto::IpProto,
};

use crate::{
    chain,
    frame::{ChecksumFix, Frame, Hook, opaque},
    maps::Family,
    parse::{L3, l4},
    sctp,
};

/// Folds a ones'-complement sum into 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A checksum after its data changed by a difference: HC' = ~(~HC + ~m + m') (RFC 1624, eqn. 3).
#[inline(always)]
pub const fn adjusted(checksum: u16, difference: u32) -> u16 {
    !fold(!checksum as u32 + difference)
}

/// The same of an L4 header. In UDP 0 says that there is none (RFC 768).
#[inline(always)]
pub const fn l4_checksum(checksum: u16, difference: u32, is_udp: bool) -> u16 {
    if is_udp && checksum == 0 {
        return 0;
    }
    let adjusted = adjusted(checksum, difference);
    if is_udp && adjusted == 0 { u16::MAX } else { adjusted }
}

/// The difference between two addresses.
#[inline(always)]
pub fn address_difference<A: Address>(old: A, new: A) -> u32 {
    // The complement of a sum of n words, as a sum: each word's complement is 0xffff less the word.
    let words = if A::IS_V6 { 8 } else { 2 };
    0xffff * words - old.sum() + new.sum()
}

/// The difference between two 16-bit words.
#[inline(always)]
pub const fn word_difference(old: u16, new: u16) -> u32 {
    !old as u32 + new as u32
}

/// Applies a flow entry to a frame of that flow, whose L4 header is at a place; 0: in another fragment.
///
/// # Errors
/// `TruncatedHeader` where the frame shrank since it was parsed, `RewriteFailed` where the kernel refused, and
/// `SctpFragment`.
#[inline(always)]
pub fn apply<F: Frame, A: Family>(
    frame: F,
    (proto, at): (IpProto, usize),
    entry: &FlowEntry<A>,
    source_mac: Mac,
) -> Result<(), DropReason> {
    if proto == IpProto::SCTP && entry.has(flag::TRANSLATED) {
        sctp::check::<F, A>(frame, at, (entry.sport, entry.dport))?;
    }
    if entry.has(flag::ROUTED) {
        macs(frame, source_mac, entry.out_dst)?;
    }
    if entry.flags & (flag::ROUTED | flag::TRANSLATED) != 0 {
        l3(frame, entry)?;
    }
    if entry.has(flag::TRANSLATED) && !entry.has(flag::PREFIX) {
        l4_header(frame, (proto, at), entry)?;
    }
    Ok(())
}

/// Sets both Ethernet addresses.
///
/// # Errors
/// `TruncatedHeader`.
#[inline(always)]
pub fn macs<F: Frame>(frame: F, src: Mac, dst: Mac) -> Result<(), DropReason> {
    let w = frame.window::<14>(0).ok_or(DropReason::TruncatedHeader)?;
    w.set(0, dst);
    w.set(6, src);
    Ok(())
}

#[inline(always)]
fn l3<F: Frame, A: Address>(frame: F, entry: &FlowEntry<A>) -> Result<(), DropReason> {
    if A::IS_V6 {
        let w = frame.window::<40>(L3).ok_or(DropReason::TruncatedHeader)?;
        w.set(8, entry.src);
        w.set(24, entry.dst);
    } else {
        let w = frame.window::<20>(L3).ok_or(DropReason::TruncatedHeader)?;
        w.set(12, entry.src);
        w.set(16, entry.dst);
    }
    hops::<F, A>(frame, entry.has(flag::ROUTED) as u8, entry.l3_delta)
}

/// Takes `hops` off the TTL, and corrects an IPv4 header whose addresses have changed by `delta`.
///
/// # Errors
/// `TruncatedHeader`.
#[inline(always)]
pub fn hops<F: Frame, A: Address>(frame: F, hops: u8, delta: u16) -> Result<(), DropReason> {
    if A::IS_V6 {
        let w = frame.window::<40>(L3).ok_or(DropReason::TruncatedHeader)?;
        w.set(7, w.get::<u8>(7) - hops);
    } else {
        let w = frame.window::<20>(L3).ok_or(DropReason::TruncatedHeader)?;
        w.set(8, w.get::<u8>(8) - hops);
        // The TTL is the first byte of its word: one less is a difference of ~0x0100.
        let hop_difference = if hops != 0 { !0x0100_u16.to_be() as u32 } else { 0 };
        w.set(10, adjusted(w.get(10), delta as u32 + hop_difference));
    }
    Ok(())
}

/// Sets the source address, and returns the difference; the IPv4 header's checksum is left to [`hops`].
///
/// # Errors
/// `TruncatedHeader`.
#[inline(always)]
pub fn source<F: Frame, A: Address>(frame: F, addr: &A) -> Result<u32, DropReason> {
    address(frame, L3 + if A::IS_V6 { 8 } else { 12 }, addr)
}

/// The same of the destination address.
///
/// # Errors
/// `TruncatedHeader`.
#[inline(always)]
pub fn destination<F: Frame, A: Address>(frame: F, addr: &A) -> Result<u32, DropReason> {
    address(frame, L3 + if A::IS_V6 { 24 } else { 16 }, addr)
}

#[inline(always)]
fn address<F: Frame, A: Address>(frame: F, offset: usize, addr: &A) -> Result<u32, DropReason> {
    if A::IS_V6 {
        let w = frame.window::<16>(offset).ok_or(DropReason::TruncatedHeader)?;
        let difference = address_difference(w.get(0), *addr);
        w.set(0, *addr);
        Ok(difference)
    } else {
        let w = frame.window::<4>(offset).ok_or(DropReason::TruncatedHeader)?;
        let difference = address_difference(w.get(0), *addr);
        w.set(0, *addr);
        Ok(difference)
    }
}

#[inline(always)]
fn l4_header<F: Frame, A: Family>(
    frame: F,
    (proto, at): (IpProto, usize),
    entry: &FlowEntry<A>,
) -> Result<(), DropReason> {
    // XDP passes all others up.
    let start = if F::HOOK == Hook::Xdp { l4::<A>() } else { opaque(at) & chain::FARTHEST };
    if start == 0 {
        return Ok(());
    }
    if proto == IpProto::SCTP {
        return sctp::set_l4_ports::<F, A>(frame, start, (entry.sport, entry.dport));
    }
    let w = frame.window::<8>(start).ok_or(DropReason::TruncatedHeader)?;
    let checksum = match proto {
        IpProto::TCP => 16,
        IpProto::UDP => 6,
        _ => 2,
    };
    if proto == A::ICMP {
        // One of the two is the id, the other 0.
        w.set(4, entry.sport | entry.dport);
    } else {
        w.set(0, entry.sport);
        w.set(2, entry.dport);
    }
    // ICMP over IPv4 has no pseudo-header.
    let has_pseudo_header = A::IS_V6 || proto != IpProto::ICMP;
    let fix = ChecksumFix {
        offset: start + checksum,
        addresses: if has_pseudo_header { entry.l3_delta } else { 0 },
        l4_ports: entry.l4_delta,
        is_udp: proto == IpProto::UDP,
    };
    frame.fix_checksum(fix).map_err(|_| DropReason::RewriteFailed)
}
