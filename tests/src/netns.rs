//! Private network namespaces: made under a unique name, used from commands and closures, removed on drop.
//!
//! A namespace is `/run/netns/fwdt-<pid>-<n>-<role>`, so `nsenter --net=` and `ip -n` reach it too. Entering
//! is `setns` on one thread and nothing else: `/sys` keeps its mount, and with it every bpffs pin.
//! Namespaces of test processes that died without dropping are removed when the next one is made.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "fwdt-";

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace that lives as long as this value.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Makes an empty namespace with `lo` up and IPv6 quiet (no address detection, no router
    /// solicitation), and ping sockets open to root.
    ///
    /// # Panics
    /// If namespaces cannot be made; ask [`crate::skip::need_root`] first.
    #[must_use]
    pub fn new(role: &str) -> Self {
        SWEEP.call_once(remove_namespaces_of_the_dead);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", std::process::id());
        let mut add = Command::new("ip");
        output(add.args(["netns", "add", &name])).expect("a namespace can be made");
        let file = File::open(Path::new(DIRECTORY).join(&name)).expect("the namespace was just made");
        let netns = Self { name, file };
        for conf in ["all", "default"] {
            for (key, value) in [("accept_dad", "0"), ("dad_transmits", "0"), ("router_solicitations", "0")] {
                netns.sysctl(&format!("net.ipv6.conf.{conf}.{key}"), value);
            }
        }
        netns.sysctl("net.ipv4.ping_group_range", "0 0");
        netns.run("ip link set lo up");
        netns
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `nsenter --net=`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// A command that will run inside, dies with the thread that started it, and hears no Ctrl-C that is meant
    /// for this process.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let file = self.file.try_clone().expect("a file descriptor can be duplicated");
        let mut command = Command::new(program);
        let enter = move || -> io::Result<()> {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes two system calls and touches no lock or allocation.
        unsafe { command.pre_exec(enter) };
        command.process_group(0);
        command
    }

    /// Runs a command line (words split at spaces, no quoting) and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|error| panic!("{}: {error:#}", self.name))
    }

    /// Like [`Netns::run`].
    ///
    /// # Errors
    /// If the command cannot be started or fails.
    pub fn try_run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("the command line is empty")?;
        output(self.command(program).args(words))
    }

    /// Runs `task` on a thread inside and returns what it returned; a panic goes on in the caller.
    pub fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let entered = || {
                self.enter();
                task()
            };
            scope.spawn(entered).join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts `task` on a thread of its own inside.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let file = self.file.try_clone().expect("a file descriptor can be duplicated");
        thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).expect("the namespace is open");
            task()
        })
    }

    fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("the namespace is open");
    }

    /// Writes `net.…`; dots inside an interface's name cannot be said this way.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = sysctl_path(key);
        self.inside(|| fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }

    #[must_use]
    #[track_caller]
    pub fn read_sysctl(&self, key: &str) -> String {
        let path = sysctl_path(key);
        let text = self.inside(|| fs::read_to_string(&path));
        text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }

    /// Makes sure that this is not the namespace in which the tests were started.
    ///
    /// # Errors
    /// If it is: programs and devmap entries made there would act on the machine's interfaces.
    pub fn ensure_private(&self) -> Result<()> {
        ensure_differs_from_outer(self.file.metadata()?.ino())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Makes sure that the calling thread has left the namespace in which the tests were started; to be asked
/// before programs are loaded or maps filled, because a devmap resolves ifindexes in the caller's namespace.
///
/// # Errors
/// If it has not.
pub fn ensure_inside_private_namespace() -> Result<()> {
    ensure_differs_from_outer(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

fn ensure_differs_from_outer(inode: u64) -> Result<()> {
    // The main thread never enters another namespace, and /proc/self is the main thread.
    let outer = fs::metadata("/proc/self/ns/net")?.ino();
    ensure!(inode != outer, "refused: this is the machine's own network namespace, not one made for a test");
    Ok(())
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// If it cannot be started, or fails: with what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if !status.success() {
        bail!("{command:?} ended with {status}\n{stdout}{stderr}");
    }
    Ok(stdout.into_owned())
}

fn sysctl_path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key.replace('.', "/"))
}

fn remove(name: &str) {
    if let Err(error) = output(Command::new("ip").args(["netns", "del", name])) {
        eprintln!("namespace {name} could not be removed: {error:#}");
    }
}

fn remove_namespaces_of_the_dead() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_of_the_dead(&name) {
            remove(&name);
        }
    }
}

/// Whether `fwdt-<pid>-…` was made by a test process that is no more.
pub(crate) fn is_of_the_dead(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}
