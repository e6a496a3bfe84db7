//! The rig: a machine outside, the host with the element, and a machine inside, on two veth cables.
//!
//! ```text
//!   outside eth0 ───── in0 [ host ] out0 ───── eth0 inside
//!   203.0.113.2        .10                .1   10.10.0.11
//! ```
//! Clients behind the outside machine are 198.18.0.0/15 and 2001:db8:18::/48.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::{Arc, Once};

use anyhow::{Result, ensure};
use fwd_tests::frame::Mac;
use fwd_tests::netns::{Netns, output};
use nix::unistd::Pid;

use super::generator;
use crate::result::Arrangement;

pub const OUTSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 2), Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 2));
pub const HOST: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 10), Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10));
pub const GATEWAY: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 10, 0, 1), Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1));
pub const INSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 10, 0, 11), Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0x11));
/// The outside machine's address where both are in one segment.
pub const NEIGHBOR: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 10, 0, 12), Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0x12));
pub const CLIENTS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 0, 0), Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0));

pub const OUTSIDE_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 0x02]);
pub const HOST_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 0x10]);
pub const GATEWAY_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 0x01]);
pub const INSIDE_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 0x11]);

/// A machine beside the inside one, with a service of its own.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// The host's, and the VM's name.
    pub device: &'static str,
    pub address: Ipv4Addr,
    pub mac: Mac,
    /// The L4 port under which its service is published.
    pub published: u16,
}

pub const BESIDE: [Beside; 2] = [
    Beside {
        device: "whole",
        address: Ipv4Addr::new(10, 10, 0, 13),
        mac: Mac([0x52, 0x54, 0, 0, 0, 0x13]),
        published: 8082,
    },
    Beside {
        device: "offloaded",
        address: Ipv4Addr::new(10, 10, 0, 14),
        mac: Mac([0x52, 0x54, 0, 0, 0, 0x14]),
        published: 8083,
    },
];

/// The host's devices.
pub const IN: &str = "in0";
pub const OUT: &str = "out0";
/// The device of the other machines.
pub const ETH: &str = "eth0";
/// Where the element runs when the generator has a CPU of its own.
const ELEMENT_CPU: usize = 1;

static PREFERRED: Once = Once::new();

/// What the cables carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// The generator's frames, which the receiving ends must be able to take.
    Frames,
    /// What sockets send, with the devices' offloads as they come.
    Sockets,
}

pub struct Rig {
    arranged: Cell<Option<Arrangement>>,
    pub outside: Arc<Netns>,
    pub inside: Arc<Netns>,
    pub host: Arc<Netns>,
}

impl Rig {
    /// Machines and cables. The host has its outside address and a default route; all else is the element's.
    ///
    /// # Errors
    /// If a cable cannot be laid.
    ///
    /// # Panics
    /// If namespaces cannot be had.
    pub fn new(carries: Carries) -> Result<Self> {
        // What the machine does beside the run disturbs it less; threads and programs that it starts inherit this.
        PREFERRED.call_once(|| prefer(Pid::this()).unwrap_or_else(|error| eprintln!("{error:#}")));
        let [outside, inside, host] = ["outside", "inside", "host"].map(|name| Arc::new(Netns::new(name)));
        let rig = Self { arranged: Cell::new(None), outside, inside, host };
        let cables = [(&rig.outside, OUTSIDE_MAC, IN, HOST_MAC), (&rig.inside, INSIDE_MAC, OUT, GATEWAY_MAC)];
        for (machine, mac, device, near_mac) in cables {
            // Two queues: a generator on each CPU has its own.
            rig.host.try_run(&format!(
                "ip link add {device} address {near_mac} numrxqueues 2 numtxqueues 2 type veth \
                 peer name {ETH} address {mac} numrxqueues 2 numtxqueues 2 netns {}",
                machine.name()
            ))?;
            rig.host.try_run(&format!("ip link set {device} up"))?;
            machine.try_run(&format!("ip link set {ETH} up"))?;
            if carries == Carries::Frames {
                rig.host.receive_from_xdp(device);
            }
        }
        rig.host.address(IN, &format!("{}/24", HOST.0));
        rig.host.address(IN, &format!("{}/64", HOST.1));
        rig.outside.address(ETH, &format!("{}/24", OUTSIDE.0));
        rig.outside.address(ETH, &format!("{}/64", OUTSIDE.1));
        rig.inside.address(ETH, &format!("{}/24", INSIDE.0));
        rig.inside.address(ETH, &format!("{}/64", INSIDE.1));
        for (machine, [v4, v6]) in [
            (&rig.host, [OUTSIDE.0.to_string(), OUTSIDE.1.to_string()]),
            (&rig.inside, [GATEWAY.0.to_string(), GATEWAY.1.to_string()]),
        ] {
            machine.default_route(&v4);
            machine.default_route(&v6);
        }
        for address in [OUTSIDE.0.to_string(), OUTSIDE.1.to_string()] {
            rig.host.try_run(&format!(
                "ip neigh replace {address} lladdr {OUTSIDE_MAC} dev {IN} nud permanent"
            ))?;
        }
        Ok(rig)
    }

