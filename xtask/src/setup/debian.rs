//! Debian's archive, read by an apt configuration of its own: nothing of the system's apt changes.
//!
//! Serves the machine whose rustc no rustup manages: Debian packages the library's sources of each rustc
//! that it has ever shipped in these suites, and a package is only unpacked, not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};

use anyhow::{Context, Result, ensure};

use super::rustc::Rustc;
use crate::command::{output, run};
use crate::workspace;

const MIRROR: &str = "http://deb.debian.org/debian";
const SUITES: [&str; 2] = ["trixie-backports", "trixie"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Copies the library's sources of the given rustc into its sysroot; returns the package's version.
///
/// # Errors
/// When this is no Debian, the archive has no such version, or the sysroot is not writable.
pub fn install_rust_src(rustc: &Rustc) -> Result<String> {
    let by_hand = || {
        format!(
            "no rust-src for rustc {0} from rustup or Debian: put the library sources of rustc {0} into {1}",
            rustc.release,
            rustc.library().display()
        )
    };
    ensure!(Path::new(KEYRING).exists(), by_hand());
    let apt = PrivateApt::create().with_context(by_hand)?;
    let version = apt.version_of("rust-src", &rustc.release).with_context(by_hand)?;
    let tree = apt.unpack("rust-src", &version).with_context(by_hand)?;
    let library = tree.join(format!("usr/src/rustc-{}/library", rustc.release));
    ensure!(library.join("Cargo.lock").exists(), "rust-src {version} has no library/Cargo.lock");
    copy_whole(&library, &rustc.library())?;
    Ok(version)
}

/// An apt that reads one mirror and keeps all its state in one folder, which goes with it.
struct PrivateApt {
    home: PathBuf,
}

impl PrivateApt {
    fn create() -> Result<Self> {
        let home = workspace::target_dir().join(format!("apt-{}", id()));
        let apt = Self { home };
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.home.join(folder))?;
        }
        fs::write(apt.home.join("status"), "")?;
        let sources = SUITES.map(|suite| format!("deb [signed-by={KEYRING}] {MIRROR} {suite} main\n"));
        fs::write(apt.home.join("sources.list"), sources.concat())?;
        output(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// The package's version that belongs to this upstream release.
    fn version_of(&self, package: &str, release: &str) -> Result<String> {
        let listed = output(self.command("apt-cache").args(["madison", package]))?;
        listed
            .lines()
            .filter_map(|line| line.split('|').nth(1).map(str::trim))
            .find(|version| of_release(version, release))
            .map(str::to_owned)
            .with_context(|| format!("{MIRROR} ({}) has no {package} {release}", SUITES.join(", ")))
    }

    fn unpack(&self, package: &str, version: &str) -> Result<PathBuf> {
        let download = format!("{package}={version}");
        output(self.command("apt-get").args(["download", &download]).current_dir(&self.home))?;
        let archive = fs::read_dir(&self.home)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get download left no package")?;
        let tree = self.home.join("tree");
        output(Command::new("dpkg").arg("-x").arg(archive).arg(&tree))?;
        Ok(tree)
    }

    fn command(&self, program: &str) -> Command {
        let home = self.home.display();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::Etc::SourceList={home}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={home}/lists"),
            format!("Dir::State::status={home}/status"),
            format!("Dir::Cache={home}/cache"),
            // Without it apt, run by root, drops to a user that may not read this folder.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

impl Drop for PrivateApt {
    fn drop(&mut self) {
        // What is left behind is in the target directory, and `cargo clean` takes it.
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Whether a Debian version is one of this upstream release: `1.95.0+dfsg1-2~bpo13+1` is of `1.95.0`.
fn of_release(version: &str, release: &str) -> bool {
    version.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

/// Copies a folder so that its new place holds all of it or nothing: a build may be looking at it.
fn copy_whole(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("the sysroot has no root")?;
    let arriving = parent.join(format!("library-{}", id()));
    fs::create_dir_all(parent)
        .with_context(|| format!("{} is not writable: run this as its owner", parent.display()))?;
    run(Command::new("cp").arg("-r").arg(from).arg(&arriving))?;
    fs::rename(&arriving, to).with_context(|| format!("{} cannot be put in place", to.display()))
}

#[cfg(test)]
mod tests {
    use super::of_release;

    #[test]
    fn debian_version_belongs_to_its_upstream_release_only() {
        assert!(of_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(of_release("1.95.0-1", "1.95.0"));
        assert!(!of_release("1.95.0+dfsg1-2", "1.95"));
        assert!(!of_release("1.95.01-1", "1.95.0"));
        assert!(!of_release("1.96.0+dfsg1-1", "1.95.0"));
    }
}
