//! Subnets: usable, and not overlapping where that would make an address mean two things.

use ipnet::IpNet;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Network},
    text::check_cidr,
};

use super::Reporter;

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    for (index, network) in document.networks.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Network, index, &network.name);
        for (n, subnet) in network.subnets.iter().enumerate() {
            let field = format!("subnets/{n}");
            check_subnet(&mut report, &field, *subnet);
            if let Some(other) = network.subnets[..n].iter().find(|s| overlap(**s, *subnet)) {
                report.add(
                    &field,
                    Code::SubnetOverlap,
                    format_args!("its subnets {other} and {subnet} overlap"),
                    "Leave one of them out.",
                );
            }
            if let Some((other, theirs)) = first_overlap(&document.networks[..index], network, *subnet) {
                report.add(
                    &field,
                    Code::SubnetOverlap,
                    format_args!("its subnet {subnet} overlaps {theirs} of network {}", other.name),
                    "Choose another subnet, or make one of the two --private.",
                );
            }
        }
    }
}

fn check_subnet(report: &mut Reporter<'_>, field: &str, subnet: IpNet) {
    if let Err(error) = check_cidr(subnet) {
        report.text(field, Code::BadValue, error);
        return;
    }
    let is_bad = subnet.addr().is_multicast()
        || subnet.addr().is_loopback()
        || subnet.addr().is_unspecified()
        || matches!(subnet.addr(), std::net::IpAddr::V6(v6) if v6.is_unicast_link_local());
    if is_bad {
        report.add(
            field,
            Code::BadValue,
            format_args!("{subnet} is not a range for hosts"),
            "Use a private range such as 10.10.0.0/24 or fd00:10::/64.",
        );
    } else if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        report.add(
            field,
            Code::BadValue,
            format_args!("{subnet} has no room for a gateway and a guest"),
            "Use a prefix of at most /30 (IPv6: /126).",
        );
    }
}

fn first_overlap<'a>(
    others: &'a [Network],
    network: &Network,
    subnet: IpNet,
) -> Option<(&'a Network, IpNet)> {
    let public = others.iter().filter(|other| !other.private && !network.private);
    let mut subnets = public.flat_map(|other| other.subnets.iter().map(move |s| (other, *s)));
    subnets.find(|(_, theirs)| overlap(*theirs, subnet))
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}
