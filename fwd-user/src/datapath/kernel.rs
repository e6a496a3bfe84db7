//! The datapath in the kernel: maps and programs pinned under bpffs, where they outlive the daemon.
//!
//! Guarantees: opening changes no verdict of what runs already; only [`Kernel::apply`] writes rows.

use std::{collections::BTreeMap, path::Path};

use fwd_common::{
    addr::Mac,
    id::{ClassId, NetworkId, PortId, RowId},
    policy::{ClassKey, PolicyKey, RowCopies},
    port::View,
    settings::Settings,
    sweep::Op,
};

use super::{
    Datapath,
    attach::{self, Hooks, Target, Tc},
    clsact,
    error::{Error, Result},
    flows, grace,
    log::LogLevel,
    maps::Maps,
    object,
    pins::{Note, Pins},
    read, rights,
    sizes::Sizes,
    sys::{self, Point},
    table::Prefix,
};
use crate::{
    compile::Tables,
    host::inventory::{Learnt, Lease},
    plan::{MapOp, Row, RowKeyOf},
};

/// What the datapath is made from.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Directory of the pins; the ABI's own directory is made below it.
    pub bpffs: &'a Path,
    /// The kernel object, an ELF file.
    pub object: &'a [u8],
    /// Of the maps that are not there yet.
    pub sizes: Sizes,
    pub log: LogLevel,
}

/// The kernel's datapath. Dropping it leaves everything running.
#[derive(Debug)]
pub struct Kernel {
    pub(super) pins: Pins,
    sizes: Sizes,
    hooks: Hooks,
    pub(super) maps: Maps,
}

impl Kernel {
    /// Adopts what is pinned, makes what is not, and puts this build's programs in place of older ones.
    ///
    /// # Errors
    /// If capabilities are missing, another process holds the pins, they are of another ABI, namespace or
    /// shape, or the kernel refuses the object.
    pub fn open(options: &Options<'_>) -> Result<Self> {
        Self::open_with(options, Tc::Best)
    }

    /// Like [`Kernel::open`], with TC programs attached in a certain way.
    ///
    /// # Errors
    /// As [`Kernel::open`].
    pub fn open_with(options: &Options<'_>, tc: Tc) -> Result<Self> {
        rights::check()?;
        rights::check_kernel()?;
        let pins = Pins::open(options.bpffs)?;
        check_namespace(&pins)?;
        let sizes = object::ensure_pinned(&pins, options)?;
        flows::make_key(&pins)?;
        let hooks = Hooks::adopt(&pins, tc)?;
        let maps = Maps::open(&pins)?;
        read::align_copies(&maps)?;
        sys::release_free_memory();
        Ok(Self { pins, sizes, hooks, maps })
    }

    /// The pins, for those who read maps that only the kernel writes.
    pub const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The sizes that hold.
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Attaches a program to a device; one that is attached already stays as it is.
    ///
    /// # Errors
    /// If the device is gone, refuses, or has an XDP program of somebody else.
    pub fn attach(&mut self, device: &Target, point: Point) -> Result<()> {
        self.hooks.attach(&self.pins, device, point)
    }

