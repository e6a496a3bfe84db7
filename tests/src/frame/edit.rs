//! The fluent setters: each changes one field and leaves the rest, checksums included, to `encode.rs`.
//!
//! # Panics
//! A setter of a field that the packet does not have panics: the test is wrong.

use std::net::IpAddr;

use super::Mac;
use super::packet::{Body, End, Extension, Fault, Fragment, Ip, L4, Packet, Vlan};

impl Packet {
    /// Both Ethernet addresses.
    #[must_use]
    pub fn macs(self, source: impl Into<Mac>, destination: impl Into<Mac>) -> Self {
        self.from_mac(source).to_mac(destination)
    }

    #[must_use]
    pub fn from_mac(mut self, mac: impl Into<Mac>) -> Self {
        self.source = mac.into();
        self
    }

    #[must_use]
    pub fn to_mac(mut self, mac: impl Into<Mac>) -> Self {
        self.destination = mac.into();
        self
    }

    /// Adds an 802.1Q tag inside those already there.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlans.push(Vlan { tpid: 0x8100, tci: id });
        self
    }

    /// Adds bytes after the packet.
    #[must_use]
    pub fn trailer(mut self, bytes: &[u8]) -> Self {
        self.trailer = bytes.to_vec();
        self
    }

    /// The whole source end of a TCP or UDP packet.
    #[must_use]
    pub fn from_end(self, end: impl Into<End>) -> Self {
        let End(end) = end.into();
        self.from_ip(end.ip()).from_l4(end.port())
    }

    /// The whole destination end of a TCP or UDP packet.
    #[must_use]
    pub fn to_end(self, end: impl Into<End>) -> Self {
        let End(end) = end.into();
        self.to_ip(end.ip()).to_l4(end.port())
    }

    #[must_use]
    pub fn from_ip(self, address: IpAddr) -> Self {
        self.change(|ip| ip.source = address)
    }

    #[must_use]
    pub fn to_ip(self, address: IpAddr) -> Self {
        self.change(|ip| ip.destination = address)
    }

    /// The source L4 port, or the id of an ICMP echo.
    #[must_use]
    pub fn from_l4(self, number: u16) -> Self {
        self.change(|ip| match &mut ip.l4 {
            L4::Tcp { source, .. } | L4::Udp { source, .. } | L4::Sctp { source, .. } => *source = number,
            L4::Icmp { rest, .. } => rest[..2].copy_from_slice(&number.to_be_bytes()),
            L4::Other { .. } => panic!("this packet has no L4 port"),
        })
    }

    /// The destination L4 port.
    #[must_use]
    pub fn to_l4(self, number: u16) -> Self {
        self.change(|ip| match &mut ip.l4 {
            L4::Tcp { destination, .. } | L4::Udp { destination, .. } | L4::Sctp { destination, .. } => {
                *destination = number;
            }
            L4::Icmp { .. } | L4::Other { .. } => panic!("this packet has no L4 port"),
        })
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn hops(self, hops: u8) -> Self {
        self.change(|ip| ip.hops = hops)
    }

    /// TOS or traffic class.
    #[must_use]
    pub fn tos(self, tos: u8) -> Self {
        self.change(|ip| ip.tos = tos)
    }

    /// The IPv4 identification.
    #[must_use]
    pub fn ip_id(self, id: u16) -> Self {
        self.change(|ip| ip.id = id)
    }

    /// Clears IPv4's don't-fragment bit.
    #[must_use]
    pub fn may_fragment(self) -> Self {
        self.change(|ip| ip.dont_fragment = false)
    }

    /// IPv4 options, padded with zeros to four bytes.
    #[must_use]
    pub fn ip_options(self, options: &[u8]) -> Self {
        self.change(|ip| ip.options = options.to_vec())
    }

    /// Adds an IPv6 extension header after those already there.
    #[must_use]
    pub fn extension(self, extension: Extension) -> Self {
        self.change(|ip| ip.extensions.push(extension))
    }

    /// Makes this packet a fragment as it stands; [`Packet::fragments`] cuts a whole one.
    #[must_use]
    pub fn fragment(self, fragment: Fragment) -> Self {
        self.change(|ip| {
            ip.fragment = Some(fragment);
            ip.dont_fragment = false;
        })
    }

    /// TCP flags, such as `SYN | ACK`.
    #[must_use]
    pub fn flags(self, bits: u8) -> Self {
        self.change_tcp(|l4| {
            if let L4::Tcp { flags, .. } = l4 {
                *flags = bits;
            }
        })
    }

    /// TCP sequence and acknowledgement numbers.
    #[must_use]
    pub fn seq(self, sequence: u32, acknowledged: u32) -> Self {
        self.change_tcp(|l4| {
            if let L4::Tcp { seq, ack, .. } = l4 {
                (*seq, *ack) = (sequence, acknowledged);
            }
        })
    }

    /// The TCP window.
    #[must_use]
    pub fn window(self, size: u16) -> Self {
        self.change_tcp(|l4| {
            if let L4::Tcp { window, .. } = l4 {
                *window = size;
            }
        })
    }

    /// TCP options, padded with zeros to four bytes.
    #[must_use]
    pub fn tcp_options(self, bytes: &[u8]) -> Self {
        self.change_tcp(|l4| {
            if let L4::Tcp { options, .. } = l4 {
                *options = bytes.to_vec();
            }
        })
    }

    #[must_use]
    pub fn payload(self, bytes: impl AsRef<[u8]>) -> Self {
        self.change(|ip| ip.payload = bytes.as_ref().to_vec())
    }

    /// Adds a wrong field.
    #[must_use]
    pub fn fault(self, fault: Fault) -> Self {
        self.change(|ip| ip.faults.push(fault))
    }

    fn change(mut self, edit: impl FnOnce(&mut Ip)) -> Self {
        match &mut self.body {
            Body::Ip(ip) => edit(ip),
            Body::Arp(_) | Body::Other { .. } => panic!("this packet is not IP"),
        }
        self
    }

    fn change_tcp(self, edit: impl FnOnce(&mut L4)) -> Self {
        self.change(|ip| {
            assert!(matches!(ip.l4, L4::Tcp { .. }), "this packet is not TCP");
            edit(&mut ip.l4);
        })
    }
}
