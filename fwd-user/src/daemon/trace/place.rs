//! Where a traced packet comes in, and the MACs that it has there.

use std::net::{IpAddr, Ipv4Addr};

use fwd_common::{
    addr::{Ip, Mac},
    id::PortId,
    neighbor::NetworkAddress,
    port::{Port, PortKind, flag},
};

use crate::{
    api::{
        error::{ApiError, Code},
        spec::Network,
        text::{IpPacket, PacketText},
    },
    daemon::{failure::of_datapath, world::World},
    datapath::{Key, Point, Tracer},
    observe::View,
};

/// Where any uplink is meant.
const OUTSIDE: &str = "outside";
/// Somebody of whom nothing is known: a router outside, a guest that was not seen yet.
const STRANGER: Mac = Mac([0x02, 0, 0, 0, 0, 1]);

/// The port on which a packet comes in.
#[derive(Clone, Copy)]
pub struct Place {
    pub id: PortId,
    pub row: Port,
}

impl Place {
    /// By a port's name, or that of an uplink; `outside` is the uplink on which such a packet would come.
    ///
    /// # Errors
    /// There is no such port, or it has no device.
    pub fn of(world: &World, view: &View<'_>, name: &str, packet: &PacketText) -> Result<Self, ApiError> {
        let id = match name {
            OUTSIDE => uplink(world, view, packet)?,
            _ => view.names.port_id(name).ok_or_else(|| {
                ApiError::new(Code::NoSuchObject, format!("There is no port {name}."))
                    .about(format!("port {name}"))
                    .hint("List them: fwd port list; or say outside, an uplink's device, or host:NETWORK.")
            })?,
        };
        let row = view.port(id);
        if row.ifindex == 0 {
            let name = view.names.port(id).unwrap_or_default();
            let message = format!("Port {name} has no device, so nothing comes in there.");
            let hint = format!("See why: fwd port show {name}.");
            return Err(ApiError::new(Code::NoSuchDevice, message).about(format!("port {name}")).hint(hint));
        }
        Ok(Self { id, row })
    }

    /// The program that sees a frame first.
    pub const fn point(&self) -> Point {
        if self.row.has(flag::INTO) {
            Point::Egress
        } else if self.row.has(flag::XDP) {
            Point::Xdp
        } else {
            Point::Ingress
        }
    }

    /// The MACs of a packet: those it says, those of its live flow, else those that its sender would use.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn macs(
        &self,
        (world, tracer): (&World, &Tracer),
        packet: &IpPacket,
        key: &Key,
    ) -> Result<(Mac, Mac), ApiError> {
        let (from, to) = tracer.macs(key).map_err(|e| of_datapath(&e))?;
        let from = match packet.from.or(from) {
            Some(mac) => mac,
            None => self.own_mac(tracer)?,
        };
        let to = match packet.to.or(to) {
            Some(mac) => mac,
            None => self.next_mac(world, tracer, packet.destination)?,
        };
        Ok((from, to))
    }

    fn own_mac(&self, tracer: &Tracer) -> Result<Mac, ApiError> {
        if self.row.is(PortKind::Uplink) {
            return Ok(if self.row.has(flag::TUNNEL) { Mac::OF_TUNNEL } else { STRANGER });
        }
        if self.row.mac != Mac::NONE {
            return Ok(self.row.mac);
        }
        let seen = tracer.seen_mac(self.id).map_err(|e| of_datapath(&e))?;
        Ok(seen.unwrap_or(STRANGER))
    }

    fn next_mac(&self, world: &World, tracer: &Tracer, to: IpAddr) -> Result<Mac, ApiError> {
        if let Some(mac) = group_mac(world, to) {
            return Ok(mac);
        }
        let address = NetworkAddress { addr: Ip::from(to), network: self.row.network, _pad: 0 };
        if let Some(neighbor) = tracer.neighbor(&address).map_err(|e| of_datapath(&e))? {
            return Ok(neighbor.mac);
        }
        if self.row.gateway_mac != Mac::NONE {
            return Ok(self.row.gateway_mac);
        }
        let mut devices = world.inventory.devices.values();
        let owner = devices.find(|device| device.addresses.iter().any(|own| own.addr() == to));
        Ok(owner.map_or(STRANGER, |device| device.mac))
    }
}

/// The uplink on which a packet comes: the one that has its destination, the one that bridges it, the one in
/// whose subnet its source is, else the first one.
fn uplink(world: &World, view: &View<'_>, packet: &PacketText) -> Result<PortId, ApiError> {
    let uplinks = world.desired.document.uplinks.iter();
    let ids = uplinks.filter_map(|uplink| {
        let device = world.inventory.devices.get(&uplink.device);
        Some((*world.desired.numbers.uplinks.get(&uplink.device)?, device))
    });
    let ids: Vec<_> = ids.filter(|(id, _)| view.port(*id).ifindex != 0).collect();
    let first = ids.first().map(|(id, _)| *id);
    let none = || {
        ApiError::new(Code::NoSuchDevice, "There is no uplink, so nothing comes from outside.")
            .hint("Add one: fwd uplink add DEVICE.")
    };
    let chosen = match packet {
        PacketText::Frame(frame) => {
            let to = Mac([frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]]);
            ids.iter().find(|(_, device)| device.is_some_and(|device| device.mac == to)).map(|(id, _)| *id)
        }
        PacketText::Ip(packet) => {
            let with = |wanted: &dyn Fn(&ipnet::IpNet) -> bool| {
                let mut ids = ids.iter();
                let has = ids.find(|(_, device)| device.is_some_and(|d| d.addresses.iter().any(wanted)));
                has.map(|(id, _)| *id)
            };
            let bridged = || {
                let tables = &world.compiled.tables.neighbors;
                let is_there = |network| {
                    tables.contains_key(&NetworkAddress { addr: packet.destination.into(), network, _pad: 0 })
                };
                let bridges =
                    |id: PortId| view.port(id).has(flag::BRIDGED) && is_there(view.port(id).network);
                ids.iter().map(|(id, _)| *id).find(|id| bridges(*id))
            };
            with(&|net| net.addr() == packet.destination)
                .or_else(bridged)
                .or_else(|| with(&|net| net.contains(&packet.source)))
        }
    };
    chosen.or(first).ok_or_else(none)
}

/// The MAC of a group of hosts (RFC 1112, 6.4; RFC 2464, 7); none of one host.
fn group_mac(world: &World, to: IpAddr) -> Option<Mac> {
    const ALL: Mac = Mac([0xff; 6]);
    match to {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(ALL),
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some(Mac([0x01, 0, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        IpAddr::V4(_) => {
            let mut subnets =
                world.desired.document.networks.iter().flat_map(|network: &Network| &network.subnets);
            let is_directed = |net: &ipnet::IpNet| net.prefix_len() < 31 && net.broadcast() == to;
            subnets.any(is_directed).then_some(ALL)
        }
        IpAddr::V6(_) => None,
    }
}
