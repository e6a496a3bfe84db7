//! Puts fwd on this host, and takes it off again.
//!
//! Every file is named as it is written. Nothing is started: `fwd up` does that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build;
use crate::command;
use crate::setup;
use crate::workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Where bin/, share/ and lib/ are
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
}

const BINARY: &str = "bin/fwd";
const UNIT: &str = "lib/systemd/system/fwd.service";
/// The shells that have completions, and where they look for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/fwd"),
    ("zsh", "share/zsh/site-functions/_fwd"),
    ("fish", "share/fish/vendor_completions.d/fwd.fish"),
];
/// What `fwd status` exits with where no daemon runs.
const NOT_RUNNING: i32 = 9;

pub fn install(args: Args) -> Result<()> {
    setup::build_tools()?;
    let built = build::release_binary()?;
    let prefix = Prefix::new(args.prefix);
    // -s: without the debugger's tables, which are five times its size.
    prefix.place(BINARY, &built, &["-s", "-m", "0755"])?;
    for (shell, path) in COMPLETIONS {
        let script = command::output(Command::new(&built).args(["completion", shell]))?;
        prefix.place(path, &staged(shell, &script)?, &["-m", "0644"])?;
    }
    if prefix.is_systemds() {
        let unit = fs::read_to_string(workspace::root().join("dist/fwd.service"))?;
        let unit = unit.replace("@fwd@", &prefix.path(BINARY).display().to_string());
        prefix.place(UNIT, &staged("fwd.service", &unit)?, &["-m", "0644"])?;
        command::run(prefix.command("systemctl").arg("daemon-reload"))?;
    }
    println!("next: `sudo fwd up`");
    Ok(())
}

pub fn uninstall(args: Args) -> Result<()> {
    let prefix = Prefix::new(args.prefix);
    if let Ok(status) = Command::new(prefix.path(BINARY)).arg("status").output() {
        ensure!(status.status.code() == Some(NOT_RUNNING), "fwd is running: `sudo fwd down` first");
    }
    let completions = COMPLETIONS.map(|(_, path)| path);
    for path in [BINARY, UNIT].iter().chain(&completions).map(|path| prefix.path(path)) {
        if path.exists() {
            command::run(prefix.command("rm").arg(&path))?;
            println!("removed {}", path.display());
        }
    }
    if prefix.is_systemds() {
        command::run(prefix.command("systemctl").arg("daemon-reload"))?;
    }
    Ok(())
}

/// The folder that is installed into; by sudo where it belongs to somebody else.
struct Prefix {
    folder: PathBuf,
    is_ours: bool,
}

impl Prefix {
    fn new(folder: PathBuf) -> Self {
        let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(&folder);
        let is_ours = command::output(Command::new("test").arg("-w").arg(existing)).is_ok();
        Self { folder, is_ours }
    }

    /// Whether systemd is this machine's init and looks for units here.
    fn is_systemds(&self) -> bool {
        let searched = ["/usr/local", "/usr"].map(Path::new);
        Path::new("/run/systemd/system").exists() && searched.contains(&self.folder.as_path())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// A file already there is replaced, not written into: it may be running.
    fn place(&self, path: &str, from: &Path, how: &[&str]) -> Result<()> {
        let path = self.path(path);
        command::run(self.command("install").arg("-D").args(how).arg(from).arg(&path))?;
        println!("installed {}", path.display());
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        if self.is_ours {
            return Command::new(program);
        }
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    }
}

/// Leaves what was made for this host in a file, for `install` to take.
fn staged(name: &str, content: &str) -> Result<PathBuf> {
    let folder = workspace::target_dir().join("install");
    let path = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, content))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}
