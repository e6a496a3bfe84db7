//! What this binary was built from.

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, where the build knew it.
pub const COMMIT: &str = match option_env!("FWD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
