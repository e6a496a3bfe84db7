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
    sync::Arc,
    thread,
    time::Duration,
};

use aya::maps::MapInfo;
use fwd_common::layout::ABI_VERSION;
use nix::fcntl::{Flock, FlockArg};

use super::{
    bpffs,
    error::{Error, Result},
    sys::{self, Point},
};

/// The pins of one instance, held until dropped.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    _lock: Arc<Flock<File>>,
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
        Ok(Self { root, _lock: Arc::new(lock) })
    }

    /// Takes hold of the pins of every ABI that is there.
    ///
    /// # Errors
    /// If another process holds them.
    pub fn open_all(bpffs: &Path) -> Result<Vec<Self>> {
        let lock = Arc::new(lock(bpffs)?);
        Ok(versions(bpffs)?.into_iter().map(|root| Self { root, _lock: lock.clone() }).collect())
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
        open_map(&self.map(name), name)
    }

    pub fn read_note(&self, note: Note) -> Option<String> {
        Some(fs::read_link(self.root.join(note.file())).ok()?.to_string_lossy().into_owned())
    }

    pub fn write_note(&self, note: Note, text: &str) -> Result<()> {
        write_word(&self.root.join(note.file()), text)
    }

    pub fn remove_note(&self, note: Note) -> Result<()> {
        remove(&self.root.join(note.file()))
    }
}

/// Opens a map that is pinned at a path, with what the kernel says of it.
pub(super) fn open_map(path: &Path, name: &'static str) -> Result<(OwnedFd, MapInfo)> {
    let failed = |source| Error::Map { map: name, action: "opening its pin", source };
    let fd = sys::open_pin(path).map_err(failed)?;
    let info = MapInfo::from_pin(path).map_err(|e| failed(io::Error::other(e)))?;
    Ok((fd, info))
}

/// Leaves a word at a path.
pub(super) fn write_word(path: &Path, text: &str) -> Result<()> {
    remove(path)?;
    std::os::unix::fs::symlink(text, path).map_err(|source| Error::Directory {
        path: path.to_owned(),
        action: "writing it",
        source,
    })
}

/// Removes a pin or a word; one that is not there is as good as removed.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Directory { path: path.to_owned(), action: "removing it", source })
        }
        _ => Ok(()),
    }
}

/// What is in a directory, if there is one.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    listed.map_err(|source| Error::Directory { path: directory.to_owned(), action: "listing it", source })
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
