//! A host out of a file and a datapath in memory: the whole way of an edit without any privilege.

use std::{collections::BTreeMap, path::Path};

use fwd_common::{addr::Mac, id::PortId, sweep::Command};
use ipnet::IpNet;
use serde::Deserialize;

use super::Ground;
use crate::{
    api::{
        document,
        error::{ApiError, Code},
        text::parse_mac,
    },
    compile::{Attachment, Tables},
    daemon::{failure::of_datapath, sockets::Socket},
    datapath::{self, Datapath, Memory},
    host::{Device, DeviceKind, Greeting, HostPort, Inventory, Wanted},
    plan::MapOp,
};

/// Host ports get these interface numbers, one after the other.
const FIRST_HOST_PORT: u32 = 10_000;

/// A host and a datapath that exist in this process only.
#[derive(Debug, Default)]
pub struct MemoryGround {
    inventory: Inventory,
    /// What each driver that refuses XDP says, by the device's name.
    drivers: BTreeMap<String, String>,
    /// The bridge that each device lies on, unless fwd takes it.
    masters: BTreeMap<String, String>,
    datapath: Memory,
}

/// The file that describes the host.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostFile {
    devices: Vec<DeviceLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceLine {
    name: String,
    ifindex: u32,
    kind: Kind,
    #[serde(default)]
    mac: Option<String>,
    #[serde(default)]
    addresses: Vec<IpNet>,
    #[serde(default)]
    master: Option<String>,
    #[serde(default)]
    native_xdp: bool,
    /// What its driver says to an XDP program.
    #[serde(default)]
    refuses_xdp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tap,
    Veth,
    Bridge,
    Physical,
}

impl MemoryGround {
    /// A host with the interfaces of a file; without one, with none.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn open(file: Option<&Path>) -> Result<Self, ApiError> {
        let Some(path) = file else { return Ok(Self::default()) };
        let fail = |e: &dyn std::fmt::Display| {
            ApiError::new(Code::IoFailed, format!("Inventory {} cannot be used: {e}.", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
        let value = document::yaml_value(&text).map_err(|(_, message)| fail(&message))?;
        let file: HostFile = document::object(&value, "inventory").map_err(|p| fail(&p.message))?;
        let (mut inventory, mut drivers, mut masters) =
            (Inventory::default(), BTreeMap::new(), BTreeMap::new());
        for mut line in file.devices {
            let name = line.name.clone();
            drivers.extend(line.refuses_xdp.take().map(|why| (name.clone(), why)));
            masters.extend(line.master.clone().map(|master| (name.clone(), master)));
            inventory.devices.insert(name, line.device().map_err(|e| fail(&e))?);
        }
        Ok(Self { inventory, drivers, masters, datapath: Memory::default() })
    }
}

impl DeviceLine {
    fn device(self) -> Result<Device, String> {
        let mac = match &self.mac {
            Some(text) => parse_mac(text).map_err(|e| e.message)?,
            None => Mac([2, 0, 0, 0, (self.ifindex >> 8) as u8, self.ifindex as u8]),
        };
        let kind = match self.kind {
            Kind::Tap => DeviceKind::Tap { vnet_header: true },
            Kind::Veth => DeviceKind::Veth,
            Kind::Bridge => DeviceKind::Bridge { vlan_filtering: false },
            Kind::Physical => DeviceKind::Physical,
        };
        Ok(Device {
            ifindex: self.ifindex,
            kind,
            mac,
            mtu: 1500,
            is_up: true,
            addresses: self.addresses,
            master: self.master,
            native_xdp: self.native_xdp,
            is_own: false,
            xdp_refused: None,
        })
    }
}

impl Ground for MemoryGround {
    fn inventory(&mut self, _networks: &[&str]) -> Result<Inventory, ApiError> {
        Ok(self.inventory.clone())
    }

    fn sockets(&self) -> Vec<Socket> {
        Vec::new()
    }

    fn prepare(&mut self, wanted: &Wanted) -> Result<(), ApiError> {
        let device = |(port, ifindex): (&HostPort, u32)| {
            let device = Device {
                ifindex,
                kind: DeviceKind::Veth,
                mac: port.mac,
                mtu: port.mtu,
                is_up: true,
                addresses: port.gateways.clone(),
                master: None,
                native_xdp: false,
                is_own: false,
                xdp_refused: None,
            };
            (port.network.clone(), device)
        };
        for (name, device) in &mut self.inventory.devices {
            let master = self.masters.get(name).filter(|_| !wanted.taken_over.contains(name));
            device.master = master.cloned();
        }
        self.inventory.host_ports = wanted.host_ports.iter().zip(FIRST_HOST_PORT..).map(device).collect();
        Ok(())
    }

    fn attach(&mut self, ports: &BTreeMap<PortId, Attachment>) -> Vec<(u32, ApiError)> {
        let mut errors = Vec::new();
        for port in ports.values().filter(|port| port.programs.xdp) {
            let Some(reason) = self.drivers.get(&port.device) else { continue };
            let error =
                datapath::Error::DriverRefused { device: port.device.clone(), reason: reason.clone() };
            errors.push((port.ifindex, of_datapath(&error)));
            if let Some(device) = self.inventory.devices.get_mut(&port.device) {
                device.xdp_refused = Some(reason.clone());
            }
        }
        errors
    }

    fn greet(&self, _: &[Greeting<'_>]) -> Vec<ApiError> {
        Vec::new()
    }

    fn apply(&mut self, plan: &[MapOp]) -> Result<(), ApiError> {
        let Ok(()) = self.datapath.apply(plan);
        Ok(())
    }

    fn end_flows(&mut self, _commands: &[Command]) -> Result<u64, ApiError> {
        Ok(0)
    }

    fn tables(&self) -> Result<Tables, ApiError> {
        let Ok(tables) = self.datapath.tables();
        Ok(tables)
    }

    fn tear_down(self: Box<Self>) -> Result<(), ApiError> {
        Ok(())
    }
}
