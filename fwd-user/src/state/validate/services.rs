//! A network's DHCP and DNS: where there can be any, and ranges that its subnets have room for.

use crate::api::{
    error::Code,
    spec::{Mode, Network},
    text::{AddressRange, Dhcp},
};

use super::Reporter;

pub(super) fn check(report: &mut Reporter<'_>, network: &Network) {
    if network.mode == Mode::Bridge && network.dns == Some(true) {
        report.add("dns", Code::BadNetwork, "names on a bridge are the outside's", "Leave --dns out.");
    }
    check_ntp(report, network);
    let Some(text) = &network.dhcp else { return };
    let ranges = match text.parse() {
        Ok(Dhcp::Off) => return,
        Ok(Dhcp::Snoop) if network.mode == Mode::Bridge => return,
        Ok(Dhcp::Snoop) => {
            let clause = "only guests of a bridge get their addresses from DHCP outside";
            return report.add("dhcp", Code::BadNetwork, clause, "Give ranges, or leave --dhcp out.");
        }
        Ok(Dhcp::Ranges(ranges)) => ranges,
        Err(error) => return report.text("dhcp", Code::BadValue, error),
    };
    if network.mode == Mode::Bridge {
        let clause = "addresses on a bridge are given by the outside's DHCP";
        return report.add("dhcp", Code::BadNetwork, clause, "Leave --dhcp out, or say --dhcp snoop.");
    }
    for (index, range) in ranges.iter().enumerate() {
        check_range(report, network, *range);
        let overlaps = |other: &&AddressRange| other.first <= range.last && range.first <= other.last;
        if let Some(other) = ranges[..index].iter().find(overlaps) {
            let clause = format!("the DHCP ranges {other} and {range} overlap");
            report.add("dhcp", Code::BadValue, clause, "Make one of both.");
        }
    }
}

fn check_ntp(report: &mut Reporter<'_>, network: &Network) {
    let served = network.dhcp_ranges();
    for (index, server) in network.ntp.iter().enumerate() {
        let (is_v4, family) = (server.is_ipv4(), if server.is_ipv4() { "IPv4" } else { "IPv6" });
        if !served.iter().any(|one| one.subnet.addr().is_ipv4() == is_v4) {
            let clause = format!("it has no DHCP of {family} that could tell the time server {server}");
            report.add(format!("ntp/{index}"), Code::BadNetwork, clause, "Leave it out, or give --dhcp.");
        }
    }
}

fn check_range(report: &mut Reporter<'_>, network: &Network, range: AddressRange) {
    let subnet = network.subnets.iter().find(|subnet| subnet.contains(&range.first));
    let Some(subnet) = subnet.filter(|subnet| subnet.contains(&range.last)) else {
        let clause = format!("the DHCP range {range} is not in one of its subnets");
        return report.add("dhcp", Code::BadValue, clause, "Choose a range within a subnet.");
    };
    if super::networks::is_edge(*subnet, range.first) || super::networks::is_edge(*subnet, range.last) {
        let clause = format!("the DHCP range {range} has the first or last address of {subnet}");
        report.add("dhcp", Code::BadValue, clause, "Give out host addresses only.");
    } else if subnet.addr().is_ipv6() && subnet.prefix_len() < 64 {
        let clause = format!("DHCPv6 serves prefixes of 64 bits or more, and {subnet} has fewer");
        report.add("dhcp", Code::BadValue, clause, "Divide the subnet, or leave the range out.");
    }
}
