//! The datapath. One pipeline, compiled for XDP and for TCX (or clsact) in one object.
//!
//! Reads top to bottom: `pipeline` names the stages in order; each stage looks up, lets a pure function of
//! `fwd_common` decide, and returns a value or a drop reason; `finish` alone turns a verdict into a hook's
//! code and counters. `frame` hides what the hooks do differently.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "atomics: see `atomic`")]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "a map helper takes pointers: keys and rows stay where they are on the stack"
)]

mod atomic;
mod chain;
mod drop_row;
mod finish;
mod flow_event;
mod frame;
mod global;
mod icmp;
mod log;
mod maps;
mod parse;
mod pipeline;
mod quote;
mod report;
mod reset;
mod rewrite;
mod sctp;
mod stage;
mod sweep;
mod trace;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use frame::{Bare, Incoming, Outgoing, Swept, Xdp};

/// Every frame that comes in on a device of a port whose hook is XDP, also where it is in several pieces.
#[xdp(frags)]
pub fn fwd_xdp(ctx: XdpContext) -> u32 {
    pipeline::run(Xdp::new(ctx.ctx)) as u32
}

/// Every frame that comes in on a device of a port, but for those that XDP took.
#[classifier]
pub fn fwd_ingress(ctx: TcContext) -> i32 {
    pipeline::run(Incoming::new(ctx.skb.skb))
}

/// What the host sends out of an uplink.
#[classifier]
pub fn fwd_egress(ctx: TcContext) -> i32 {
    stage::host::run(Outgoing::new(ctx.skb.skb))
}

/// Every packet that comes in on a tunnel, without an Ethernet header.
#[classifier]
pub fn fwd_tunnel_ingress(ctx: TcContext) -> i32 {
    stage::tunnel::enter(Incoming::new(ctx.skb.skb))
}

/// What the host sends out of a tunnel.
#[classifier]
pub fn fwd_tunnel_egress(ctx: TcContext) -> i32 {
    stage::host::run_bare(Bare::new(ctx.skb.skb))
}

/// Runs a [`fwd_common::sweep::Command`]; not attached anywhere.
#[classifier]
pub fn fwd_sweep(ctx: TcContext) -> i32 {
    sweep::run(Swept::new(ctx.skb.skb))
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
