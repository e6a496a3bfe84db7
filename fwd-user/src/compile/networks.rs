//! Rows of networks, and their members.

use std::collections::BTreeMap;

use fwd_common::{
    addr::Mac,
    id::{NetworkId, PortId},
    network::{self, MemberKey, Network},
};

use super::{Attachment, Nats, World, world::VmPort};
use crate::api::spec::{self, Mode};

/// The MAC of this host in a network: of its end of the network's veth, and what guests know as their
/// gateway. Locally administered, and the same after every restart.
pub const fn gateway_mac(network: NetworkId) -> Mac {
    let [high, low] = network.0.to_be_bytes();
    Mac([0x02, b'f', b'w', b'd', high, low])
}

/// VM ports that have a device, by network: what a flood reaches.
type Members = BTreeMap<NetworkId, Vec<PortId>>;

pub(super) fn members(world: &World<'_>, attachments: &BTreeMap<PortId, Attachment>) -> Members {
    let mut members = Members::new();
    for VmPort { id, network_id, .. } in &world.ports {
        if attachments.get(id).is_some_and(|a| a.ifindex != 0) {
            members.entry(*network_id).or_default().push(*id);
        }
    }
    members
}

/// Rows of members.
pub(super) fn member_rows(members: &Members) -> BTreeMap<MemberKey, PortId> {
    let rows = |(network, ports): (&NetworkId, &Vec<PortId>)| {
        let keys = (0..).map({
            let network = *network;
            move |index| MemberKey { network, index }
        });
        keys.zip(ports.clone()).collect::<Vec<_>>()
    };
    members.iter().flat_map(rows).collect()
}

/// Rows of networks.
pub(super) fn compile(
    world: &World<'_>,
    members: &Members,
    (nats, attachments): (&Nats<'_>, &BTreeMap<PortId, Attachment>),
) -> BTreeMap<NetworkId, Network> {
    let port_of = |map: &BTreeMap<String, PortId>, name: &str| map.get(name).copied().unwrap_or_default();
    let row = |(id, network): (NetworkId, &spec::Network)| {
        let bridged = network.uplink.as_deref().filter(|_| network.mode == Mode::Bridge);
        let host_port = port_of(&world.numbers.host_ports, &network.name);
        // Routes of what a bridge carries are the outside's.
        let fib = attachments.get(&host_port).filter(|_| network.has_gateway());
        let mut flags = if network.is_apart() { network::flag::PRIVATE } else { 0 };
        if nats.has_exemptions(id) {
            flags |= network::flag::EXEMPTIONS;
        }
        if nats.is_endpoint_independent(id) {
            flags |= network::flag::ENDPOINT_INDEPENDENT;
        }
        flags |= routed(network, nats.has_ipv6(id));
        let row = Network {
            mode: mode(network.mode) as u8,
            flags,
            host_port,
            uplink: bridged.map_or(PortId(0), |uplink| port_of(&world.numbers.uplinks, uplink)),
            members: members.get(&id).map_or(0, |m| m.len() as u16),
            fib_ifindex: fib.map_or(0, |a| a.ifindex),
        };
        (id, row)
    };
    world.networks().map(row).collect()
}

/// Which addresses of IPv6 a network routes though its mode is NAT.
fn routed(network: &spec::Network, is_translated: bool) -> u8 {
    let may_route = network.mode == Mode::Nat && !network.is_apart();
    match network.nat66 {
        Some(false) if may_route => network::flag::ROUTED_GLOBAL | network::flag::ROUTED_LOCAL,
        None if may_route && !is_translated => network::flag::ROUTED_GLOBAL,
        _ => 0,
    }
}

const fn mode(mode: Mode) -> network::Mode {
    match mode {
        Mode::Nat => network::Mode::Nat,
        Mode::Routed => network::Mode::Routed,
        Mode::Bridge => network::Mode::Bridge,
        Mode::Host => network::Mode::Host,
        Mode::Isolated => network::Mode::Isolated,
    }
}
