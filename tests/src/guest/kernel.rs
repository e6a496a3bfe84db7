//! The guests' kernel: Debian's cloud kernel, fetched once by apt and unpacked beside the build.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::netns::output;

/// The meta package that names the current kernel.
const META: &str = "linux-image-cloud-amd64";

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub image: PathBuf,
    pub version: String,
    /// Holds `lib/modules/<version>`.
    pub root: PathBuf,
}

/// The kernel, from `target/guest-kernel` or by `apt-get download`.
pub fn fetch() -> Result<Kernel> {
    let cache = cache()?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?; // tests run side by side, and the first one downloads
    let root = cache.join("root");
    if !root.exists() {
        download(&cache, &root)
            .with_context(|| format!("{META} cannot be fetched (needs apt and its archive)"))?;
    }
    let modules = root.join("lib/modules");
    let version = only_entry(&modules)?;
    Ok(Kernel { image: root.join(format!("boot/vmlinuz-{version}")), version, root })
}

/// Where kernel and initramfs are kept: in `FWD_GUESTS`, else beside the build.
pub fn cache() -> Result<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("guest-kernel");
    let cache = std::env::var_os("FWD_GUESTS").map_or_else(beside, PathBuf::from);
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

fn download(cache: &Path, root: &Path) -> Result<()> {
    let depends = output(Command::new("apt-cache").args(["depends", META]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .context("the meta package names no kernel")?;
    let unpacked = cache.join("unpacking");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?; // left by a run that was interrupted
    }
    fs::create_dir(&unpacked)?;
    // apt drops root's rights where its sandbox user could write, which it cannot here.
    let options = ["-o", "APT::Sandbox::User=root", "download", package];
    output(Command::new("apt-get").args(options).current_dir(&unpacked))?;
    let file = unpacked.join(only_entry(&unpacked)?);
    let tree = unpacked.join("tree");
    output(Command::new("dpkg").arg("-x").arg(&file).arg(&tree))?;
    let version = only_entry(&tree.join("lib/modules"))?;
    output(Command::new("depmod").arg("-b").arg(&tree).arg(version))?;
    fs::rename(tree, root)?; // last, so that what bears the name is whole
    fs::remove_dir_all(unpacked).context("the download could not be removed")
}

fn only_entry(folder: &Path) -> Result<String> {
    let entry = fs::read_dir(folder)
        .with_context(|| format!("{} cannot be read", folder.display()))?
        .next()
        .with_context(|| format!("{} is empty", folder.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}
