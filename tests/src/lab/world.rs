//! The addresses of the standard world, its cables, and what fwd is told about it.

use super::Hook;
use crate::frame::Mac;
use crate::netns::Netns;

pub const OUTSIDE_V4: &str = "203.0.113.2";
pub const OUTSIDE_V6: &str = "2001:db8:113::2";
pub const HOST_V4: &str = "203.0.113.10";
pub const HOST_V6: &str = "2001:db8:113::10";
pub const LAN_V4: &str = "198.51.100.2";
pub const LAN_V6: &str = "2001:db8:198::2";
pub const HOST_LAN_V4: &str = "198.51.100.10";
pub const HOST_LAN_V6: &str = "2001:db8:198::10";

/// A network of the standard world.
#[derive(Debug)]
pub struct Network {
    pub name: &'static str,
    pub uplink: &'static str,
    mode: &'static str,
    /// What stands before the host number.
    v4: &'static str,
    v6: &'static str,
    private: bool,
    /// In the VMs' MACs.
    number: u8,
}

pub const RED: Network = Network {
    name: "red",
    uplink: "eth0",
    mode: "nat",
    v4: "10.10.0.",
    v6: "fd00:10::",
    private: false,
    number: 1,
};

/// Has the addresses of [`RED`].
pub const BLUE: Network = Network { name: "blue", private: true, number: 2, ..RED };

/// Reached under its own addresses.
pub const LANE: Network =
    Network { name: "lane", mode: "routed", v4: "10.20.0.", v6: "fd00:20::", number: 4, ..RED };

pub const LAN: Network = Network {
    name: "lan",
    uplink: "eth1",
    mode: "bridge",
    v4: "198.51.100.",
    v6: "2001:db8:198::",
    private: false,
    number: 3,
};

impl Network {
    /// A network of another mode with the same addresses.
    #[must_use]
    pub const fn of_mode(&self, name: &'static str, mode: &'static str) -> Self {
        let Self { uplink, v4, v6, private, number, .. } = *self;
        Self { name, mode, uplink, v4, v6, private, number }
    }

    /// The same by another uplink.
    #[must_use]
    pub const fn by(&self, uplink: &'static str) -> Self {
        let Self { name, mode, v4, v6, private, number, .. } = *self;
        Self { name, mode, uplink, v4, v6, private, number }
    }

    /// The IPv4 address of a host number.
    #[must_use]
    pub fn v4(&self, number: u8) -> String {
        format!("{}{number}", self.v4)
    }

    /// The IPv6 address of a host number, written with the same digits.
    #[must_use]
    pub fn v6(&self, number: u8) -> String {
        format!("{}{number}", self.v6)
    }

    /// Whether a host port of fwd answers for the network.
    #[must_use]
    pub fn has_gateway(&self) -> bool {
        self.mode != "bridge"
    }

    pub(super) fn options(&self) -> String {
        let mut options = format!("--mode {}", self.mode);
        if !matches!(self.mode, "host" | "isolated") {
            options += &format!(" --uplink {}", self.uplink);
        }
        if self.has_gateway() {
            options += &format!(" --subnet {}0/24 --subnet {}/64", self.v4, self.v6);
        }
        if self.private {
            options += " --private";
        }
        options
    }
}

/// A virtual machine that is a namespace; its port's device bears its name.
#[derive(Debug)]
pub struct Vm {
    pub netns: Netns,
    pub name: String,
    pub network: &'static Network,
    pub mac: Mac,
    pub v4: String,
    pub v6: String,
}

impl Vm {
    #[track_caller]
    pub(super) fn plug(host: &Netns, name: &str, network: &'static Network, number: u8, hook: Hook) -> Self {
        let vm = Self {
            netns: Netns::new(name),
            name: name.to_owned(),
            network,
            mac: Mac([0x52, 0x54, 0, 0, network.number, number]),
            v4: network.v4(number),
            v6: network.v6(number),
        };
        vm.cable(host, hook);
        vm
    }

    /// Connects its only interface to the host.
    #[track_caller]
    pub(super) fn cable(&self, host: &Netns, hook: Hook) {
        host.veth_with_mac(&self.name, &self.netns, "eth0", self.mac);
        self.netns.address("eth0", &format!("{}/24", self.v4));
        self.netns.address("eth0", &format!("{}/64", self.v6));
        if self.network.has_gateway() {
            self.netns.default_route(&self.network.v4(1));
            self.netns.default_route(&self.network.v6(1));
        }
        suit(&self.netns, "eth0", hook);
    }

    pub(super) fn port_options(&self, hook: Hook) -> String {
        let Self { name, network, mac, v4, v6, .. } = self;
        let (network, hook) = (network.name, hook.name());
        format!("{name} --device {name} --network {network} --mac {mac} --ip {v4} --ip {v6} --hook {hook}")
    }
}

/// Gives the far end of a veth the settings that the hook on the near end needs.
#[track_caller]
fn suit(netns: &Netns, device: &str, hook: Hook) {
    match hook {
        Hook::Xdp => {
            netns.receive_from_xdp(device);
            netns.send_to_xdp(device);
        }
        Hook::Tcx => {}
    }
}

/// The outside machine, the machine on the host's second network, and the host, cabled and addressed.
#[track_caller]
pub(super) fn machines(hook: Hook) -> [Netns; 3] {
    let (outside, lan, host) = (Netns::new("outside"), Netns::new("lan"), Netns::new("host"));
    for (device, far, near_addresses, far_addresses) in [
        ("eth0", &outside, [HOST_V4, HOST_V6], [OUTSIDE_V4, OUTSIDE_V6]),
        ("eth1", &lan, [HOST_LAN_V4, HOST_LAN_V6], [LAN_V4, LAN_V6]),
    ] {
        host.veth(device, far, "eth0");
        for (netns, device, [v4, v6]) in [(&host, device, near_addresses), (far, "eth0", far_addresses)] {
            netns.address(device, &format!("{v4}/24"));
            netns.address(device, &format!("{v6}/64"));
        }
        suit(far, "eth0", hook);
    }
    host.default_route(OUTSIDE_V4);
    host.default_route(OUTSIDE_V6);
    [outside, lan, host]
}
