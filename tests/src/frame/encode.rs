//! Bytes from a [`Packet`]: headers, lengths, checksums (RFC 1071; SCTP: RFC 9260, appendix A), fragments, and the faults asked for.

use std::net::IpAddr;

use etherparse::{ether_type, ip_number};

use super::packet::{Arp, Body, Fault, Fragment, Ip, L4, Packet};

/// The ones' complement checksum of `bytes`, an odd last byte padded with zero.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("the carry was folded in after every addition")
}

/// SCTP's checksum of `bytes`, in which it is zero: a CRC-32c, bit by bit.
#[must_use]
pub fn sctp_checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        let bit = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ POLYNOMIAL };
        (0..8).fold(crc ^ u32::from(*byte), bit)
    });
    !crc
}

impl Packet {
    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        match &self.body {
            Body::Ip(ip) => self.framed(&ip.bytes(&ip.l4_bytes(), ip.fragment)),
            Body::Arp(arp) => self.framed(&arp.bytes()),
            Body::Other { bytes, .. } => self.framed(bytes),
        }
    }

    /// The frames of this packet cut into fragments of at most `size` bytes of L4 data, in order.
    ///
    /// # Panics
    /// If it is not IP, or `size` is not a multiple of eight.
    #[must_use]
    pub fn fragments(&self, id: u16, size: usize) -> Vec<Vec<u8>> {
        let Body::Ip(ip) = &self.body else { panic!("only IP packets have fragments") };
        assert!(size > 0 && size.is_multiple_of(8), "a fragment holds a multiple of eight bytes");
        let mut ip = ip.clone();
        (ip.dont_fragment, ip.id) = (false, id);
        let whole = ip.l4_bytes();
        let last = whole.len().div_ceil(size) - 1;
        let cut = |(n, part): (usize, &[u8])| {
            let offset = u16::try_from(n * size).expect("an IP packet is shorter than 64 KiB");
            let fragment = Fragment { id: id.into(), offset, more: n != last };
            self.framed(&ip.bytes(part, Some(fragment)))
        };
        whole.chunks(size).enumerate().map(cut).collect()
    }

    fn framed(&self, body: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination.0, self.source.0].concat();
        for vlan in &self.vlans {
            frame.extend(vlan.tpid.to_be_bytes());
            frame.extend(vlan.tci.to_be_bytes());
        }
        frame.extend(self.ether_type().to_be_bytes());
        frame.extend(body);
        frame.extend(&self.trailer);
        frame
    }

    fn ether_type(&self) -> u16 {
        match &self.body {
            Body::Arp(_) => ether_type::ARP.0,
            Body::Ip(ip) if ip.source.is_ipv4() => ether_type::IPV4.0,
            Body::Ip(_) => ether_type::IPV6.0,
            Body::Other { ether_type, .. } => *ether_type,
        }
    }
}

impl Arp {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sender_mac.0);
        bytes.extend(address_bytes(self.sender_ip));
        bytes.extend(self.target_mac.0);
        bytes.extend(address_bytes(self.target_ip));
        bytes
    }
}

impl Ip {
    fn protocol(&self) -> u8 {
        match self.l4 {
            L4::Tcp { .. } => ip_number::TCP.0,
            L4::Udp { .. } => ip_number::UDP.0,
            L4::Sctp { .. } => ip_number::SCTP.0,
            L4::Icmp { .. } if self.source.is_ipv4() => ip_number::ICMP.0,
            L4::Icmp { .. } => ip_number::IPV6_ICMP.0,
            L4::Other { protocol } => protocol,
        }
    }

    /// The IP packet that carries `content` after its headers.
    fn bytes(&self, content: &[u8], fragment: Option<Fragment>) -> Vec<u8> {
        let mut bytes = match self.source {
            IpAddr::V4(_) => self.v4_bytes(content, fragment),
            IpAddr::V6(_) => self.v6_bytes(content, fragment),
        };
        let version = bytes[0] & 0xf0;
        for fault in &self.faults {
            match *fault {
                Fault::Version(version) => bytes[0] = bytes[0] & 0x0f | version << 4,
                Fault::HeaderWords(words) => bytes[0] = bytes[0] & 0xf0 | words,
                Fault::IpLength(length) if version == 0x40 => put(&mut bytes, 2, length),
                Fault::IpLength(length) => put(&mut bytes, 4, length),
                Fault::IpChecksum(sum) => put(&mut bytes, 10, sum),
                Fault::L4Checksum(_) | Fault::UdpLength(_) | Fault::TcpWords(_) => {} // see l4_bytes
            }
        }
        bytes
    }

    fn v4_bytes(&self, content: &[u8], fragment: Option<Fragment>) -> Vec<u8> {
        let options = padded(&self.options);
        let header = 20 + options.len();
        let mut bits = u16::from(self.dont_fragment) << 14;
        let mut id = self.id;
        if let Some(fragment) = fragment {
            bits |= (u16::from(fragment.more) << 13) | (fragment.offset / 8);
            id = u16::try_from(fragment.id).expect("IPv4 identifications have 16 bits");
        }
        let mut bytes = vec![0x40 | low_byte(header / 4), self.tos];
        bytes.extend(length(header + content.len()));
        bytes.extend(id.to_be_bytes());
        bytes.extend(bits.to_be_bytes());
        bytes.extend([self.hops, self.protocol(), 0, 0]);
        bytes.extend(address_bytes(self.source));
        bytes.extend(address_bytes(self.destination));
        bytes.extend(options);
        let sum = checksum(&bytes);
        put(&mut bytes, 10, sum);
        bytes.extend(content);
        bytes
    }

