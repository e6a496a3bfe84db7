//! Programs of others on devices.

use std::{collections::BTreeSet, fs, path::Path};

use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};

use super::{attach::Target, clsact, occupant, sys::Point};

/// A program that is not of this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub device: String,
    pub point: Point,
    /// `12 (name)`.
    pub name: String,
}

/// All on some devices, but for filters of the clsact qdisc, which netlink lists.
pub fn foreign(bpffs: &Path, devices: &[Target]) -> Vec<Foreign> {
    let own = own(bpffs);
    let mut all = Vec::new();
    for device in devices {
        if let Some(id) = occupant::program_on(device.ifindex).filter(|id| !own.contains(id)) {
            let name = occupant::named(id);
            all.push(Foreign { device: device.name.clone(), point: Point::Xdp, name });
        }
        for (point, kind) in [(Point::Ingress, TcAttachType::Ingress), (Point::Egress, TcAttachType::Egress)]
        {
            let programs = on_tcx(device, kind);
            let others = programs.iter().filter(|program| !own.contains(&program.id()));
            all.extend(others.map(|program| Foreign {
                device: device.name.clone(),
                point,
                name: occupant::described(program),
            }));
        }
    }
    all
}

/// Those of the points at which this instance's programs are to be and are not, but for those of the clsact qdisc: there
/// netlink tells.
pub fn detached(bpffs: &Path, wanted: &[(Target, Vec<Point>)]) -> Vec<(String, Point)> {
    let own = own(bpffs);
    let is_own = |info: &ProgramInfo| own.contains(&info.id());
    let has = |device: &Target, point: Point| match point {
        Point::Xdp => occupant::program_on(device.ifindex).is_some_and(|id| own.contains(&id)),
        Point::Ingress | Point::TunnelIngress => on_tcx(device, TcAttachType::Ingress).iter().any(is_own),
        Point::Egress | Point::TunnelEgress => on_tcx(device, TcAttachType::Egress).iter().any(is_own),
    };
    let points = wanted.iter().flat_map(|(device, points)| points.iter().map(move |point| (device, *point)));
    let gone = points.filter(|(device, point)| !has(device, *point));
    gone.map(|(device, point)| (device.name.clone(), point)).collect()
}

/// A kernel without TCX has none there.
fn on_tcx(device: &Target, kind: TcAttachType) -> Vec<ProgramInfo> {
    SchedClassifier::query_tcx(&device.name, kind).map_or_else(|_| Vec::new(), |(_, programs)| programs)
}

/// Whether a filter of this handle is fwd's.
pub const fn is_own_filter(handle: u32) -> bool {
    handle == clsact::HANDLE_NUMBER
}

/// Numbers of the pinned programs, of every ABI.
fn own(bpffs: &Path) -> BTreeSet<u32> {
    let versions = fs::read_dir(bpffs).into_iter().flatten().flatten();
    let programs = versions.flat_map(|version| fs::read_dir(version.path().join("programs")));
    let pins = programs.flatten().flatten();
    pins.filter_map(|pin| ProgramInfo::from_pin(pin.path()).ok()).map(|info| info.id()).collect()
}
