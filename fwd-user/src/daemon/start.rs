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
    if is_units(options, Path::new("/")) {
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
    keep_files();
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

/// Keeps files of whoever runs this from the daemon: a lock among them would be held as long as it lives.
fn keep_files() {
    let first_after_standard_error = 3;
    // SAFETY: no memory is passed, and a descriptor's flag at exec changes nothing in this process.
    // An older kernel (before 5.11) refuses, and all is as without this.
    unsafe { libc::close_range(first_after_standard_error, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
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

/// Where systemd looks for units (systemd.unit(5)), the operator's first.
const UNITS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// Whether systemd starts these daemons: it is the init that runs (sd_booted(3)), has the unit, serves this
/// network namespace, and the options are those of the unit. `root` is `/`.
fn is_units(options: &Options, root: &Path) -> bool {
    let found =
        || UNITS.iter().map(|dir| root.join(dir).join(UNIT)).find(|path| path.is_symlink() || path.exists());
    let namespace = |process: &str| std::fs::read_link(root.join("proc").join(process).join("ns/net")).ok();
    *options == Options::default()
        && root.join("run/systemd/system").is_dir()
        && found().is_some_and(|unit| is_unit(&unit))
        && namespace("self").is_some_and(|own| namespace("1") == Some(own))
}

/// A masked unit is a link to /dev/null, and cannot be started.
fn is_unit(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    /// A machine on which systemd serves fwd.
    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for dir in ["run/systemd/system", "etc/systemd/system", "proc/1/ns", "proc/self/ns"] {
            fs::create_dir_all(root.path().join(dir)).expect("our own directory");
        }
        fs::write(root.path().join("etc/systemd/system").join(UNIT), "[Service]").expect("written");
        for process in ["1", "self"] {
            link(&root, process, "net:[1]");
        }
        root
    }

    fn link(root: &tempfile::TempDir, process: &str, namespace: &str) {
        let path = root.path().join("proc").join(process).join("ns/net");
        _ = fs::remove_file(&path);
        symlink(namespace, path).expect("our own directory");
    }

    fn is_started_by_systemd(root: &tempfile::TempDir) -> bool {
        is_units(&Options::default(), root.path())
    }

    #[test]
    fn systemd_starts_the_default_instance() {
        let root = machine();
        assert!(is_started_by_systemd(&root));
        let other = Options { socket: "/tmp/other.sock".into(), ..Options::default() };
        assert!(!is_units(&other, root.path()));
        let memory = Options { datapath: crate::daemon::DatapathKind::Memory, ..Options::default() };
        assert!(!is_units(&memory, root.path()));
    }

    #[test]
    fn another_network_namespace_is_not_systemds() {
        let root = machine();
        link(&root, "self", "net:[2]");
        assert!(!is_started_by_systemd(&root));
        fs::remove_file(root.path().join("proc/1/ns/net")).expect("it was there");
        fs::remove_file(root.path().join("proc/self/ns/net")).expect("it was there");
        assert!(!is_started_by_systemd(&root), "two namespaces that cannot be told are not the same");
    }

    #[test]
    fn without_systemd_or_its_unit_fwd_starts_itself() {
        let root = machine();
        fs::remove_dir(root.path().join("run/systemd/system")).expect("it is empty");
        assert!(!is_started_by_systemd(&root), "systemd is installed, and another init runs");
        let root = machine();
        let unit = root.path().join("etc/systemd/system").join(UNIT);
        fs::remove_file(&unit).expect("it was there");
        assert!(!is_started_by_systemd(&root));
        let packaged = root.path().join("usr/local/lib/systemd/system");
        fs::create_dir_all(&packaged).expect("our own directory");
        fs::write(packaged.join(UNIT), "[Service]").expect("written");
        assert!(is_started_by_systemd(&root));
        symlink("/dev/null", &unit).expect("our own directory");
        assert!(!is_started_by_systemd(&root), "it is masked");
    }
}
