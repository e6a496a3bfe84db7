//! Addresses: whether guests and uplinks have them, and whether others claim them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Seen, finding};
use crate::api::{
    diagnosis::{Finding, Step},
    spec::{Mode, Network, Port},
    status::DuplicateAddress,
    text::Listen,
};

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let mut out: Vec<_> =
        seen.ports().filter_map(|(port, network)| no_address(seen, port, network)).collect();
    out.extend(seen.document().networks.iter().filter_map(|network| uplink_without(seen, network)));
    let forwards = seen.document().forwards.iter();
    out.extend(forwards.filter_map(|forward| not_ours(seen, &forward.name)));
    out.extend(lies(seen));
    out.extend(seen.duplicates.iter().map(duplicate));
    let uplinks = seen.document().uplinks.iter();
    out.extend(uplinks.flat_map(|uplink| doubled(seen, &uplink.device)));
    out
}

/// Addresses of an uplink that others on its link have.
fn doubled(seen: &Seen<'_>, device: &str) -> Vec<Finding> {
    let own = seen.survey.doubled.iter().filter(|(of, _)| of == device);
    let said = |(_, addr): &(String, IpAddr)| {
        finding(
            Step::Address,
            "doubled_address",
            &format!("uplink {device}"),
            format_args!("another machine on its link has {addr} too, so this host does not use it."),
            format!("Give one of them another address: ip address del {addr} dev {device}."),
        )
    };
    own.map(said).collect()
}

/// Two machines with one address (RFC 5227).
fn duplicate(found: &DuplicateAddress) -> Finding {
    let DuplicateAddress { network, addr, owner, other, ago_secs } = found;
    finding(
        Step::Address,
        "duplicate_address",
        &format!("network {network}"),
        format_args!(
            "two machines use {addr}: {} (port {}) has it, and {} (port {}) said so too {ago_secs} s ago.",
            owner.mac, owner.port, other.mac, other.port
        ),
        "Give one of them another address.",
    )
}

/// A port without any address that fwd knows of: nothing leads to it.
pub(super) fn no_address(seen: &Seen<'_>, port: &Port, network: &Network) -> Option<Finding> {
    if !seen.is_connected(port) || !addresses(seen, port).is_empty() {
        return None;
    }
    let id = seen.desired.numbers.ports.get(&port.name)?;
    let object = format!("port {}", port.name);
    let serves = !network.dhcp_ranges().is_empty();
    let full = full(seen, network);
    let (found, remedy) = match (seen.mute.contains(id), serves, network.mode) {
        (false, true, _) if full.is_some() => (
            format!(
                "it has no address, and DHCP none to give: all of {} are taken.",
                full.unwrap_or_default()
            ),
            format!(
                "Widen the range: fwd network set {0} --dhcp FIRST-LAST. See who has them: fwd network leases {0}.",
                network.name
            ),
        ),
        (true, ..) => (
            "it has no address, and its guest has sent nothing yet.".to_owned(),
            "Start the guest, and look at its interface.".to_owned(),
        ),
        (false, _, Mode::Bridge) => (
            "it has no address: its guest has got no lease from outside, and uses none of its own."
                .to_owned(),
            "Look at the DHCP server outside, or configure the guest.".to_owned(),
        ),
        (false, true, _) => (
            format!("it has no address: its guest has got no lease in network {}.", network.name),
            format!(
                "Have the guest ask for one (DHCP), or give it one: fwd port set {} --ip ADDR. \
                 See what there is: fwd network leases {}.",
                port.name, network.name
            ),
        ),
        (false, false, _) => (
            format!("it has no address, and network {} has no DHCP.", network.name),
            format!("Give it one: fwd port set {} --ip ADDR; and configure the guest.", port.name),
        ),
    };
    Some(finding(Step::Address, "no_lease", &object, found, remedy))
}

/// The ranges of IPv4 that a network gives out, if every address of them is taken.
fn full(seen: &Seen<'_>, network: &Network) -> Option<String> {
    let ranges: Vec<_> = network.dhcp_ranges().into_iter().map(|one| one.range).collect();
    let ranges: Vec<_> = ranges.into_iter().filter(|range| range.first.is_ipv4()).collect();
    let number = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(_) => u64::MAX,
    };
    let size: u64 = ranges.iter().map(|range| number(range.last) - number(range.first) + 1).sum();
    let id = *seen.desired.numbers.networks.get(&network.name)?;
    let leased = seen.inventory.leases(&network.name, id).map(|lease| lease.addr);
    let ports = seen.document().ports.iter().filter(|port| port.network == network.name);
    let own = ports.flat_map(|port| port.ips.iter().copied());
    let gateways = network.gateway_nets().into_iter().map(|net| net.addr());
    let is_in = |addr: &IpAddr| ranges.iter().any(|range| (range.first..=range.last).contains(addr));
    let taken: BTreeSet<IpAddr> = leased.chain(own).chain(gateways).filter(is_in).collect();
    let texts: Vec<_> = ranges.iter().map(ToString::to_string).collect();
    (size > 0 && taken.len() as u64 >= size).then(|| texts.join(", "))
}

