//! Changes flow tables on behalf of user space, so that the kernel stays their only writer.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use fwd_common::{
    addr::{V4, V6},
    event::End,
    flow::{FlowKey, Half, flag, key_kind},
    id::{PortId, RuleId},
    sweep::{Command, MAX_SLOTS, Op},
};

use crate::{
    frame::Deliver,
    maps::{self, Family},
    report,
    stage::{
        reclaim,
        table::{self, Flows},
    },
};

const OK: i32 = 0;
const BAD_COMMAND: i32 = 1;

const CUT_RULE: u32 = Op::CutRule as u32;
const CUT_FORWARD: u32 = Op::CutForward as u32;
const CUT_PORT: u32 = Op::CutPort as u32;

/// Runs the command at the start of the frame and writes the answer over it.
#[inline(always)]
pub fn run<F: Deliver>(frame: F) -> i32 {
    frame.pull(size_of::<Command>());
    let Some(window) = frame.window::<{ size_of::<Command>() }>(0) else { return BAD_COMMAND };
    let mut command: Command = window.get(0);
    match command.family {
        0 => sweep::<F, V4>(frame, &mut command),
        1 => sweep::<F, V6>(frame, &mut command),
        _ => return BAD_COMMAND,
    }
    let Some(window) = frame.window::<{ size_of::<Command>() }>(0) else { return BAD_COMMAND };
    window.set(0, command);
    OK
}

#[inline(always)]
fn sweep<F: Deliver, A: Family>(frame: F, command: &mut Command) {
    const RECLAIM: u32 = Op::Reclaim as u32;
    const RECHECK: u32 = Op::Recheck as u32;
    const DELETE: u32 = Op::Delete as u32;
    match command.op {
        CUT_RULE | CUT_FORWARD | CUT_PORT => each_slot(frame, command, cut_slot::<F, A> as *mut c_void),
        RECLAIM => each_slot(frame, command, reclaim_slot::<F, A> as *mut c_void),
        RECHECK => each_slot(frame, command, recheck_slot::<F, A> as *mut c_void),
        DELETE => command.cut = delete::<A>(command) as u32,
        _ => {}
    }
}

/// Verifier: a function of its own, so that its stack is not added to what the others call (512 bytes, 6.1).
#[inline(never)]
fn delete<A: Family>(command: &Command) -> bool {
    let key = FlowKey {
        src: A::from_ip(command.src),
        dst: A::from_ip(command.dst),
        sport: command.sport,
        dport: command.dport,
        zone: command.zone,
        proto: command.proto,
        kind: key_kind::FLOW,
    };
    table::end_flow(&key, End::CutByDelete, RuleId(0))
}

struct Walk<'a, F> {
    frame: F,
    command: &'a mut Command,
}

#[inline(always)]
fn each_slot<F: Deliver>(frame: F, command: &mut Command, step: *mut c_void) {
    let slots = command.slots.min(MAX_SLOTS);
    let mut walk = Walk { frame, command };
    // SAFETY: the callback has the signature that the helper calls, and `walk` outlives the call.
    unsafe { bpf_loop(slots, step, (&raw mut walk).cast(), 0) };
}

extern "C" fn reclaim_slot<F: Deliver, A: Family>(index: u32, walk: *mut Walk<'_, F>) -> i64 {
    // SAFETY: the helper passes back what `each_slot` passed to it.
    let command = unsafe { &mut *(*walk).command };
    let Some(flow) = reclaim::flow_in::<A>(command.first_slot.wrapping_add(index)) else { return 0 };
    let Ok(settings) = maps::settings() else { return 1 };
    command.inspected += 1;
    command.expired += reclaim::end_if_expired(settings, flow, report::now()) as u32;
    0
}

extern "C" fn recheck_slot<F: Deliver, A: Family>(index: u32, walk: *mut Walk<'_, F>) -> i64 {
    // SAFETY: the helper passes back what `each_slot` passed to it.
    let (frame, command) = unsafe { ((*walk).frame, &mut *(*walk).command) };
    let Some(half) = reclaim::flow_in::<A>(command.first_slot.wrapping_add(index)) else { return 0 };
    command.inspected += 1;
    let Some(scratch) = A::scratch().get_ptr_mut(F::PROGRAM) else { return 1 };
    // SAFETY: this CPU's and this program's row.
    unsafe { (*scratch).key = half.key };
    if is_stale(half) && frame.recheck::<A>().is_drop() {
        command.cut += 1;
    }
    0
}

extern "C" fn cut_slot<F: Deliver, A: Family>(index: u32, walk: *mut Walk<'_, F>) -> i64 {
    // SAFETY: the helper passes back what `each_slot` passed to it.
    let command = unsafe { &mut *(*walk).command };
    let Some(half) = reclaim::flow_in::<A>(command.first_slot.wrapping_add(index)) else { return 0 };
    command.inspected += 1;
    if is_meant(command, half) {
        let by = if command.op == CUT_RULE { RuleId(command.id) } else { RuleId(0) };
        command.cut += table::end_flow(&half.key, End::CutByPolicy, by) as u32;
    }
    0
}

#[inline(always)]
fn is_meant<A: Family>(command: &Command, half: &Half<A>) -> bool {
    let entry = &half.entry;
    match command.op {
        CUT_RULE => entry.rule.0 == command.id,
        CUT_FORWARD => entry.forward.0 == command.id,
        _ => {
            let ingress = Flows::partner(half).map_or(PortId(0), |reply| reply.entry.egress);
            entry.egress.0 as u32 == command.id || ingress.0 as u32 == command.id
        }
    }
}

#[inline(always)]
fn is_stale<A: Family>(half: &Half<A>) -> bool {
    let entry = &half.entry;
    // A mapping permits nothing: its flows are asked.
    if entry.has(flag::MAPPING) {
        return false;
    }
    let Some(reply) = Flows::partner(half) else { return false };
    let (Some(from), Some(to)) = (maps::port(reply.entry.egress), maps::port(entry.egress)) else {
        return true;
    };
    entry.generation != from.generation.wrapping_add(to.generation)
}
