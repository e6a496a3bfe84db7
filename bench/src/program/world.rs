//! What the programs decide in: the real object, rows compiled from a document, devices in a namespace of its own.
//!
//! ```text
//!   clients ── eth0 [ host ]      vm1 vm2         network vmnat, nat, closed: rules let clients in and VMs out
//!              eth1 ── lan        lan1 lan2 lan3  network lan, bridge with eth1
//! ```
//! Nothing is attached and the far ends of the cables are down: frames come by test runs only, and what is sent goes
//! nowhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::MapData;
use aya::programs::{ProgramFd, SchedClassifier, Xdp};
use aya_obj::programs::XdpAttachType;
use fwd_common::addr::Mac;
use fwd_common::counter::HookLedger;
use fwd_common::layout::ABI_VERSION;
use fwd_common::map::program;
use fwd_tests::frame::Packet;
use fwd_tests::lab::{Hook, Instance};
use fwd_tests::netns::Netns;
use fwd_user::api::spec::Document;
use fwd_user::compile::{Tables, compile, gateway_mac};
use fwd_user::datapath::{Datapath as _, Kernel, LogLevel, OBJECT, Options, Sizes};
use fwd_user::host::inventory::{Device, DeviceKind, Inventory};
use fwd_user::observe::{Maps as _, PinnedMaps};
use fwd_user::plan::diff;
use fwd_user::state::{Desired, Edit, accept};
use serde_json::{Value, json};

use super::path::Path;
use super::walk::LEN;
use super::walker::{Cost, Course, Target, Walker};

pub const ROUTER: &str = "02:00:5e:00:00:01";
/// eth0's own.
pub const UPLINK: &str = "02:00:00:00:00:0a";
pub const VM1: &str = "52:54:00:00:00:11";
pub const LAN1: &str = "52:54:00:00:02:21";
pub const LAN2: &str = "52:54:00:00:02:22";
const LAN3: &str = "52:54:00:00:02:23";

/// Device, ifindex; the MAC is `02:00:00:00:00:<ifindex>`.
const DEVICES: [(&str, u32); 8] = [
    ("eth0", 10),
    ("eth1", 11),
    (HOST_PORT, 12),
    ("vm1", 20),
    ("vm2", 21),
    ("lan1", 26),
    ("lan2", 27),
    ("lan3", 28),
];
/// The host port's device.
const HOST_PORT: &str = "fwd-vmnat";
const UPLINK_ADDRESSES: [&str; 2] = ["203.0.113.10/24", "2001:db8:113::10/64"];

/// The object, loaded in a namespace with rows in its maps.
pub struct World {
    maps: PinnedMaps,
    desired: Desired,
    // Holds the pins.
    _kernel: Kernel,
    xdp: Xdp,
    ingress: SchedClassifier,
    walker: Walker,
    // Unmounts its bpffs when dropped.
    folder: Instance,
    netns: Netns,
}

impl World {
    /// With tables for so many flows, and so many rules that no packet of the paths meets.
    ///
    /// # Errors
    /// If a step fails.
    pub fn new(flows: u32, rules: usize) -> Result<Self> {
        let netns = Netns::new("program");
        make_devices(&netns)?;
        let folder = Instance::new();
        let bpffs = folder.bpffs();
        let made = netns.inside(|| -> Result<_> {
            let sizes = Sizes::for_flows(flows);
            let mut kernel =
                Kernel::open(&Options { bpffs: &bpffs, object: OBJECT, sizes, log: LogLevel::Off })?;
            let pin = |kind: &str| bpffs.join(format!("v{ABI_VERSION}")).join(kind);
            let document: Document = serde_json::from_value(document(rules))?;
            let desired = accept(&Desired::default(), Edit::Replace(document), None, &BTreeMap::new())
                .map_err(|error| anyhow!("{error:?}"))?
                .desired;
            let tables = compile(&desired, &inventory(), &Tables::default()).tables;
            kernel.apply(&diff(&kernel.tables()?, &tables))?;
            let maps = PinnedMaps::open(&pin("maps"))?;
            let xdp = Xdp::from_pin(pin("programs").join(program::XDP), XdpAttachType::Interface)?;
            let ingress = SchedClassifier::from_pin(pin("programs").join(program::INGRESS))?;
            Ok((maps, desired, kernel, xdp, ingress, Walker::load()?))
        });
        let (maps, desired, kernel, xdp, ingress, walker) = made?;
        Ok(Self { maps, desired, _kernel: kernel, xdp, ingress, walker, folder, netns })
    }

