//! ARP (RFC 826) and neighbor discovery (RFC 4861) messages.

use std::net::{IpAddr, Ipv6Addr};

use super::Mac;
use super::packet::{Arp, Body, Packet, ip};

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An option of a neighbor discovery message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NdOption {
    SourceLink(Mac),
    TargetLink(Mac),
    Mtu(u32),
    /// Type, and the bytes after the length (8n + 6 of them).
    Other(u8, Vec<u8>),
}

impl NdOption {
    fn bytes(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::SourceLink(mac) => (1, mac.0.to_vec()),
            Self::TargetLink(mac) => (2, mac.0.to_vec()),
            Self::Mtu(mtu) => (5, [&[0, 0][..], &mtu.to_be_bytes()].concat()),
            Self::Other(kind, content) => (*kind, content.clone()),
        };
        let units = u8::try_from((content.len() + 2) / 8).expect("an option is short");
        [vec![kind, units], content].concat()
    }
}

impl Packet {
    /// Broadcast "who has `target`, tell `sender`"; the Ethernet source is the sender's.
    pub fn arp_request(sender_mac: impl Into<Mac>, sender: &str, target: &str) -> Self {
        let arp = Arp {
            operation: REQUEST,
            sender_mac: sender_mac.into(),
            sender_ip: ip(sender),
            target_mac: Mac::ZERO,
            target_ip: ip(target),
        };
        Self::with(Body::Arp(arp)).macs(arp.sender_mac, Mac::BROADCAST)
    }

    /// Unicast "`sender` is at `sender_mac`" to the one who asked.
    pub fn arp_reply(
        sender_mac: impl Into<Mac>,
        sender: &str,
        target_mac: impl Into<Mac>,
        target: &str,
    ) -> Self {
        let arp = Arp {
            operation: REPLY,
            sender_mac: sender_mac.into(),
            sender_ip: ip(sender),
            target_mac: target_mac.into(),
            target_ip: ip(target),
        };
        Self::with(Body::Arp(arp)).macs(arp.sender_mac, arp.target_mac)
    }

    /// "Who has `target`", to its solicited-node group.
    pub fn neighbor_solicitation(
        sender_mac: impl Into<Mac>,
        sender: &str,
        target: &str,
        options: &[NdOption],
    ) -> Self {
        let target = v6(target);
        let [.., a, b, c] = target.octets();
        let group = format!("ff02::1:ff{a:02x}:{b:02x}{c:02x}");
        Self::nd(sender, &group, (135, [0; 4]), &target.octets(), options)
            .macs(sender_mac, [0x33, 0x33, 0xff, a, b, c])
    }

    /// "`target` is at …" to `receiver`; solicited and override are set, the source is the target.
    pub fn neighbor_advertisement(target: &str, receiver: &str, options: &[NdOption]) -> Self {
        Self::nd(target, receiver, (136, [0x60, 0, 0, 0]), &v6(target).octets(), options)
    }

    /// A router advertisement to all nodes, with hop limit 64 and a lifetime of 1800 s.
    pub fn router_advertisement(router_mac: impl Into<Mac>, router: &str, options: &[NdOption]) -> Self {
        Self::nd(router, "ff02::1", (134, [64, 0, 7, 8]), &[0; 8], options)
            .macs(router_mac, [0x33, 0x33, 0, 0, 0, 1])
    }

    fn nd(
        source: &str,
        destination: &str,
        (kind, rest): (u8, [u8; 4]),
        body: &[u8],
        options: &[NdOption],
    ) -> Self {
        let options: Vec<u8> = options.iter().flat_map(NdOption::bytes).collect();
        Self::icmp(source, destination, kind, 0, rest).hops(255).payload([body, &options].concat())
    }
}

fn v6(text: &str) -> Ipv6Addr {
    match ip(text) {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => panic!("{text} is not an IPv6 address"),
    }
}
