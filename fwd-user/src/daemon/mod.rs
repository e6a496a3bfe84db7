//! The daemon: one writer, an HTTP server on a unix socket, metrics on loopback; and its start and end.

mod admission;
mod audit;
mod bundle;
mod diagnosis;
mod existing;
mod expiry;
mod facts;
mod failure;
mod ground;
mod handle;
mod implicit;
mod keep;
mod lock;
mod log;
mod observed;
mod options;
mod place;
mod policy_test;
mod rollback;
mod room;
mod serve;
mod served;
mod services;
mod socket;
mod sockets;
mod start;
mod summary;
mod trace;
mod trial;
mod wanted;
mod world;
mod writer;

use std::path::Path;

use lock::Lock;

pub use options::{
    DEFAULT_BPFFS, DEFAULT_LIBVIRT, DEFAULT_SOCKET, DEFAULT_STATE_DIR, DatapathKind, Metrics, Options,
};
pub use start::start;
pub use trial::guard;

/// What `fwd up` may ask of the programs.
pub use crate::datapath::LogLevel;

use crate::{
    api::{
        error::{ApiError, Code},
        spec::Document,
    },
    state::{self, Desired, Edit},
};

/// Runs the daemon in this process until it is told to end.
///
/// # Errors
/// It could not start.
pub async fn run(options: Options, verbose: u8, detached: bool) -> Result<(), ApiError> {
    if detached {
        start::detach()?;
    }
    log::init(verbose);
    let result = serve::serve(options, detached).await;
    match &result {
        Ok(()) => tracing::info!("ended"),
        // Standard error, which is the log, has it from the caller; this tells whoever waits.
        Err(error) if detached => start::report(Err(error)),
        Err(_) => {}
    }
    result
}

/// Checks a document by itself: what the host makes of it only a running daemon can say.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(document: Document) -> Result<(), ApiError> {
    state::accept(&Desired::default(), Edit::Replace(document), None, &services::read()).map(drop)
}

/// Waits until the daemon of a state directory has ended.
pub fn wait_for_end(state_dir: &str) {
    Lock::wait(Path::new(state_dir));
}

/// Gives the host back as it was, where no daemon runs.
///
/// # Errors
/// A daemon holds the directory, or something could not be undone.
pub async fn tear_down(state_dir: &Path, bpffs: &Path) -> Result<(), ApiError> {
    let _lock = if state_dir.exists() { Some(Lock::take(state_dir)?) } else { None };
    Lock::end_guard(state_dir);
    ground::tear_down(state_dir, bpffs).await
}

/// Removes a state directory.
///
/// # Errors
/// A daemon holds it, or it cannot be removed.
pub fn purge(state_dir: &Path) -> Result<(), ApiError> {
    if !state_dir.exists() {
        return Ok(());
    }
    let _lock = Lock::take(state_dir)?;
    std::fs::remove_dir_all(state_dir).map_err(|e| {
        ApiError::new(Code::IoFailed, format!("{} cannot be removed: {e}.", state_dir.display()))
    })
}
