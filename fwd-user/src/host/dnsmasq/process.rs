//! One server as a process: found, started, told to read again, ended.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::config::file;

const NAME: &str = "dnsmasq";
/// Beside those of `PATH`, which a service manager may keep short.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin"];
/// Who it is once it has its sockets; the first of them that the system has.
const USERS: [&str; 2] = ["dnsmasq", "nobody"];
/// To end when asked to, before it is made to.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A server that runs.
#[derive(Debug)]
pub(super) struct Process {
    /// Names this process for ever: a number may be given again.
    handle: OwnedFd,
}

/// The program's path, if it is installed.
pub(super) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(NAME)).find(|program| program.is_file())
}

/// The user that it becomes.
pub(super) fn user() -> Option<&'static str> {
    USERS.into_iter().find(|name| matches!(nix::unistd::User::from_name(name), Ok(Some(_))))
}

/// What the program says against a configuration.
pub(super) fn check(program: &Path, config: &Path) -> Result<(), String> {
    let mut command = Command::new(program);
    run(command.arg("--test").arg(argument(config)))
}

/// Starts a server in the calling thread's network namespace; it answers when this returns.
pub(super) fn start(program: &Path, folder: &Path) -> Result<Process, String> {
    let mut command = Command::new(program);
    command.arg(argument(&folder.join(file::CONFIG)));
    // What a thread may not do its children may not either; the thread is used for nothing else.
    let started = thread::scope(|scope| {
        let restricted = || {
            refuse_fast_open().map_err(|e| e.to_string())?;
            run(&mut command)
        };
        scope.spawn(restricted).join()
    });
    started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    find(folder).ok_or_else(|| "it ended as soon as it was started".to_owned())
}

/// The server whose configuration is in a folder, if it runs.
pub(super) fn find(folder: &Path) -> Option<Process> {
    let text = fs::read_to_string(folder.join(file::PID)).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Only now: had the number been given again in between, the command line would be another's.
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let own = argument(&folder.join(file::CONFIG));
    let is_own = line.split(|byte| *byte == 0).any(|word| word == own.as_bytes());
    let process = Process { handle };
    (is_own && process.runs()).then_some(process)
}

impl Process {
    pub fn runs(&self) -> bool {
        !self.has_ended_within(Timespec { tv_sec: 0, tv_nsec: 0 })
    }

    /// Lets it read hosts and bindings again.
    pub fn read_again(&self) -> io::Result<()> {
        pidfd_send_signal(&self.handle, Signal::HUP).map_err(Into::into)
    }

    /// Ends it, and returns when it is gone.
    pub fn end(&self) {
        // One that has ended already cannot be told.
        _ = pidfd_send_signal(&self.handle, Signal::TERM);
        if !self.has_ended_within(PATIENCE) {
            _ = pidfd_send_signal(&self.handle, Signal::KILL);
            self.has_ended_within(PATIENCE);
        }
    }

    /// Readable once the process has ended.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.handle.try_clone()
    }

    fn has_ended_within(&self, time: Timespec) -> bool {
        poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&time)).is_ok_and(|ready| ready > 0)
    }
}

/// Refuses TCP fast open to the calling thread and to what it starts. The program asks for it and does without;
/// asking would make the kernel draw a key for the whole namespace, which nothing takes back.
fn refuse_fast_open() -> Result<(), seccompiler::Error> {
    let is = |argument: u8, value: i32| {
        SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            value.unsigned_abs().into(),
        )
    };
    let asks = SeccompRule::new(vec![is(1, libc::IPPROTO_TCP)?, is(2, libc::TCP_FASTOPEN)?])?;
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_setsockopt, vec![asks])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EOPNOTSUPP.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
}

fn argument(config: &Path) -> String {
    format!("--conf-file={}", config.display())
}

/// Runs it to its end, which of a server is when it has gone to the background.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().map(|line| line.trim().trim_start_matches("dnsmasq: ")).collect();
    Err(said.into_iter().find(|line| !line.is_empty()).unwrap_or("it says nothing").to_owned())
}
