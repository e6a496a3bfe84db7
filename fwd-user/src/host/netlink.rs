//! The kernel's interfaces, addresses, routes and neighbors: a snapshot on request, and what changed since.
//!
//! Guarantees: only the network namespace of the thread that connected is seen; a change that the kernel
//! reports after [`connect`] is never missed in silence: when messages were lost, everything counts as
//! changed. Deliberately not here: what a change means for ports, which the daemon knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures::{StreamExt, TryStreamExt, channel::mpsc::UnboundedReceiver};
use ipnet::IpNet;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::AddressAttribute,
    link::{LinkFlags, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteFlags, RouteMessage},
};
use netlink_sys::{AsyncSocket, SocketAddr};
use rtnetlink::{Handle, MulticastGroup};
use tokio::time::{Duration, timeout};

use super::{
    error::{Error, Result, cause},
    link,
};
use crate::host::Device;

/// Groups whose changes are followed.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// Room for a burst, such as a full routing table; what exceeds it is lost, and told.
const RECEIVE_BYTES: usize = 8 << 20;
/// Changes come in bursts: one is waited out so long.
const QUIET: Duration = Duration::from_millis(3);
/// But nothing waits longer than for so many messages.
const BURST: usize = 4096;

/// Asks the kernel, and changes interfaces.
#[derive(Clone, Debug)]
pub struct Netlink {
    pub(super) handle: Handle,
}

/// Says what changed.
#[derive(Debug)]
pub struct Follower {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    neighbors: BTreeMap<(u32, IpAddr), Option<Vec<u8>>>,
    /// Whether a device has its carrier, where it was told.
    carriers: BTreeMap<u32, bool>,
}

/// What changed in a burst.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces or their addresses: take a new inventory.
    pub devices: bool,
    /// Routes or routing rules: flows that were routed are to be decided anew.
    pub routes: bool,
    /// Ifindexes of devices behind which a next hop has another MAC, or none any more.
    pub neighbors: BTreeSet<u32>,
}

/// Connects to the kernel in this thread's network namespace; needs a tokio runtime.
///
/// # Errors
/// If no socket can be made.
pub fn connect() -> Result<(Netlink, Follower)> {
    let failed = |action| move |source| Error::Netlink { action, source };
    let (mut connection, handle, messages) =
        rtnetlink::new_multicast_connection(&GROUPS).map_err(failed("subscribing"))?;
    let socket = connection.socket_mut().socket_mut();
    socket.set_rx_buf_sz(RECEIVE_BYTES).map_err(failed("setting the buffer"))?;
    tokio::spawn(connection);
    Ok((Netlink { handle }, Follower { messages, neighbors: BTreeMap::new(), carriers: BTreeMap::new() }))
}

/// Connects likewise, without following what changes.
///
/// # Errors
/// If no socket can be made.
pub(super) fn connect_only() -> Result<Netlink> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|source| Error::Netlink { action: "connecting", source })?;
    tokio::spawn(connection);
    Ok(Netlink { handle })
}

impl Netlink {
    /// The namespace's interfaces by name.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn devices(&self) -> Result<BTreeMap<String, Device>> {
        let links = self.links().await?;
        let addresses = self.addresses().await?;
        let names: BTreeMap<u32, String> =
            links.iter().filter_map(|message| Some((message.header.index, link::name(message)?))).collect();
        let devices = links.iter().filter_map(|message| {
            let name = names.get(&message.header.index)?.clone();
            let own = addresses.get(&message.header.index).cloned().unwrap_or_default();
            Some((name, link::device(message, own, &names)))
        });
        Ok(devices.collect())
    }

    pub(super) async fn links(&self) -> Result<Vec<LinkMessage>> {
        self.handle.link().get().execute().try_collect().await.map_err(failed_list)
    }

    /// The interface of this name, if there is one.
    pub(super) async fn find(&self, name: &str) -> Result<Option<LinkMessage>> {
        Ok(self.links().await?.into_iter().find(|message| link::name(message).as_deref() == Some(name)))
    }

    pub(super) async fn change(&self, device: &str, message: LinkMessage) -> Result<()> {
        self.handle.link().change(message).execute().await.map_err(|e| Error::Device {
            device: device.to_owned(),
            action: "changing it",
            source: cause(e),
        })
    }

    pub(super) async fn delete(&self, device: &str, ifindex: u32) -> Result<()> {
        self.handle.link().del(ifindex).execute().await.map_err(|e| Error::Device {
            device: device.to_owned(),
            action: "deleting it",
            source: cause(e),
        })
    }

    async fn addresses(&self) -> Result<BTreeMap<u32, Vec<IpNet>>> {
        let mut all: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
        let mut messages = self.handle.address().get().execute();
        while let Some(message) = messages.try_next().await.map_err(failed_list)? {
            // Of a point-to-point link, Address is the peer and Local is the own one.
            let mut own = None;
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(address) => own = Some(*address),
                    AddressAttribute::Address(address) => own = own.or(Some(*address)),
                    _ => {}
                }
            }
            let network = own.and_then(|address| IpNet::new(address, message.header.prefix_len).ok());
            all.entry(message.header.index).or_default().extend(network);
        }
        for networks in all.values_mut() {
            networks.sort();
        }
        Ok(all)
    }
}

