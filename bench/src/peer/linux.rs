//! The kernel's own forwarding: router and bridge.

use anyhow::Result;

use super::{Standing, feed};
use crate::traffic::rig::{IN, OUT, Rig};
use crate::traffic::trip::Trip;

const BRIDGE: &str = "br0";

/// The kernel's router, no netfilter.
pub fn route(rig: &Rig, _: u32) -> Result<Standing> {
    rig.route()?;
    Ok(Standing::new(Trip::Route, ()))
}

/// The kernel's bridge.
pub fn bridge(rig: &Rig, _: u32) -> Result<Standing> {
    rig.host.bridge(BRIDGE);
    rig.host.enslave(IN, BRIDGE);
    rig.host.enslave(OUT, BRIDGE);
    rig.join();
    Ok(Standing::new(Trip::Bridge, ()))
}

/// The same with a filter between its ports. At priority 0 the chain would be skipped where br_netfilter is on.
pub fn filtered_bridge(rig: &Rig, flows: u32) -> Result<Standing> {
    let standing = bridge(rig, flows)?;
    feed(
        &rig.host,
        "nft",
        &["-f", "-"],
        "table bridge filter {
            chain forward {
                type filter hook forward priority -200; policy drop;
                ether type arp accept
                ip daddr 10.10.0.0/24 tcp dport { 80, 8080 } accept
                ip saddr 10.10.0.0/24 tcp sport { 80, 8080 } accept
                ip daddr 10.10.0.0/24 udp dport 80 accept
                ip saddr 10.10.0.0/24 udp sport 80 accept
                ip6 daddr fd00:10::/64 accept
                ip6 saddr fd00:10::/64 accept
            }
        }",
    )?;
    Ok(standing)
}
