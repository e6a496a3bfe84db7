//! ICMP and ICMPv6 errors made out of the packet that they are about (RFC 792, RFC 1812 4.3.2, RFC 4443 2.4).
//!
//! The frame is cut to what is quoted, headers are put before it, and it goes back. As much is quoted as the
//! message may hold: 576 bytes over IPv4, 1280 over IPv6.

use core::ptr;

use aya_ebpf::helpers::bpf_csum_diff;
use fwd_common::proto::IpProto;

use crate::{
    frame::{Frame, Refused, Skb, opaque},
    maps::{self, Family, QUOTE_ROOM},
    parse::{self, L3},
    rewrite::fold,
};

/// An ICMP header without its checksum; `rest` in network byte order.
#[derive(Clone, Copy)]
pub struct Message {
    pub kind: u8,
    pub code: u8,
    pub rest: u32,
}

const ICMP_LEN: usize = 8;
const HOPS: u8 = 64;
/// What older kernels sum at once.
const CHUNK: usize = 512;

/// Makes the frame an ICMP error about its packet, from one address to another, back to where it came from.
///
/// # Errors
/// The kernel refused to change the frame's size.
#[inline(always)]
pub fn make<const P: u32, A: Family>(
    frame: Skb<P>,
    message: Message,
    (from, to): (&A, &A),
    proto: IpProto,
) -> Result<(), Refused>
where
    Skb<P>: Frame,
{
    let header = parse::l4::<A>() - L3;
    let room = header + ICMP_LEN;
    let most = if A::IS_V6 { 1280 - room } else { 576 - room };
    let quoted = (parse::l3_len::<_, A>(frame) as usize).min(most);
    if quoted < header + ICMP_LEN {
        return Err(Refused);
    }
    frame.resize(L3 + quoted)?;
    let quotation = sum_quotation::<P, A>(frame, quoted, proto)?;
    frame.make_room(room)?;
    frame.pull(parse::l4::<A>() + ICMP_LEN);
    back_to_sender(frame)?;
    write_l3(frame, (from, to), (A::ICMP, ICMP_LEN + quoted))?;
    let w = frame.window::<ICMP_LEN>(parse::l4::<A>()).ok_or(Refused)?;
    let first = u16::from_ne_bytes([message.kind, message.code]);
    let mut sum = first as u32 + (message.rest & 0xffff) + (message.rest >> 16) + quotation as u32;
    if A::IS_V6 {
        sum += pseudo_header((from, to), (A::ICMP, ICMP_LEN + quoted));
    }
    w.set(0, first);
    w.set(2, !fold(sum));
    w.set(4, message.rest);
    Ok(())
}

/// Swaps the Ethernet addresses.
///
/// # Errors
/// The frame has none.
#[inline(always)]
pub fn back_to_sender<F: Frame>(frame: F) -> Result<(), Refused> {
    let w = frame.window::<14>(0).ok_or(Refused)?;
    let (dst, src): ([u16; 3], [u16; 3]) = (w.get(0), w.get(6));
    w.set(0, src);
    w.set(6, dst);
    Ok(())
}

/// Writes an L3 header before `len` bytes of a protocol.
///
/// # Errors
/// The frame has no room for it.
#[inline(always)]
pub fn write_l3<F: Frame, A: Family>(
    frame: F,
    (from, to): (&A, &A),
    (proto, len): (IpProto, usize),
) -> Result<(), Refused> {
    if A::IS_V6 {
        let w = frame.window::<40>(L3).ok_or(Refused)?;
        w.set(0, 0x6000_0000_u32.to_be());
        w.set(4, (len as u16).to_be());
        w.set(6, proto);
        w.set(7, HOPS);
        w.set(8, *from);
        w.set(24, *to);
        return Ok(());
    }
    let w = frame.window::<20>(L3).ok_or(Refused)?;
    let total = (len as u16 + 20).to_be();
    let (version, bits) = (0x4500_u16.to_be(), 0x4000_u16.to_be());
    let hops = u16::from_ne_bytes([HOPS, proto.0]);
    w.set(0, version);
    w.set(2, total);
    w.set(4, 0_u16);
    w.set(6, bits);
    w.set(8, hops);
    let sum = version as u32 + total as u32 + bits as u32 + hops as u32 + from.sum() + to.sum();
    w.set(10, !fold(sum));
    w.set(12, *from);
    w.set(16, *to);
    Ok(())
}

