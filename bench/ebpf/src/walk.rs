//! Programs of the benchmark's program tier: each writes the next packet of a walk into the frame of a test run and
//! hands over, by tail call, to the program that is measured.
//!
//! A test run repeats one program on one frame; without this it would hit one flow, and after a rewrite none. What a
//! walk and the call cost is measured by handing over to a program that does nothing.
#![no_std]
#![no_main]

#[path = "../../src/program/walk.rs"]
mod walk;

use aya_ebpf::{
    EbpfContext,
    bindings::{TC_ACT_SHOT, xdp_action},
    macros::{classifier, map, xdp},
    maps::{Array, ProgramArray},
    programs::{TcContext, XdpContext},
};
use walk::{L4_PORT_BITS, LEN, WORDS, Walk};

#[map]
static WALK: Array<Walk> = Array::with_max_entries(1, 0);
/// What is measured.
#[map]
static NEXT_XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static NEXT_SKB: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Where the walked end stands in a frame: last word of the address, L4 port.
const SOURCE4: (usize, usize) = (26, 34);
const DESTINATION4: (usize, usize) = (30, 36);
const SOURCE6: (usize, usize) = (34, 54);
const DESTINATION6: (usize, usize) = (50, 56);

macro_rules! walks {
    ($($xdp:ident $skb:ident $end:ident)*) => {$(
        // As what is measured: the kernel lets neither hand over to the other otherwise.
        #[xdp(frags)]
        pub fn $xdp(ctx: XdpContext) -> u32 {
            step(ctx.data(), ctx.data_end(), $end);
            hand_over(&NEXT_XDP, &ctx);
            xdp_action::XDP_ABORTED
        }

        #[classifier]
        pub fn $skb(ctx: TcContext) -> i32 {
            // SAFETY: the context is this run's; the next run gets it as this one leaves it.
            unsafe { (*ctx.skb.skb).mark = 0 };
            step(ctx.data(), ctx.data_end(), $end);
            hand_over(&NEXT_SKB, &ctx);
            TC_ACT_SHOT
        }
    )*};
}
walks! {
    xdp_source4 skb_source4 SOURCE4
    xdp_destination4 skb_destination4 DESTINATION4
    xdp_source6 skb_source6 SOURCE6
    xdp_destination6 skb_destination6 DESTINATION6
}

/// Does nothing: what the walk itself costs.
#[xdp(frags)]
pub fn xdp_floor(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Like [`xdp_floor`].
#[classifier]
pub fn skb_floor(_: TcContext) -> i32 {
    TC_ACT_SHOT
}

#[inline(always)]
fn step(data: usize, data_end: usize, (address, l4_port): (usize, usize)) {
    let Some(walk) = WALK.get_ptr_mut(0) else { return };
    // SAFETY: a map row; one thread runs tests.
    let walk = unsafe { &mut *walk };
    let flow = walk.position.wrapping_mul(walk.stride) & walk.mask;
    walk.position = walk.position.wrapping_add(1);
    if data + LEN > data_end {
        return;
    }
    for n in 0..WORDS {
        // SAFETY: LEN bytes are there; the BPF target writes to any alignment.
        unsafe { ((data + n * 8) as *mut u64).write_unaligned(walk.frame[n]) };
    }
    let addresses = walk.address + (flow >> L4_PORT_BITS);
    let l4_ports = walk.l4_port + (flow & ((1 << L4_PORT_BITS) - 1));
    // SAFETY: as above, both end before LEN.
    unsafe {
        ((data + address) as *mut u32).write_unaligned(addresses.to_be());
        ((data + l4_port) as *mut u16).write_unaligned((l4_ports as u16).to_be());
    }
}

#[inline(always)]
fn hand_over(to: &ProgramArray, ctx: &impl EbpfContext) {
    // SAFETY: the array has one row; an empty one is returned from.
    unsafe { to.tail_call(ctx, 0) };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Verifier: nothing in the object panics; a panic path would end in this loop and be refused.
    loop {}
}

/// The kernel grants some helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
