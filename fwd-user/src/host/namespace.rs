//! Named network namespaces, as `ip netns` keeps them: the homes of private networks' host ports.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use super::{
    error::{Error, Result},
    netlink::{self, Netlink},
};

const DIRECTORY: &str = "/run/netns";
/// The calling thread's own; `/proc/self` would be the process's first thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace that is kept open.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// The namespace of this name, made if it is not there.
    pub fn ensure(name: &str) -> Result<Self> {
        let failed = |source| Error::Namespace { name: name.to_owned(), action: "making it", source };
        let path = path(name);
        if !is_namespace(&path) {
            fs::create_dir_all(DIRECTORY).map_err(failed)?;
            OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
            on_a_thread(|| make_at(&path)).map_err(failed)?;
        }
        let namespace = Self::open(name)?;
        Ok(namespace)
    }

    /// The namespace of this name.
    pub fn open(name: &str) -> Result<Self> {
        let file = File::open(path(name)).map_err(|source| Error::Namespace {
            name: name.to_owned(),
            action: "opening it",
            source,
        })?;
        Ok(Self { name: name.to_owned(), file })
    }

    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Runs a task on a thread in the namespace.
    pub fn inside<T: Send>(&self, task: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|e| Error::Namespace {
                name: self.name.clone(),
                action: "entering it",
                source: e.into(),
            })?;
            task()
        })
    }

    /// A connection to the kernel that acts in the namespace; needs a tokio runtime.
    pub fn netlink(&self) -> Result<Netlink> {
        let runtime = tokio::runtime::Handle::current();
        self.inside(|| {
            let _context = runtime.enter();
            netlink::connect_only()
        })
    }
}

/// Removes the namespace of this name; what is in it goes with it, unless a process is there.
///
/// # Errors
/// If it cannot be removed; one that is not there is as good as removed.
pub fn remove(name: &str) -> Result<()> {
    let path = path(name);
    let removed = match umount2(&path, MntFlags::MNT_DETACH) {
        // Not mounted: a file that an interrupted creation left.
        Ok(()) | Err(nix::errno::Errno::EINVAL) => fs::remove_file(&path),
        Err(e) => Err(e.into()),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Namespace { name: name.to_owned(), action: "removing it", source })
        }
        _ => Ok(()),
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn is_namespace(path: &Path) -> bool {
    use nix::sys::statfs::{NSFS_MAGIC, statfs};
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}

/// Leaves the calling thread in a new namespace that is kept by a mount.
fn make_at(path: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn on_a_thread<T: Send>(task: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| scope.spawn(task).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
