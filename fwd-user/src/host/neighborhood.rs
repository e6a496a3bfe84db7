//! Who answers ARP and neighbor discovery: the kernel asks, as it would for a packet, and tells what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::{
    error::{Error, Result, cause},
    namespace::Namespace,
    netlink::Netlink,
};

/// Addresses behind one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighborhood {
    pub device: String,
    /// None: this one.
    pub namespace: Option<String>,
    pub addresses: Vec<IpAddr>,
    /// This host's addresses elsewhere, from which they are to be reached as well: of each family at most one.
    pub outside: Vec<IpAddr>,
}

/// The kernel asks three times, a second apart.
const PATIENCE: Duration = Duration::from_millis(3500);
const PAUSE: Duration = Duration::from_millis(20);

/// What the kernel's cache says of one neighbor.
#[derive(Clone, Debug)]
struct Entry {
    state: NeighbourState,
    mac: Option<Vec<u8>>,
}

/// Asks everybody at once, and returns who does not answer. A device or a namespace that is not there has
/// nobody behind it.
pub(super) async fn silent(own: &Netlink, asked: &[Neighborhood]) -> Result<BTreeSet<IpAddr>> {
    let mut places = Vec::new();
    for place in asked {
        let netlink = match &place.namespace {
            None => own.clone(),
            Some(name) => match Namespace::open(name).and_then(|home| home.netlink()) {
                Ok(netlink) => netlink,
                Err(_) => continue,
            },
        };
        let Some(found) = netlink.find(&place.device).await? else { continue };
        let ifindex = found.header.index;
        ask(&netlink, ifindex, &place.addresses).await?;
        places.push((netlink, ifindex, &place.addresses));
    }
    let begun = Instant::now();
    loop {
        let mut silent = BTreeSet::new();
        for (netlink, ifindex, addresses) in &places {
            let known = entries(netlink, *ifindex).await?;
            silent.extend(addresses.iter().filter(|addr| !known.get(addr).is_some_and(has_answered)));
        }
        if silent.is_empty() || begun.elapsed() > PATIENCE {
            return Ok(silent);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for addresses, without waiting for answers.
pub(super) async fn ask(netlink: &Netlink, ifindex: u32, addresses: &[IpAddr]) -> Result<()> {
    let known = entries(netlink, ifindex).await?;
    for addr in addresses {
        // A refusal shows as silence.
        _ = solicit(netlink, ifindex, (*addr, known.get(addr))).await;
    }
    Ok(())
}

fn has_answered(entry: &Entry) -> bool {
    use NeighbourState as S;
    matches!(entry.state, S::Reachable | S::Permanent | S::Noarp)
}

/// Has the kernel ask now: a neighbor that it knows it would ask only seconds later.
async fn solicit(
    netlink: &Netlink,
    ifindex: u32,
    (addr, known): (IpAddr, Option<&Entry>),
) -> std::result::Result<(), rtnetlink::Error> {
    use NeighbourState as S;
    let request = netlink.handle.neighbours().add(ifindex, addr).replace();
    match known {
        Some(entry) if has_answered(entry) && entry.state != S::Reachable => Ok(()),
        Some(Entry { state: S::Stale | S::Delay | S::Reachable, mac: Some(mac) }) => {
            request.state(S::Probe).link_layer_address(mac).execute().await
        }
        _ => request.state(S::None).flags(NeighbourFlags::Use).execute().await,
    }
}

async fn entries(netlink: &Netlink, ifindex: u32) -> Result<BTreeMap<IpAddr, Entry>> {
    let failed = |e| Error::Netlink { action: "listing neighbors", source: cause(e) };
    let all: Vec<NeighbourMessage> =
        netlink.handle.neighbours().get().execute().try_collect().await.map_err(failed)?;
    Ok(all.iter().filter(|found| found.header.ifindex == ifindex).filter_map(entry).collect())
}

fn entry(found: &NeighbourMessage) -> Option<(IpAddr, Entry)> {
    let (mut addr, mut mac) = (None, None);
    for attribute in &found.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => addr = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => addr = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(bytes.clone()),
            _ => {}
        }
    }
    Some((addr?, Entry { state: found.header.state, mac }))
}
