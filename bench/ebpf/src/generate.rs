//! The generator: writes the next packet of a stream into a live frame and sends it.
//!
//! Live frames are recycled pages, in which the last packet stands as the element left it: every header byte
//! is written anew. Payload is zeros, which no element changes, so checksums need only the headers.

use aya_ebpf::{
    helpers::bpf_xdp_adjust_tail,
    macros::map,
    maps::{Array, DevMap},
    programs::XdpContext,
};

use crate::{
    frame::{ETHER, IPV4, IPV6, PROTO_TCP, TCP, TYPE_IPV4, TYPE_IPV6, UDP, Window, fold, halves},
    stream::{IMIX, L4_PORTS, LONGEST, Stream, end},
};

/// One row: what is sent.
#[map]
static STREAM: Array<Stream> = Array::with_max_entries(1, 0);
/// One row: the number of the next packet. One CPU generates.
#[map]
static POSITION: Array<u64> = Array::with_max_entries(1, 0);
/// One row: where it is sent.
#[map]
static WIRE: DevMap = DevMap::with_max_entries(1, 0);

/// One packet's flow and length.
struct Packet {
    src: u32,
    dst: u32,
    sport: u16,
    dport: u16,
    length: u16,
}

#[inline(always)]
pub fn run(ctx: &XdpContext) -> Option<u32> {
    let stream = STREAM.get(0)?;
    let position = POSITION.get_ptr_mut(0)?;
    // SAFETY: a map row; no other CPU generates.
    let number = unsafe { *position };
    // SAFETY: as above.
    unsafe { *position = number + 1 };
    let packet = packet(stream, number)?;
    if stream.length == IMIX && packet.length < LONGEST {
        // SAFETY: the context is this run's.
        unsafe { bpf_xdp_adjust_tail(ctx.ctx, packet.length as i32 - LONGEST as i32) };
    }
    ether(ctx, stream)?;
    let (l4, sum) = if stream.is_v6 == 0 { ipv4(ctx, stream, &packet)? } else { ipv6(ctx, stream, &packet)? };
    match (stream.proto, stream.is_v6) {
        (PROTO_TCP, 0) => tcp::<{ ETHER + IPV4 }>(ctx, stream, &packet, sum)?,
        (PROTO_TCP, _) => tcp::<{ ETHER + IPV6 }>(ctx, stream, &packet, sum)?,
        (_, 0) => udp::<{ ETHER + IPV4 }>(ctx, &packet, l4, sum)?,
        (_, _) => udp::<{ ETHER + IPV6 }>(ctx, &packet, l4, sum)?,
    }
    Some(WIRE.redirect(0, 0).unwrap_or_else(|action| action))
}

#[inline(always)]
fn packet(stream: &Stream, number: u64) -> Option<Packet> {
    // Verifier: a plain remainder has a panic path for 0.
    let flow = number.checked_rem(stream.flows as u64)? as u32;
    let (address, l4_port) = (flow / L4_PORTS, (flow % L4_PORTS) as u16);
    let length = match (stream.length, number % 12) {
        (IMIX, 0..7) => 64,
        (IMIX, 7..11) => 576,
        (IMIX, _) => LONGEST,
        (length, _) => length,
    };
    let [.., src] = stream.src;
    let [.., dst] = stream.dst;
    let mut packet = Packet { src, dst, sport: stream.sport, dport: stream.dport, length };
    if stream.walked == end::SOURCE {
        packet.src += address;
        packet.sport += l4_port;
    } else {
        packet.dst += address;
        packet.dport += l4_port;
    }
    Some(packet)
}

#[inline(always)]
fn ether(ctx: &XdpContext, stream: &Stream) -> Option<()> {
    let w = Window::<ETHER>::at(ctx, 0)?;
    w.set(0, stream.frame_dst);
    w.set(6, stream.frame_src);
    w.set(12, if stream.is_v6 == 0 { TYPE_IPV4 } else { TYPE_IPV6 }.to_be());
    Some(())
}

/// Returns the length of L4 header and payload, and the sum of the pseudo-header.
#[inline(always)]
fn ipv4(ctx: &XdpContext, stream: &Stream, packet: &Packet) -> Option<(u16, u32)> {
    const FLAGS: u16 = 0x4000; // don't fragment
    let w = Window::<IPV4>::at(ctx, ETHER)?;
    let total = packet.length - ETHER as u16;
    let life = u16::from_be_bytes([64, stream.proto]);
    let addresses = halves(packet.src) + halves(packet.dst);
    w.set(0, 0x4500_u16.to_be());
    w.set(2, total.to_be());
    w.set(4, 0_u16);
    w.set(6, FLAGS.to_be());
    w.set(8, life.to_be());
    w.set(10, (!fold(0x4500 + total as u32 + FLAGS as u32 + life as u32 + addresses)).to_be());
    w.set(12, packet.src.to_be());
    w.set(16, packet.dst.to_be());
    let l4 = total - IPV4 as u16;
    Some((l4, addresses + stream.proto as u32 + l4 as u32))
}

/// Like [`ipv4`].
#[inline(always)]
fn ipv6(ctx: &XdpContext, stream: &Stream, packet: &Packet) -> Option<(u16, u32)> {
    let w = Window::<IPV6>::at(ctx, ETHER)?;
    let l4 = packet.length - (ETHER + IPV6) as u16;
    let [s0, s1, s2, _] = stream.src;
    let [d0, d1, d2, _] = stream.dst;
    w.set(0, 0x6000_0000_u32.to_be());
    w.set(4, l4.to_be());
    w.set(6, u16::from_be_bytes([stream.proto, 64]).to_be());
    let mut sum = stream.proto as u32 + l4 as u32;
    let words = [s0, s1, s2, packet.src, d0, d1, d2, packet.dst];
    let mut offset = 8;
    for word in words {
        w.set(offset, word.to_be());
        sum += halves(word);
        offset += 4;
    }
    Some((l4, sum))
}

#[inline(always)]
fn udp<const START: usize>(ctx: &XdpContext, packet: &Packet, l4: u16, pseudo: u32) -> Option<()> {
    let w = Window::<UDP>::at(ctx, START)?;
    let checksum = !fold(pseudo + packet.sport as u32 + packet.dport as u32 + l4 as u32);
    w.set(0, packet.sport.to_be());
    w.set(2, packet.dport.to_be());
    w.set(4, l4.to_be());
    // 0 would say that there is none.
    w.set(6, if checksum == 0 { 0xffff } else { checksum.to_be() });
    Some(())
}

#[inline(always)]
fn tcp<const START: usize>(ctx: &XdpContext, stream: &Stream, packet: &Packet, pseudo: u32) -> Option<()> {
    const WINDOW: u16 = 0xffff;
    let w = Window::<TCP>::at(ctx, START)?;
    let flags = u16::from_be_bytes([0x50, stream.tcp_flags]);
    let words = packet.sport as u32 + packet.dport as u32 + flags as u32 + WINDOW as u32;
    w.set(0, packet.sport.to_be());
    w.set(2, packet.dport.to_be());
    w.set(4, 0_u32);
    w.set(8, 0_u32);
    w.set(12, flags.to_be());
    w.set(14, WINDOW);
    w.set(16, (!fold(pseudo + words)).to_be());
    w.set(18, 0_u16);
    Some(())
}
