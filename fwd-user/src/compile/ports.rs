//! Rows of ports: VM ports, uplinks, and networks' ports towards the host.

use std::{collections::BTreeMap, net::IpAddr};

use fwd_common::{
    addr::{Ip, Mac},
    id::{NetworkId, PortId, Zone},
    port::{LOOPBACK, NO_MAC_LIMIT, Port, PortKind, flag},
};

use super::{Attachment, Nats, World, hook, networks::gateway_mac, world::VmPort};
use crate::{
    api::spec::{Hook, Mode, Network, Uplink},
    host::inventory::Device,
};

/// The MTU of an uplink without a device.
const USUAL_MTU: u16 = 1500;

/// All rows.
pub(super) fn compile(
    world: &World<'_>,
    nats: &Nats<'_>,
    attachments: &BTreeMap<PortId, Attachment>,
) -> BTreeMap<PortId, Port> {
    let mut rows = BTreeMap::new();
    for port in &world.ports {
        let sources = nats.sources(port);
        rows.insert(port.id, Port { sources, ..vm_port(world, port, &attachments[&port.id]) });
    }
    for (id, uplink, bridge) in world.uplinks() {
        let row = self::uplink((world, nats), uplink, bridge, (id, &attachments[&id]));
        rows.insert(id, row);
    }
    for (network_id, network) in world.networks() {
        if let Some(id) = world.numbers.host_ports.get(&network.name) {
            let row = host_port(world, (network_id, network), (*id, &attachments[id]));
            rows.insert(*id, row);
        }
    }
    if let Some(attachment) = attachments.get(&LOOPBACK) {
        rows.insert(LOOPBACK, loopback(world, attachment));
    }
    rows
}

/// Frames of `lo` have no MACs, and what is sent there goes in.
fn loopback(world: &World<'_>, attachment: &Attachment) -> Port {
    Port {
        ifindex: attachment.ifindex,
        kind: PortKind::Host as u8,
        flags: flag::INTO,
        zone: Zone(LOOPBACK.0),
        flow_limit: world.settings.flow_limit,
        half_open_limit: world.settings.half_open_limit,
        mac_limit: NO_MAC_LIMIT,
        mtu: u16::MAX,
        ..Port::default()
    }
}

