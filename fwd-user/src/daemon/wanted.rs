//! What a document wants of the host itself: host ports, uplinks, L4 ports for NAT.

use fwd_common::port::{LOOPBACK, PortKind};
use ipnet::IpNet;

use super::served;

use crate::{
    api::{
        settings::Settings,
        spec::{Document, Mode, Nat, Network},
        text::parse_mac,
    },
    compile::{Compiled, Hold, device_name, gateway_mac},
    host::{DeviceKind, HostPort, Inventory, Uplink, Wanted, namespace_of},
    state::Desired,
};

/// What the host is to be. `instance` keeps the namespaces of several daemons apart.
pub fn of(desired: &Desired, inventory: &Inventory, compiled: &Compiled, instance: &str) -> Wanted {
    let document = &desired.document;
    let host_port = |network: &Network| {
        Some(HostPort {
            network: network.name.clone(),
            mac: gateway_mac(*desired.numbers.networks.get(&network.name)?),
            mtu: network.mtu.into(),
            gateways: network.gateway_nets(),
            namespace: network.is_apart().then(|| namespace_of(instance, &network.name)),
        })
    };
    let uplinks = compiled.ports.values().filter(|port| port.kind == PortKind::Uplink);
    let has_nat = document.networks.iter().any(|n| n.mode == Mode::Nat);
    let usual = has_nat.then(|| Settings::of(&document.settings).nat_l4_ports);
    let own = document.nats.iter().filter_map(Nat::l4_range);
    // A bridge's host port is its uplink.
    let is_uplink = |n: &Network| n.mode == Mode::Bridge && n.uplink.is_some();
    let has_pair = |n: &&Network| n.has_host_port() && !is_uplink(n);
    Wanted {
        host_ports: document.networks.iter().filter(has_pair).filter_map(host_port).collect(),
        uplinks: uplinks
            .map(|port| Uplink {
                device: port.device.clone(),
                xdp: port.programs.xdp,
                bridged_macs: bridged_macs(desired, &port.device),
                answers: answers(desired, inventory, &port.device),
            })
            .collect(),
        taken_over: taken_over(document, inventory),
        loopback: compiled.ports.contains_key(&LOOPBACK),
        nat_l4_ports: usual.into_iter().chain(own).collect(),
        services: served::services(desired, inventory, instance),
    }
}

/// Interfaces that are to be taken from a Linux bridge, whether one has them now or not.
fn taken_over(document: &Document, inventory: &Inventory) -> Vec<String> {
    let ports = document.ports.iter().filter(|port| port.take_over);
    let ports = ports.filter_map(|port| Some((device_name(inventory, port)?, false)));
    let uplinks = document.uplinks.iter().filter(|uplink| uplink.take_over);
    let all = ports.chain(uplinks.map(|uplink| (uplink.device.as_str(), true)));
    let is_free = |(device, is_uplink): &(&str, bool)| {
        Hold::of(inventory, device, *is_uplink).is_none_or(|hold| hold.yields())
    };
    all.filter(is_free).map(|(device, _)| device.to_owned()).collect()
}

/// The MACs that a bridged uplink's NIC must accept: those configured behind it.
fn bridged_macs(desired: &Desired, device: &str) -> Option<Vec<fwd_common::addr::Mac>> {
    let document = &desired.document;
    let is_bridged = |n: &&Network| n.mode == Mode::Bridge && n.uplink.as_deref() == Some(device);
    let network = document.networks.iter().find(is_bridged)?;
    let ports = document.ports.iter().filter(|p| p.network == network.name);
    Some(ports.filter_map(|p| parse_mac(p.mac.as_deref()?).ok()).collect())
}

/// Whether the outside prefix of a translation lies on an uplink's link. In a tunnel nobody asks.
fn answers(desired: &Desired, inventory: &Inventory, device: &str) -> bool {
    let found = inventory.devices.get(device).filter(|found| !matches!(found.kind, DeviceKind::Tunnel(_)));
    let Some(found) = found else { return false };
    let prefixes = desired.document.nats.iter().filter_map(Nat::prefixes);
    let mut outside = prefixes.map(|pair| IpNet::V6(pair.outside));
    outside.any(|net| found.addresses.iter().any(|own| own.contains(&net) || net.contains(own)))
}