    /// The gateway's MAC of the VMs' network.
    pub fn gateway(&self) -> fwd_tests::frame::Mac {
        let Mac(bytes) = gateway_mac(self.desired.numbers.networks["vmnat"]);
        bytes.into()
    }

    /// The course of a path through so many flows.
    ///
    /// # Errors
    /// If its packet is longer than a walk's.
    pub fn course(&self, path: &Path, flows: u32) -> Result<Course> {
        Ok(Course {
            ifindex: ifindex(path.device)?,
            frame: frame(path.packet(self.gateway()))?,
            family: path.family,
            end: path.end,
            flows,
            stride: 1,
            first: 0,
        })
    }

    /// Runs fwd's program of the hook; every packet must come to the path's outcome.
    ///
    /// # Errors
    /// If one does not.
    pub fn run(&mut self, hook: Hook, path: &Path, course: &Course, repeat: u32) -> Result<Cost> {
        let before = self.ledger(hook, path)?;
        let cost = self.run_any(hook, course, repeat)?;
        let after = self.ledger(hook, path)?;
        let reached = (path.outcome)(&after) - (path.outcome)(&before);
        ensure!(
            reached == u64::from(repeat),
            "{}: {reached} of {repeat} packets came to what is measured, program's last answer {}",
            path.name,
            cost.code
        );
        Ok(cost)
    }

    /// Like [`World::run`], whatever becomes of the packets.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run_any(&mut self, hook: Hook, course: &Course, repeat: u32) -> Result<Cost> {
        let fd = match hook {
            Hook::Xdp => self.xdp.fd()?,
            Hook::Tcx => self.ingress.fd()?,
        };
        let (walker, netns) = (&mut self.walker, &self.netns);
        netns.inside(|| pinned(|| walker.run(target(hook, Some(fd)), course, repeat)))
    }

    /// Runs a program of somebody else, or none, on a path's packets.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run_other(
        &mut self,
        hook: Hook,
        program: Option<&ProgramFd>,
        course: &Course,
        repeat: u32,
    ) -> Result<Cost> {
        let walker = &mut self.walker;
        self.netns.inside(|| pinned(|| walker.run(target(hook, program), course, repeat)))
    }

    /// Does something inside the namespace.
    pub fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.netns.inside(task)
    }

    /// Admits the first flows of a path and has each answered, so that all are established.
    ///
    /// # Errors
    /// If one is not admitted.
    pub fn establish(&mut self, hook: Hook, (out, back): (&Path, &Path), flows: u32) -> Result<()> {
        const CHUNK: u32 = 4096;
        let (out_course, back_course) = (self.course(out, flows)?, self.course(back, flows)?);
        for first in (0..flows).step_by(CHUNK as usize) {
            let count = CHUNK.min(flows - first);
            self.run(hook, out, &out_course.starting(first), count)?;
            self.run(hook, back, &back_course.starting(first), count)?;
        }
        Ok(())
    }

    /// Bytes that a map accounts for.
    ///
    /// # Errors
    /// If the map is not there, or the kernel does not say.
    pub fn memory_of(&self, map: &str) -> Result<u64> {
        let pin = self.folder.bpffs().join(format!("v{ABI_VERSION}/maps")).join(map);
        let map = MapData::from_pin(pin)?;
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).context("memlock")?;
        Ok(line.trim().parse()?)
    }

    fn ledger(&self, hook: Hook, path: &Path) -> Result<HookLedger> {
        let numbers = &self.desired.numbers;
        let id = numbers.ports.get(path.device).or_else(|| numbers.uplinks.get(path.device));
        let ledger = self.maps.ledger(*id.with_context(|| format!("port {}", path.device))?)?;
        Ok(if hook == Hook::Xdp { ledger.xdp } else { ledger.skb })
    }
}

fn target(hook: Hook, program: Option<&ProgramFd>) -> Target<'_> {
    match (hook, program) {
        (Hook::Xdp, Some(fd)) => Target::Xdp(fd),
        (Hook::Tcx, Some(fd)) => Target::Skb(fd),
        (Hook::Xdp, None) => Target::XdpFloor,
        (Hook::Tcx, None) => Target::SkbFloor,
    }
}

/// Runs on one CPU: per-CPU rows and caches stay the same ones.
fn pinned<T>(task: impl FnOnce() -> Result<T>) -> Result<T> {
    use nix::sched::{CpuSet, sched_setaffinity};
    let mut cpus = CpuSet::new();
    cpus.set(0)?;
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus)?;
    task()
}

/// A frame of a walk's length.
///
/// # Errors
/// If the packet is longer.
pub fn frame(packet: Packet) -> Result<[u8; LEN]> {
    let bare = packet.frame().len();
    ensure!(bare <= LEN, "a packet of {bare} bytes is longer than a walk's frame");
    let whole = packet.payload(vec![0; LEN - bare]).frame();
    whole.try_into().map_err(|_| anyhow!("payload fills a frame"))
}

