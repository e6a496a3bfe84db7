//! What the slow steps answer while a packet is traced: `fwd trace` loads a second instance of the object with
//! this switched on, and runs it on frames that it makes.
//!
//! Guarantees: the switch is a constant of the loaded object, frozen before the verifier looks. Where it is off
//! nothing of this is loaded. Where it is on no frame leaves: what a test run redirects goes nowhere, and the
//! kernel refuses to copy.

use aya_ebpf::Global;
use fwd_common::trace::{Record, Step};

use crate::maps;

#[unsafe(no_mangle)]
static TRACING: Global<u8> = Global::new(0);

/// Whether this instance of the object is one for tracing.
#[inline(always)]
pub fn is_on() -> bool {
    TRACING.load() != 0
}

/// Flags of a copy: none, or one that makes the kernel refuse. No branch: floods have no stack left for one.
#[inline(always)]
pub fn no_copy() -> u64 {
    (TRACING.load() as u64) << 63
}

/// Tells what a step answered.
#[inline(always)]
pub fn tell(step: Step, program: u32, port: u32, word: u64) {
    if let Some(mut record) = maps::TRACES.reserve::<Record>(0) {
        record.write(Record { word, port, step: step as u16, program: program as u16 });
        record.submit(0);
    }
}
