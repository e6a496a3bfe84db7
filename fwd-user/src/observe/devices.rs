//! What the kernel's devices count themselves: frames that were sent to them, and those that they refused after fwd had
//! handed them over.

use std::{collections::HashMap, io};

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, Stats64};

/// A device's own counters, of the frames sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_dropped: u64,
    pub tx_errors: u64,
}

/// Counters of all devices of this network namespace, by ifindex.
///
/// # Errors
/// What netlink says.
pub async fn read(handle: &rtnetlink::Handle) -> io::Result<HashMap<u32, DeviceCounters>> {
    let mut links = handle.link().get().execute();
    let mut devices = HashMap::new();
    while let Some(link) = links.try_next().await.map_err(io::Error::other)? {
        if let Some(counters) = counters_of(&link) {
            devices.insert(link.header.index, counters);
        }
    }
    Ok(devices)
}

fn counters_of(link: &LinkMessage) -> Option<DeviceCounters> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => {
            let Stats64 { tx_packets, tx_bytes, tx_dropped, tx_errors, .. } = *stats;
            Some(DeviceCounters { tx_packets, tx_bytes, tx_dropped, tx_errors })
        }
        _ => None,
    })
}