/// The addresses for which a port's guest ought to answer now.
pub fn expected(seen: &Seen<'_>, port: &Port) -> Vec<IpAddr> {
    if seen.is_connected(port) { addresses(seen, port) } else { Vec::new() }
}

/// Those configured, else those leased or seen, but for link-local ones.
pub(super) fn addresses(seen: &Seen<'_>, port: &Port) -> Vec<IpAddr> {
    if !port.ips.is_empty() {
        return port.ips.clone();
    }
    let Some(id) = seen.desired.numbers.ports.get(&port.name) else { return Vec::new() };
    let is_global = |addr: &IpAddr| match addr {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    let rows = seen.compiled.tables.neighbors.iter().filter(|(_, row)| row.port == *id);
    let compiled = rows.map(|(key, _)| key.addr.to_std());
    let learnt = seen.inventory.learnt.iter().filter(|learnt| learnt.port == *id);
    let mut all: Vec<_> = compiled.chain(learnt.filter_map(|learnt| learnt.addr)).filter(is_global).collect();
    all.sort();
    all.dedup();
    all
}

/// NAT needs an address to translate to.
fn uplink_without(seen: &Seen<'_>, network: &Network) -> Option<Finding> {
    let device = network.uplink.as_ref().filter(|_| network.mode == Mode::Nat)?;
    let has_v4 = seen.device(device)?.addresses.iter().any(|net| net.addr().is_ipv4());
    let needs_v4 = network.subnets.iter().any(|subnet| subnet.addr().is_ipv4());
    (needs_v4 && !has_v4).then(|| {
        finding(
            Step::Address,
            "uplink_without_address",
            &format!("uplink {device}"),
            format_args!("it has no IPv4 address, so network {} has none to translate to.", network.name),
            format!("Give the host one: ip address add ADDR/LEN dev {device}; or start its DHCP client."),
        )
    })
}

/// A forward that listens on an address which no uplink has.
pub(super) fn not_ours(seen: &Seen<'_>, forward: &str) -> Option<Finding> {
    let forward = seen.document().forwards.iter().find(|one| one.name == forward)?;
    let addr = forward.listen.parse::<Listen>().ok()?.addr?;
    let uplinks = &seen.document().uplinks;
    let devices = uplinks.iter().filter_map(|uplink| seen.device(&uplink.device));
    let is_own = devices.flat_map(|device| &device.addresses).any(|net| net.addr() == addr);
    let holder = seen.inventory.devices.iter().find(|(_, d)| d.addresses.iter().any(|n| n.addr() == addr));
    let (found, remedy) = match holder {
        _ if is_own => return None,
        Some((device, _)) => (
            format!("it listens on {addr}, an address of {device}, which is no uplink."),
            format!("Add it: fwd uplink add {device}; or listen on an uplink's address."),
        ),
        None => (
            format!("it listens on {addr}, which is on no uplink, so nobody sends packets for it here."),
            format!("Give it to an uplink: ip address add {addr} dev DEVICE; or listen on another address."),
        ),
    };
    Some(finding(Step::Address, "not_on_uplink", &format!("forward {}", forward.name), found, remedy))
}

/// What the source guard refused in the last minute.
fn lies(seen: &Seen<'_>) -> Vec<Finding> {
    const GUARD: [&str; 5] =
        ["source_mac_spoofed", "source_address_spoofed", "arp_spoofed", "nd_spoofed", "fdb_moved"];
    let mut by_port: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for drop in seen.drops.iter().filter(|drop| GUARD.contains(&drop.reason.as_str())) {
        let Some(port) = &drop.port else { continue };
        by_port.entry(port).or_default().push(format!("{} ({} packets)", drop.reason, drop.packets));
    }
    let said = |(port, reasons): (&str, Vec<String>)| {
        finding(
            Step::Address,
            "wrong_address",
            &format!("port {port}"),
            format_args!(
                "its guest uses a MAC or an address that is not its own, and is dropped for it: {}.",
                reasons.join(", ")
            ),
            format!(
                "Mend the guest, or tell fwd what it has: fwd port set {port} --mac MAC --ip ADDR. \
                 See what it sends: fwd drop watch --port {port}."
            ),
        )
    };
    by_port.into_iter().map(said).collect()
}
