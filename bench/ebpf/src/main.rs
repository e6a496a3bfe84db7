//! Programs of the benchmark's traffic tier: generator, sink, and the peers that are programs.
//!
//! Nothing of fwd is in here: the peers are what one would write by hand for the one job, and are reviewed as
//! such. `stream` is shared with the harness.
#![no_std]
#![no_main]

mod frame;
mod generate;
mod peer;
mod sink;
#[allow(dead_code, reason = "each side of the rows uses its own part")]
#[path = "../../src/traffic/stream.rs"]
mod stream;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

/// Live frames of `BPF_PROG_TEST_RUN` become the packets of a stream.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    generate::run(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Counts what arrives and drops it; all but UDP and TCP goes on to the stack.
#[xdp]
pub fn sink(ctx: XdpContext) -> u32 {
    sink::run(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

/// The least that XDP can do with a frame.
#[xdp]
pub fn discard(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Leaves every frame to what comes after XDP.
#[xdp(frags)]
pub fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The least that a forwarding XDP program can do.
#[xdp]
pub fn redirect(_: XdpContext) -> u32 {
    peer::redirect::by_devmap()
}

/// The least that a forwarding TC program can do.
#[classifier]
pub fn redirect_skb(_: TcContext) -> i32 {
    peer::redirect::by_ifindex().unwrap_or(TC_ACT_SHOT)
}

/// The minimal forward: one look-up, rewrite, redirect.
#[xdp(frags)]
pub fn dnat(ctx: XdpContext) -> u32 {
    peer::dnat::run(&ctx).unwrap_or(xdp_action::XDP_PASS)
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
