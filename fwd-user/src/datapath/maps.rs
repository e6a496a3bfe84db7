//! The maps whose rows user space owns, and single writes to them.

use fwd_common::{
    addr::Mac,
    counter::TableUse,
    dhcp::Lease,
    fdb::{FdbEntry, FdbKey},
    forward::{ClientKey, Forward, ForwardKey},
    id::{ClassId, PortId, RowId},
    map,
    nat::ExemptionKey,
    neighbor::{Neighbor, NetworkAddress, SourceKey},
    network::{MemberKey, Network},
    policy::{ClassKey, PolicyKey, RowCopies, RowKey, RowVerdict},
    port::{Port, View},
    prefix::{self, PrefixKey},
    settings::Settings,
};

use super::{
    error::Result,
    pins::Pins,
    table::{Prefix, Table},
};
use crate::plan::{Row, RowKeyOf};

/// Value of `DEVICES`: an ifindex, and no program of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeviceRow {
    pub ifindex: u32,
    pub program: u32,
}

// SAFETY: two integers without padding.
unsafe impl aya::Pod for DeviceRow {}

/// Typed access to what a plan writes.
#[derive(Debug)]
pub(super) struct Maps {
    pub settings: Table<u32, Settings>,
    pub ports: Table<u32, Port>,
    pub port_macs: Table<u32, Mac>,
    pub port_of_device: Table<u32, PortId>,
    pub port_of_high_device: Table<u32, PortId>,
    pub devices: Table<u32, DeviceRow>,
    pub networks: Table<u32, Network>,
    pub members: Table<MemberKey, PortId>,
    pub neighbors: Table<NetworkAddress, Neighbor>,
    pub allowed_sources: Table<Prefix<SourceKey>, u32>,
    pub host_addresses: Table<NetworkAddress, u32>,
    pub forwards: Table<Prefix<ForwardKey>, Forward>,
    pub forward_clients: Table<Prefix<ClientKey>, u32>,
    pub nat_exemptions: Table<Prefix<ExemptionKey>, u32>,
    pub nat_prefixes: Table<Prefix<PrefixKey>, prefix::Prefix>,
    pub classes: Table<Prefix<ClassKey>, ClassId>,
    pub policies: Table<PolicyKey, RowCopies>,
    pub rows: Table<Prefix<RowKey>, RowVerdict>,
    pub fdb: Table<FdbKey, FdbEntry>,
    /// The kernel's; read only.
    pub leases: Table<FdbKey, Lease>,
    /// The kernel's; read only, to know how far a sweep goes.
    pub table_use: Table<u32, TableUse>,
}

