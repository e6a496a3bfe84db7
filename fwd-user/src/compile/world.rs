//! What compiling reads: the document, its numbers, and the host, with the look-ups that several files need.

use std::{collections::BTreeMap, net::IpAddr};

use fwd_common::{
    addr::Mac,
    id::{NetworkId, PortId},
};

use crate::{
    api::{
        settings::Settings,
        spec::{Document, Mode, Network, Port, Uplink},
        text::parse_mac,
    },
    host::inventory::{Device, Inventory},
    state::{Desired, Numbers},
};

/// A VM port with what its names mean.
pub(super) struct VmPort<'a> {
    pub id: PortId,
    pub port: &'a Port,
    pub network_id: NetworkId,
    pub network: &'a Network,
}

/// What compiling reads.
pub(super) struct World<'a> {
    pub document: &'a Document,
    pub numbers: &'a Numbers,
    pub inventory: &'a Inventory,
    pub settings: Settings,
    /// In the order of the document.
    pub ports: Vec<VmPort<'a>>,
    port_by_name: BTreeMap<&'a str, usize>,
    seen_macs: BTreeMap<PortId, Mac>,
    /// Without link-local ones.
    seen_addresses: BTreeMap<PortId, Vec<IpAddr>>,
}

impl<'a> World<'a> {
    pub fn new(desired: &'a Desired, inventory: &'a Inventory) -> Self {
        let Desired { document, numbers, .. } = desired;
        let networks: BTreeMap<&str, &Network> =
            document.networks.iter().map(|n| (n.name.as_str(), n)).collect();
        let vm_port = |port: &'a Port| {
            let network = *networks.get(port.network.as_str())?;
            let network_id = *numbers.networks.get(&port.network)?;
            Some(VmPort { id: *numbers.ports.get(&port.name)?, port, network_id, network })
        };
        let ports: Vec<_> = document.ports.iter().filter_map(vm_port).collect();
        let mut seen_macs = BTreeMap::new();
        let mut seen_addresses: BTreeMap<PortId, Vec<IpAddr>> = BTreeMap::new();
        for seen in &inventory.learnt {
            if seen.mac != Mac::NONE {
                seen_macs.entry(seen.port).or_insert(seen.mac);
            }
            if let Some(addr) = seen.addr.filter(|addr| !is_link_local(*addr)) {
                seen_addresses.entry(seen.port).or_default().push(addr);
            }
        }
        Self {
            document,
            numbers,
            inventory,
            settings: Settings::of(&document.settings),
            port_by_name: ports.iter().enumerate().map(|(n, p)| (p.port.name.as_str(), n)).collect(),
            ports,
            seen_macs,
            seen_addresses,
        }
    }

    /// The VM port of a name.
    pub fn port(&self, name: &str) -> Option<&VmPort<'a>> {
        self.port_by_name.get(name).map(|index| &self.ports[*index])
    }

    /// Uplinks with their ids, and the bridge network that each is part of.
    pub fn uplinks(&self) -> impl Iterator<Item = (PortId, &'a Uplink, Option<&'a Network>)> {
        let (document, numbers) = (self.document, self.numbers);
        document.uplinks.iter().filter_map(move |uplink| {
            let is_here = |n: &&Network| n.mode == Mode::Bridge && n.uplink.as_ref() == Some(&uplink.device);
            Some((*numbers.uplinks.get(&uplink.device)?, uplink, document.networks.iter().find(is_here)))
        })
    }

    /// Networks with their ids.
    pub fn networks(&self) -> impl Iterator<Item = (NetworkId, &'a Network)> {
        let numbers = self.numbers;
        self.document.networks.iter().filter_map(move |n| Some((*numbers.networks.get(&n.name)?, n)))
    }

    pub fn device(&self, name: &str) -> Option<&'a Device> {
        self.inventory.devices.get(name)
    }

    /// The device of a network's host port: the datapath's end of its veth, or its bridged uplink.
    pub fn host_device(&self, network: &Network) -> Option<&'a Device> {
        match (network.mode, &network.uplink) {
            (Mode::Bridge, Some(uplink)) => self.device(uplink),
            _ => self.inventory.host_ports.get(&network.name),
        }
    }

    /// A VM port's MAC: the configured one, else the one seen.
    pub fn mac(&self, id: PortId, port: &Port) -> Option<Mac> {
        configured_mac(port).or_else(|| self.seen_macs.get(&id).copied())
    }

    /// A VM port's addresses: the configured ones, else those seen, but for link-local ones.
    pub fn addresses(&self, id: PortId, port: &'a Port) -> &[IpAddr] {
        if port.ips.is_empty() { self.seen_addresses.get(&id).map_or(&[], Vec::as_slice) } else { &port.ips }
    }
}

/// The MAC that the document gives a port.
pub(super) fn configured_mac(port: &Port) -> Option<Mac> {
    port.mac.as_deref().and_then(|text| parse_mac(text).ok())
}

/// An address that means something on one link only.
pub(super) fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
