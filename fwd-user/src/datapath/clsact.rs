//! Programs on devices of kernels without TCX (before 6.6): as filters of the clsact qdisc.
//!
//! A filter cannot be pinned; it stays by itself, under a priority and handle that are always the same. So
//! that it is found again, a note beside the pinned links stands for it, which also says whether the qdisc
//! is fwd's. Replacing the program of a filter is atomic, as it is for a link.

use std::{io, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType, tc,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcHandle as Handle, TcMessage},
};
use nix::net::if_::if_indextoname;

use super::{
    attach::Target,
    error::{Error, Result},
    links::{Filter, Qdisc},
    pins::Pins,
    request,
    sys::Point,
};

/// Before other filters on the way in (lower comes first) and after them on the way out.
const fn priority(point: Point) -> u16 {
    if point.is_egress() { 0xc000 } else { 1 }
}
const HANDLE: TcHandle = TcHandle::new(0, HANDLE_NUMBER as u16);
pub(super) const HANDLE_NUMBER: u32 = 0xf4d;

/// Puts a pinned program on a device, in place of the one that fwd had there.
pub(super) fn attach(pins: &Pins, program: &str, device: &Target, point: Point) -> Result<()> {
    let failed = |source| Error::Attach { device: device.name.clone(), point, source };
    // Filters are put by name, and the target's is the one that people know: for a host port the veth's other end.
    let Some(name) = device_name(device.ifindex) else {
        return Err(Error::NoDevice { device: device.name.clone() });
    };
    let noted = Point::ALL.into_iter().find_map(|point| pins.filter_at(device.ifindex, point));
    let qdisc = match (noted.map(|filter| filter.qdisc), tc::qdisc_add_clsact(&name)) {
        (Some(qdisc), _) => qdisc,
        (None, Ok(())) => Qdisc::Made,
        (None, Err(_)) => Qdisc::Found,
    };
    pins.note_filter(&Filter { ifindex: device.ifindex, point, qdisc })?;
    replace(&pins.program(program), &name, point).map_err(failed)
}

/// Takes fwd's filter off a device, and the qdisc with the last one if fwd made it.
pub(super) fn detach(pins: &Pins, program: &str, filter: &Filter) -> Result<()> {
    let name = device_name(filter.ifindex);
    if let Some(device) = &name {
        let failed = |source| Error::Detach { device: device.clone(), point: filter.point, source };
        let taken = tc::qdisc_detach_program(device, direction(filter.point), program);
        let taken = taken.map_err(|e| match e {
            TcError::IoError(e) => e,
            other => io::Error::other(other),
        });
        gone(taken).map_err(failed)?;
        let mut others = Point::ALL.into_iter().filter(|point| *point != filter.point);
        let is_last = others.all(|point| pins.filter_at(filter.ifindex, point).is_none());
        if is_last && filter.qdisc == Qdisc::Made {
            gone(delete_qdisc(filter.ifindex)).map_err(failed)?;
        }
    }
    pins.forget_filter(filter)
}

/// What somebody else took away is as good as taken off.
fn gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// A device's name, while it exists. (nix 0.31 calls a missing name an empty one.)
pub(super) fn device_name(ifindex: u32) -> Option<String> {
    let name = if_indextoname(ifindex).ok()?.into_string().ok()?;
    (!name.is_empty()).then_some(name)
}

fn replace(program: &Path, device: &str, point: Point) -> io::Result<()> {
    let mut program = SchedClassifier::from_pin(program).map_err(io::Error::other)?;
    let there = SchedClassifierLink::attached(device, direction(point), priority(point), HANDLE, None)?;
    let link = match program.attach_to_link(there) {
        Ok(link) => link,
        Err(ProgramError::TcError(_)) => {
            let options = NlOptions { priority: priority(point), handle: HANDLE, classid: None };
            let options = TcAttachOptions::Netlink(options);
            program.attach_with_options(device, direction(point), options).map_err(io::Error::other)?
        }
        Err(e) => return Err(io::Error::other(e)),
    };
    // Dropping it would take the filter off.
    std::mem::forget(program.take_link(link).map_err(io::Error::other)?);
    Ok(())
}

const fn direction(point: Point) -> TcAttachType {
    if point.is_egress() { TcAttachType::Egress } else { TcAttachType::Ingress }
}

fn delete_qdisc(ifindex: u32) -> io::Result<()> {
    let mut order = TcMessage::with_index(ifindex.cast_signed());
    order.header.parent = Handle::CLSACT;
    request::tell(RouteNetlinkMessage::DelQueueDiscipline(order))
}