impl Maps {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            settings: Table::open(pins, map::SETTINGS)?,
            ports: Table::open(pins, map::PORTS)?,
            port_macs: Table::open(pins, map::PORT_MACS)?,
            port_of_device: Table::open(pins, map::PORT_OF_DEVICE)?,
            port_of_high_device: Table::open(pins, map::PORT_OF_HIGH_DEVICE)?,
            devices: Table::open(pins, map::DEVICES)?,
            networks: Table::open(pins, map::NETWORKS)?,
            members: Table::open(pins, map::MEMBERS)?,
            neighbors: Table::open(pins, map::NEIGHBORS)?,
            allowed_sources: Table::open(pins, map::ALLOWED_SOURCES)?,
            host_addresses: Table::open(pins, map::HOST_ADDRESSES)?,
            forwards: Table::open(pins, map::FORWARDS)?,
            forward_clients: Table::open(pins, map::FORWARD_CLIENTS)?,
            nat_exemptions: Table::open(pins, map::NAT_EXEMPTIONS)?,
            nat_prefixes: Table::open(pins, map::NAT_PREFIXES)?,
            classes: Table::open(pins, map::IDENTITIES)?,
            policies: Table::open(pins, map::POLICIES)?,
            rows: Table::open(pins, map::ROWS)?,
            fdb: Table::open(pins, map::FDB)?,
            leases: Table::open(pins, map::LEASES)?,
            table_use: Table::open(pins, map::TABLE_USE)?,
        })
    }

    pub fn settings(&self) -> Result<Settings> {
        Ok(self.settings.get(&0)?.unwrap_or_default())
    }

    pub fn port(&self, port: PortId) -> Result<Port> {
        Ok(self.ports.get(&port.0.into())?.unwrap_or_default())
    }

    /// Writes a row; what the datapath keeps in it stays.
    pub fn put(&self, row: &Row) -> Result<()> {
        match *row {
            Row::Settings(settings) => {
                let epoch = self.settings()?.epoch;
                self.settings.put(&0, &Settings { epoch, ..settings })
            }
            Row::Port(id, port) => {
                let Port { generation, views, .. } = self.port(id)?;
                self.ports.put(&id.0.into(), &Port { generation, views, ..port })
            }
            Row::PortOfDevice(ifindex, port) => match self.is_low(ifindex) {
                true => self.port_of_device.put(&ifindex, &port),
                false => self.port_of_high_device.put(&ifindex, &port),
            },
            Row::Device(port, ifindex) => {
                self.devices.put(&port.0.into(), &DeviceRow { ifindex, program: 0 })
            }
            Row::Network(id, network) => self.networks.put(&id.0.into(), &network),
            Row::Member(key, port) => self.members.put(&key, &port),
            Row::Neighbor(key, neighbor) => self.neighbors.put(&key, &neighbor),
            Row::AllowedSource(data, bits, value) => self.allowed_sources.put(&Prefix { bits, data }, &value),
            Row::HostAddress(key, value) => self.host_addresses.put(&key, &value),
            Row::Forward(data, bits, forward) => self.forwards.put(&Prefix { bits, data }, &forward),
            Row::ForwardClient(data, bits, value) => self.forward_clients.put(&Prefix { bits, data }, &value),
            Row::NatExemption(data, bits, value) => self.nat_exemptions.put(&Prefix { bits, data }, &value),
            Row::NatPrefix(data, bits, row) => self.nat_prefixes.put(&Prefix { bits, data }, &row),
            Row::Policy(key, row) => self.policies.put(&key, &RowCopies([row; 2])),
            Row::PolicyRow(data, bits, verdict) => self.rows.put(&Prefix { bits, data }, &verdict),
            Row::Fdb(key, entry) => self.fdb.put(&key, &entry),
        }
    }

    /// Deletes a row; of an array: zeroes it. A port keeps its generation, so that flows of the port that
    /// gets the number next are never taken for its own, and its zone, by which the entries of its flows find each other.
    pub fn delete(&self, key: &RowKeyOf) -> Result<()> {
        match *key {
            RowKeyOf::Port(id) => {
                let Port { generation, zone, .. } = self.port(id)?;
                self.ports.put(&id.0.into(), &Port { generation, zone, ..Port::default() })
            }
            RowKeyOf::PortOfDevice(ifindex) => match self.is_low(ifindex) {
                true => self.port_of_device.put(&ifindex, &PortId::default()),
                false => self.port_of_high_device.delete(&ifindex),
            },
            RowKeyOf::Device(port) => self.devices.delete(&port.0.into()),
            RowKeyOf::Network(id) => self.networks.put(&id.0.into(), &Network::default()),
            RowKeyOf::Member(key) => self.members.delete(&key),
            RowKeyOf::Neighbor(key) => self.neighbors.delete(&key),
            RowKeyOf::AllowedSource(data, bits) => self.allowed_sources.delete(&Prefix { bits, data }),
            RowKeyOf::HostAddress(key) => self.host_addresses.delete(&key),
            RowKeyOf::Forward(data, bits) => self.forwards.delete(&Prefix { bits, data }),
            RowKeyOf::ForwardClient(data, bits) => self.forward_clients.delete(&Prefix { bits, data }),
            RowKeyOf::NatExemption(data, bits) => self.nat_exemptions.delete(&Prefix { bits, data }),
            RowKeyOf::NatPrefix(data, bits) => self.nat_prefixes.delete(&Prefix { bits, data }),
            RowKeyOf::Policy(key) => self.policies.delete(&key),
            RowKeyOf::PolicyRow(data, bits) => self.rows.delete(&Prefix { bits, data }),
            RowKeyOf::Fdb(key) => self.fdb.delete(&key),
        }
    }

    /// Writes one of the two copies of how rules see a port.
    pub fn put_view(&self, port: PortId, view: View, copy: u32) -> Result<()> {
        let mut row = self.port(port)?;
        row.views[(copy & 1) as usize] = view;
        self.ports.put(&port.0.into(), &row)
    }

    /// Writes one of the two copies of addresses' classes; `None` deletes it.
    pub fn put_classes(&self, classes: &[((ClassKey, u32), Option<ClassId>)], copy: u32) -> Result<()> {
        let (mut put, mut gone) = (Vec::new(), Vec::new());
        for ((ClassKey { addr, .. }, bits), class) in classes {
            let key = Prefix { bits: *bits, data: ClassKey { epoch: copy & 1, addr: *addr } };
            match class {
                Some(class) => put.push((key, *class)),
                None => gone.push(key),
            }
        }
        self.classes.put_all(&put)?;
        self.classes.delete_all(&gone)
    }

    /// Writes both copies of policies' rows; `None` takes the entry out.
    pub fn settle_policies(&self, policies: &[(PolicyKey, Option<RowId>)]) -> Result<()> {
        let both = |(key, row): &(PolicyKey, Option<RowId>)| Some((*key, RowCopies([(*row)?; 2])));
        let gone = |(key, row): &(PolicyKey, Option<RowId>)| row.is_none().then_some(*key);
        self.policies.put_all(&policies.iter().filter_map(both).collect::<Vec<_>>())?;
        self.policies.delete_all(&policies.iter().filter_map(gone).collect::<Vec<_>>())
    }

    /// Writes one of the two copies of policies' rows; `None` takes it out, and the entry if neither is left.
    pub fn put_policies(&self, policies: &[(PolicyKey, Option<RowId>)], copy: u32) -> Result<()> {
        let (mut put, mut gone) = (Vec::new(), Vec::new());
        for (key, row) in policies {
            match self.policies.get(key)?.unwrap_or_default().with(copy, row.unwrap_or_default()) {
                rows if rows == RowCopies::default() => gone.push(*key),
                rows => put.push((*key, rows)),
            }
        }
        self.policies.put_all(&put)?;
        self.policies.delete_all(&gone)
    }

    fn is_low(&self, ifindex: u32) -> bool {
        ifindex < self.port_of_device.capacity()
    }
}