fn document(rules: usize) -> Value {
    let port = |name: &str, mac: &str, host: u8| {
        json!({"name": name, "device": name, "network": "vmnat", "mac": mac, "hook": "xdp",
               "ips": [format!("10.10.0.{host}"), format!("fd00:10::{host}")]})
    };
    let lan = |name: &str, mac: &str| json!({"name": name, "device": name, "network": "lan", "mac": mac, "hook": "xdp"});
    let mut policies = vec![
        json!({"name": "in", "action": "allow", "from": "outside", "to": "port:vm1", "services": "udp/53"}),
        json!({"name": "out", "action": "allow", "from": "network:vmnat", "to": "outside", "services": "udp/53"}),
    ];
    policies.extend((0..rules).map(|n| {
        let cidr = format!("100.{}.{}.{}/32", 64 + (n >> 16 & 63), n >> 8 & 255, n & 255);
        json!({"name": format!("r{n}"), "action": "deny", "from": cidr, "to": "port:vm1",
               "services": format!("tcp/{}", 1 + n % 60_000)})
    }));
    let most = 4 << 20;
    json!({
        "settings": {"flow_limit": most, "flow_limit_per_port": most, "half_open_limit": most,
                     "half_open_limit_per_port": most, "flood_limit_per_port": 4 * most},
        "uplinks": [{"device": "eth0", "hook": "xdp"}, {"device": "eth1", "hook": "xdp"}],
        "networks": [
            {"name": "vmnat", "mode": "nat", "subnets": ["10.10.0.0/24", "fd00:10::/64"], "uplink": "eth0",
             "default_policy": "closed"},
            {"name": "lan", "mode": "bridge", "uplink": "eth1"},
        ],
        "ports": [port("vm1", VM1, 11), port("vm2", "52:54:00:00:00:12", 12),
                  lan("lan1", LAN1), lan("lan2", LAN2), lan("lan3", LAN3)],
        "forwards": [
            {"name": "dns", "listen": "udp:203.0.113.10:5353", "to": "vm1:53"},
            {"name": "dns6", "listen": "udp:[2001:db8:113::10]:5353", "to": "vm1:53"},
        ],
        "policies": policies,
    })
}

fn ifindex(device: &str) -> Result<u32> {
    let found = DEVICES.iter().find(|(name, _)| *name == device);
    found.map(|(_, index)| *index).with_context(|| format!("there is no device {device}"))
}

fn make_devices(netns: &Netns) -> Result<()> {
    for (name, index) in DEVICES {
        let peer = index + 100;
        netns.try_run(&format!(
            "ip link add {name} index {index} address 02:00:00:00:00:{index:02x} type veth peer name p{index} index {peer}"
        ))?;
        netns.try_run(&format!("ip link set {name} up"))?;
    }
    for family in ["ipv4", "ipv6"] {
        netns.sysctl(&format!("net.{family}.conf.all.forwarding"), "1");
    }
    // Without a cable the kernel would not look a route out of eth0 up.
    netns.try_run("ip link set p10 up")?;
    for address in UPLINK_ADDRESSES {
        netns.try_run(&format!("ip addr add {address} dev eth0"))?;
    }
    for router in ["203.0.113.1", "2001:db8:113::1"] {
        netns.try_run(&format!("ip neigh replace {router} lladdr {ROUTER} dev eth0 nud permanent"))?;
        netns.try_run(&format!("ip route add default via {router} dev eth0"))?;
    }
    Ok(())
}

fn inventory() -> Inventory {
    let device = |name: &str, ifindex: u32| Device {
        ifindex,
        kind: DeviceKind::Veth,
        mac: Mac([2, 0, 0, 0, 0, ifindex as u8]),
        mtu: 1500,
        is_up: true,
        addresses: match name {
            "eth0" => UPLINK_ADDRESSES.iter().map(|net| net.parse().expect("an address")).collect(),
            _ => Vec::new(),
        },
        master: None,
        native_xdp: true,
        is_own: false,
        xdp_refused: None,
    };
    let (host_ports, devices): (Vec<_>, Vec<_>) = DEVICES.iter().partition(|(name, _)| *name == HOST_PORT);
    Inventory {
        devices: devices.iter().map(|(name, index)| ((*name).to_owned(), device(name, *index))).collect(),
        host_ports: host_ports
            .iter()
            .map(|(name, index)| ("vmnat".to_owned(), device(name, *index)))
            .collect(),
        ..Inventory::default()
    }
}
