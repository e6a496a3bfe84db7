//! Translations: each is of one kind, has its network or port, and takes nothing that another one has.

use std::{collections::HashMap, net::IpAddr};

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Mode, Nat, Network, Port},
    text::{Pair, check_cidr, parse_l4_range},
};

use super::{Reporter, ports::check_single, prefixes};

/// What only one translation may have.
#[derive(PartialEq, Eq, Hash)]
enum Claim<'a> {
    /// The address under which a network's flows of one family go out.
    Network(&'a str, bool),
    /// The address of a port in one family.
    Port(String, bool),
    /// An address that is one port's alone.
    Address(IpAddr),
}

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    let mut claims = HashMap::new();
    for (index, nat) in document.nats.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Nat, index, &nat.name);
        check_one(&mut report, nat, document);
        for (field, claim) in claimed(nat) {
            if let Some(other) = claims.insert(claim, nat.name.as_str()) {
                report.add(
                    field,
                    Code::NatClash,
                    format_args!("nat {other} has that address, network or port already"),
                    format!("Delete it first: fwd nat delete {other}."),
                );
            }
        }
    }
    check_shared(document, out);
}

fn claimed(nat: &Nat) -> Vec<(&'static str, Claim<'_>)> {
    if let Some(pair) = nat.pair() {
        let is_ipv4 = pair.addr.is_ipv4();
        return vec![
            ("one_to_one", Claim::Address(pair.addr)),
            ("one_to_one", Claim::Port(pair.port, is_ipv4)),
        ];
    }
    let network = nat.network.as_deref().zip(nat.address);
    network
        .map(|(network, address)| ("address", Claim::Network(network, address.is_ipv4())))
        .into_iter()
        .collect()
}

/// An address of one port is no network's.
fn check_shared(document: &Document, out: &mut Vec<Problem>) {
    let pairs = document.nats.iter().filter_map(|nat| Some((nat.pair()?.addr, nat.name.as_str())));
    let owners: HashMap<IpAddr, &str> = pairs.collect();
    for (index, nat) in document.nats.iter().enumerate() {
        if let Some(other) = nat.address.and_then(|addr| owners.get(&addr)) {
            Reporter::new(out, Noun::Nat, index, &nat.name).add(
                "address",
                Code::NatClash,
                format_args!("nat {other} gives that address to one port"),
                "Choose another address.",
            );
        }
    }
}

fn check_one(report: &mut Reporter<'_>, nat: &Nat, document: &Document) {
    let is_mapping = nat.endpoint_independent && nat.address.is_none();
    let kinds = [
        nat.address.is_some(),
        nat.one_to_one.is_some(),
        nat.exempt.is_some(),
        nat.prefix.is_some(),
        is_mapping,
    ];
    if kinds.iter().filter(|is_given| **is_given).count() != 1 {
        let hint = "Give one: --address ADDR, --one-to-one ADDR=PORT, --exempt CIDR, --prefix INSIDE=OUTSIDE, or \
                    --endpoint-independent with an address or alone.";
        return report.add("", Code::BadNat, "it is to be of one kind", hint);
    }
    check_network(report, nat, document);
    prefixes::check(report, nat, document);
    if let Some(text) = &nat.l4_ports {
        if nat.address.is_none() {
            let hint = "Leave it out, or give --address.";
            report.add("l4_ports", Code::BadNat, "only an address has a range of L4 ports", hint);
        } else if let Err(error) = parse_l4_range(text) {
            report.text("l4_ports", Code::BadValue, error);
        }
    }
    if let Some(addr) = nat.address {
        check_address(report, "address", addr);
    }
    if let Some(Err(error)) = nat.exempt.map(check_cidr) {
        report.text("exempt", Code::BadValue, error);
    }
    match nat.one_to_one.as_deref().map(str::parse::<Pair>) {
        Some(Ok(pair)) => check_pair(report, nat, &pair, document),
        Some(Err(error)) => report.text("one_to_one", Code::BadValue, error),
        None => {}
    }
}

fn check_network(report: &mut Reporter<'_>, nat: &Nat, document: &Document) {
    let Some(name) = &nat.network else {
        if nat.address.is_some() || nat.prefix.is_some() || nat.endpoint_independent {
            report.add("network", Code::BadNat, "its network is missing", "Name it: --network NETWORK.");
        }
        return;
    };
    let Some(network) = document.find::<Network>(name) else {
        return report.add(
            "network",
            Code::UnknownReference,
            format_args!("there is no network {name}"),
            format!("Add it first: fwd network add {name} --mode nat --subnet CIDR --uplink DEVICE."),
        );
    };
    if network.mode != Mode::Nat {
        let clause = format_args!("network {name} does not translate");
        return report.add("network", Code::BadNat, clause, "Name a network of mode nat.");
    }
    if nat.exempt.is_some() && network.private {
        report.add(
            "network",
            Code::BadNat,
            format_args!("the addresses of network {name} are private to it, and outside cannot answer them"),
            "Name a network that is not private.",
        );
    }
}

fn check_pair(report: &mut Reporter<'_>, nat: &Nat, pair: &Pair, document: &Document) {
    check_address(report, "one_to_one", pair.addr);
    let Some(port) = document.find::<Port>(&pair.port) else {
        return report.add(
            "one_to_one",
            Code::UnknownReference,
            format_args!("there is no port {}", pair.port),
            format!("Add it first: fwd port add {} --device TAP --network NETWORK.", pair.port),
        );
    };
    check_single(report, "one_to_one", port);
    prefixes::check_pair(report, (pair.addr, port), document);
    let is_nat = document.find::<Network>(&port.network).is_none_or(|network| network.mode == Mode::Nat);
    if !is_nat || nat.network.as_ref().is_some_and(|network| *network != port.network) {
        report.add(
            "one_to_one",
            Code::BadNat,
            format_args!("port {} is on network {}", port.name, port.network),
            "Name a port of a nat network, and that network or none.",
        );
    }
    if !port.ips.is_empty() && !port.ips.iter().any(|ip| ip.is_ipv4() == pair.addr.is_ipv4()) {
        report.add(
            "one_to_one",
            Code::BadNat,
            format_args!("port {} has no address of the family of {}", port.name, pair.addr),
            format!("Give the port one: fwd port set {} --ip ADDR.", port.name),
        );
    }
}

fn check_address(report: &mut Reporter<'_>, field: &str, addr: IpAddr) {
    let is_link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    if addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() || is_link_local {
        let clause = format_args!("outside cannot answer to {addr}");
        report.add(
            field,
            Code::BadNat,
            clause,
            "Choose an address of an uplink, or one routed to this host.",
        );
    }
}
