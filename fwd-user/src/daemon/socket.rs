//! The unix socket: for root and the group `fwd`; for its owner alone where there is no such group.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nix::{
    sys::stat::{Mode, umask},
    unistd::{Group, chown},
};
use tokio::net::UnixListener;

use crate::api::error::{ApiError, Code};

const GROUP: &str = "fwd";

/// Listens. The caller holds the instance's lock, so a socket that is there is a dead daemon's.
///
/// # Errors
/// The directory or the socket cannot be made.
pub fn bind(path: &Path) -> Result<UnixListener, ApiError> {
    let fail = |e: &dyn std::fmt::Display| {
        ApiError::new(Code::IoFailed, format!("Socket {} cannot be made: {e}.", path.display()))
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| fail(&e))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ApiError::new(
            Code::DaemonRuns,
            format!("Another daemon answers on socket {}.", path.display()),
        ));
    }
    if path.exists() {
        fs::remove_file(path).map_err(|e| fail(&e))?;
    }
    // Nobody else may connect before the group is set.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(|e| fail(&e))?;
    if let Ok(Some(group)) = Group::from_name(GROUP)
        && chown(path, None, Some(group.gid)).is_ok()
    {
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(|e| fail(&e))?;
    }
    Ok(listener)
}
