//! The standard world: an outside machine, a host that runs fwd, VMs, and networks whose addresses repeat.
//!
//! ```text
//!   outside ── eth0 [ host ] eth1 ── lan        red1 red2    network red,  nat, 10.10.0.0/24, fd00:10::/64
//!   203.0.113.2   .10    198.51.100.10  .2      blue1 blue2  network blue, the same addresses, --private
//!                                               lan1 lan2    network lan,  bridge with eth1
//! ```
//! A VM is a namespace whose `eth0` is a veth; the host's end of it bears the VM's name and is the port's
//! device. Everything that fwd does here is asked of the real binary by its command line. When a test fails
//! the operator's view of the host is printed; whatever happens, everything is taken away again.

mod instance;
mod query;
mod snapshot;
mod world;

use std::collections::BTreeMap;
use std::thread;

use anyhow::Result;

pub use instance::{Instance, Reply, binary};
pub use query::{eventually, number};
pub use snapshot::Snapshot;
pub use world::{BLUE, HOST_LAN_V4, HOST_LAN_V6, HOST_V4, HOST_V6, LAN, LAN_V4, LAN_V6, LANE, Network};
pub use world::{OUTSIDE_V4, OUTSIDE_V6, RED, Vm};

use crate::netns::Netns;

/// The hook that ports and uplinks are forced to, and with it the device settings that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Xdp,
    Tcx,
}

impl Hook {
    pub const BOTH: [Self; 2] = [Self::Xdp, Self::Tcx];

    /// As `--hook` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
        }
    }
}

/// The standard world and the daemon in it.
#[derive(Debug)]
pub struct Lab {
    pub hook: Hook,
    pub outside: Netns,
    pub lan: Netns,
    vms: BTreeMap<String, Vm>,
    before: Snapshot,
    // Dropped before the host's namespace, so that the daemon ends first.
    pub fwd: Instance,
    pub host: Netns,
}

impl Lab {
    /// Machines and cables, and a daemon that knows nothing yet.
    ///
    /// # Panics
    /// If the daemon does not come up.
    #[must_use]
    #[track_caller]
    pub fn empty(hook: Hook) -> Self {
        let [outside, lan, host] = world::machines(hook);
        let before = Snapshot::take(&host);
        let fwd = Instance::new();
        let mut lab = Self { hook, outside, lan, vms: BTreeMap::new(), before, fwd, host };
        lab.start();
        lab
    }

    /// A NAT network with one VM, `red1`.
    ///
    /// # Panics
    /// If a step fails.
    #[must_use]
    #[track_caller]
    pub fn one_vm(hook: Hook) -> Self {
        let mut lab = Self::empty(hook);
        lab.network(&RED, "");
        lab.vm("red1", &RED, 11);
        lab
    }

    /// The whole standard world: both uplinks, three networks, two VMs in each.
    ///
    /// # Panics
    /// If a step fails.
    #[must_use]
    #[track_caller]
    pub fn standard(hook: Hook) -> Self {
        let mut lab = Self::empty(hook);
        for (network, vms) in [
            (&RED, [("red1", 11), ("red2", 12)]),
            (&BLUE, [("blue1", 11), ("blue2", 12)]),
            (&LAN, [("lan1", 21), ("lan2", 22)]),
        ] {
            lab.network(network, "");
            for (name, number) in vms {
                lab.vm(name, network, number);
            }
        }
        lab
    }

    /// Adds the network and its uplink; `more` are further options, such as `--default-policy closed`.
    ///
    /// # Panics
    /// If fwd refuses.
    #[track_caller]
    pub fn network(&self, network: &Network, more: &str) {
        let hook = self.hook.name();
        self.ok(&format!("uplink add {} --hook {hook} --may-exist", network.uplink));
        self.ok(&format!("network add {} {} {more}", network.name, network.options()));
    }