fn vm_port(world: &World<'_>, vm: &VmPort<'_>, attachment: &Attachment) -> Port {
    let VmPort { id, port, network_id, network, given_mac: mac, .. } = *vm;
    let device = world.device_of(vm);
    let mut flags = hook_flags(attachment, device);
    for (is_set, flag) in [
        (port.trust, flag::TRUSTED),
        (mac.is_none(), flag::LEARN_MAC),
        (port.ips.is_empty(), flag::LEARN_ADDRESSES),
        (port.ips.is_empty() && world.is_leased(id, network), flag::LEASED),
        (network.isolate_ports, flag::ISOLATED),
        (super::neighbors::has_allowed_sources(vm), flag::ALLOWED_SOURCES),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    Port {
        ifindex: attachment.ifindex,
        kind: PortKind::Vm as u8,
        flags,
        network: network_id,
        zone: Zone(id.0),
        mac: mac.unwrap_or(Mac::NONE),
        gateway_mac: if network.has_gateway() { gateway_mac(network_id) } else { Mac::NONE },
        flow_limit: world.settings.flow_limit_per_port,
        half_open_limit: world.settings.half_open_limit_per_port,
        mac_limit: world.settings.fdb_limit_per_port as u16,
        mtu: mtu(network.mtu, device),
        own4: gateway_address(network, IpAddr::is_ipv4),
        own6: gateway_address(network, IpAddr::is_ipv6),
        ..Port::default()
    }
}

fn uplink(
    (world, nats): (&World<'_>, &Nats<'_>),
    uplink: &Uplink,
    bridge: Option<&Network>,
    (id, attachment): (PortId, &Attachment),
) -> Port {
    let device = world.device(&uplink.device);
    let is_tunnel = attachment.programs.tunnel;
    let mac = if is_tunnel { Mac::OF_TUNNEL } else { device.map_or(Mac::NONE, |d| d.mac) };
    let tunnel = if is_tunnel { flag::TUNNEL } else { 0 };
    let common = Port {
        ifindex: attachment.ifindex,
        kind: PortKind::Uplink as u8,
        flags: hook_flags(attachment, device) | flag::MARKED | tunnel,
        mac,
        flow_limit: world.settings.flow_limit,
        half_open_limit: world.settings.half_open_limit,
        mac_limit: NO_MAC_LIMIT,
        ..Port::default()
    };
    match bridge {
        // Nothing is routed by it, so it has no gateway MAC.
        Some(network) => Port {
            flags: common.flags | flag::BRIDGED,
            network: world.numbers.networks.get(&network.name).copied().unwrap_or_default(),
            zone: Zone(id.0),
            mtu: mtu(network.mtu, device),
            ..common
        },
        None => Port {
            zone: Zone::OUTSIDE,
            gateway_mac: mac,
            mtu: device.map_or(USUAL_MTU, |d| clamp_mtu(d.mtu)),
            own4: nat_address(device, nats, true),
            own6: nat_address(device, nats, false),
            ..common
        },
    }
}

fn host_port(
    world: &World<'_>,
    (network_id, network): (NetworkId, &Network),
    (id, attachment): (PortId, &Attachment),
) -> Port {
    let device = world.host_device(network);
    let is_bridge = network.mode == Mode::Bridge;
    let gateway = gateway_mac(network_id);
    Port {
        ifindex: attachment.ifindex,
        kind: PortKind::Host as u8,
        flags: if is_bridge { flag::INTO } else { 0 },
        network: network_id,
        zone: Zone(id.0),
        mac: if is_bridge { device.map_or(Mac::NONE, |d| d.mac) } else { gateway },
        gateway_mac: if is_bridge { Mac::NONE } else { gateway },
        flow_limit: world.settings.flow_limit,
        half_open_limit: world.settings.half_open_limit,
        mac_limit: NO_MAC_LIMIT,
        mtu: mtu(network.mtu, device),
        own4: gateway_address(network, IpAddr::is_ipv4),
        own6: gateway_address(network, IpAddr::is_ipv6),
        ..Port::default()
    }
}

fn hook_flags(attachment: &Attachment, device: Option<&Device>) -> u16 {
    let Some(hook) = attachment.hook else { return 0 };
    let xdp = if hook == Hook::Xdp { flag::XDP } else { 0 };
    let is_target = device.is_some_and(|d| hook::is_xdp_target(d, hook));
    xdp | if is_target { flag::XDP_TARGET } else { 0 }
}

fn mtu(network: u16, device: Option<&Device>) -> u16 {
    device.map_or(network, |d| clamp_mtu(d.mtu).min(network))
}

fn clamp_mtu(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

/// The first address of a family that others can answer to, and that is not one port's alone.
fn nat_address(device: Option<&Device>, nats: &Nats<'_>, is_ipv4: bool) -> Ip {
    let mut own = device.into_iter().flat_map(|device| device.outside_addresses(is_ipv4));
    own.find(|addr| !nats.is_of_one_port(*addr)).map_or(Ip::NONE, Ip::from)
}

/// The gateway's first address of a family.
fn gateway_address(network: &Network, is_family: fn(&IpAddr) -> bool) -> Ip {
    let mut addresses = network.gateway_nets().into_iter().map(|net| net.addr());
    addresses.find(is_family).map_or(Ip::NONE, Ip::from)
}

/// Ports by their device. A bridged uplink's device is the uplink's, not that of the host behind it.
pub(super) fn devices(ports: &BTreeMap<PortId, Port>) -> BTreeMap<u32, PortId> {
    let own = ports.iter().filter(|(_, row)| row.ifindex != 0 && !row.has(flag::INTO));
    own.map(|(id, row)| (row.ifindex, *id)).collect()
}

/// Devices into which XDP may redirect.
pub(super) fn xdp_targets(ports: &BTreeMap<PortId, Port>) -> BTreeMap<PortId, u32> {
    let targets = ports.iter().filter(|(_, row)| row.ifindex != 0 && row.has(flag::XDP_TARGET));
    targets.map(|(id, row)| (*id, row.ifindex)).collect()
}
