//! What the programs tell through aya-log while somebody debugs them: each record becomes a line of the
//! daemon's own log. Whether they tell anything was decided when they were loaded.

use std::{io, path::Path};

use aya::programs::ProgramInfo;
use aya_log::EbpfLogger;
use fwd_common::map::program;
use log::{Log, Metadata, Record};
use tokio::io::{Interest, unix::AsyncFd};

/// Writes records to the daemon's log, whatever that one's own level.
struct Lines;

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::info!(target: "datapath", "{} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Reads for as long as it is polled; `programs` is the directory in which they are pinned.
///
/// # Errors
/// If the programs or their ring are not there.
pub async fn follow_log(programs: &Path) -> io::Result<()> {
    let program = ProgramInfo::from_pin(programs.join(program::INGRESS)).map_err(io::Error::other)?;
    let logger = EbpfLogger::init_from_id_with_logger(program.id(), Lines).map_err(io::Error::other)?;
    // SAFETY: the logger owns its descriptor and hands it out only borrowed, so it is open for as long as the
    // `AsyncFd` that owns the logger is registered with it.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.map_err(|error| error.into_parts().1)?;
    loop {
        let mut ready = logger.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
