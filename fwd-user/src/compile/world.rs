//! What compiling reads: the document, its numbers, and the host, with the look-ups that several files need.

use std::{collections::BTreeMap, net::IpAddr};

use fwd_common::{
    addr::Mac,
    id::{NetworkId, PortId},
};

use super::tap::{device_name, given_mac};
use crate::{
    api::{
        settings::Settings,
        spec::{Document, Mode, Network, Port, Uplink},
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
    /// The name of its interface; none while its domain does not run.
    pub device: Option<&'a str>,
    /// The MAC that it is given, by the document or by its domain.
    pub given_mac: Option<Mac>,
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
    /// Without link-local ones; leased ones first.
    seen_addresses: BTreeMap<PortId, Vec<IpAddr>>,
    leased: BTreeMap<PortId, Vec<IpAddr>>,
}

impl<'a> World<'a> {
    pub fn new(desired: &'a Desired, inventory: &'a Inventory) -> Self {
        let Desired { document, numbers, .. } = desired;
        let networks: BTreeMap<&str, &Network> =
            document.networks.iter().map(|n| (n.name.as_str(), n)).collect();
        let vm_port = |port: &'a Port| {
            let network = *networks.get(port.network.as_str())?;
            let network_id = *numbers.networks.get(&port.network)?;
            let (device, given_mac) = (device_name(inventory, port), given_mac(inventory, port));
            Some(VmPort { id: *numbers.ports.get(&port.name)?, port, network_id, network, device, given_mac })
        };
        let ports: Vec<_> = document.ports.iter().filter_map(vm_port).collect();
        let mut seen_macs = BTreeMap::new();
        for seen in &inventory.learnt {
            if seen.mac != Mac::NONE {
                seen_macs.entry(seen.port).or_insert(seen.mac);
            }
        }
        let leased = leased(&ports, inventory, &seen_macs);
        let mut seen_addresses = leased.clone();
        for seen in &inventory.learnt {
            let addresses = seen_addresses.entry(seen.port).or_default();
            let is_new = |addr: &IpAddr| !is_link_local(*addr) && !addresses.contains(addr);
            addresses.extend(seen.addr.filter(is_new));
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
            leased,
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

    /// A VM port's interface, if it is there.
    pub fn device_of(&self, vm: &VmPort<'a>) -> Option<&'a Device> {
        self.device(vm.device?)
    }

    /// A VM port's MAC: the one that it is given, else the one seen.
    pub fn mac(&self, vm: &VmPort<'_>) -> Option<Mac> {
        vm.given_mac.or_else(|| self.seen_macs.get(&vm.id).copied())
    }

    /// The addresses that DHCP has given to a VM port for which none are configured.
    pub fn leased(&self, id: PortId) -> &[IpAddr] {
        self.leased.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Whether a VM port's IPv4 addresses are those that DHCP gives to it, and no others.
    pub fn is_leased(&self, id: PortId, network: &Network) -> bool {
        let runs = self.inventory.served.get(&network.name).is_some_and(|served| served.runs);
        network.snoops() || (runs && network.has_own_ranges()) || self.leased(id).iter().any(IpAddr::is_ipv4)
    }

    /// A VM port's addresses: the configured ones, else those leased and seen, but for link-local ones.
    pub fn addresses(&self, id: PortId, port: &'a Port) -> &[IpAddr] {
        if port.ips.is_empty() { self.seen_addresses.get(&id).map_or(&[], Vec::as_slice) } else { &port.ips }
    }
}

/// Leases by the port that has their MAC. Configured addresses are the port's without a lease.
fn leased(
    ports: &[VmPort<'_>],
    inventory: &Inventory,
    seen_macs: &BTreeMap<PortId, Mac>,
) -> BTreeMap<PortId, Vec<IpAddr>> {
    let mut leased: BTreeMap<PortId, Vec<IpAddr>> = BTreeMap::new();
    for VmPort { id, network, network_id, given_mac, .. } in ports.iter().filter(|vm| vm.port.ips.is_empty())
    {
        let Some(mac) = given_mac.or_else(|| seen_macs.get(id).copied()) else { continue };
        let all = inventory.leases(&network.name, *network_id);
        let own: Vec<_> = all.filter(|lease| lease.mac == Some(mac)).map(|lease| lease.addr).collect();
        if !own.is_empty() {
            leased.insert(*id, own);
        }
    }
    leased
}

/// An address that means something on one link only.
pub(super) fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
