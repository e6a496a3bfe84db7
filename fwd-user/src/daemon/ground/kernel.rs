//! This host, and the datapath in its kernel.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use fwd_common::{
    id::{NetworkId, PortId},
    sweep::Command,
};
use tokio::runtime::Handle;

use super::Ground;
use crate::{
    api::error::ApiError,
    compile::{Attachment, Tables},
    daemon::{
        Options,
        failure::{all_of, of_datapath, of_host},
        sockets::{self, Socket},
    },
    datapath::{self, Datapath, Kernel, OBJECT, Point, Sizes, Sweeper, Target},
    host::{Greeting, Host, Inventory, Lease, News, Wanted},
    observe::Moment,
    plan::MapOp,
};

/// The kernel's datapath, and the host around it.
#[derive(Debug)]
pub struct KernelGround {
    host: Host,
    kernel: Kernel,
    bpffs: PathBuf,
    /// MTU of each device when it was last looked at, by ifindex.
    mtus: BTreeMap<u32, u32>,
    /// Why drivers refused XDP, by ifindex and MTU.
    refused: BTreeMap<(u32, u32), String>,
    clock_began: i64,
    /// Netlink needs the daemon's runtime; the writer has a thread of its own.
    runtime: Handle,
}

impl KernelGround {
    /// Adopts what is there, makes what is not, with tables for so many flows. Rows, programs and interfaces stay as
    /// they are.
    ///
    /// # Errors
    /// Capabilities, kernel features or the pins do not allow it.
    pub fn open(options: &Options, flows: u32) -> Result<(Self, News), ApiError> {
        let Options { state_dir, bpffs, libvirt, datapath_log: log, .. } = options;
        let datapath = datapath::Options { bpffs, object: OBJECT, sizes: Sizes::for_flows(flows), log: *log };
        let kernel = Kernel::open(&datapath).map_err(|e| of_datapath(&e))?;
        let (mut host, news) = Host::open(state_dir).map_err(|e| of_host(&e))?;
        host.follow_domains(libvirt);
        let ground = Self {
            host,
            kernel,
            bpffs: bpffs.to_owned(),
            mtus: BTreeMap::new(),
            refused: BTreeMap::new(),
            clock_began: 0,
            runtime: Handle::current(),
        };
        Ok((ground, news))
    }

    /// Where the maps are pinned.
    pub fn maps(&self) -> PathBuf {
        self.kernel.pins().root().join("maps")
    }

    /// What deletes expired flows while the daemon lives.
    ///
    /// # Errors
    /// Its program is not there.
    pub fn sweeper(&self) -> Result<Sweeper, ApiError> {
        Sweeper::open(self.kernel.pins()).map_err(|e| of_datapath(&e))
    }

    /// Where the programs are pinned.
    pub fn programs(&self) -> PathBuf {
        self.kernel.pins().root().join("programs")
    }
}

impl Ground for KernelGround {
    fn inventory(&mut self, networks: &[&str]) -> Result<Inventory, ApiError> {
        let mut inventory = self.runtime.block_on(self.host.inventory(networks)).map_err(|e| of_host(&e))?;
        inventory.learnt = self.kernel.learnt().map_err(|e| of_datapath(&e))?;
        inventory.clock_began = self.clock_began();
        inventory.snooped = self.snooped()?;
        // A driver that refused is asked again once the device has another MTU: that is what most refuse for.
        for device in inventory.devices.values_mut() {
            let refused = self.refused.get(&(device.ifindex, device.mtu));
            device.xdp_refused = refused.cloned();
        }
        self.mtus = inventory.devices.values().map(|device| (device.ifindex, device.mtu)).collect();
        Ok(inventory)
    }

    fn sockets(&self) -> Vec<Socket> {
        sockets::listening()
    }

    fn prepare(&mut self, wanted: &Wanted) -> Result<(), ApiError> {
        self.runtime.block_on(self.host.prepare(wanted)).map_err(|e| of_host(&e))
    }

