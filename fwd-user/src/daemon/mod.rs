//! The daemon: one writer, an HTTP server on a unix socket, metrics on loopback; and its start and end.

mod ground;
mod handle;
mod lock;
mod log;
mod options;
mod services;
mod socket;
mod start;
mod summary;
mod world;
mod writer;

use std::{path::Path, sync::Arc, time::SystemTime};

use ground::{Ground, Memory};
use handle::{Fixed, Handle};
use lock::Lock;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{broadcast, mpsc},
};
use writer::Writer;

pub use options::{DEFAULT_BPFFS, DEFAULT_SOCKET, DEFAULT_STATE_DIR, DatapathKind, Metrics, Options};
pub use start::start;

use crate::api::{
    error::{ApiError, Code},
    server,
};

/// Events that a slow reader may be behind.
const EVENTS: usize = 4096;

/// Runs the daemon in this process until it is told to end.
///
/// # Errors
/// It could not start.
pub async fn run(options: Options, verbose: u8, detached: bool) -> Result<(), ApiError> {
    if detached {
        start::detach()?;
    }
    log::init(verbose);
    let result = serve(options, detached).await;
    match (&result, detached) {
        // Whoever waits is told; the log has it too.
        (Err(error), true) => {
            tracing::error!("{error}");
            start::report(Err(error));
        }
        _ => tracing::info!("ended"),
    }
    result
}

async fn serve(options: Options, detached: bool) -> Result<(), ApiError> {
    let _lock = Lock::take(&options.state_dir)?;
    let ground: Box<dyn Ground> = match options.datapath {
        DatapathKind::Memory => Box::new(Memory::open(options.inventory.as_deref())?),
        DatapathKind::Kernel => {
            return Err(ApiError::new(Code::NotBuilt, "The kernel datapath is not driven yet."));
        }
    };
    let (writer, world) = Writer::new(ground, services::read())?;
    let metrics = bind_metrics(options.metrics).await?;
    let listener = socket::bind(&options.socket)?;
    let (jobs, queue) = mpsc::unbounded_channel();
    let (events, _) = broadcast::channel(EVENTS);
    let fixed = Arc::new(Fixed { options: options.clone(), started: SystemTime::now() });
    let handle = Handle { jobs, world, events, fixed };
    let mut writing = tokio::task::spawn_blocking(|| writer.run(queue));
    if let Some(listener) = metrics {
        tokio::spawn(server::serve_metrics(listener, handle.clone()));
    }
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let stop = async { _ = ended.await };
    let serving = tokio::spawn(server::serve(listener, handle, stop));
    tracing::info!("ready on {}", options.socket.display());
    if detached {
        start::report(Ok(()));
    }
    start::notify_systemd();
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| internal(&e))?;
    let result = tokio::select! {
        done = &mut writing => done.map_err(|e| internal(&e)),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    _ = end.send(());
    _ = tokio::time::timeout(std::time::Duration::from_secs(1), serving).await;
    _ = std::fs::remove_file(&options.socket);
    result
}

async fn bind_metrics(metrics: Metrics) -> Result<Option<TcpListener>, ApiError> {
    let Metrics::On(addr) = metrics else { return Ok(None) };
    let listener = TcpListener::bind(addr).await.map_err(|e| {
        ApiError::new(Code::HostListens, format!("Metrics cannot be served on {addr}: {e}."))
            .hint("Choose another: fwd up --metrics 127.0.0.1:9466; or none: --metrics off.")
    })?;
    Ok(Some(listener))
}

/// Waits until the daemon of a state directory has ended.
pub fn wait_for_end(state_dir: &str) {
    Lock::wait(Path::new(state_dir));
}

/// Gives the host back as it was, where no daemon runs.
///
/// # Errors
/// A daemon holds the directory, or something could not be undone.
pub fn tear_down(state_dir: &Path, _bpffs: &Path) -> Result<(), ApiError> {
    let _lock = if state_dir.exists() { Some(Lock::take(state_dir)?) } else { None };
    Ok(())
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

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(Code::Internal, format!("The daemon failed: {error}."))
}
