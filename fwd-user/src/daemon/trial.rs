//! Changes on trial: what is not confirmed in time is rolled back.
//!
//! The store says which revision is the confirmed one, and every start comes up with that one. So two watch a
//! trial: the daemon's own timer, and, should the daemon die, a guard: a process of its own that waits for
//! the daemon's end and the deadline, and then starts the daemon again. Whoever starts a daemon before, or takes
//! fwd down, ends the guard.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::{runtime::Handle, sync::mpsc::WeakUnboundedSender, task::AbortHandle};

use super::{DatapathKind, Options, lock::Lock, serve, start, writer::Job};
use crate::{
    api::error::{ApiError, Code},
    store::{Sqlite, Store},
};

/// Makes trials.
pub struct Trials {
    options: Options,
    jobs: WeakUnboundedSender<Job>,
    runtime: Handle,
    begun: u64,
}

/// A change that waits for its confirmation. Dropping it leaves the guard: the daemon is about to end.
pub struct Trial {
    /// Told when its time is over.
    pub id: u64,
    pub until: SystemTime,
    timer: AbortHandle,
    /// Its standard input is a pipe that ends with the daemon.
    guard: Child,
}

impl Trials {
    /// For a daemon with these options; to be called in its runtime.
    pub fn new(options: &Options, jobs: WeakUnboundedSender<Job>) -> Self {
        Self { options: options.clone(), jobs, runtime: Handle::current(), begun: 0 }
    }

    /// Begins one, before what is on trial binds.
    ///
    /// # Errors
    /// There can be no guard.
    pub fn begin(&mut self, after: Duration) -> Result<Trial, ApiError> {
        // The binary that runs, also where it was replaced meanwhile.
        let guard = Command::new("/proc/self/exe")
            .args(self.options.guard_arguments(after))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| {
                ApiError::new(
                    Code::Internal,
                    format!("The guard cannot be started: {e}; nothing was changed."),
                )
            })?;
        self.begun += 1;
        let (id, jobs) = (self.begun, self.jobs.clone());
        let timer = self.runtime.spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(jobs) = jobs.upgrade() {
                // The writer may be at its end; then the guard goes on.
                _ = jobs.send(Job::Expired(id));
            }
        });
        Ok(Trial { id, until: SystemTime::now() + after, timer: timer.abort_handle(), guard })
    }
}

/// What becomes of the confirmation when edits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// They are confirmed, unless a trial is under way: then they are part of it.
    Plain,
    /// They are on trial for so long; with those that are on trial already.
    OnTrial(Duration),
    /// They bring back what was confirmed: a trial under way is over.
    Back,
}

impl Trial {
    /// Ends it: nothing is to be rolled back any more.
    pub fn dismiss(mut self) {
        self.timer.abort();
        if let Err(error) = self.guard.kill().and_then(|()| self.guard.wait()) {
            tracing::warn!("the guard cannot be ended: {error}");
        }
    }
}

/// The guard's whole life: waits for the end of the daemon that started it, then for the deadline; if the
/// datapath is still there, without a daemon and with what is not confirmed, starts a daemon.
///
/// # Errors
/// The store cannot be read, or the daemon cannot be started.
pub fn guard(options: &Options, verbose: u8, after: Duration) -> Result<(), ApiError> {
    let deadline = Instant::now() + after;
    start::detach()?;
    let watching = Lock::take_guards(&options.state_dir)?;
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map_err(|e| {
        ApiError::new(Code::Internal, format!("The guard cannot wait for the daemon's end: {e}."))
    })?;
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
    match Lock::take(&options.state_dir) {
        Ok(_lock) => {
            let store = Sqlite::open(&options.state_dir.join(serve::STORE))?;
            let is_confirmed = store.confirmed()? == store.load()?.revision;
            let is_running = options.datapath == DatapathKind::Memory || is_pinned(options);
            if is_confirmed || !is_running {
                return Ok(());
            }
        }
        // Somebody started one, which came up with what is confirmed.
        Err(error) if error.code == Code::DaemonRuns => return Ok(()),
        Err(error) => return Err(error),
    }
    // The daemon ends the guard that it finds.
    drop(watching);
    start(options, verbose)
}

/// `fwd down` without a daemon leaves nothing to be rolled back.
fn is_pinned(options: &Options) -> bool {
    std::fs::read_dir(&options.bpffs).is_ok_and(|mut entries| entries.next().is_some())
}
