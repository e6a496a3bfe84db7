//! One daemon for one state directory: a lock that the kernel takes back when its process ends.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::api::error::{ApiError, Code};

const FILE: &str = "lock";

/// The lock on a state directory, held until it is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

impl Lock {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// Another daemon holds it, or it cannot be made.
    pub fn take(state_dir: &Path) -> Result<Self, ApiError> {
        let fail = |e: &dyn std::fmt::Display| {
            ApiError::new(
                Code::IoFailed,
                format!("State directory {} cannot be used: {e}.", state_dir.display()),
            )
        };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(state_dir).map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => denied(state_dir),
            _ => fail(&e),
        })?;
        let path = state_dir.join(FILE);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => denied(state_dir),
            _ => fail(&e),
        })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // For people only: the lock itself is the kernel's.
                let note = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
                note.map_err(|e| fail(&e))?;
                Ok(Self(lock))
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                Err(ApiError::new(
                    Code::DaemonRuns,
                    format!("State directory {} is held by process {}.", state_dir.display(), holder.trim()),
                ))
            }
            Err((_, errno)) => Err(fail(&errno)),
        }
    }

    /// Waits until nobody holds the lock of a directory. One that cannot be looked at counts as free.
    pub fn wait(state_dir: &Path) {
        if let Ok(file) = File::open(state_dir.join(FILE)) {
            // A lock that cannot be had only means that nothing is waited for.
            drop(Flock::lock(file, FlockArg::LockShared));
        }
    }
}

fn denied(state_dir: &Path) -> ApiError {
    ApiError::new(
        Code::Denied,
        format!("State directory {} may not be used by this user.", state_dir.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder() {
        let dir = std::env::temp_dir().join(format!("fwd-lock-{}", std::process::id()));
        let first = Lock::take(&dir).expect("nobody holds it");
        let error = Lock::take(&dir).expect_err("it is held");
        assert_eq!(error.code, Code::DaemonRuns);
        assert!(error.message.ends_with(&format!("process {}.", std::process::id())), "{}", error.message);
        drop(first);
        Lock::take(&dir).expect("free again");
        fs::remove_dir_all(dir).expect("our own directory");
    }
}
