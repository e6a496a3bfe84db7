//! Programs on devices: attached by pinned links (or filters, where the kernel has no TCX), replaced in
//! place, taken off again.
//!
//! Guarantees: a program of somebody else is never replaced; what is left of a device that is gone is
//! removed.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::programs::ProgramInfo;
use fwd_common::map::program;

use super::{
    clsact,
    error::{Error, Result},
    links::{Filter, PinnedLink},
    occupant,
    pins::Pins,
    sys::{self, Point},
};

/// A device to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub ifindex: u32,
    /// For messages.
    pub name: String,
}

/// How TC programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tc {
    /// By TCX links, and by clsact where the kernel has none.
    Best,
    /// By clsact, as on a kernel before 6.6.
    Clsact,
}

/// The program of each point.
#[derive(Debug)]
pub(super) struct Hooks {
    programs: BTreeMap<Point, Pinned>,
    tc: Tc,
}

#[derive(Debug)]
struct Pinned {
    fd: OwnedFd,
    id: u32,
}

impl Hooks {
    /// Opens the pinned programs, puts them in place of older ones wherever they run, and removes what is
    /// left of devices that are gone.
    pub fn adopt(pins: &Pins, tc: Tc) -> Result<Self> {
        let mut programs = BTreeMap::new();
        for point in Point::ALL {
            programs.insert(point, open_program(pins, program_of(point))?);
        }
        let hooks = Self { programs, tc };
        for link in pins.links()? {
            match link.info.point {
                Some(point) if link.info.ifindex != 0 => hooks.update(&link, point)?,
                _ => link.remove()?,
            }
        }
        for filter in pins.filters()? {
            match clsact::device_name(filter.ifindex) {
                Some(name) => hooks.filter(pins, &Target { ifindex: filter.ifindex, name }, filter.point)?,
                None => pins.forget_filter(&filter)?,
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
        if pins.filter_at(device.ifindex, point).is_some() {
            return self.filter(pins, device, point);
        }
        if let Some(link) = pins.link_at(device.ifindex, point)? {
            if link.info.ifindex == device.ifindex {
                return Ok(());
            }
            // Of a device that is gone, whose number was given again.
            link.remove()?;
        }
        if self.tc == Tc::Clsact && point != Point::Xdp {
            return self.filter(pins, device, point);
        }
        let program = self.programs[&point].fd.as_fd();
        match sys::create_link(program, device.ifindex, point) {
            Ok(link) => sys::pin(link.as_fd(), &path).map_err(|source| Error::Link {
                link: path.display().to_string(),
                action: "pinning",
                source,
            }),
            // What a kernel without TCX answers.
            Err(e) if point != Point::Xdp && e.raw_os_error() == Some(libc::EINVAL) => {
                self.filter(pins, device, point)
            }
            Err(source) => Err(refusal(device, point, source)),
        }
    }

    fn filter(&self, pins: &Pins, device: &Target, point: Point) -> Result<()> {
        clsact::attach(pins, program_of(point), device, point)
    }
}

/// Takes a program off a device; one that is not there is as good as taken off.
pub(super) fn detach(pins: &Pins, ifindex: u32, point: Point) -> Result<()> {
    if let Some(filter) = pins.filter_at(ifindex, point) {
        return remove_filter(pins, &filter);
    }
    pins.link_at(ifindex, point)?.map_or(Ok(()), |link| link.remove())
}

/// Takes fwd's filter off its device.
pub(super) fn remove_filter(pins: &Pins, filter: &Filter) -> Result<()> {
    clsact::detach(pins, program_of(filter.point), filter)
}

const fn program_of(point: Point) -> &'static str {
    match point {
        Point::Xdp => program::XDP,
        Point::Ingress => program::INGRESS,
        Point::Egress => program::EGRESS,
        Point::TunnelIngress => program::TUNNEL_INGRESS,
        Point::TunnelEgress => program::TUNNEL_EGRESS,
    }
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
    match (point, source.raw_os_error().unwrap_or(0)) {
        // Of a missing device XDP says EINVAL, and TCX says ENODEV.
        _ if clsact::device_name(device.ifindex).is_none() => Error::NoDevice { device: name },
        (Point::Xdp, libc::EBUSY | libc::EEXIST) => {
            Error::Occupied { device: name, program: occupant::describe(device.ifindex) }
        }
        (Point::Xdp, libc::EOPNOTSUPP) => refused("it has no native XDP"),
        (Point::Xdp, libc::ERANGE) => refused("the MTU is too large for it"),
        (Point::Xdp, libc::EINVAL) => refused("its MTU, offloads or queues do not allow it"),
        (Point::Xdp, libc::ENOMEM | libc::ENOSPC | libc::E2BIG) => {
            refused("it has not enough queues or rings")
        }
        _ => Error::Attach { device: name, point, source },
    }
}
