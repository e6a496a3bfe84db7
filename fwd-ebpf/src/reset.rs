//! TCP resets made out of the segment that they answer (RFC 9293, 3.10.7.1).

use fwd_common::{
    flow::FlowKey,
    proto::{IpProto, tcp},
};

use crate::{
    frame::{Frame, Refused, Skb},
    icmp::{back_to_sender, pseudo_header, write_l3},
    maps::Family,
    parse::{self, L3},
    rewrite::fold,
};

const TCP_LEN: usize = 20;

/// Makes the frame a reset in the name of its segment's receiver. Its sequence number is the one that the
/// sender waits for; where the segment acknowledges nothing, it is 0, and all of the segment is acknowledged.
///
/// # Errors
/// The kernel refused to change the frame's size.
#[inline(always)]
pub fn make<const P: u32, A: Family>(frame: Skb<P>, key: &FlowKey<A>) -> Result<(), Refused>
where
    Skb<P>: Frame,
{
    let start = parse::l4::<A>();
    let l4_len = (parse::l3_len::<_, A>(frame) as usize).wrapping_sub(start - L3) as u32;
    let w = frame.window::<TCP_LEN>(start).ok_or(Refused)?;
    let (seq, ack) = (u32::from_be(w.get(4)), w.get::<u32>(8));
    let (words, flags) = (w.get::<u8>(12) >> 4, w.get::<u8>(13));
    let is_counted = |bit| (flags & bit != 0) as u32;
    let len = l4_len.wrapping_sub(words as u32 * 4) + is_counted(tcp::SYN) + is_counted(tcp::FIN);
    let is_owed = frame.owes_checksum(start + 16);
    frame.resize(start + TCP_LEN)?;
    frame.pull(start + TCP_LEN);
    back_to_sender(frame)?;
    write_l3(frame, (&key.dst, &key.src), (IpProto::TCP, TCP_LEN))?;
    let (seq, ack, flags) = if flags & tcp::ACK != 0 {
        (ack, 0, tcp::RST)
    } else {
        (0, seq.wrapping_add(len).to_be(), tcp::RST | tcp::ACK)
    };
    let first = u16::from_ne_bytes([(TCP_LEN as u8 / 4) << 4, flags]);
    let pseudo = pseudo_header((&key.dst, &key.src), (IpProto::TCP, TCP_LEN));
    let halves = |n: u32| (n & 0xffff) + (n >> 16);
    let sum = pseudo + key.sport as u32 + key.dport as u32 + halves(seq) + halves(ack) + first as u32;
    let w = frame.window::<TCP_LEN>(start).ok_or(Refused)?;
    w.set(0, key.dport);
    w.set(2, key.sport);
    w.set(4, seq);
    w.set(8, ack);
    w.set(12, first);
    w.set(14, 0_u16);
    // What the kernel still owes begins with the pseudo-header's sum.
    w.set(16, if is_owed { fold(pseudo) } else { !fold(sum) });
    w.set(18, 0_u16);
    Ok(())
}
