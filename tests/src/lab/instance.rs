//! One instance of fwd: its folder, its daemon, and its command line.
//!
//! Socket, state, and a bpffs of its own live in one temporary folder, so instances do not meet. The binary
//! is `FWD_BIN`, else the release build of this workspace.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::{Netns, is_of_the_dead};

/// For the daemon to come up, and to end. An emulated CPU takes half a minute for the programs, and a busy
/// machine's some.
const PATIENCE: Duration = Duration::from_secs(300);
/// No command of a test takes longer; it ends with exit code 124 then.
const COMMAND_SECONDS: &str = "60";
const LOG_TAIL: usize = 40;
const LOG_WIDTH: usize = 300;
/// Where the instance's bpffs is mounted, in its folder.
const BPFFS: &str = "bpf";

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// What a command said.
#[derive(Clone, Debug)]
pub struct Reply {
    pub line: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Reply {
    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "fwd {}\n{}{}", self.line, self.stdout, self.stderr);
        self.stdout
    }

    /// Standard output of a command that succeeded, else what it said as an error.
    ///
    /// # Errors
    /// If it did not succeed.
    pub fn into_result(self) -> Result<String> {
        ensure!(self.code == 0, "fwd {} ended with {}: {}", self.line, self.code, self.stderr.trim());
        Ok(self.stdout)
    }

    /// Standard error of a command that failed with this exit code.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "fwd {}\n{}{}", self.line, self.stdout, self.stderr);
        self.stderr
    }
}

/// One instance of fwd.
#[derive(Debug)]
pub struct Instance {
    folder: PathBuf,
    daemon: Option<Child>,
    started: bool,
    narrated: bool,
}

