//! Where the daemon's log goes: standard error, which `fwd up` points at a file in the background.

use tracing::Level;

/// Logs from now on; `verbose` 0 to 2.
pub fn init(verbose: u8) {
    let level = match verbose {
        0 => Level::INFO,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // A second call, which only tests make, keeps the first.
    _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .try_init();
}
