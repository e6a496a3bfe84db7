//! Programs of others that run in a namespace for as long as they are needed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fwd_tests::netns::Netns;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// An emulated CPU takes seconds for what others do at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program; dropped, it is ended.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn start(netns: &Netns, program: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = netns.command(program);
        command.args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{name} cannot be started: is it installed?"))?;
        Ok(Self { name, child })
    }

    /// Starts a server and waits until it listens on a TCP port.
    ///
    /// # Errors
    /// If it is not installed, ends, or does not listen.
    pub fn listening(netns: &Netns, program: &str, arguments: &[&str], l4_port: u16) -> Result<Self> {
        let mut process = Self::start(netns, program, arguments)?;
        process.wait(|| Ok(netns.try_run("ss -Hltn")?.contains(&format!(":{l4_port} "))))?;
        Ok(process)
    }

    /// Starts a server with this environment and waits until its socket is there.
    ///
    /// # Errors
    /// If it is not installed, ends, or makes no socket.
    pub fn with_socket(
        netns: &Netns,
        (program, arguments): (&str, &[&str]),
        environment: &[(&str, &str)],
        socket: &Path,
    ) -> Result<Self> {
        let mut command = netns.command(program);
        command.args(arguments).envs(environment.iter().copied());
        let mut process = Self::spawn(command)?;
        process.wait(|| Ok(socket.exists()))?;
        Ok(process)
    }

    fn wait(&mut self, is_ready: impl Fn() -> Result<bool>) -> Result<()> {
        let (program, begun) = (&self.name, Instant::now());
        while !is_ready()? {
            if let Some(status) = self.child.try_wait()? {
                bail!("{program} ended with {status}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("{program} does not listen after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // With what it has forked: it has a process group of its own.
        let group = Pid::from_raw(self.child.id().cast_signed());
        if let Err(error) =
            killpg(group, Signal::SIGKILL).map_err(Into::into).and_then(|()| self.child.wait())
        {
            eprintln!("{} could not be ended: {error}", self.name);
        }
    }
}

/// CPU time that a program's threads have had.
///
/// # Errors
/// If there is no such program any more.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends meanwhile is not counted.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).context("schedstat")?;
    }
    Ok(Duration::from_nanos(sum))
}
