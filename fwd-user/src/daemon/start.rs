//! Starting a daemon in the background, and how it tells that it is ready.
//!
//! `fwd up` runs itself with `--foreground --detached`, its standard output a pipe. The daemon writes one
//! line of JSON there: null once the API answers, or the error that ended it; an end without a line is a
//! crash. So nothing is waited for by the clock.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::{dup2_stdout, setsid};

use super::Options;
use crate::api::error::{ApiError, Code};

/// The log of a daemon in the background, in its state directory.
pub const LOG: &str = "fwd.log";
const UNIT: &str = "fwd.service";

/// Starts a daemon and returns when its API answers.
///
/// # Errors
/// The daemon's own, or that it could not be started.
pub fn start(options: &Options, verbose: u8) -> Result<(), ApiError> {
    if is_default_instance(options) {
        return start_unit();
    }
    let log_path = options.state_dir.join(LOG);
    let fail = |what: &str, e: &dyn std::fmt::Display| {
        ApiError::new(Code::IoFailed, format!("The daemon cannot be started: {what}: {e}."))
    };
    std::fs::create_dir_all(&options.state_dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
            let dir = options.state_dir.display();
            ApiError::new(Code::Denied, format!("State directory {dir} may not be made by this user."))
        }
        _ => fail("its state directory", &e),
    })?;
    let log = File::options().create(true).append(true).open(&log_path).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
            ApiError::new(Code::Denied, format!("{} may not be written by this user.", log_path.display()))
        }
        _ => fail("its log", &e),
    })?;
    let binary = std::env::current_exe().map_err(|e| fail("its binary", &e))?;
    let mut child = Command::new(binary)
        .args(options.arguments())
        .args(std::iter::repeat_n("--verbose", verbose.into()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(|e| fail("its process", &e))?;
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it was asked for");
    BufReader::new(stdout).read_line(&mut line).map_err(|e| fail("its answer", &e))?;
    match serde_json::from_str::<Option<ApiError>>(&line) {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(ApiError::new(
            Code::Internal,
            format!("The daemon ended before it was ready; its log is {}.", log_path.display()),
        )),
    }
}

/// In the daemon: leaves the terminal of whoever started it.
///
/// # Errors
/// The process leads a session already.
pub fn detach() -> Result<(), ApiError> {
    match setsid() {
        // A process group's leader cannot lead a session, but has no terminal to lose then.
        Ok(_) | Err(nix::errno::Errno::EPERM) => {}
        Err(e) => return Err(ApiError::new(Code::Internal, format!("The daemon cannot be detached: {e}."))),
    }
    // Not to hold a mount; a root that cannot be entered does no harm.
    _ = std::env::set_current_dir("/");
    Ok(())
}

/// In the daemon: tells whoever waits how the start went, and lets the pipe go.
pub fn report(result: Result<(), &ApiError>) {
    let line = serde_json::to_string(&result.err()).expect("errors are plain data");
    let mut out = std::io::stdout().lock();
    // Whoever started the daemon may be gone; it runs on.
    _ = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        _ = dup2_stdout(null);
    }
}

/// Tells systemd, where it started the daemon, that the API answers.
pub fn notify_systemd() {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        // An abstract socket's name begins with @; systemd's own is a path.
        let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|s| s.send_to(b"READY=1", &socket));
        if let Err(e) = sent {
            tracing::warn!("systemd could not be told that the daemon is ready: {e}");
        }
    }
}

/// Whether these are the options of the installed unit, in the namespace that systemd serves.
fn is_default_instance(options: &Options) -> bool {
    let same_namespace = || {
        let ours = std::fs::read_link("/proc/self/ns/net").ok();
        ours.is_some() && ours == std::fs::read_link("/proc/1/ns/net").ok()
    };
    let installed = || {
        ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"]
            .iter()
            .any(|dir| Path::new(dir).join(UNIT).exists())
    };
    Path::new("/run/systemd/system").exists()
        && *options == Options::default()
        && installed()
        && same_namespace()
}

fn start_unit() -> Result<(), ApiError> {
    let status = Command::new("systemctl").args(["start", UNIT]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(ApiError::new(Code::Internal, format!("systemd could not start {UNIT}."))
            .hint(format!("See why: journalctl -u {UNIT}"))),
        Err(e) => Err(ApiError::new(Code::IoFailed, format!("systemctl cannot be run: {e}."))),
    }
}
