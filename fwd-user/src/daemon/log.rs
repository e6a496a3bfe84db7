//! Where the daemon's log goes: standard error, which `fwd up` points at a file in the background.

use tracing::Level;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

/// Logs from now on; `verbose` 0 to 2. The crates that carry the API tell each of its frames: of them only
/// what matters to an operator.
pub fn init(verbose: u8) {
    let level = match verbose {
        0 => Level::INFO,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // A second call, which only tests make, keeps the first.
    _ = registry()
        .with(fmt::layer().with_ansi(false).with_writer(std::io::stderr))
        .with(Targets::new().with_default(Level::INFO).with_target("fwd_user", level))
        .try_init();
}
