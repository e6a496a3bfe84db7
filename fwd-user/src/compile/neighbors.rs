//! Who has which address and MAC by configuration or by DHCP. Learnt rows are the kernel's.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use fwd_common::{
    addr::{Ip, Mac},
    fdb::{self, FdbEntry, FdbKey},
    flow::Tick,
    id::PortId,
    neighbor::{Neighbor, NetworkAddress, SourceKey},
    port::{self, PortKind},
};
use ipnet::{IpNet, Ipv4Net};

use super::{World, world::VmPort};

/// Rows of configured and of leased addresses whose port's MAC is known.
pub(super) fn compile(world: &World<'_>) -> BTreeMap<NetworkAddress, Neighbor> {
    let mut rows = BTreeMap::new();
    for vm @ VmPort { id, port, network_id, .. } in &world.ports {
        let Some(mac) = world.mac(vm) else { continue };
        for addr in port.ips.iter().chain(world.leased(*id)) {
            let key = NetworkAddress { addr: (*addr).into(), network: *network_id, _pad: 0 };
            rows.insert(key, Neighbor { port: *id, mac, flags: 0, _pad: 0 });
        }
    }
    rows
}

/// What a port may send from beside what `NEIGHBORS` says: what it was allowed, and its own addresses
/// while its MAC is not known.
fn allowed<'a>(vm: &VmPort<'a>) -> impl Iterator<Item = IpNet> + use<'a> {
    let port = vm.port;
    let own: &[IpAddr] = if vm.given_mac.is_some() { &[] } else { &port.ips };
    port.allow_addresses.iter().copied().chain(own.iter().copied().map(IpNet::from))
}

pub(super) fn has_allowed_sources(vm: &VmPort<'_>) -> bool {
    allowed(vm).next().is_some()
}

/// Rows of all ports, and of networks by their subnets.
pub(super) fn allowed_sources(world: &World<'_>) -> BTreeMap<(SourceKey, u32), u32> {
    let mut rows = BTreeMap::new();
    for (id, network) in world.networks().filter(|(_, network)| network.has_gateway() && !network.is_apart())
    {
        for subnet in &network.subnets {
            let (addr, bits) = mapped_prefix(*subnet);
            let key = SourceKey { port: PortId(0), _pad: 0, addr };
            rows.insert((key, SourceKey::prefix(bits)), u32::from(id.0));
        }
    }
    for vm @ VmPort { id, .. } in &world.ports {
        for (addr, bits, is_meant) in allowed(vm).flat_map(mapped_prefixes) {
            let key = SourceKey { port: *id, _pad: 0, addr };
            *rows.entry((key, SourceKey::prefix(bits))).or_insert(0) |= u32::from(is_meant);
        }
    }
    rows
}

/// A CIDR as a prefix of sixteen-byte addresses.
pub(super) fn mapped_prefix(net: IpNet) -> (Ip, u32) {
    let bits = u32::from(net.prefix_len());
    (net.network().into(), if net.network().is_ipv4() { 96 + bits } else { bits })
}

/// The same with a row for what it does not mean (`false`): of a CIDR of IPv6 that is around it, all of IPv4.
pub(super) fn mapped_prefixes(net: IpNet) -> impl Iterator<Item = (Ip, u32, bool)> {
    let (addr, bits) = mapped_prefix(net);
    let (addr4, bits4) = mapped_prefix(IpNet::V4(Ipv4Net::default()));
    [Some((addr, bits, true)), is_around_ipv4(&net).then_some((addr4, bits4, false))].into_iter().flatten()
}

/// Whether a CIDR of IPv6, as a prefix of sixteen-byte addresses, has all of IPv4 in it, which it does not mean.
pub(super) fn is_around_ipv4(net: &IpNet) -> bool {
    net.contains(&IpNet::from(IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped())))
}

/// MACs that do not move: configured ones, and this host's.
pub(super) fn fdb(ports: &BTreeMap<PortId, port::Port>) -> BTreeMap<FdbKey, FdbEntry> {
    let entry = |port| FdbEntry { port, flags: fdb::flag::STATIC, last_seen: Tick(0) };
    let known = ports.iter().filter(|(_, row)| row.mac != Mac::NONE && !row.is(PortKind::Uplink));
    known.map(|(id, row)| (FdbKey { network: row.network, mac: row.mac }, entry(*id))).collect()
}
