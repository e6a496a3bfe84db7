//! What is attached: pinned links, and notes of filters where the kernel has no links for TC.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::{
    error::{Error, Result},
    pins::{Pins, entries, remove, write_word},
    sys::{self, LinkInfo, Point},
};

/// A pinned link that was found.
#[derive(Debug)]
pub struct PinnedLink {
    pub path: PathBuf,
    pub fd: OwnedFd,
    pub info: LinkInfo,
}

/// A program that runs as a filter, for which there is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    pub ifindex: u32,
    pub point: Point,
    pub qdisc: Qdisc,
}

/// Whose the qdisc of a filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qdisc {
    /// It was there.
    Found,
    /// It goes with fwd's last filter.
    Made,
}

impl Qdisc {
    const ALL: [Self; 2] = [Self::Found, Self::Made];

    const fn word(self) -> &'static str {
        match self {
            Self::Found => "clsact found",
            Self::Made => "clsact made",
        }
    }
}

impl Pins {
    /// All pinned links.
    pub fn links(&self) -> Result<Vec<PinnedLink>> {
        let paths = entries(&self.root().join("links"))?.into_iter();
        paths.filter(|path| !path.is_symlink()).map(open).collect()
    }

    /// All filters.
    pub fn filters(&self) -> Result<Vec<Filter>> {
        Ok(entries(&self.root().join("links"))?.iter().filter_map(|path| filter(path)).collect())
    }

    /// The link of one device and point, if there is one.
    pub fn link_at(&self, ifindex: u32, point: Point) -> Result<Option<PinnedLink>> {
        let path = self.link(ifindex, point);
        if path.exists() && !path.is_symlink() { open(path).map(Some) } else { Ok(None) }
    }

    /// The filter of one device and point, if there is one.
    pub fn filter_at(&self, ifindex: u32, point: Point) -> Option<Filter> {
        filter(&self.link(ifindex, point))
    }

    pub fn note_filter(&self, filter: &Filter) -> Result<()> {
        write_word(&self.link(filter.ifindex, filter.point), filter.qdisc.word())
    }

    pub fn forget_filter(&self, filter: &Filter) -> Result<()> {
        remove(&self.link(filter.ifindex, filter.point))
    }
}

impl PinnedLink {
    /// Takes the link off its device, now and not when the kernel gets round to it, and removes its pin.
    pub fn remove(&self) -> Result<()> {
        if self.info.ifindex != 0 {
            sys::detach_link(self.fd.as_fd()).map_err(|source| Error::Link {
                link: self.path.display().to_string(),
                action: "detaching",
                source,
            })?;
        }
        remove(&self.path)
    }
}

fn open(path: PathBuf) -> Result<PinnedLink> {
    let point = place(&path).map(|(_, point)| point);
    let opened = sys::open_pin(&path).and_then(|fd| Ok((sys::link_info(fd.as_fd(), point)?, fd)));
    match opened {
        Ok((info, fd)) => Ok(PinnedLink { path, fd, info }),
        Err(source) => Err(Error::Link { link: path.display().to_string(), action: "opening", source }),
    }
}

fn filter(path: &Path) -> Option<Filter> {
    let word = fs::read_link(path).ok()?;
    let qdisc = Qdisc::ALL.into_iter().find(|qdisc| Path::new(qdisc.word()) == word)?;
    let (ifindex, point) = place(path)?;
    Some(Filter { ifindex, point, qdisc })
}

/// What [`Pins::link`] made a path of.
fn place(path: &Path) -> Option<(u32, Point)> {
    let (ifindex, point) = path.file_name()?.to_str()?.split_once('-')?;
    Some((ifindex.parse().ok()?, Point::named(point)?))
}