/// The sum of a pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1).
#[inline(always)]
pub fn pseudo_header<A: Family>((from, to): (&A, &A), (proto, len): (IpProto, usize)) -> u32 {
    from.sum() + to.sum() + (proto.0 as u16).to_be() as u32 + (len as u16).to_be() as u32
}

/// The sum of what is quoted, once the frame has been cut to it.
///
/// Where the kernel still owes the quoted packet's checksum, it will be filled in behind the answer's back, or
/// not at all. The field's value is free then, and one makes the sum the same both ways: with `rest` the sum of
/// the other words, f is filled in as ~(rest + f), so the quotation sums to rest + f before, and to ~f after.
#[inline(always)]
fn sum_quotation<const P: u32, A: Family>(
    frame: Skb<P>,
    quoted: usize,
    proto: IpProto,
) -> Result<u16, Refused>
where
    Skb<P>: Frame,
{
    let header = parse::l4::<A>() - L3;
    let buffer = maps::QUOTES.get_ptr_mut(P).ok_or(Refused)?;
    frame.load(L3, buffer, quoted)?;
    let sum = sum(buffer, quoted);
    let field = match proto {
        IpProto::TCP => header + 16,
        IpProto::UDP => header + 6,
        _ => return Ok(sum),
    };
    if quoted < field + 2 || !frame.owes_checksum(L3 + field) {
        return Ok(sum);
    }
    // Only of L4: the L3 header is complete, and is not filled in again.
    let l4 = fold(sum as u32 + !sum_header(buffer, header) as u32);
    let w = frame.window::<2>(L3 + field).ok_or(Refused)?;
    let rest = fold(l4 as u32 + !w.get::<u16>(0) as u32);
    let free = half(!rest);
    w.set(0, free);
    Ok(fold(sum as u32 + !l4 as u32 + rest as u32 + free as u32))
}

/// Half of a number in ones' complement.
#[inline(always)]
const fn half(n: u16) -> u16 {
    let odd = (n & 1) as u32;
    ((n as u32 + odd * 0xffff) >> 1) as u16
}

/// The sum of a buffer's first `len` bytes. What stands behind them up to a whole word is cleared.
#[inline(always)]
fn sum(buffer: *mut [u8; QUOTE_ROOM], len: usize) -> u16 {
    let buffer = buffer.cast::<u8>();
    let mut end = opaque(len);
    if end > QUOTE_ROOM - 4 {
        end = QUOTE_ROOM - 4;
    }
    // SAFETY: four bytes within the buffer.
    unsafe { buffer.add(end).cast::<u32>().write_unaligned(0) };
    let padded = (end + 3) & !3;
    let mut sum = 0;
    for start in [0, CHUNK, 2 * CHUNK] {
        if padded > start {
            let mut n = opaque(padded - start);
            if n > CHUNK {
                n = CHUNK;
            }
            // SAFETY: the helper reads `n` bytes of the buffer, which has room for all chunks.
            let part = unsafe { bpf_csum_diff(ptr::null_mut(), 0, buffer.add(start).cast(), n as u32, 0) };
            sum += fold_wide(part as u32) as u32;
        }
    }
    fold(sum)
}

/// The sum of a buffer's first `len` bytes, a constant.
#[inline(always)]
fn sum_header(buffer: *mut [u8; QUOTE_ROOM], len: usize) -> u16 {
    // SAFETY: headers are shorter than the buffer.
    let part = unsafe { bpf_csum_diff(ptr::null_mut(), 0, buffer.cast(), len as u32, 0) };
    fold_wide(part as u32)
}

#[inline(always)]
const fn fold_wide(sum: u32) -> u16 {
    fold((sum & 0xffff) + (sum >> 16))
}
