//! Waiting until no packet is in a program any more that began before now: what only such a packet may still
//! read can go, or be written over, afterwards.
//!
//! Programs run with softirqs disabled, and a kernel that is not PREEMPT_RT switches to no thread while they
//! are. So a CPU that has run a thread of ours has left every program that it was in, and the switch is the
//! barrier after which its programs see what was written before. To run once on each CPU takes a tenth of a
//! millisecond, where the kernel's own grace period (membarrier(2)) waits for the clock's ticks: 8 to 20.

use std::{fs, io, thread, time::Duration};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Returns when all packets that are in a program now have left it.
pub fn wait_for_running_programs() {
    let all = may_visit().then(online).flatten();
    if !all.is_some_and(|cpus| visit(&cpus)) {
        wait_for_rcu();
    }
}

/// Whether a visit proves anything, and harms nobody: PREEMPT_RT runs threads amid programs, and CPUs that
/// are kept free of everything (nohz_full) are not to be disturbed.
fn may_visit() -> bool {
    let is_set =
        |path| fs::read_to_string(path).is_ok_and(|text| !["", "0", "(null)"].contains(&text.trim()));
    !is_set("/sys/kernel/realtime") && !is_set("/sys/devices/system/cpu/nohz_full")
}

/// CPUs that take packets. One that comes later starts with what is there then.
fn online() -> Option<Vec<usize>> {
    parse(&fs::read_to_string("/sys/devices/system/cpu/online").ok()?)
}

/// A list of CPUs as the kernel writes it: `0-3,8`.
fn parse(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cpus)
}

/// Runs on each of these CPUs once; false if one is closed to this process, or went away meanwhile.
fn visit(cpus: &[usize]) -> bool {
    let this = Pid::from_raw(0);
    let Ok(home) = sched_getaffinity(this) else { return false };
    let precedence = Precedence::take();
    // It returns on one of the CPUs of the set.
    let run_on = |cpu: &usize| {
        let mut only = CpuSet::new();
        only.set(*cpu).and_then(|()| sched_setaffinity(this, &only)).is_ok()
    };
    let all = cpus.iter().all(run_on);
    if let Err(error) = sched_setaffinity(this, &home) {
        tracing::warn!("the daemon's thread stays on one CPU: {error}");
    }
    drop(precedence);
    all
}

/// While it lives this thread runs before all ordinary ones: a busy CPU would be waited for else. Without the
/// right to it, that is so.
struct Precedence {
    is_taken: bool,
}

impl Precedence {
    fn take() -> Self {
        // SAFETY: a number only; 0 is the calling thread.
        let is_ordinary = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        Self { is_taken: is_ordinary && schedule(libc::SCHED_FIFO, 1) }
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        if self.is_taken && !schedule(libc::SCHED_OTHER, 0) {
            tracing::warn!("the daemon's thread keeps its precedence: {}", io::Error::last_os_error());
        }
    }
}

/// Changes the calling thread's scheduling, if it may.
fn schedule(policy: libc::c_int, sched_priority: libc::c_int) -> bool {
    let param = libc::sched_param { sched_priority };
    // SAFETY: it reads `param`; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) == 0 }
}

/// For the kernel's own grace period. A kernel that isolates CPUs (nohz_full) has no call for that; there a
/// time passes that no packet takes.
fn wait_for_rcu() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    const LONGEST_RUN: Duration = Duration::from_millis(50);
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 {
        tracing::debug!("no membarrier: {}", io::Error::last_os_error());
        thread::sleep(LONGEST_RUN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_the_kernels() {
        assert_eq!(parse("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!(parse("0\n"), Some(vec![0]));
        assert_eq!(parse(""), None);
        assert_eq!(parse("0-x"), None);
    }

    #[test]
    fn every_cpu_is_visited_or_it_is_said() {
        let this = Pid::from_raw(0);
        let home = sched_getaffinity(this).expect("it has one");
        assert!(visit(&online().expect("the kernel tells")));
        assert!(!visit(&[CpuSet::count() - 1]), "no machine has as many");
        assert_eq!(sched_getaffinity(this).expect("it has one"), home, "it is at home again");
        wait_for_rcu();
        wait_for_running_programs();
    }
}
