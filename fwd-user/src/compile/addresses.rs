//! The host's own addresses, as each network sees them.

use std::{collections::BTreeMap, net::Ipv6Addr};

use fwd_common::{
    addr::{Ip, Mac},
    id::NetworkId,
    neighbor::NetworkAddress,
};

use super::{World, networks::gateway_mac};
use crate::api::spec::Mode;

/// Rows under network 0 are every device's; those under a network are what its guests may not claim: its gateways',
/// which is all that a private one sees, and of a bridge its uplink's.
pub(super) fn compile(world: &World<'_>) -> BTreeMap<NetworkAddress, u32> {
    let key = |network, addr| NetworkAddress { addr, network, _pad: 0 };
    let mut rows = BTreeMap::new();
    for device in world.inventory.devices.values() {
        for addr in device.addresses.iter().map(|net| net.addr()).filter(|addr| !addr.is_loopback()) {
            rows.insert(key(NetworkId(0), Ip::from(addr)), 1);
        }
    }
    for (id, network) in world.networks().filter(|(_, network)| network.has_gateway()) {
        for gateway in network.gateway_nets() {
            rows.insert(key(id, Ip::from(gateway.addr())), 1);
        }
        rows.insert(key(id, Ip::from(std::net::IpAddr::V6(link_local(gateway_mac(id))))), 1);
    }
    for (id, network) in world.networks().filter(|(_, network)| network.mode == Mode::Bridge) {
        let uplink = network.uplink.as_deref().and_then(|device| world.device(device));
        for own in uplink.into_iter().flat_map(|device| &device.addresses) {
            rows.insert(key(id, Ip::from(own.addr())), 1);
        }
    }
    rows
}

/// The link-local address that the kernel makes of a MAC (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_are_the_kernels() {
        let mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(link_local(mac).to_string(), "fe80::5054:ff:fe12:3456");
    }
}
