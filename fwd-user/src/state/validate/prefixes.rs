//! Translated prefixes: of their network, and no address means two things.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use crate::api::{
    error::Code,
    spec::{Document, Nat, Network, Port},
    text::PrefixPair,
};

use super::Reporter;

pub(super) fn check(report: &mut Reporter<'_>, nat: &Nat, document: &Document) {
    let Some(text) = &nat.prefix else { return };
    let pair: PrefixPair = match text.parse() {
        Ok(pair) => pair,
        Err(error) => return report.text("prefix", Code::BadValue, error),
    };
    let Some(network) = nat.network.as_ref().and_then(|name| document.find::<Network>(name)) else { return };
    let is_of_network = |subnet: &&IpNet| matches!(subnet, IpNet::V6(net) if pair.inside.contains(net));
    if !network.subnets.iter().any(|subnet| is_of_network(&subnet)) {
        let subnets: Vec<_> =
            network.subnets.iter().filter(|s| s.addr().is_ipv6()).map(IpNet::to_string).collect();
        let hint = match subnets.as_slice() {
            [] => {
                format!("Give the network a subnet of IPv6: fwd network set {} --subnet CIDR.", network.name)
            }
            subnets => format!("Name one of its subnets, or a prefix around it: {}.", subnets.join(", ")),
        };
        let clause = format_args!("no subnet of network {} is in {}", network.name, pair.inside);
        report.add("prefix", Code::BadNat, clause, hint);
    }
    let subnets = document.networks.iter().filter(|other| !other.private || other.name == network.name);
    let mut subnets = subnets.flat_map(|other| other.subnets.iter().map(move |subnet| (other, *subnet)));
    if let Some((other, subnet)) = subnets.find(|(_, subnet)| overlaps(pair.outside, *subnet)) {
        let clause = format_args!("{} overlaps {subnet} of network {}", pair.outside, other.name);
        report.add(
            "prefix",
            Code::NatClash,
            clause,
            "Choose an outside prefix that is on none of the networks.",
        );
    }
    check_others(report, nat, &pair, document);
}

/// What other translations have: their prefixes, and addresses that are one port's alone.
fn check_others(report: &mut Reporter<'_>, nat: &Nat, pair: &PrefixPair, document: &Document) {
    for other in &document.nats {
        if std::ptr::eq(other, nat) {
            return;
        }
        let Some(theirs) = other.prefixes() else { continue };
        let is_inside = other.network == nat.network && overlaps(pair.inside, theirs.inside.into());
        if is_inside || overlaps(pair.outside, theirs.outside.into()) {
            let (own, theirs) =
                if is_inside { (pair.inside, theirs.inside) } else { (pair.outside, theirs.outside) };
            report.add(
                "prefix",
                Code::NatClash,
                format_args!("{own} overlaps {theirs} of nat {}", other.name),
                format!("Choose another prefix, or delete that one first: fwd nat delete {}.", other.name),
            );
        }
    }
}

/// An address of one port is not the counterpart of another one's, and a port has one of the two.
pub(super) fn check_pair(report: &mut Reporter<'_>, (addr, port): (IpAddr, &Port), document: &Document) {
    for other in &document.nats {
        let Some(prefixes) = other.prefixes() else { continue };
        let is_of_network = addr.is_ipv6() && other.network.as_ref() == Some(&port.network);
        if is_of_network || overlaps(prefixes.outside, addr.into()) {
            report.add(
                "one_to_one",
                Code::NatClash,
                format_args!("nat {} gives all of {} to a network", other.name, prefixes.outside),
                format!("Leave one of the two out: fwd nat delete {}.", other.name),
            );
        }
    }
}

fn overlaps(a: Ipv6Net, b: IpNet) -> bool {
    matches!(b, IpNet::V6(b) if a.contains(&b) || b.contains(&a))
}
