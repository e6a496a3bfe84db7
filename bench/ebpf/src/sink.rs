//! The sink: the end of the way, where what an element delivered is counted and goes.

use aya_ebpf::{
    bindings::xdp_action,
    macros::map,
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};

use crate::{
    frame::{ETHER, IPV4, IPV6, PROTO_TCP, PROTO_UDP, TCP, TYPE_IPV4, TYPE_IPV6, UDP, Window, fold, halves},
    stream::{Arrived, Expected, end},
};

#[map]
static EXPECTED: Array<Expected> = Array::with_max_entries(1, 0);
#[map]
static ARRIVED: PerCpuArray<Arrived> = PerCpuArray::with_max_entries(1, 0);

/// What tells whether a packet is the one that was sent.
struct Seen {
    address: u32,
    l4_port: u16,
    is_whole: bool,
}

#[inline(always)]
pub fn run(ctx: &XdpContext) -> Option<u32> {
    let expected = EXPECTED.get(0)?;
    let ether_type = u16::from_be(Window::<ETHER>::at(ctx, 0)?.get(12));
    let seen = match ether_type {
        TYPE_IPV4 => ipv4(ctx, expected)?,
        TYPE_IPV6 => ipv6(ctx, expected)?,
        _ => return None,
    };
    let arrived = ARRIVED.get_ptr_mut(0)?;
    // SAFETY: this CPU's row.
    let arrived = unsafe { &mut *arrived };
    arrived.packets += 1;
    arrived.bytes += (ctx.data_end() - ctx.data()) as u64;
    if seen.address != expected.address || seen.l4_port != expected.l4_port {
        arrived.strange += 1;
    }
    if !seen.is_whole {
        arrived.corrupt += 1;
    }
    Some(xdp_action::XDP_DROP)
}

/// None: not the sink's affair.
#[inline(always)]
fn ipv4(ctx: &XdpContext, expected: &Expected) -> Option<Seen> {
    let w = Window::<IPV4>::at(ctx, ETHER)?;
    let is_source = expected.end == end::SOURCE;
    let address = u32::from_be(w.get(if is_source { 12 } else { 16 }));
    let mut is_whole = true;
    let mut pseudo = 0;
    if expected.is_strict != 0 {
        let mut header = 0;
        for n in 0..5 {
            header += halves(u32::from_be(w.get(n * 4)));
        }
        is_whole = fold(header) == 0xffff;
        let l4 = u16::from_be(w.get(2)) as u32 - IPV4 as u32;
        pseudo = halves(u32::from_be(w.get(12))) + halves(u32::from_be(w.get(16))) + l4;
    }
    l4::<{ ETHER + IPV4 }>(ctx, expected, w.get(9), Seen { address, l4_port: 0, is_whole }, pseudo)
}

/// Like [`ipv4`].
#[inline(always)]
fn ipv6(ctx: &XdpContext, expected: &Expected) -> Option<Seen> {
    let w = Window::<IPV6>::at(ctx, ETHER)?;
    let is_source = expected.end == end::SOURCE;
    let address = u32::from_be(w.get(if is_source { 20 } else { 36 }));
    let mut pseudo = 0;
    if expected.is_strict != 0 {
        pseudo = u16::from_be(w.get(4)) as u32;
        for n in 0..8 {
            pseudo += halves(u32::from_be(w.get(8 + n * 4)));
        }
    }
    l4::<{ ETHER + IPV6 }>(ctx, expected, w.get(6), Seen { address, l4_port: 0, is_whole: true }, pseudo)
}

#[inline(always)]
fn l4<const START: usize>(
    ctx: &XdpContext,
    expected: &Expected,
    proto: u8,
    seen: Seen,
    pseudo: u32,
) -> Option<Seen> {
    if proto != PROTO_UDP && proto != PROTO_TCP {
        return None;
    }
    let w = Window::<UDP>::at(ctx, START)?;
    let l4_port = u16::from_be(w.get(if expected.end == end::SOURCE { 0 } else { 2 }));
    let mut is_whole = seen.is_whole;
    if expected.is_strict != 0 {
        let mut sum = pseudo + proto as u32 + halves(u32::from_be(w.get(0))) + halves(u32::from_be(w.get(4)));
        if proto == PROTO_TCP {
            let w = Window::<TCP>::at(ctx, START)?;
            for n in 2..5 {
                sum += halves(u32::from_be(w.get(n * 4)));
            }
        }
        is_whole &= fold(sum) == 0xffff;
    }
    Some(Seen { l4_port, is_whole, ..seen })
}