fn failed_list(error: rtnetlink::Error) -> Error {
    Error::Netlink { action: "listing interfaces", source: cause(error) }
}

impl Follower {
    /// Waits for the next burst of changes that matter; `None` when the connection ended.
    pub async fn next(&mut self) -> Option<Changes> {
        let mut changes = Changes::default();
        while changes == Changes::default() {
            let (message, _) = self.messages.next().await?;
            self.note(message, &mut changes);
        }
        for _ in 0..BURST {
            match timeout(QUIET, self.messages.next()).await {
                Ok(Some((message, _))) => self.note(message, &mut changes),
                Ok(None) | Err(_) => break,
            }
        }
        Some(changes)
    }

    fn note(&mut self, message: NetlinkMessage<RouteNetlinkMessage>, changes: &mut Changes) {
        use RouteNetlinkMessage as M;
        match message.payload {
            NetlinkPayload::InnerMessage(message) => match message {
                M::NewLink(link) => {
                    changes.devices = true;
                    changes.routes |= self.note_carrier(&link);
                }
                M::DelLink(link) => {
                    changes.devices = true;
                    self.carriers.remove(&link.header.index);
                }
                M::NewAddress(_) | M::DelAddress(_) => changes.devices = true,
                M::NewRoute(route) | M::DelRoute(route) => changes.routes |= is_shared(&route),
                M::NewRule(_) | M::DelRule(_) => changes.routes = true,
                M::NewNeighbour(neighbor) => {
                    let mac = mac_of(&neighbor);
                    self.note_neighbor(&neighbor, mac, changes);
                }
                M::DelNeighbour(neighbor) => self.note_neighbor(&neighbor, None, changes),
                _ => {}
            },
            // The kernel had more to say than the socket could hold.
            NetlinkPayload::Overrun(_) => {
                changes.devices = true;
                changes.routes = true;
            }
            _ => {}
        }
    }

    /// Whether a device's carrier came or went: the kernel may prefer another route without telling so.
    fn note_carrier(&mut self, link: &LinkMessage) -> bool {
        let has_carrier = link.header.flags.contains(LinkFlags::LowerUp);
        self.carriers.insert(link.header.index, has_carrier).is_some_and(|had| had != has_carrier)
    }

    /// A MAC that was there and is another one or none now is a change. One that was found is not: flows
    /// whose next hop had none are decided packet by packet.
    fn note_neighbor(&mut self, neighbor: &NeighbourMessage, mac: Option<Vec<u8>>, changes: &mut Changes) {
        let address = neighbor.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        });
        let Some(address) = address else { return };
        let key = (neighbor.header.ifindex, address);
        let before = match &mac {
            Some(_) => self.neighbors.insert(key, mac.clone()),
            None => self.neighbors.remove(&key),
        };
        if before.is_some_and(|before| before != mac) {
            changes.neighbors.insert(neighbor.header.ifindex);
        }
    }
}

/// Whether a route is one of the tables, and not a cached answer.
fn is_shared(route: &RouteMessage) -> bool {
    !route.header.flags.contains(RouteFlags::Cloned) && route.header.table != libc::RT_TABLE_LOCAL
}

fn mac_of(neighbor: &NeighbourMessage) -> Option<Vec<u8>> {
    use NeighbourState as S;
    let is_valid = matches!(
        neighbor.header.state,
        S::Reachable | S::Stale | S::Delay | S::Probe | S::Permanent | S::Noarp
    );
    neighbor.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) if is_valid => Some(mac.clone()),
        _ => None,
    })
}
