//! The file system that holds the pins: mounted where it is missing, unmounted again where fwd did it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::error::{Error, Result};

/// Where every distribution mounts it; directories cannot be made below it before.
const USUAL: &str = "/sys/fs/bpf";
/// The source by which fwd recognizes a mount of its own in /proc/self/mountinfo.
const SOURCE: &str = "fwd";

/// Makes `directory` exist on a bpffs.
///
/// # Errors
/// If it cannot be made or mounted.
pub fn prepare(directory: &Path) -> Result<()> {
    let usual = Path::new(USUAL);
    let failed = |action| move |source| Error::Directory { path: directory.to_owned(), action, source };
    if directory.starts_with(usual) && !is_bpffs(usual) {
        mount_at(usual).map_err(failed("mounting /sys/fs/bpf"))?;
    }
    fs::create_dir_all(directory).map_err(failed("making it"))?;
    if !is_bpffs(directory) {
        mount_at(directory).map_err(failed("mounting bpffs on it"))?;
    }
    Ok(())
}

/// Takes `directory` (empty by now) away, and the mount if fwd made it and nobody else uses it.
///
/// # Errors
/// If it cannot be removed.
pub fn clean_up(directory: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = own_mount(&mounts, directory);
    if own.as_deref() != Some(directory) {
        remove_directory(directory)?;
    }
    if let Some(point) = own
        && is_unused(&point)?
    {
        // Lazily: a process about to start may still have our descriptors.
        umount2(&point, MntFlags::MNT_DETACH)?;
        if point == directory {
            remove_directory(directory)?;
        }
    }
    Ok(())
}

/// Names with a dot are the kernel's own; nobody else can make them there.
fn is_unused(point: &Path) -> io::Result<bool> {
    let mut names = fs::read_dir(point)?.map(|entry| Ok(entry?.file_name()));
    names.try_fold(true, |unused, name: io::Result<_>| Ok(unused && name?.to_string_lossy().contains('.')))
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn is_bpffs(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

fn mount_at(point: &Path) -> io::Result<()> {
    Ok(mount(Some(SOURCE), point, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?)
}

/// The mount point that holds `directory`, if fwd mounted it.
fn own_mount(mounts: &str, directory: &Path) -> Option<PathBuf> {
    let mounts = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        Some((left.split(' ').nth(4)?, right.split(' ').nth(1)?))
    });
    // Of mounts on one point, the last covers the others.
    let holding = mounts.filter(|(point, _)| directory.starts_with(point));
    let (point, source) = holding.max_by_key(|(point, _)| point.len())?;
    (source == SOURCE).then(|| PathBuf::from(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / / rw - ext4 /dev/vda rw
30 22 0:25 / /sys rw - sysfs sysfs rw
31 30 0:26 / /sys/fs/bpf rw shared:3 - bpf fwd rw,mode=700
40 22 0:27 / /run/a rw - bpf bpf rw";

    #[test]
    fn only_own_mounts_are_found() {
        let own = |path: &str| own_mount(MOUNTS, Path::new(path));
        assert_eq!(own("/sys/fs/bpf/fwd"), Some(PathBuf::from("/sys/fs/bpf")));
        assert_eq!(own("/run/a/fwd"), None);
        assert_eq!(own("/sys/fs/other"), None);
    }
}