    fn v6_bytes(&self, content: &[u8], fragment: Option<Fragment>) -> Vec<u8> {
        // Each header names the next one, so the chain is built from its end.
        let (mut chain, mut next) = (content.to_vec(), self.protocol());
        if let Some(fragment) = fragment {
            let mut header = vec![next, 0];
            header.extend((fragment.offset | u16::from(fragment.more)).to_be_bytes());
            header.extend(fragment.id.to_be_bytes());
            chain.splice(0..0, header);
            next = ip_number::IPV6_FRAGMENTATION_HEADER.0;
        }
        for extension in self.extensions.iter().rev() {
            let mut header = vec![next, low_byte((extension.content.len() + 2) / 8 - 1)];
            header.extend(&extension.content);
            chain.splice(0..0, header);
            next = extension.number;
        }
        let mut bytes = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
        bytes.extend(length(chain.len()));
        bytes.extend([next, self.hops]);
        bytes.extend(address_bytes(self.source));
        bytes.extend(address_bytes(self.destination));
        bytes.extend(chain);
        bytes
    }

    /// The L4 header with its checksum, and the payload.
    fn l4_bytes(&self) -> Vec<u8> {
        let mut bytes = self.l4_header();
        bytes.extend(&self.payload);
        let sum_at = match self.l4 {
            L4::Tcp { .. } => 16,
            L4::Udp { .. } => 6,
            L4::Icmp { .. } => 2,
            L4::Sctp { .. } => return self.sctp_bytes(bytes),
            L4::Other { .. } => return bytes,
        };
        let mut summed = match self.l4 {
            L4::Icmp { .. } if self.source.is_ipv4() => vec![],
            _ => self.pseudo_header(bytes.len()),
        };
        summed.extend(&bytes);
        let sum = match (checksum(&summed), &self.l4) {
            (0, L4::Udp { .. }) => 0xffff, // zero means "not computed"
            (sum, _) => sum,
        };
        put(&mut bytes, sum_at, sum);
        for fault in &self.faults {
            match *fault {
                Fault::L4Checksum(sum) => put(&mut bytes, sum_at, sum),
                Fault::UdpLength(length) => put(&mut bytes, 4, length),
                Fault::TcpWords(words) => bytes[12] = words << 4,
                Fault::Version(_) | Fault::HeaderWords(_) | Fault::IpLength(_) | Fault::IpChecksum(_) => {}
            }
        }
        bytes
    }

    fn sctp_bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let fault = self.faults.iter().find_map(|fault| match *fault {
            Fault::L4Checksum(sum) => Some(u32::from(sum)),
            _ => None,
        });
        let sum = fault.unwrap_or_else(|| sctp_checksum(&bytes));
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn l4_header(&self) -> Vec<u8> {
        let mut bytes = vec![];
        match &self.l4 {
            L4::Tcp { source, destination, flags, seq, ack, window, options } => {
                let options = padded(options);
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([low_byte((20 + options.len()) / 4) << 4, *flags]);
                bytes.extend(window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(options);
            }
            L4::Udp { source, destination } => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(length(8 + self.payload.len()));
                bytes.extend([0; 2]);
            }
            L4::Icmp { kind, code, rest } => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(rest);
            }
            L4::Sctp { source, destination, tag } => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(tag.to_be_bytes());
                bytes.extend([0; 4]);
            }
            L4::Other { .. } => {}
        }
        bytes
    }

    fn pseudo_header(&self, l4_length: usize) -> Vec<u8> {
        let mut bytes = address_bytes(self.source);
        bytes.extend(address_bytes(self.destination));
        bytes.extend([0, self.protocol()]);
        // IPv6 writes the length in 32 bits and the protocol last: the sum is the same.
        bytes.extend(length(l4_length));
        bytes
    }
}

/// Where the L4 payload of a well-formed, unfragmented frame begins: the bytes that a cut can damage.
///
/// # Panics
/// If etherparse cannot read the frame.
#[must_use]
pub fn header_end(frame: &[u8]) -> usize {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).expect("the frame is well formed");
    let payload = match (&sliced.transport, &sliced.net) {
        (Some(etherparse::TransportSlice::Tcp(tcp)), _) => tcp.payload().len(),
        (Some(etherparse::TransportSlice::Udp(udp)), _) => udp.payload().len(),
        (Some(etherparse::TransportSlice::Icmpv4(icmp)), _) => icmp.payload().len(),
        (Some(etherparse::TransportSlice::Icmpv6(icmp)), _) => icmp.payload().len(),
        (_, Some(net)) => net.ip_payload_ref().map_or(0, |payload| payload.payload.len()),
        (_, None) => 0,
    };
    frame.len() - payload
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn padded(options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    options
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("an IP packet is shorter than 64 KiB").to_be_bytes()
}

fn low_byte(number: usize) -> u8 {
    u8::try_from(number).expect("header lengths fit a byte")
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
