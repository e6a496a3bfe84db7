//! Ports: their network, MACs and addresses, which nobody else in the network has.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use fwd_common::addr::Mac;
use ipnet::IpNet;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Network, Port},
    text::{check_cidr, parse_mac},
};

use super::{Reporter, networks::is_edge};

/// Who has what, by network.
#[derive(Default)]
struct Taken<'a> {
    macs: BTreeMap<(&'a str, Mac), String>,
    addresses: BTreeMap<(&'a str, IpAddr), String>,
}

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    let mut taken = Taken::default();
    for network in &document.networks {
        for gateway in network.gateway_nets() {
            taken.addresses.insert((&network.name, gateway.addr()), "the gateway".to_owned());
        }
    }
    for (index, port) in document.ports.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Port, index, &port.name);
        let network = document.find::<Network>(&port.network);
        if network.is_none() {
            report.add(
                "network",
                Code::UnknownReference,
                format_args!("there is no network {}", port.network),
                format!("Add it first: fwd network add {} --mode nat --subnet CIDR.", port.network),
            );
        }
        check_mac(&mut report, port, &mut taken);
        check_addresses(&mut report, port, network, &mut taken);
        check_labels(&mut report, port);
    }
}

/// What leads to a guest needs a port that is one guest's.
pub(super) fn check_single(report: &mut Reporter<'_>, field: &str, port: &Port) {
    if port.is_pattern() {
        report.add(
            field,
            Code::BadValue,
            format_args!("port {} stands for all that match {}", port.name, port.device),
            "Add a port with the one interface that is meant, and name that port.",
        );
    }
}

fn check_mac<'a>(report: &mut Reporter<'_>, port: &'a Port, taken: &mut Taken<'a>) {
    let Some(text) = &port.mac else { return };
    match parse_mac(text) {
        Err(error) => report.text("mac", Code::BadValue, error),
        Ok(mac) => {
            let user = taken.macs.entry((&port.network, mac)).or_insert_with(|| port.name.clone());
            if *user != port.name {
                report.add(
                    "mac",
                    Code::MacClash,
                    format_args!("the MAC {mac} is already used by port {user}"),
                    "Give one of them another MAC.",
                );
            }
        }
    }
}

fn check_addresses<'a>(
    report: &mut Reporter<'_>,
    port: &'a Port,
    network: Option<&Network>,
    taken: &mut Taken<'a>,
) {
    let mut claim = |report: &mut Reporter<'_>, field: &str, addr: IpAddr| {
        let key = (port.network.as_str(), addr);
        if let Some(user) = taken.addresses.get(&key) {
            report.add(
                field,
                Code::AddressClash,
                format_args!("the address {addr} is already used by {user}"),
                "Give it another address, or remove it there first.",
            );
        } else {
            taken.addresses.insert(key, format!("port {}", port.name));
        }
    };
    for (n, addr) in port.ips.iter().enumerate() {
        let field = format!("ips/{n}");
        check_address(report, &field, *addr, network);
        claim(report, &field, *addr);
    }
    for (n, net) in port.allow_addresses.iter().enumerate() {
        let field = format!("allow_addresses/{n}");
        if let Err(error) = check_cidr(*net) {
            report.text(&field, Code::BadValue, error);
        }
    }
}

fn check_address(report: &mut Reporter<'_>, field: &str, addr: IpAddr, network: Option<&Network>) {
    let is_bad = addr.is_unspecified()
        || addr.is_loopback()
        || addr.is_multicast()
        || addr.to_canonical() != addr
        || matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    if is_bad {
        report.add(
            field,
            Code::BadValue,
            format_args!("{addr} is not the address of a host"),
            "Choose another.",
        );
        return;
    }
    let subnets: &[IpNet] = network.map_or(&[], |n| &n.subnets);
    let is_link_local = matches!(addr, IpAddr::V6(v6) if Ipv6Addr::is_unicast_link_local(&v6));
    if subnets.is_empty() || is_link_local {
        return;
    }
    match subnets.iter().find(|s| s.contains(&addr)) {
        None => {
            let all: Vec<_> = subnets.iter().map(ToString::to_string).collect();
            report.add(
                field,
                Code::AddressOutside,
                format_args!("the address {addr} is in none of its network's subnets ({})", all.join(", ")),
                "Choose an address of a subnet, or add the subnet to the network.",
            );
        }
        Some(subnet) if is_edge(*subnet, addr) => report.add(
            field,
            Code::BadValue,
            format_args!("the address {addr} is the first or last one of {subnet}"),
            "Choose a host address of the subnet.",
        ),
        Some(_) => {}
    }
}

/// A label must be one that a selector can ask for.
fn check_labels(report: &mut Reporter<'_>, port: &Port) {
    for (key, value) in &port.labels {
        let odd = |text: &str| text.contains([',', '=']) || text.trim() != text;
        if key.is_empty() || odd(key) || odd(value) {
            report.add(
                "labels",
                Code::BadValue,
                format_args!("the label `{key}={value}` cannot be selected"),
                "Use keys and values without commas, equal signs, or white space at their ends.",
            );
        }
    }
}
