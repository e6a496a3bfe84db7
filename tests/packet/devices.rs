//! The devices of the standard world: as the kernel has them, and as the daemon sees them.

use fwd_common::addr::Mac;
use fwd_tests::netns::Netns;
use fwd_user::host::inventory::{Device, DeviceKind, Inventory};

use crate::world::ROUTER;

/// Device, ifindex; the MAC is `02:00:00:00:00:<ifindex>`.
const DEVICES: [(&str, u32); 15] = [
    ("eth0", 10),
    ("eth1", 11),
    ("fwp-red", 12),
    ("fwp-blue", 13),
    ("fwp-den", 14),
    ("red1", 20),
    ("red2", 21),
    ("red3", 22),
    ("red4", 23),
    ("blue1", 24),
    ("blue2", 25),
    ("lan1", 26),
    ("lan2", 27),
    ("den1", 28),
    ("den2", 29),
];
const LO: (&str, u32) = ("lo", 1);
const ETH0_ADDRESSES: [&str; 2] = ["203.0.113.10/24", "2001:db8:113::10/64"];

/// The host's port of a network.
pub fn host_port(network: &str) -> &'static str {
    match network {
        "red" => "fwd-red",
        "blue" => "fwd-blue",
        "lan" => "fwd-lan",
        "den" => "fwd-den",
        _ => panic!("network {network} is not of the standard world"),
    }
}

pub fn ifindex(device: &str) -> u32 {
    let found = DEVICES.iter().chain([&LO]).find(|(name, _)| *name == device);
    found.unwrap_or_else(|| panic!("there is no device {device}")).1
}

fn mac(ifindex: u32) -> Mac {
    Mac([2, 0, 0, 0, 0, u8::try_from(ifindex).expect("ifindexes are small")])
}

/// Makes them in a namespace, with the routes that the host has.
pub fn make_devices(netns: &Netns) {
    for (name, index) in DEVICES {
        let peer = index + 100;
        netns.run(&format!(
            "ip link add {name} index {index} address 02:00:00:00:00:{index:02x} type veth peer name p{index} index {peer}"
        ));
        netns.run(&format!("ip link set {name} up"));
        netns.run(&format!("ip link set p{index} up"));
    }
    for family in ["ipv4", "ipv6"] {
        netns.sysctl(&format!("net.{family}.conf.all.forwarding"), "1");
    }
    for address in ETH0_ADDRESSES {
        netns.run(&format!("ip addr add {address} dev eth0"));
    }
    for router in ["203.0.113.1", "2001:db8:113::1"] {
        netns.run(&format!("ip neigh replace {router} lladdr {ROUTER} dev eth0 nud permanent"));
        netns.run(&format!("ip route add default via {router} dev eth0"));
    }
    for nowhere in ["192.0.2.66", "2001:db8:66::66"] {
        netns.run(&format!("ip route add unreachable {nowhere}"));
    }
}

/// What the daemon would find there.
pub fn inventory() -> Inventory {
    let device = |name: &str, ifindex: u32| {
        let addresses = if name == "eth0" { &ETH0_ADDRESSES[..] } else { &[] };
        Device {
            ifindex,
            kind: DeviceKind::Veth,
            mac: mac(ifindex),
            mtu: 1500,
            is_up: true,
            addresses: addresses.iter().map(|net| net.parse().expect("an address")).collect(),
            master: None,
            native_xdp: true,
            is_own: false,
            xdp_refused: None,
        }
    };
    let (host_ports, devices): (Vec<_>, Vec<_>) =
        DEVICES.iter().partition(|(name, _)| name.starts_with("fwp-"));
    Inventory {
        devices: devices
            .iter()
            .chain([&LO])
            .map(|(name, index)| ((*name).to_owned(), device(name, *index)))
            .collect(),
        host_ports: host_ports
            .iter()
            .map(|(name, index)| (name.replace("fwp-", ""), device(name, *index)))
            .collect(),
        ..Inventory::default()
    }
}
