//! The directory under bpffs: `v<ABI>/{maps,programs,links}/` and two notes.
//!
//! Guarantees: one process at a time holds it (the lock ends with the process); pins of another ABI are
//! never mixed with these. Links are named by ifindex, since bpffs refuses dots and names change. A note is
//! a symbolic link whose target is the text, the only way to keep a word on a bpffs.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aya::maps::MapInfo;
use fwd_common::layout::ABI_VERSION;
use nix::fcntl::{Flock, FlockArg};

use super::{
    bpffs,
    error::{Error, Result},
    sys::{self, LinkInfo, Point},
};

/// The pins of one instance, held until dropped.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    _lock: Flock<File>,
}

/// A word kept beside the pins.
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// Which build the pinned programs are of.
    Build,
    /// The network namespace in which they run.
    Namespace,
}

impl Note {
    const fn file(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Namespace => "namespace",
        }
    }
}

/// A pinned link that was found.
#[derive(Debug)]
pub struct PinnedLink {
    pub path: PathBuf,
    pub fd: OwnedFd,
    pub info: LinkInfo,
}

impl Pins {
    /// Takes hold of the directory `bpffs`, which is made and mounted where it is missing.
    ///
    /// # Errors
    /// If another process holds it, or it has pins of another ABI.
    pub fn open(bpffs: &Path) -> Result<Self> {
        bpffs::prepare(bpffs)?;
        let lock = lock(bpffs)?;
        let root = bpffs.join(format!("v{ABI_VERSION}"));
        if let Some(path) = versions(bpffs)?.into_iter().find(|path| *path != root) {
            return Err(Error::OtherAbi { path });
        }
        for path in ["maps", "programs", "links"].map(|kind| root.join(kind)) {
            fs::create_dir_all(&path).map_err(|source| Error::Directory {
                path,
                action: "making it",
                source,
            })?;
        }
        Ok(Self { root, _lock: lock })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("programs").join(name)
    }

    pub fn link(&self, ifindex: u32, point: Point) -> PathBuf {
        self.root.join("links").join(format!("{ifindex}-{}", point.name()))
    }

    /// Opens a pinned map, with what the kernel says of it.
    pub fn open_map(&self, name: &'static str) -> Result<(OwnedFd, MapInfo)> {
        let failed = |source| Error::Map { map: name, action: "opening its pin", source };
        let path = self.map(name);
        let fd = sys::open_pin(&path).map_err(failed)?;
        let info = MapInfo::from_pin(&path).map_err(|e| failed(io::Error::other(e)))?;
        Ok((fd, info))
    }

    /// All pinned links.
    pub fn links(&self) -> Result<Vec<PinnedLink>> {
        entries(&self.root.join("links"))?.into_iter().map(open_link).collect()
    }

    pub fn read_note(&self, note: Note) -> Option<String> {
        Some(fs::read_link(self.root.join(note.file())).ok()?.to_string_lossy().into_owned())
    }

    pub fn write_note(&self, note: Note, text: &str) -> Result<()> {
        self.remove_note(note)?;
        let path = self.root.join(note.file());
        std::os::unix::fs::symlink(text, &path).map_err(|source| Error::Directory {
            path,
            action: "writing it",
            source,
        })
    }

    pub fn remove_note(&self, note: Note) -> Result<()> {
        remove(&self.root.join(note.file()))
    }
}

/// Detaches and removes everything under `bpffs`, whatever ABI it is of. Goes on after errors and returns
/// them all; a directory that is not there is as good as torn down.
pub fn tear_down(bpffs: &Path) -> Vec<Error> {
    if !bpffs.exists() {
        return Vec::new();
    }
    let lock = match lock(bpffs) {
        Ok(lock) => lock,
        Err(e) => return vec![e],
    };
    let mut errors = Vec::new();
    for root in versions(bpffs).unwrap_or_else(|e| {
        errors.push(e);
        Vec::new()
    }) {
        match entries(&root.join("links")) {
            Ok(links) => errors.extend(
                links
                    .into_iter()
                    .filter_map(|path| open_link(path).and_then(|link| remove_link(&link)).err()),
            ),
            Err(e) => errors.push(e),
        }
        errors.extend(fs::remove_dir_all(&root).err().map(|source| Error::Directory {
            path: root,
            action: "removing it",
            source,
        }));
    }
    drop(lock);
    let path = bpffs.to_owned();
    errors.extend(bpffs::clean_up(bpffs).err().map(|source| Error::Directory {
        path,
        action: "removing it",
        source,
    }));
    errors
}

/// Takes a link off its device, now and not when the kernel gets round to it, and removes its pin.
pub fn remove_link(link: &PinnedLink) -> Result<()> {
    use std::os::fd::AsFd;
    if link.info.ifindex != 0 {
        sys::detach_link(link.fd.as_fd()).map_err(|source| Error::Link {
            link: link.path.display().to_string(),
            action: "detaching",
            source,
        })?;
    }
    remove(&link.path)
}

fn open_link(path: PathBuf) -> Result<PinnedLink> {
    use std::os::fd::AsFd;
    let opened = sys::open_pin(&path).and_then(|fd| Ok((sys::link_info(fd.as_fd())?, fd)));
    match opened {
        Ok((info, fd)) => Ok(PinnedLink { path, fd, info }),
        Err(source) => Err(Error::Link { link: path.display().to_string(), action: "opening", source }),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Directory { path: path.to_owned(), action: "removing it", source })
        }
        _ => Ok(()),
    }
}

fn lock(bpffs: &Path) -> Result<Flock<File>> {
    let mut directory = File::open(bpffs).map_err(|source| Error::Directory {
        path: bpffs.to_owned(),
        action: "opening it",
        source,
    })?;
    // A process that is being started holds all descriptors of its parent for a moment.
    let mut tries = 10;
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, _)) if tries > 0 => directory = back,
            Err(_) => return Err(Error::InUse { path: bpffs.to_owned() }),
        }
        tries -= 1;
        thread::sleep(Duration::from_millis(20));
    }
}

fn versions(bpffs: &Path) -> Result<Vec<PathBuf>> {
    let is_version = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok())
    };
    Ok(entries(bpffs)?.into_iter().filter(is_version).collect())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    listed.map_err(|source| Error::Directory { path: directory.to_owned(), action: "listing it", source })
}
