//! What a network's services give out, as far as the document alone says: DHCP ranges by subnet, and DNS.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::{
    spec::{Mode, Network},
    text::{AddressRange, Dhcp},
};

/// Addresses of a subnet that DHCP gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedRange {
    pub subnet: IpNet,
    pub range: AddressRange,
}

/// DHCPv6 and router advertisements need a prefix of at least so many bits.
const LEAST_V6_BITS: u8 = 64;

impl Network {
    /// What DHCP gives out: the ranges that were asked for, and in a family without any all addresses of its
    /// subnets. An isolated network serves what it was asked for only.
    pub fn dhcp_ranges(&self) -> Vec<ServedRange> {
        let asked = match self.asked_dhcp() {
            _ if !self.has_gateway() => return Vec::new(),
            Some(Dhcp::Off | Dhcp::Snoop) => return Vec::new(),
            Some(Dhcp::Ranges(ranges)) => ranges,
            None if self.mode == Mode::Isolated => return Vec::new(),
            None => Vec::new(),
        };
        let mut served = Vec::new();
        for subnet in &self.subnets {
            let own = asked.iter().filter(|range| range.first.is_ipv4() == subnet.addr().is_ipv4());
            let has_own = own.clone().next().is_some();
            let own = own.copied().filter(|range| subnet.contains(&range.first));
            let whole = whole(*subnet).filter(|_| !has_own);
            served.extend(own.chain(whole).map(|range| ServedRange { subnet: *subnet, range }));
        }
        served.retain(|one| one.subnet.addr().is_ipv4() || one.subnet.prefix_len() >= LEAST_V6_BITS);
        served
    }

    /// Whether IPv4 addresses come from DHCP alone, so that a guest that takes another one lies.
    pub fn has_own_ranges(&self) -> bool {
        let is_v4 = |range: &AddressRange| range.first.is_ipv4();
        matches!(self.asked_dhcp(), Some(Dhcp::Ranges(ranges)) if ranges.iter().any(is_v4))
    }

    /// Whether guests of a bridged network have the IPv4 addresses that DHCP outside gives to them, and no others.
    pub fn snoops(&self) -> bool {
        self.mode == Mode::Bridge && self.asked_dhcp() == Some(Dhcp::Snoop)
    }

    /// Whether names are answered.
    pub fn has_dns(&self) -> bool {
        self.has_gateway() && self.dns.unwrap_or(self.mode != Mode::Isolated)
    }

    /// Whether an isolated network is to have services all the same.
    pub(super) fn asks_for_services(&self) -> bool {
        self.dns == Some(true) || matches!(self.asked_dhcp(), Some(Dhcp::Ranges(_)))
    }

    fn asked_dhcp(&self) -> Option<Dhcp> {
        self.dhcp.as_deref()?.parse().ok()
    }
}

/// A subnet's addresses for guests: of IPv6 some at its start, since the rest is theirs to choose from.
fn whole(subnet: IpNet) -> Option<AddressRange> {
    const FIRST: u128 = 0x1000;
    const LAST: u128 = 0xffff;
    match subnet {
        IpNet::V4(v4) => {
            let mut hosts = v4.hosts();
            let first = hosts.next()?;
            let last = hosts.next_back()?;
            Some(AddressRange { first: first.into(), last: last.into() })
        }
        IpNet::V6(v6) => {
            let start = u128::from(v6.network());
            let room = u128::from(v6.broadcast()) - start;
            let first = start + if room > LAST { FIRST } else { 1 };
            let address = |n: u128| IpAddr::from(Ipv6Addr::from(n));
            Some(AddressRange { first: address(first), last: address(start + room.min(LAST)) })
        }
    }
}

/// YAML writers turn `on` and `off` into booleans.
#[derive(Deserialize)]
#[serde(untagged)]
enum Switch {
    Bool(bool),
    Text(String),
}

/// `dhcp`: `on` is the default.
pub(super) fn dhcp<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Switch>::deserialize(from)? {
        None | Some(Switch::Bool(true)) => None,
        Some(Switch::Bool(false)) => Some("off".to_owned()),
        Some(Switch::Text(text)) => Some(text).filter(|text| !matches!(text.as_str(), "" | "on")),
    })
}

/// `dns`: a boolean, or `on` and `off`.
pub(super) fn switch<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    Ok(match Option::<Switch>::deserialize(from)? {
        None => None,
        Some(Switch::Bool(is_on)) => Some(is_on),
        Some(Switch::Text(text)) => match text.as_str() {
            "on" => Some(true),
            "off" => Some(false),
            _ => return Err(serde::de::Error::custom(format!("{text} is neither on nor off"))),
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn network(json: serde_json::Value) -> Network {
        serde_json::from_value(json).expect("a network")
    }

    fn ranges(json: serde_json::Value) -> Vec<String> {
        network(json).dhcp_ranges().iter().map(|one| one.range.to_string()).collect()
    }

    #[test]
    fn a_gateway_serves_whole_subnets_unless_told_otherwise() {
        let subnets =
            json!(["10.10.0.0/24", "10.11.0.0/30", "fd00:10::/64", "fd00:11::/120", "fd00:12::/48"]);
        let served = |dhcp: serde_json::Value| {
            ranges(json!({"name": "n", "mode": "nat", "subnets": subnets, "dhcp": dhcp}))
        };
        let v6 = ["fd00:10::1000-fd00:10::ffff", "fd00:11::1-fd00:11::ff"];
        let whole = [&["10.10.0.1-10.10.0.254", "10.11.0.1-10.11.0.2"], &v6[..]].concat();
        assert_eq!(served(json!(null)), whole);
        assert_eq!(served(json!("on")), whole);
        assert_eq!(served(json!(true)), whole);
        assert!(served(json!("off")).is_empty() && served(json!(false)).is_empty());
        let own = served(json!("10.10.0.100-10.10.0.200"));
        assert_eq!(own, [&["10.10.0.100-10.10.0.200"], &v6[..]].concat());
    }

    #[test]
    fn modes_without_a_gateway_serve_what_they_are_asked_for() {
        let isolated = json!({"name": "n", "mode": "isolated", "subnets": ["10.1.0.0/24"]});
        let plain = network(isolated.clone());
        assert!(plain.dhcp_ranges().is_empty() && !plain.has_dns() && !plain.has_host_port());
        let mut asking = isolated;
        asking["dhcp"] = json!("10.1.0.10-10.1.0.20");
        let asking = network(asking);
        assert!(asking.has_host_port() && asking.is_apart() && !asking.has_dns());
        assert_eq!(asking.dhcp_ranges().len(), 1);
        let bridge = network(json!({"name": "n", "mode": "bridge", "subnets": ["10.1.0.0/24"], "dns": true}));
        assert!(bridge.dhcp_ranges().is_empty() && !bridge.has_dns());
    }
}