    /// Adds a VM with host number `number` in the network, and its port.
    ///
    /// # Panics
    /// If fwd refuses.
    #[track_caller]
    pub fn vm(&mut self, name: &str, network: &'static Network, number: u8) {
        let vm = Vm::plug(&self.host, name, network, number, self.hook);
        self.ok(&format!("port add {}", vm.port_options(self.hook)));
        self.vms.insert(name.to_owned(), vm);
    }

    /// The VM of this name.
    ///
    /// # Panics
    /// If it was not added.
    #[must_use]
    #[track_caller]
    pub fn get(&self, name: &str) -> &Vm {
        self.vms.get(name).unwrap_or_else(|| panic!("there is no VM {name} in this lab"))
    }

    /// Takes a VM and its device away without telling fwd.
    ///
    /// # Panics
    /// If it was not added.
    #[track_caller]
    pub fn unplug(&mut self, name: &str) {
        let vm = self.vms.remove(name).unwrap_or_else(|| panic!("there is no VM {name} in this lab"));
        // At once: with its namespace it would go only some time later.
        self.host.run(&format!("ip link del {}", vm.name));
    }

    /// Takes a VM's interface away, and gives it another one of the same name; the VM lives on.
    #[track_caller]
    pub fn recable(&self, name: &str, while_gone: impl FnOnce()) {
        self.host.run(&format!("ip link del {name}"));
        while_gone();
        self.get(name).cable(&self.host, self.hook);
    }

    /// Plugs a VM in without telling fwd, as when a VM whose port is known starts again.
    #[track_caller]
    pub fn plug(&mut self, name: &str, network: &'static Network, number: u8) {
        let vm = Vm::plug(&self.host, name, network, number, self.hook);
        self.vms.insert(name.to_owned(), vm);
    }

    /// Starts the daemon in the host and waits until it answers.
    ///
    /// # Panics
    /// If it does not within half a minute.
    #[track_caller]
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same, with further options of `fwd up`.
    ///
    /// # Panics
    /// As [`Lab::start`].
    #[track_caller]
    pub fn start_with(&mut self, options: &[&str]) {
        self.fwd.start_with(&self.host, options).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Ends fwd by `fwd down` and compares the host with what it was: one line for each difference. VMs go
    /// first, because their devices are the test's own.
    ///
    /// # Errors
    /// If `down` fails.
    pub fn down(&mut self) -> Result<Vec<String>> {
        self.fwd.down(&self.host)?;
        let names: Vec<String> = self.vms.keys().cloned().collect();
        names.iter().for_each(|name| self.unplug(name));
        // The kernel takes a deleted namespace's devices away some time later.
        let mut left = vec![];
        let _ = eventually(|| {
            left = self.before.differences(&Snapshot::take(&self.host));
            left.is_empty()
        });
        Ok(left)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.fwd.print_view(&self.host);
            for (name, netns) in [("host", &self.host), ("outside", &self.outside)] {
                for line in ["ip -s link", "ip neigh", "ip -6 neigh"] {
                    let said = netns.try_run(line).unwrap_or_else(|error| format!("{error:#}"));
                    eprintln!("--- {name}: {line}\n{said}");
                }
            }
        }
        if self.fwd.was_started()
            && let Err(error) = self.fwd.down(&self.host)
        {
            eprintln!("fwd down: {error:#}");
        }
    }
}

/// Makes each scenario, a function of the hook, two tests: `xdp::…` and `tcx::…`.
#[macro_export]
macro_rules! on_both_hooks {
    ($($scenario:ident),+ $(,)?) => {
        mod xdp {
            $(#[test]
            fn $scenario() {
                $crate::need!($crate::skip::bpf());
                super::$scenario($crate::lab::Hook::Xdp);
            })+
        }
        mod tcx {
            $(#[test]
            fn $scenario() {
                $crate::need!($crate::skip::bpf());
                super::$scenario($crate::lab::Hook::Tcx);
            })+
        }
    };
}
