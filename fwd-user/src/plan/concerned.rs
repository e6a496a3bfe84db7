//! Whose flows must be decided anew: a flow entry depends on both of its ports, so whatever it was decided
//! by has a port that stands for it.

use std::collections::BTreeSet;

use fwd_common::{
    forward::{Forward, ForwardKey},
    id::{ForwardId, NetworkId, PortId},
    network::{Network, flag},
    port::Port,
};

use super::{merge::Sorted, policies};
use crate::compile::Tables;

/// Ports whose flows depend on a row that differs.
pub(super) fn concerned(old: &Tables, new: &Tables) -> BTreeSet<PortId> {
    let mut ports = BTreeSet::new();
    for (id, a, b) in changed(&old.ports, &new.ports) {
        if a.map(as_flows_see) != b.map(as_flows_see) {
            ports.insert(*id);
        }
    }
    let views = changed(&old.views, &new.views);
    ports.extend(views.filter(|(_, a, b)| a.unwrap_or_default() != b.unwrap_or_default()).map(|(id, ..)| id));
    let policies = policies::concerned(old, new);
    ports.extend(new.views.iter().filter(|(_, view)| policies.contains(&view.policy)).map(|(id, _)| *id));
    ports.extend(changed(&old.devices, &new.devices).map(|(id, ..)| id));
    // Those of port 0 are subnets: what is in them has rows of its own.
    let sources = changed(&old.allowed_sources, &new.allowed_sources).map(|((key, _), ..)| key.port);
    ports.extend(sources.filter(|port| *port != PortId(0)));
    for (_, a, b) in changed(&old.port_of_device, &new.port_of_device) {
        ports.extend([a, b].into_iter().flatten());
    }
    for (_, a, b) in changed(&old.neighbors, &new.neighbors) {
        ports.extend([a, b].into_iter().flatten().map(|row| row.port));
    }
    for ((key, _), a, b) in changed(&old.forwards, &new.forwards) {
        // One of all L4 ports has, or had, what this one takes or leaves.
        let rest = (ForwardKey { l4_port: [0; 2], ..*key }, ForwardKey::prefix(0));
        let rest = [old.forwards.get(&rest), new.forwards.get(&rest)].map(Option::<&Forward>::copied);
        ports.extend([a, b].into_iter().chain(rest).flatten().map(|row| row.port));
    }
    for (_, a, b) in changed(&old.fdb, &new.fdb) {
        ports.extend([a, b].into_iter().flatten().map(|row| row.port));
    }
    ports.extend(of_clients(old, new));
    ports.extend(of_networks(old, new));
    ports.extend(of_host_addresses(old, new));
    ports
}

/// Rows that are not the same in both, with what they are in each.
pub(super) fn changed<'a, T: Sorted<Row: Copy>>(
    old: &'a T,
    new: &'a T,
) -> impl Iterator<Item = (&'a T::Key, Option<T::Row>, Option<T::Row>)> {
    old.differences(new).map(|(key, a, b)| (key, a.copied(), b.copied()))
}

/// Limits are asked when a flow is admitted, and change none that is.
fn as_flows_see(row: Port) -> Port {
    Port { flow_limit: 0, half_open_limit: 0, mac_limit: 0, ..row }
}

/// The targets of forwards whose clients are others now.
fn of_clients(old: &Tables, new: &Tables) -> BTreeSet<PortId> {
    let forwards: BTreeSet<ForwardId> =
        changed(&old.forward_clients, &new.forward_clients).map(|((key, _), ..)| key.forward).collect();
    let rows = old.forwards.values().chain(new.forwards.values());
    rows.filter(|row| forwards.contains(&row.id)).map(|row| row.port).collect()
}

/// All ports of a network whose ways, exemptions or prefixes changed; who else is its member changes no flow.
fn of_networks(old: &Tables, new: &Tables) -> BTreeSet<PortId> {
    let ways = |row: Option<Network>| row.map(|row| Network { members: 0, ..row });
    let rows = changed(&old.networks, &new.networks);
    let mut networks: BTreeSet<NetworkId> =
        rows.filter(|(_, a, b)| ways(*a) != ways(*b)).map(|(id, ..)| *id).collect();
    let exemptions = changed(&old.nat_exemptions, &new.nat_exemptions);
    networks.extend(exemptions.map(|((key, _), ..)| key.network));
    for (_, a, b) in changed(&old.nat_prefixes, &new.nat_prefixes) {
        networks.extend([a, b].into_iter().flatten().map(|row| row.network));
    }
    let ports = old.ports.iter().chain(&new.ports);
    ports.filter(|(_, row)| networks.contains(&row.network)).map(|(id, _)| *id).collect()
}

/// The host ports of networks that see an address come or go.
fn of_host_addresses(old: &Tables, new: &Tables) -> BTreeSet<PortId> {
    let seen_in: BTreeSet<NetworkId> =
        changed(&old.host_addresses, &new.host_addresses).map(|(key, ..)| key.network).collect();
    let sees = |id: &NetworkId, network: &Network| {
        seen_in.contains(id) || (seen_in.contains(&NetworkId(0)) && !network.has(flag::PRIVATE))
    };
    let networks = old.networks.iter().chain(&new.networks);
    let host_ports = networks.filter(|(id, network)| sees(id, network)).map(|(_, row)| row.host_port);
    host_ports.filter(|id| *id != PortId(0)).collect()
}
