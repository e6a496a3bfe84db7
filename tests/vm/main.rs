//! The vm rung: real QEMU guests on taps, with drivers and offloads of their own.

mod bridge;
mod forward;
mod kernel;
mod libvirt;
mod network;
mod offload;
mod sctp;
mod services;
mod tunnel;
mod uplinks;

use fwd_tests::frame::Mac;
use fwd_tests::guest::{Guest, Offloads, Spec};
use fwd_tests::lab::{Lab, Network};
use fwd_tests::link::VnetHeader;

/// A guest to be: its tap and port bear its name.
struct Plan {
    name: &'static str,
    network: &'static Network,
    number: u8,
    offloads: Offloads,
    /// As `--hook` takes it.
    hook: &'static str,
}

impl Plan {
    /// Makes the tap and the port.
    #[track_caller]
    fn add_port(&self, lab: &Lab) {
        lab.host.tap(self.name, VnetHeader::Off);
        let (name, network, number, hook) = (self.name, self.network, self.number, self.hook);
        lab.ok(&format!(
            "port add {name} --device {name} --network {} --mac {} --ip {} --ip {} --hook {hook}",
            network.name,
            self.mac(),
            network.v4(number),
            network.v6(number),
        ));
    }

    /// Boots the guest on its tap.
    #[track_caller]
    fn boot(&self, lab: &Lab) -> Guest {
        let (network, number) = (self.network, self.number);
        let gateways = if network.has_gateway() { vec![network.v4(1), network.v6(1)] } else { vec![] };
        let spec = Spec {
            name: self.name,
            tap: self.name,
            mac: self.mac(),
            offloads: self.offloads,
            addresses: &[format!("{}/24", network.v4(number)), format!("{}/64", network.v6(number))],
            gateways: &gateways,
            tools: &[],
            modules: &[],
        };
        Guest::boot(&lab.host, &spec).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn mac(&self) -> Mac {
        Mac([0x52, 0x54, 0, 1, 0, self.number])
    }
}

/// What udhcpc calls.
const LEASE_SCRIPT: &str = "mkdir -p /tmp; printf '%s\\n' '#!/bin/sh' '[ $1 = bound ] || exit 0' \
    'ip addr add $ip/$mask dev $interface' '[ -z \"$router\" ] || ip route add default via $router' > /tmp/udhcpc; chmod +x /tmp/udhcpc";

/// Has a guest get its address by DHCP.
#[track_caller]
fn ask_for_lease(guest: &mut Guest) {
    guest.exec("ip link set eth0 up").expect("the agent answers");
    guest.exec(LEASE_SCRIPT).expect("the guest has a shell");
    guest.exec("busybox udhcpc -i eth0 -q -n -t 5 -T 2 -s /tmp/udhcpc").expect("a lease comes");
}
