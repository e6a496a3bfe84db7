//! What a document wants of its networks' servers, with what is known of their guests.

use std::net::IpAddr;

use fwd_common::{addr::Mac, id::PortId};

use crate::{
    api::{
        served::ServedRange,
        spec::{Mode, Network, Port},
    },
    compile::given_mac,
    host::{Dns, Guest, Inventory, Range, Service, namespace_of},
    state::Desired,
};

/// One for each network that serves anything, in the order of the document.
pub fn services(desired: &Desired, inventory: &Inventory, instance: &str) -> Vec<Service> {
    let networks = &desired.document.networks;
    networks.iter().filter_map(|network| service(desired, inventory, (network, instance))).collect()
}

fn service(
    desired: &Desired,
    inventory: &Inventory,
    (network, instance): (&Network, &str),
) -> Option<Service> {
    let ports: Vec<_> = desired.document.ports.iter().filter(|port| port.network == network.name).collect();
    // A guest that has a configured IPv6 address may use no other, so it must not be told to make one.
    let has_slaac = !ports.iter().any(|port| port.ips.iter().any(IpAddr::is_ipv6));
    let gateways = network.gateway_nets();
    let range = |served: ServedRange| {
        let gateway = gateways.iter().find(|gateway| served.subnet.contains(&gateway.addr()))?.addr();
        let ServedRange { subnet, range } = served;
        // Guests make addresses in prefixes of 64 bits only (RFC 4862, 5.5.3).
        Some(Range { subnet, range, gateway, has_slaac: has_slaac && subnet.prefix_len() == 64 })
    };
    let ranges: Vec<_> = network.dhcp_ranges().into_iter().filter_map(range).collect();
    let dns = match network.has_dns() {
        false => Dns::Off,
        // From a namespace of its own there is no way to the host's resolvers.
        true if network.is_apart() => Dns::Inside,
        true => Dns::InsideAndOutside,
    };
    if ranges.is_empty() && dns == Dns::Off {
        return None;
    }
    let guest = |port: &&Port| {
        let id = desired.numbers.ports.get(&port.name).copied()?;
        Some(guest(port, id, inventory))
    };
    Some(Service {
        network: network.name.clone(),
        namespace: network.is_apart().then(|| namespace_of(instance, &network.name)),
        ranges,
        mtu: network.mtu,
        ntp: network.ntp.clone(),
        is_router: matches!(network.mode, Mode::Nat | Mode::Routed),
        dns,
        guests: ports.iter().filter_map(guest).collect(),
    })
}

fn guest(port: &Port, id: PortId, inventory: &Inventory) -> Guest {
    // A device of a pattern may have any character in its name; a host of DNS may not.
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = port.name.chars().map(plain).collect();
    let seen = inventory.learnt.iter().filter(|seen| seen.port == id);
    let seen_mac = || seen.clone().map(|seen| seen.mac).find(|mac| *mac != Mac::NONE);
    let mac = given_mac(inventory, port).or_else(seen_mac);
    let seen: Vec<IpAddr> = seen.clone().filter_map(|seen| seen.addr).filter(is_routable).collect();
    let leases = inventory.served.get(&port.network).map_or(&[][..], |served| served.leases.as_slice());
    let leased = leases.iter().filter(|lease| mac.is_some() && lease.mac == mac).map(|lease| lease.addr);
    if !port.ips.is_empty() {
        return Guest { name, mac, bindings: port.ips.clone(), addresses: port.ips.clone() };
    }
    let mut addresses: Vec<_> = leased.collect();
    let bindings = if addresses.iter().any(IpAddr::is_ipv4) { Vec::new() } else { v4(&seen) };
    addresses.extend(seen.iter().filter(|addr| !addresses.contains(addr)).collect::<Vec<_>>());
    addresses.sort();
    Guest { name, mac, bindings, addresses }
}

/// An address that a guest took by itself is nobody else's.
fn v4(seen: &[IpAddr]) -> Vec<IpAddr> {
    seen.iter().copied().filter(IpAddr::is_ipv4).collect()
}

fn is_routable(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}
