//! An instance of fwd in a folder of its own, on a host that a file describes.

use std::{
    fmt::Write as _,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use fwd_tests::lab::binary;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The host: an uplink with native XDP, one without, one whose driver refuses it, and taps; `tap9` belongs to a
/// Linux bridge.
const HOST: &str = "\
devices:
- {name: eth0, ifindex: 2, kind: physical, native_xdp: true, addresses: [203.0.113.10/24, 2001:db8::10/64]}
- {name: eth1, ifindex: 3, kind: physical, addresses: [198.51.100.10/24]}
- {name: tap0, ifindex: 4, kind: tap}
- {name: tap1, ifindex: 5, kind: tap}
- {name: tap9, ifindex: 6, kind: tap, master: br0}
- {name: br0, ifindex: 7, kind: bridge}
- {name: eth9, ifindex: 8, kind: physical, native_xdp: true, refuses_xdp: the MTU is too large for it}
";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder with socket, state and the host's description; with `up`, a daemon.
pub struct Instance {
    folder: PathBuf,
}

impl Instance {
    /// Without a daemon.
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fwd-cli-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("temporary folders can be made");
        fs::write(folder.join("host.yaml"), HOST).expect("our own folder");
        Self { folder }
    }

    /// With a daemon.
    pub fn up() -> Self {
        let instance = Self::new();
        let output = instance.run(UP);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        instance
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a file into the folder; `DIR/NAME` in command lines.
    pub fn file(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("our own folder");
    }

    /// A command with the instance's environment. Words are split at blanks; 'quotes' keep them.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(binary().expect("fwd is built"));
        command
            .args(words(line).into_iter().map(|w| w.replace("DIR", &self.folder.display().to_string())))
            .env("FWD_SOCKET", self.folder.join("fwd.sock"))
            .env("FWD_STATE_DIR", self.folder.join("state"))
            .env("FWD_BPFFS", self.folder.join("bpf"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("fwd can be started")
    }

    /// As [`Self::run`], with a text on standard input.
    pub fn feed(&self, line: &str, text: &str) -> String {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("fwd can be started");
        let mut stdin = child.stdin.take().expect("it was asked for");
        stdin.write_all(text.as_bytes()).expect("fwd reads it");
        drop(stdin);
        self.show(line, &child.wait_with_output().expect("our own child"))
    }

    /// Command lines, each with what it prints and, unless 0, its exit code.
    pub fn transcript(&self, lines: &[&str]) -> String {
        lines.iter().map(|line| self.show(line, &self.run(line))).collect()
    }

    fn show(&self, line: &str, output: &Output) -> String {
        let mut out = format!("$ fwd {line}\n");
        out += &String::from_utf8_lossy(&output.stdout);
        out += &String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            _ = writeln!(out, "[exit code {}]", output.status.code().unwrap_or(-1));
        }
        out.replace(&self.folder.display().to_string(), "DIR")
    }
}

/// The command line of a daemon on the described host.
pub const UP: &str = "up --datapath memory --inventory DIR/host.yaml --metrics off";

impl Drop for Instance {
    fn drop(&mut self) {
        // Should the API be stuck, the daemon's own lock file says whom to end.
        if !self.run("down").status.success()
            && let Ok(pid) = fs::read_to_string(self.folder.join("state/lock"))
            && let Ok(pid) = pid.trim().parse()
        {
            _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        _ = fs::remove_dir_all(&self.folder);
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("it begins with one").push(c),
        }
    }
    words.into_iter().filter(|w| !w.is_empty()).collect()
}
