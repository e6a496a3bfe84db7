//! One daemon for one state directory, and one guard: locks that the kernel takes back when their process ends.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::api::error::{ApiError, Code};

/// Of the daemon.
const FILE: &str = "lock";
/// Of the guard of a change on trial.
const GUARD: &str = "guard";

/// A lock in a state directory, held until it is dropped. Its file names the process, for people.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

impl Lock {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// Another daemon holds it, or it cannot be made.
    pub fn take(state_dir: &Path) -> Result<Self, ApiError> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(state_dir).map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => denied(state_dir),
            _ => fail(state_dir, &e),
        })?;
        Self::hold(&state_dir.join(FILE), FlockArg::LockExclusiveNonblock)
    }

    /// Takes the guard's lock, once the guard before has ended.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn take_guards(state_dir: &Path) -> Result<Self, ApiError> {
        Self::hold(&state_dir.join(GUARD), FlockArg::LockExclusive)
    }

    /// Ends the guard that a daemon left, if there is one.
    pub fn end_guard(state_dir: &Path) {
        let path = state_dir.join(GUARD);
        // Who holds the lock lives, so the number in the file is still its own.
        if let Ok(file) = File::open(&path)
            && let Err((_, Errno::EWOULDBLOCK)) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            && let Some(guard) = holder(&path).parse().ok().map(Pid::from_raw)
        {
            // It may have ended meanwhile.
            _ = kill(guard, Signal::SIGTERM);
        }
    }

    fn hold(path: &Path, how: FlockArg) -> Result<Self, ApiError> {
        let state_dir = path.parent().unwrap_or(path);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = open.map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => denied(state_dir),
            _ => fail(state_dir, &e),
        })?;
        match Flock::lock(file, how) {
            Ok(mut lock) => {
                // A note: the lock itself is the kernel's.
                let note = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
                note.map_err(|e| fail(state_dir, &e))?;
                Ok(Self(lock))
            }
            Err((_, Errno::EWOULDBLOCK)) => Err(ApiError::new(
                Code::DaemonRuns,
                format!("State directory {} is held by process {}.", state_dir.display(), holder(path)),
            )),
            Err((_, errno)) => Err(fail(state_dir, &errno)),
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

/// The process that a lock's file names.
fn holder(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn fail(state_dir: &Path, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(Code::IoFailed, format!("State directory {} cannot be used: {error}.", state_dir.display()))
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