impl Instance {
    /// An instance with nothing in it, and no daemon.
    ///
    /// # Panics
    /// If its folder or its bpffs cannot be made.
    #[must_use]
    pub fn new() -> Self {
        SWEEP.call_once(remove_folders_of_the_dead);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fwdt-{}-{number}", std::process::id()));
        let bpffs = folder.join(BPFFS);
        fs::create_dir_all(&bpffs).unwrap_or_else(|error| panic!("{}: {error}", bpffs.display()));
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>).expect("root mounts a bpffs");
        Self { folder, daemon: None, started: false, narrated: false }
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("fwd.sock")
    }

    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.folder.join(BPFFS).join("fwd")
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    #[must_use]
    pub const fn was_started(&self) -> bool {
        self.started
    }

    /// From now on every command is printed before it runs.
    pub const fn narrate(&mut self) {
        self.narrated = true;
    }

    /// The daemon's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Starts `fwd up --foreground` in the namespace and waits until `fwd status` says yes.
    ///
    /// # Errors
    /// If it ends, or is not ready in time: with the end of its log.
    pub fn start(&mut self, netns: &Netns) -> Result<()> {
        self.start_with(netns, &[])
    }

    /// The same, with further options of `fwd up`.
    ///
    /// # Errors
    /// As [`Instance::start`].
    pub fn start_with(&mut self, netns: &Netns, options: &[&str]) -> Result<()> {
        netns.ensure_private()?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = self.configured(netns.command(binary()?));
        let daemon = command
            .args(["up", "--foreground"])
            .args(options)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.started = true;
        self.daemon = Some(daemon);
        let begun = Instant::now();
        while !fs::exists(self.socket())? || self.run(netns, &["status"]).code != 0 {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().transpose()).transpose()?;
            if let Some(status) = ended {
                self.daemon = None;
                bail!("the daemon ended with {status}\n{}", self.log_tail());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the daemon is not ready after {PATIENCE:?}\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Runs `fwd` with these arguments in the namespace.
    ///
    /// # Panics
    /// If there is no binary.
    #[must_use]
    #[track_caller]
    pub fn run(&self, netns: &Netns, args: &[&str]) -> Reply {
        let binary = binary().unwrap_or_else(|error| panic!("{error:#}"));
        if self.narrated {
            println!("  $ fwd {}", args.join(" "));
        }
        let mut command = self.configured(netns.command("timeout"));
        let output = command.arg(COMMAND_SECONDS).arg(binary).args(args).output();
        let output = output.expect("coreutils' timeout can be started");
        Reply {
            line: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A `fwd` command that the test runs as it likes, such as a watch.
    ///
    /// # Errors
    /// If there is no binary.
    pub fn command(&self, netns: &Netns) -> Result<Command> {
        Ok(self.configured(netns.command(binary()?)))
    }

    /// SIGKILL to the daemon; returns when it is gone.
    ///
    /// # Panics
    /// If no daemon runs.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    /// SIGTERM to the daemon, which leaves the datapath; returns when it is gone.
    ///
    /// # Panics
    /// If no daemon runs.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    fn signal(&mut self, signal: Signal) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        let pid = Pid::from_raw(daemon.id().cast_signed());
        kill(pid, signal).expect("a child that was not waited for has its id");
        daemon.wait().expect("a child can be waited for");
    }

    /// `fwd down`, with or without a daemon, and the daemon's end.
    ///
    /// # Errors
    /// If it fails; the daemon is killed then.
    pub fn down(&mut self, netns: &Netns) -> Result<()> {
        let reply = self.run(netns, &["down"]);
        self.started = false;
        if reply.code != 0 {
            if self.daemon.is_some() {
                self.kill();
            }
            bail!("exit code {}\n{}{}", reply.code, reply.stdout, reply.stderr);
        }
        let begun = Instant::now();
        while let Some(daemon) = &mut self.daemon {
            if daemon.try_wait()?.is_some() {
                self.daemon = None;
            } else if begun.elapsed() > PATIENCE {
                self.kill();
                bail!("the daemon runs on after `fwd down`\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Prints what an operator would look at first.
    pub fn print_view(&self, netns: &Netns) {
        for line in ["status", "port list", "drop list", "flow list --limit 20"] {
            let reply = self.run(netns, &line.split(' ').collect::<Vec<_>>());
            eprintln!("--- fwd {line} ({})\n{}{}", reply.code, reply.stdout, reply.stderr);
        }
        eprintln!("--- the daemon's log\n{}", self.log_tail());
    }

    fn configured(&self, mut command: Command) -> Command {
        command
            .env("FWD_SOCKET", self.socket())
            .env("FWD_STATE_DIR", self.state_dir())
            .env("FWD_BPFFS", self.bpffs())
            .env("NO_COLOR", "1");
        command
    }

    /// The daemon's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("daemon.txt")
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let cut = |line: &&str| line.chars().take(LOG_WIDTH).collect();
        let tail: Vec<String> = lines[lines.len().saturating_sub(LOG_TAIL)..].iter().map(cut).collect();
        tail.join("\n")
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.kill();
        }
        // A network's servers outlive the daemon.
        end_servers(&self.folder);
        if let Err(error) = remove(&self.folder) {
            eprintln!("{} could not be removed: {error}", self.folder.display());
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    // Lazily: the pins go with the mount as soon as nothing has one open.
    umount2(&folder.join(BPFFS), MntFlags::MNT_DETACH)?;
    fs::remove_dir_all(folder)
}

/// What test processes that were killed have left.
fn remove_folders_of_the_dead() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if is_of_the_dead(&entry.file_name().to_string_lossy()) && entry.path().join(BPFFS).exists() {
            end_servers(&entry.path());
            remove(&entry.path()).unwrap_or_else(|error| eprintln!("{}: {error}", entry.path().display()));
        }
    }
}

/// Networks' servers are no children of the daemon: they outlive a test that was killed.
fn end_servers(folder: &Path) {
    for network in fs::read_dir(folder.join("state/services")).into_iter().flatten().flatten() {
        let pid = fs::read_to_string(network.path().join("dnsmasq.pid")).unwrap_or_default();
        let Ok(pid) = pid.trim().parse::<i32>() else { continue };
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&*network.path().to_string_lossy()) {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The binary under test.
///
/// # Errors
/// If it was not built.
pub fn binary() -> Result<PathBuf> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("release/fwd");
    let path = std::env::var_os("FWD_BIN").map_or_else(built, PathBuf::from);
    path.canonicalize().with_context(|| {
        format!("{} is missing: run `cargo xtask build --release`, or set FWD_BIN", path.display())
    })
}