    fn attach(&mut self, ports: &BTreeMap<PortId, Attachment>) -> Vec<(u32, ApiError)> {
        let wanted: Vec<_> = ports.values().filter(|p| p.ifindex != 0).map(target).collect();
        let errors = self.kernel.attach_all(&wanted);
        for (ifindex, error) in &errors {
            if let (datapath::Error::DriverRefused { reason, .. }, Some(mtu)) =
                (error, self.mtus.get(ifindex))
            {
                self.refused.insert((*ifindex, *mtu), reason.clone());
            }
        }
        errors.iter().map(|(ifindex, error)| (*ifindex, of_datapath(error))).collect()
    }

    fn greet(&self, greetings: &[Greeting<'_>]) -> Vec<ApiError> {
        self.runtime.block_on(self.host.greet(greetings)).iter().map(of_host).collect()
    }

    fn apply(&mut self, plan: &[MapOp]) -> Result<(), ApiError> {
        self.kernel.apply(plan).map_err(|e| of_datapath(&e))
    }

    fn end_flows(&mut self, commands: &[Command]) -> Result<u64, ApiError> {
        let mut ended = 0;
        for command in commands {
            ended += self.kernel.sweep(*command).map_err(|e| of_datapath(&e))?.cut;
        }
        Ok(ended)
    }

    fn tables(&self) -> Result<Tables, ApiError> {
        self.kernel.tables().map_err(|e| of_datapath(&e))
    }

    fn tear_down(self: Box<Self>) -> Result<(), ApiError> {
        let Self { mut host, kernel, bpffs, runtime, .. } = *self;
        // The pins' lock goes with it.
        drop(kernel);
        runtime.block_on(undo(&bpffs, &mut host))
    }
}

impl KernelGround {
    /// Leases that have not ended.
    fn snooped(&mut self) -> Result<BTreeMap<NetworkId, Vec<Lease>>, ApiError> {
        let began = self.clock_began();
        let mut leases = self.kernel.leases(began.unsigned_abs()).map_err(|e| of_datapath(&e))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        leases.values_mut().for_each(|leases| leases.retain(|lease| lease.expires_secs > now));
        Ok(leases)
    }

    /// When the datapath's clock was 0. Steered clocks drift apart a little: as long as it is within a
    /// second, it is what it was, and no row changes.
    fn clock_began(&mut self) -> i64 {
        let began = Moment::now().clock_began();
        if began.abs_diff(self.clock_began) > 1 {
            self.clock_began = began;
        }
        self.clock_began
    }
}

/// Where a port's programs are to be.
pub fn target(port: &Attachment) -> (Target, Vec<Point>) {
    let programs = port.programs;
    let (ingress, egress) = match programs.tunnel {
        true => (Point::TunnelIngress, Point::TunnelEgress),
        false => (Point::Ingress, Point::Egress),
    };
    let points = [(programs.ingress, ingress), (programs.egress, egress), (programs.xdp, Point::Xdp)];
    let points = points.into_iter().filter(|(wanted, _)| *wanted).map(|(_, point)| point);
    (Target { ifindex: port.ifindex, name: port.device.clone() }, points.collect())
}

/// Gives the host back as it was, where no daemon runs.
///
/// # Errors
/// All that could not be undone; the rest is done.
pub async fn tear_down(state_dir: &Path, bpffs: &Path) -> Result<(), ApiError> {
    let (mut host, _news) = Host::open(state_dir).map_err(|e| of_host(&e))?;
    undo(bpffs, &mut host).await
}

/// Programs first: nothing is redirected to interfaces that are about to go.
async fn undo(bpffs: &Path, host: &mut Host) -> Result<(), ApiError> {
    let mut errors: Vec<_> = datapath::tear_down(bpffs).iter().map(of_datapath).collect();
    errors.extend(host.restore().await.iter().map(of_host));
    all_of(errors)
}