    /// Takes a program off a device, if it is there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach(&mut self, ifindex: u32, point: Point) -> Result<()> {
        attach::detach(&self.pins, ifindex, point)
    }

    /// Brings all devices to the programs that they are to have, and takes them off all others. Goes on
    /// after errors and returns them by ifindex. On one device TCX comes before XDP, which passes up to it,
    /// and goes after it.
    pub fn attach_all(&mut self, wanted: &[(Target, Vec<Point>)]) -> Vec<(u32, Error)> {
        let mut errors = Vec::new();
        let attached = match self.attached() {
            Ok(attached) => attached,
            Err(error) => return vec![(0, error)],
        };
        let is_wanted = |ifindex: u32, point: Point| {
            wanted.iter().any(|(device, points)| device.ifindex == ifindex && points.contains(&point))
        };
        for point in Point::ALL {
            for (ifindex, _) in
                attached.iter().filter(|(ifindex, p)| *p == point && !is_wanted(*ifindex, point))
            {
                errors.extend(self.detach(*ifindex, point).err().map(|error| (*ifindex, error)));
            }
        }
        for point in Point::ALL.into_iter().rev() {
            for (device, _) in wanted.iter().filter(|(_, points)| points.contains(&point)) {
                let has_failed = errors.iter().any(|(ifindex, _)| *ifindex == device.ifindex);
                if !has_failed && !attached.contains(&(device.ifindex, point)) {
                    errors.extend(self.attach(device, point).err().map(|error| (device.ifindex, error)));
                }
            }
        }
        errors
    }

    /// Which programs are attached, by ifindex.
    ///
    /// # Errors
    /// If the pins cannot be read.
    pub fn attached(&self) -> Result<Vec<(u32, Point)>> {
        let links = self.pins.links()?.into_iter().filter(|link| link.info.ifindex != 0);
        let links = links.filter_map(|link| Some((link.info.ifindex, link.info.point?)));
        let filters = self.pins.filters()?.into_iter().map(|filter| (filter.ifindex, filter.point));
        let filters = filters.filter(|(ifindex, _)| clsact::device_name(*ifindex).is_some());
        Ok(links.chain(filters).collect())
    }

    /// The MACs and addresses that the datapath learnt.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn learnt(&self) -> Result<Vec<Learnt>> {
        read::learnt(&self.maps)
    }

    /// What DHCP servers gave to guests of bridged networks, whether it has ended or not. `clock_began`: when the
    /// datapath's clock was 0, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn leases(&self, clock_began: u64) -> Result<BTreeMap<NetworkId, Vec<Lease>>> {
        read::leases(&self.maps, clock_began)
    }

    /// Forgets the MAC that was learnt on a port, so that the next one seen becomes its own.
    ///
    /// # Errors
    /// If the kernel refuses the write.
    pub fn forget_mac(&mut self, port: PortId) -> Result<()> {
        self.maps.port_macs.put(&port.0.into(), &Mac::NONE)
    }

    fn run(&self, plan: &[MapOp], staged: &mut Staged) -> Result<()> {
        for ops in plan.chunk_by(|a, b| Many::of(a).is_some() && Many::of(a) == Many::of(b)) {
            match Many::of(&ops[0]) {
                Some(many) => self.run_many(many, ops, staged)?,
                None => ops.iter().try_for_each(|op| self.run_one(op, staged))?,
            }
        }
        self.settle(staged)
    }

    /// Steps of one kind, of which a plan may have very many: by few calls of the kernel.
    fn run_many(&self, many: Many, ops: &[MapOp], staged: &mut Staged) -> Result<()> {
        let maps = &self.maps;
        match many {
            Many::Rows => maps.rows.put_all(&each(ops, |op| match op {
                MapOp::Put(Row::PolicyRow(data, bits, verdict)) => Some((Prefix { bits, data }, verdict)),
                _ => None,
            })),
            Many::Policies => maps.policies.put_all(&each(ops, |op| match op {
                MapOp::Put(Row::Policy(key, row)) => Some((key, RowCopies([row; 2]))),
                _ => None,
            })),
            Many::Classes => {
                let classes = each(ops, |op| match op {
                    MapOp::StageClass(key, bits, class) => Some(((key, bits), class)),
                    _ => None,
                });
                maps.put_classes(&classes, maps.settings()?.epoch + 1)?;
                staged.classes.extend(classes);
                Ok(())
            }
            Many::Staged => {
                let policies = each(ops, |op| match op {
                    MapOp::StagePolicy(key, row) => Some((key, row)),
                    _ => None,
                });
                maps.put_policies(&policies, maps.settings()?.epoch + 1)?;
                staged.policies.extend(policies);
                Ok(())
            }
            Many::GonePolicies => {
                self.settle(staged)?;
                maps.policies.delete_all(&each(ops, |op| match op {
                    MapOp::Delete(RowKeyOf::Policy(key)) => Some(key),
                    _ => None,
                }))
            }
            Many::GoneRows => {
                self.settle(staged)?;
                maps.rows.delete_all(&each(ops, |op| match op {
                    MapOp::Delete(RowKeyOf::PolicyRow(data, bits)) => Some(Prefix { bits, data }),
                    _ => None,
                }))
            }
        }
    }

    fn run_one(&self, op: &MapOp, staged: &mut Staged) -> Result<()> {
        let maps = &self.maps;
        match op {
            MapOp::Put(Row::Settings(settings)) => {
                // A limit above what the tables were made for would be met as a fault, not as a limit.
                let flow_limit = settings.flow_limit.min(self.sizes.flows);
                maps.put(&Row::Settings(Settings { flow_limit, ..*settings }))
            }
            MapOp::Put(row) => maps.put(row),
            MapOp::StageView(port, view) => {
                maps.put_view(*port, *view, maps.settings()?.epoch + 1)?;
                staged.views.push((*port, *view));
                Ok(())
            }
            MapOp::Commit => {
                let mut settings = maps.settings()?;
                settings.epoch = settings.epoch.wrapping_add(1);
                maps.settings.put(&0, &settings)?;
                staged.is_committed = true;
                Ok(())
            }
            MapOp::Bump(port) => {
                let mut row = maps.port(*port)?;
                row.generation = row.generation.wrapping_add(1);
                maps.ports.put(&port.0.into(), &row)
            }
            MapOp::Delete(key) => {
                self.settle(staged)?;
                maps.delete(key)
            }
            MapOp::Recheck => {
                self.settle(staged)?;
                grace::wait_for_running_programs();
                self.sweep_all(Op::Recheck).map(drop)
            }
            MapOp::Cut(flows) => {
                self.settle(staged)?;
                self.cut(*flows).map(drop)
            }
            MapOp::StageClass(..) | MapOp::StagePolicy(..) => {
                unreachable!("there may be many of them: they are staged together")
            }
        }
    }

    /// After a commit: waits until no packet is on its way by the old epoch, whose rows may then go and whose
    /// copies are written over. Not done at the commit itself, because what follows it must bind at once.
    fn settle(&self, staged: &mut Staged) -> Result<()> {
        if !staged.is_committed {
            return Ok(());
        }
        grace::wait_for_running_programs();
        let spare = self.maps.settings()?.epoch + 1;
        for (port, view) in staged.views.drain(..) {
            self.maps.put_view(port, view, spare)?;
        }
        self.maps.put_classes(&staged.classes, spare)?;
        staged.classes.clear();
        // The other copy has the same since they were staged.
        self.maps.settle_policies(&staged.policies)?;
        staged.policies.clear();
        staged.is_committed = false;
        Ok(())
    }
}

