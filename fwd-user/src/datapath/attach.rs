//! Programs on devices: attached by pinned links, replaced in place, taken off again.
//!
//! Guarantees: a device's TCX program is there before its XDP program passes anything up, and goes after
//! it; a program of somebody else is never replaced; a link whose device is gone is removed.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::programs::ProgramInfo;
use fwd_common::map::program;

use super::{
    error::{Error, Result},
    occupant,
    pins::{PinnedLink, Pins, remove_link},
    sys::{self, Point},
};

/// A device to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub ifindex: u32,
    /// For messages.
    pub name: String,
}

/// The program of each point, and where they are attached.
#[derive(Debug)]
pub(super) struct Hooks {
    programs: BTreeMap<Point, Pinned>,
}

#[derive(Debug)]
struct Pinned {
    fd: OwnedFd,
    id: u32,
}

impl Hooks {
    /// Opens the pinned programs, puts them in place of older ones on every link, and removes the links of
    /// devices that are gone.
    pub fn adopt(pins: &Pins) -> Result<Self> {
        let mut programs = BTreeMap::new();
        for (point, name) in
            [(Point::Xdp, program::XDP), (Point::Ingress, program::INGRESS), (Point::Egress, program::EGRESS)]
        {
            programs.insert(point, open_program(pins, name)?);
        }
        let hooks = Self { programs };
        for link in pins.links()? {
            match link.info.point {
                Some(point) if link.info.ifindex != 0 => hooks.update(&link, point)?,
                _ => remove_link(&link)?,
            }
        }
        Ok(hooks)
    }

    fn update(&self, link: &PinnedLink, point: Point) -> Result<()> {
        let program = &self.programs[&point];
        if link.info.program == program.id {
            return Ok(());
        }
        sys::update_link(link.fd.as_fd(), program.fd.as_fd()).map_err(|source| Error::Link {
            link: link.path.display().to_string(),
            action: "replacing its program",
            source,
        })
    }

    /// Attaches, if it is not attached yet.
    ///
    /// # Errors
    /// If the device is gone, refuses, or has an XDP program of somebody else.
    pub fn attach(&self, pins: &Pins, device: &Target, point: Point) -> Result<()> {
        let path = pins.link(device.ifindex, point);
        if let Some(link) = find(pins, device.ifindex, point)? {
            // Of a device that is gone, whose number was given again.
            if link.info.ifindex == device.ifindex {
                return Ok(());
            }
            remove_link(&link)?;
        }
        let program = self.programs[&point].fd.as_fd();
        let link = sys::create_link(program, device.ifindex, point)
            .map_err(|source| refusal(device, point, source))?;
        sys::pin(link.as_fd(), &path).map_err(|source| Error::Link {
            link: path.display().to_string(),
            action: "pinning",
            source,
        })
    }
}

/// Takes a program off a device; one that is not there is as good as taken off.
pub(super) fn detach(pins: &Pins, ifindex: u32, point: Point) -> Result<()> {
    find(pins, ifindex, point)?.map_or(Ok(()), |link| remove_link(&link))
}

fn find(pins: &Pins, ifindex: u32, point: Point) -> Result<Option<PinnedLink>> {
    let path = pins.link(ifindex, point);
    Ok(pins.links()?.into_iter().find(|link| link.path == path))
}

fn open_program(pins: &Pins, name: &'static str) -> Result<Pinned> {
    let refused = |reason: String| Error::ProgramRefused { program: name, reason };
    let path = pins.program(name);
    let fd = sys::open_pin(&path).map_err(|e| refused(e.to_string()))?;
    let id = ProgramInfo::from_pin(&path).map_err(|e| refused(e.to_string()))?.id();
    Ok(Pinned { fd, id })
}

/// What a failed attachment means.
fn refusal(device: &Target, point: Point, source: io::Error) -> Error {
    let name = device.name.clone();
    let refused = |reason: &str| Error::DriverRefused { device: device.name.clone(), reason: reason.into() };
    // Of a missing device XDP says EINVAL, and TCX says ENODEV. nix 0.31 calls a missing name an empty one.
    let is_gone = nix::net::if_::if_indextoname(device.ifindex).is_ok_and(|name| name.is_empty());
    match (point, source.raw_os_error().unwrap_or(0)) {
        _ if is_gone => Error::NoDevice { device: name },
        (Point::Xdp, libc::EBUSY | libc::EEXIST) => {
            Error::Occupied { device: name, program: occupant::describe(device.ifindex) }
        }
        (Point::Xdp, libc::EOPNOTSUPP) => refused("it has no native XDP"),
        (Point::Xdp, libc::ERANGE) => refused("the MTU is too large for it"),
        (Point::Xdp, libc::EINVAL) => refused("its MTU, offloads or queues do not allow it"),
        (Point::Xdp, libc::ENOMEM | libc::ENOSPC | libc::E2BIG) => {
            refused("it has not enough queues or rings")
        }
        (Point::Ingress | Point::Egress, libc::EINVAL) => {
            Error::KernelLacks { feature: "TCX links (kernel 6.6)", source }
        }
        _ => Error::Attach { device: name, point, source },
    }
}
