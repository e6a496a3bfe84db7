//! What the slow steps of the pipeline tell while somebody debugs the datapath, through aya-log.
//!
//! The level is a constant of the loaded object (`AYA_LOG_LEVEL`, frozen before the verifier looks); it is off
//! unless `fwd up --datapath-log` says otherwise. Where it is off the verifier takes the calls out, and these
//! functions are not loaded at all. The hit path tells nothing at any level. In an instance that traces
//! (`trace`) the same answers go to whoever traces.

use aya_log_ebpf::{
    debug, error, info,
    macro_support::{Level, level_enabled},
    trace,
};
use fwd_common::{
    drop::DropReason,
    table::Inserted,
    trace::Step,
    verdict::{Outcome, Payload, Verdict},
};

use crate::{
    frame::Frame,
    stage::{flow::Revisited, recheck::Kept},
    trace,
};

macro_rules! steps {
    ($($name:ident $function:ident $step:ident $answer:ty;)*) => {$(
        /// Tells what this step answered, and returns it; a drop is told when it is counted.
        #[inline(always)]
        pub fn $name<F: Frame>(port: u32, answer: Outcome<$answer>) -> u64 {
            // The function returns what it is given, so that nothing is kept for after the call.
            if level_enabled(Level::Debug) { $function(F::PROGRAM, port, answer.word()) } else { answer.word() }
        }

        #[unsafe(no_mangle)]
        extern "C" fn $function(number: u32, port: u32, word: u64) -> u64 {
            if trace::is_on() {
                trace::tell(Step::$step, number, port, word);
                return word;
            }
            let answer = Outcome::<$answer>::from_word(word);
            if !answer.is_drop() {
                // Verifier: numbers, not words. It walks a copy of unknown length byte by byte for every length.
                let answer = answer.value().to_word();
                debug!((), "program {} port {}: {}: {:x}", number, port, stringify!($name), answer);
            }
            word
        }
    )*};
}

steps! {
    other log_other Other Verdict;
    group log_group Group Verdict;
    revisit log_revisit Revisit Revisited;
    recheck log_recheck Recheck Kept;
    guard log_guard Guard Verdict;
    related log_related Related Verdict;
    first log_first First Verdict;
    admit log_admit Admit Verdict;
}

/// Tells of a drop; of one that cannot happen as an error.
#[inline(always)]
pub fn dropped<F: Frame>(port: u32, drop: u64) -> u32 {
    if level_enabled(Level::Error) { log_dropped(F::PROGRAM, port, drop) } else { 0 }
}

#[unsafe(no_mangle)]
extern "C" fn log_dropped(number: u32, port: u32, drop: u64) -> u32 {
    if trace::is_on() {
        trace::tell(Step::Dropped, number, port, drop);
        return 0;
    }
    let drop = Outcome::<Verdict>::from_word(drop).drop();
    let (reason, rule) = (drop.reason as u8, drop.rule.0);
    match drop.reason {
        DropReason::Internal | DropReason::PolicyRowMissing => {
            error!((), "program {} port {}: dropped for reason {}: a fault in fwd", number, port, reason);
        }
        _ => info!((), "program {} port {}: dropped for reason {} by rule {}", number, port, reason, rule),
    }
    0
}

/// Tells of a try to take an L4 port for a translated flow, and returns what became of it.
#[inline(always)]
pub fn try_l4_port<F: Frame>(n: u32, inserted: Inserted) -> u32 {
    let inserted = inserted.to_word();
    if level_enabled(Level::Trace) { log_try_l4_port(F::PROGRAM, n, inserted) } else { inserted }
}

#[unsafe(no_mangle)]
extern "C" fn log_try_l4_port(number: u32, n: u32, inserted: u32) -> u32 {
    trace!((), "program {} L4 port, try {}: {}", number, n, inserted);
    inserted
}