/// Steps of which a plan may have one a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Many {
    Rows,
    Policies,
    Classes,
    Staged,
    GonePolicies,
    GoneRows,
}

impl Many {
    const fn of(op: &MapOp) -> Option<Self> {
        Some(match op {
            MapOp::Put(Row::PolicyRow(..)) => Self::Rows,
            MapOp::Put(Row::Policy(..)) => Self::Policies,
            MapOp::StageClass(..) => Self::Classes,
            MapOp::StagePolicy(..) => Self::Staged,
            MapOp::Delete(RowKeyOf::Policy(_)) => Self::GonePolicies,
            MapOp::Delete(RowKeyOf::PolicyRow(..)) => Self::GoneRows,
            _ => return None,
        })
    }
}

/// What steps of one kind are about.
fn each<T>(ops: &[MapOp], part: impl Fn(MapOp) -> Option<T>) -> Vec<T> {
    ops.iter().copied().filter_map(part).collect()
}

/// What was written to the copies out of use.
#[derive(Debug, Default)]
struct Staged {
    views: Vec<(PortId, View)>,
    classes: Vec<((ClassKey, u32), Option<ClassId>)>,
    policies: Vec<(PolicyKey, Option<RowId>)>,
    is_committed: bool,
}

impl Staged {
    const fn is_empty(&self) -> bool {
        self.views.is_empty() && self.classes.is_empty() && self.policies.is_empty()
    }
}

impl Datapath for Kernel {
    type Error = Error;

    fn apply(&mut self, plan: &[MapOp]) -> Result<()> {
        let mut staged = Staged::default();
        let result = self.run(plan, &mut staged);
        if result.is_err() || !staged.is_empty() {
            // What was staged must not come into force with the next plan's commit.
            read::align_copies(&self.maps)?;
        }
        result
    }

    fn tables(&self) -> Result<Tables> {
        read::tables(&self.maps)
    }
}

/// Numbers of devices mean something in one network namespace only.
fn check_namespace(pins: &Pins) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let path = Path::new("/proc/thread-self/ns/net");
    let own = std::fs::metadata(path).map_err(|source| Error::Directory {
        path: path.to_owned(),
        action: "reading it",
        source,
    })?;
    let own = format!("{}:{}", own.dev(), own.ino());
    let noted = pins.read_note(Note::Namespace);
    if noted.as_ref() == Some(&own) {
        return Ok(());
    }
    if noted.is_some() && pins.links()?.iter().any(|link| link.info.ifindex != 0) {
        return Err(Error::OtherNamespace { path: pins.root().to_owned() });
    }
    pins.write_note(Note::Namespace, &own)
}
