//! The description of a packet: its fields, and packets with their defaults. `edit.rs` changes it,
//! `encode.rs` turns it into bytes.

use std::net::{IpAddr, SocketAddr};

use super::Mac;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;

/// Parses an address literal.
///
/// # Panics
/// If the text is not an IP address.
#[must_use]
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not an IP address"))
}

/// One end of a TCP or UDP packet: `"10.0.0.1:80"`, `"[fd00::1]:80"`, a `SocketAddr`, or a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End(pub SocketAddr);

impl From<&str> for End {
    fn from(text: &str) -> Self {
        Self(text.parse().unwrap_or_else(|_| panic!("{text:?} is not address:l4port")))
    }
}

impl From<&String> for End {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<(&str, u16)> for End {
    fn from((address, l4_port): (&str, u16)) -> Self {
        (ip(address), l4_port).into()
    }
}

impl From<SocketAddr> for End {
    fn from(end: SocketAddr) -> Self {
        Self(end)
    }
}

impl From<(IpAddr, u16)> for End {
    fn from(end: (IpAddr, u16)) -> Self {
        Self(end.into())
    }
}

/// One packet from Ethernet to payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: Mac,
    pub destination: Mac,
    /// Outermost first.
    pub vlans: Vec<Vlan>,
    pub body: Body,
    /// Bytes after the packet, as Ethernet pads short frames.
    pub trailer: Vec<u8>,
}

/// One VLAN tag; `tpid` is 0x8100 or 0x88a8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    pub tpid: u16,
    pub tci: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Arp(Arp),
    Ip(Ip),
    Other { ether_type: u16, bytes: Vec<u8> },
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender_ip: IpAddr,
    pub target_mac: Mac,
    pub target_ip: IpAddr,
}

/// An IPv4 or IPv6 packet; both addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// IPv4 only.
    pub id: u16,
    /// IPv4 only.
    pub dont_fragment: bool,
    pub fragment: Option<Fragment>,
    /// IPv4 options, padded to four bytes when encoded.
    pub options: Vec<u8>,
    /// IPv6 extension headers before a fragment header.
    pub extensions: Vec<Extension>,
    pub l4: L4,
    pub payload: Vec<u8>,
    pub faults: Vec<Fault>,
}

/// This packet is one fragment; its L4 header and payload are taken as the bytes at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub id: u32,
    /// In bytes, a multiple of eight.
    pub offset: u16,
    pub more: bool,
}

/// An IPv6 extension header: its number, and its bytes after the length (8n + 6 of them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub number: u8,
    pub content: Vec<u8>,
}

impl Extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const DESTINATION: u8 = 60;

    /// A header of eight bytes that holds padding only (hop-by-hop and destination options).
    #[must_use]
    pub fn padding(number: u8) -> Self {
        Self { number, content: vec![1, 4, 0, 0, 0, 0] }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L4 {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
        seq: u32,
        ack: u32,
        window: u16,
        options: Vec<u8>,
    },
    Udp {
        source: u16,
        destination: u16,
    },
    /// Chunks are the payload.
    Sctp {
        source: u16,
        destination: u16,
        tag: u32,
    },
    /// ICMP or ICMPv6, by the addresses' family; `rest` is bytes 4 to 7 (for an echo: id and sequence).
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// Any other protocol, or the later part of a fragmented one: the payload is all there is.
    Other {
        protocol: u8,
    },
}

/// A wrong field, written over the right one after everything else was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Version(u8),
    /// The IPv4 header length in 32-bit words.
    HeaderWords(u8),
    /// The IPv4 total length or the IPv6 payload length.
    IpLength(u16),
    IpChecksum(u16),
    /// Of SCTP the lower half, the upper one being zero.
    L4Checksum(u16),
    UdpLength(u16),
    /// The TCP header length in 32-bit words.
    TcpWords(u8),
}

impl Packet {
    /// A frame of any other protocol.
    #[must_use]
    pub fn other(ether_type: u16, bytes: &[u8]) -> Self {
        Self::with(Body::Other { ether_type, bytes: bytes.to_vec() })
    }

    /// A TCP segment with ACK set; see [`Packet::flags`].
    pub fn tcp(source: impl Into<End>, destination: impl Into<End>) -> Self {
        let (End(from), End(to)) = (source.into(), destination.into());
        let l4 = L4::Tcp {
            source: from.port(),
            destination: to.port(),
            flags: ACK,
            seq: 1000,
            ack: 2000,
            window: 64240,
            options: vec![],
        };
        Self::ip(from.ip(), to.ip(), l4)
    }

    pub fn udp(source: impl Into<End>, destination: impl Into<End>) -> Self {
        let (End(from), End(to)) = (source.into(), destination.into());
        Self::ip(from.ip(), to.ip(), L4::Udp { source: from.port(), destination: to.port() })
    }

    /// An SCTP packet of one chunk without content; see [`Packet::payload`].
    pub fn sctp(source: impl Into<End>, destination: impl Into<End>, chunk: u8) -> Self {
        let (End(from), End(to)) = (source.into(), destination.into());
        let l4 = L4::Sctp { source: from.port(), destination: to.port(), tag: 0x0102_0304 };
        Self::ip(from.ip(), to.ip(), l4).payload([chunk, 0, 0, 4])
    }

    /// An echo request of the addresses' family.
    #[must_use]
    pub fn echo_request(source: &str, destination: &str, id: u16, seq: u16) -> Self {
        let kind = if ip(source).is_ipv4() { 8 } else { 128 };
        Self::icmp(source, destination, kind, 0, echo_rest(id, seq))
    }

    /// An echo reply of the addresses' family.
    #[must_use]
    pub fn echo_reply(source: &str, destination: &str, id: u16, seq: u16) -> Self {
        let kind = if ip(source).is_ipv4() { 0 } else { 129 };
        Self::icmp(source, destination, kind, 0, echo_rest(id, seq))
    }

    /// Any ICMP or ICMPv6 message; an error quotes its packet as the payload.
    #[must_use]
    pub fn icmp(source: &str, destination: &str, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        Self::ip(ip(source), ip(destination), L4::Icmp { kind, code, rest })
    }

    /// An IP packet of any protocol.
    #[must_use]
    pub fn ip(source: IpAddr, destination: IpAddr, l4: L4) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{source} and {destination} differ in family");
        Self::with(Body::Ip(Ip {
            source,
            destination,
            hops: 64,
            tos: 0,
            id: 0,
            dont_fragment: true,
            fragment: None,
            options: vec![],
            extensions: vec![],
            l4,
            payload: vec![],
            faults: vec![],
        }))
    }

    pub(super) fn with(body: Body) -> Self {
        Self { source: Mac::ZERO, destination: Mac::ZERO, vlans: vec![], body, trailer: vec![] }
    }
}

fn echo_rest(id: u16, seq: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (id.to_be_bytes(), seq.to_be_bytes());
    [a, b, c, d]
}