    /// A machine beside the inside one.
    ///
    /// # Errors
    /// If its cable cannot be laid.
    pub fn plug(&self, beside: &Beside) -> Result<Arc<Netns>> {
        let machine = Arc::new(Netns::new("beside"));
        let Beside { device, mac, .. } = beside;
        self.host.try_run(&format!(
            "ip link add {device} numrxqueues 2 numtxqueues 2 type veth \
             peer name {ETH} address {mac} numrxqueues 2 numtxqueues 2 netns {}",
            machine.name()
        ))?;
        self.host.try_run(&format!("ip link set {device} up"))?;
        machine.try_run(&format!("ip link set {ETH} up"))?;
        Ok(machine)
    }

    /// Gives each of two CPUs a queue of its own, of all cables between outside and inside: what one sends, the other
    /// does not receive.
    ///
    /// # Errors
    /// If the kernel has no choice of queues by CPU.
    pub fn part_queues(&self) -> Result<()> {
        for (netns, device) in
            [(&self.outside, ETH), (&self.inside, ETH), (&self.host, IN), (&self.host, OUT)]
        {
            let queues = format!("/sys/class/net/{device}/queues");
            let set = format!("echo 1 > {queues}/tx-0/xps_cpus && echo 2 > {queues}/tx-1/xps_cpus");
            output(Command::new("ip").args(["netns", "exec", netns.name(), "sh", "-c", &set]))?;
        }
        Ok(())
    }

    /// Makes the host a router between both sides, as peers in the kernel need it.
    ///
    /// # Errors
    /// If a route or a neighbor cannot be set.
    pub fn route(&self) -> Result<()> {
        self.host.address(OUT, &format!("{}/24", GATEWAY.0));
        self.host.address(OUT, &format!("{}/64", GATEWAY.1));
        self.host.sysctl("net.ipv4.ip_forward", "1");
        self.host.sysctl("net.ipv6.conf.all.forwarding", "1");
        self.outside.try_run(&format!("ip route add {}/32 via {}", INSIDE.0, HOST.0))?;
        self.outside.try_run(&format!("ip -6 route add {}/128 via {}", INSIDE.1, HOST.1))?;
        for address in [INSIDE.0.to_string(), INSIDE.1.to_string()] {
            self.host.try_run(&format!(
                "ip neigh replace {address} lladdr {INSIDE_MAC} dev {OUT} nud permanent"
            ))?;
        }
        Ok(())
    }

    /// Gives the outside machine an address in the inside segment.
    pub fn join(&self) {
        self.outside.address(ETH, &format!("{}/24", NEIGHBOR.0));
        self.outside.address(ETH, &format!("{}/64", NEIGHBOR.1));
    }

    /// Puts the element on the generator's CPU or on one of its own.
    ///
    /// # Errors
    /// If the machine has one CPU, or the kernel has no threaded NAPI.
    pub fn arrange(&self, arrangement: Arrangement) -> Result<()> {
        if self.arranged.replace(None) == Some(arrangement) {
            self.arranged.set(Some(arrangement));
            return Ok(());
        }
        let threaded = match arrangement {
            Arrangement::SameCpu => "0",
            Arrangement::Split => "1",
        };
        // By `ip netns exec`, which mounts this namespace's /sys.
        let set = format!("echo {threaded} > /sys/class/net/{IN}/threaded");
        output(Command::new("ip").args(["netns", "exec", self.host.name(), "sh", "-c", &set]))?;
        if arrangement == Arrangement::Split {
            let threads = napi_threads()?;
            ensure!(!threads.is_empty(), "the kernel made no NAPI thread for {IN}");
            for thread in threads {
                generator::pin(thread, ELEMENT_CPU)?;
                prefer(thread)?;
            }
        }
        self.arranged.set(Some(arrangement));
        Ok(())
    }

    /// Packets that the element's device has taken from the wire.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.host.statistic(IN, "rx", "packets")
    }
}

/// Gives a thread the machine's highest share.
fn prefer(thread: Pid) -> Result<()> {
    output(Command::new("renice").args(["-n", "-20", "-p", &thread.to_string()])).map(drop)
}

/// The NAPI threads of all devices that bear the name; others of the name belong to rigs too.
fn napi_threads() -> Result<Vec<Pid>> {
    let name = format!("napi/{IN}-");
    let mut threads = vec![];
    for entry in fs::read_dir("/proc")?.flatten() {
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.starts_with(&name)
            && let Ok(pid) = entry.file_name().to_string_lossy().parse()
        {
            threads.push(Pid::from_raw(pid));
        }
    }
    Ok(threads)
}
