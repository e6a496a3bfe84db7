//! Networks: what each mode needs and what it cannot have, gateways, MTUs, uplinks.

use std::collections::BTreeMap;

use fwd_common::network::MAX_MEMBERS;
use ipnet::IpNet;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Mode, Network, Uplink},
};

use super::{Reporter, services};

/// IPv6 needs 1280 (RFC 8200, 5); above 9216 no common NIC goes.
const MTUS: std::ops::RangeInclusive<u16> = 1280..=9216;

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    for (index, network) in document.networks.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Network, index, &network.name);
        check_mode(&mut report, network);
        check_gateways(&mut report, network);
        services::check(&mut report, network);
        check_uplink(&mut report, network, document);
        if !MTUS.contains(&network.mtu) {
            report.add(
                "mtu",
                Code::BadValue,
                format_args!("an MTU of {} is not possible", network.mtu),
                format!("Choose one from {} to {}.", MTUS.start(), MTUS.end()),
            );
        }
        let members = document.ports.iter().filter(|p| p.network == network.name).count();
        if members > usize::from(MAX_MEMBERS) {
            report.add(
                "",
                Code::TooMany,
                format_args!("it has {members} ports, and a network has room for {MAX_MEMBERS}"),
                "Spread the ports over several networks.",
            );
        }
    }
    check_shared_uplinks(document, out);
}

fn check_mode(report: &mut Reporter<'_>, network: &Network) {
    if network.private && network.mode == Mode::Routed {
        report.add(
            "private",
            Code::BadNetwork,
            "addresses that are routed cannot repeat elsewhere",
            "Leave --private out, or use mode nat.",
        );
    }
    if network.nat66.is_some() && network.mode != Mode::Nat {
        report.add(
            "nat66",
            Code::BadNetwork,
            "only a nat network translates",
            "Leave --nat66 out, or use mode nat.",
        );
    }
    if network.nat66 == Some(false) && network.private {
        report.add(
            "nat66",
            Code::BadNetwork,
            "addresses that are routed cannot repeat elsewhere",
            "Leave --private or --nat66 off out.",
        );
    }
    if network.has_gateway() && network.subnets.is_empty() {
        report.add(
            "subnets",
            Code::BadNetwork,
            "it has no subnet, so its gateway has no address",
            "Give it one: --subnet 10.10.0.0/24.",
        );
    }
    if network.private && network.mode == Mode::Bridge {
        report.add(
            "private",
            Code::BadNetwork,
            "a bridge network shares the addresses of its uplink and cannot be private",
            "Leave --private out, or use mode nat.",
        );
    }
}

fn check_gateways(report: &mut Reporter<'_>, network: &Network) {
    if network.gateways.is_empty() {
        return;
    }
    if !network.has_gateway() {
        let mode = if network.mode == Mode::Bridge { "a bridge" } else { "an isolated" };
        report.add(
            "gateways",
            Code::BadNetwork,
            format_args!("in {mode} network this host is no gateway"),
            "Leave --gateway out.",
        );
        return;
    }
    for (index, gateway) in network.gateways.iter().enumerate() {
        let field = format!("gateways/{index}");
        let subnet = network.subnets.iter().find(|s| s.contains(gateway));
        let Some(subnet) = subnet else {
            report.add(
                &field,
                Code::BadGateway,
                format_args!("the gateway {gateway} is in none of its subnets"),
                "Choose a host address of a subnet.",
            );
            continue;
        };
        if is_edge(*subnet, *gateway) {
            report.add(
                &field,
                Code::BadGateway,
                format_args!("the gateway {gateway} is the first or last address of {subnet}"),
                "Choose a host address of the subnet.",
            );
        }
        if network.gateways[..index].iter().any(|g| subnet.contains(g)) {
            report.add(
                &field,
                Code::BadGateway,
                format_args!("the subnet {subnet} has two gateways"),
                "Give one for each subnet.",
            );
        }
    }
}

/// Network or broadcast address (IPv4), or the subnet-router anycast address (IPv6, RFC 4291, 2.6.1).
pub(super) fn is_edge(subnet: IpNet, addr: std::net::IpAddr) -> bool {
    addr == subnet.network() || (addr.is_ipv4() && addr == subnet.broadcast())
}

fn check_uplink(report: &mut Reporter<'_>, network: &Network, document: &Document) {
    match (&network.uplink, network.mode) {
        (None, Mode::Bridge) => report.add(
            "uplink",
            Code::BadNetwork,
            "a bridge network needs an uplink to be bridged to",
            "Name one: --uplink eth0; or use mode isolated.",
        ),
        (Some(_), Mode::Host | Mode::Isolated) => report.add(
            "uplink",
            Code::BadNetwork,
            "a network of this mode has no way outside",
            "Leave --uplink out, or use mode nat or bridge.",
        ),
        (Some(uplink), _) if document.find::<Uplink>(uplink).is_none() => report.add(
            "uplink",
            Code::UnknownReference,
            format_args!("there is no uplink {uplink}"),
            format!("Add it first: fwd uplink add {uplink}."),
        ),
        _ => {}
    }
}

/// An uplink is part of one bridge network, or serves any number of translated ones.
fn check_shared_uplinks(document: &Document, out: &mut Vec<Problem>) {
    let mut users: BTreeMap<&str, &Network> = BTreeMap::new();
    for (index, network) in document.networks.iter().enumerate() {
        let Some(uplink) = &network.uplink else { continue };
        let Some(first) = users.get(uplink.as_str()) else {
            users.insert(uplink, network);
            continue;
        };
        if first.mode == Mode::Bridge || network.mode == Mode::Bridge {
            Reporter::new(out, Noun::Network, index, &network.name).add(
                "uplink",
                Code::BadNetwork,
                format_args!("the uplink {uplink} is used by network {} already", first.name),
                "An uplink is part of one bridge network, or serves networks that translate: use another.",
            );
        }
    }
}
