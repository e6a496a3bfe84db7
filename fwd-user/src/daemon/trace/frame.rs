//! Frames made of words, and words made of frames.

use std::{fmt::Write as _, net::IpAddr};

use etherparse::{
    EtherType, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, LaxNetSlice, LaxSlicedPacket,
    LinkSlice, PacketBuilder, TcpHeader, TransportSlice,
};
use fwd_common::{
    addr::{Address, Ip, Mac, V4, V6},
    dhcp,
    flow::FlowKey,
    id::Zone,
    message,
    proto::{IpProto, icmp, icmpv6},
};

use crate::{api::text::IpPacket, datapath::Key};

const FLAGS: [(&str, u8); 6] =
    [("syn", 0x02), ("ack", 0x10), ("fin", 0x01), ("rst", 0x04), ("psh", 0x08), ("urg", 0x20)];
/// The type of ICMP that, as its answer, has three times in it (RFC 792).
const TIMESTAMP: u8 = icmp::TIMESTAMP_REPLY - 1;
/// What those protocols have at least of which nothing else is known.
const LEAST: usize = 8;

/// The frame of a packet between two MACs.
pub fn encode(packet: &IpPacket, (from, to): (Mac, Mac)) -> Vec<u8> {
    let bare = encode_with(packet, (from, to), 0);
    // Ethernet's header is not part of the packet.
    let missing = packet.len.map_or(0, |len| (usize::from(len) + 14).saturating_sub(bare.len()));
    if missing == 0 { bare } else { encode_with(packet, (from, to), missing) }
}

fn encode_with(packet: &IpPacket, (from, to): (Mac, Mac), payload: usize) -> Vec<u8> {
    let IpPacket { proto, sport, dport, tcp_flags, .. } = *packet;
    let ip = PacketBuilder::ethernet2(from.0, to.0).ip(ip_header(packet));
    let (mut frame, mut data) = (Vec::new(), vec![0; payload]);
    let (kind, code) = packet.icmp;
    let echo = [packet.id.to_be_bytes(), 1_u16.to_be_bytes()].concat();
    let echo = [echo[0], echo[1], echo[2], echo[3]];
    let written = match proto {
        IpProto::TCP => {
            let mut header = TcpHeader::new(sport, dport, 1, u16::MAX);
            header.syn = tcp_flags & 0x02 != 0;
            header.ack = tcp_flags & 0x10 != 0;
            header.fin = tcp_flags & 0x01 != 0;
            header.rst = tcp_flags & 0x04 != 0;
            header.psh = tcp_flags & 0x08 != 0;
            header.urg = tcp_flags & 0x20 != 0;
            ip.tcp_header(header).write(&mut frame, &data)
        }
        IpProto::UDP => {
            if packet.source.is_ipv4() && dport == u16::from_be(dhcp::SERVERS[0]) {
                ask_dhcp(&mut data, from);
            }
            ip.udp(sport, dport).write(&mut frame, &data)
        }
        IpProto::ICMP if matches!(kind, TIMESTAMP..=icmp::TIMESTAMP_REPLY) => {
            let stamps = vec![0; 3 * 4 + data.len()];
            ip.icmpv4_raw(kind, code, echo).write(&mut frame, &stamps)
        }
        IpProto::ICMP => ip.icmpv4_raw(kind, code, echo).write(&mut frame, &data),
        IpProto::ICMPV6 => ip.icmpv6_raw(kind, code, echo).write(&mut frame, &data),
        IpProto::SCTP => {
            // Ports, tag and checksum, and the beginning of INIT.
            let head =
                [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0; 8], &[1, 0, 0, 4], &data].concat();
            ip.write(&mut frame, IpNumber(proto.0), &head)
        }
        _ => ip.write(&mut frame, IpNumber(proto.0), &[&[0; LEAST][..], &data].concat()),
    };
    written.expect("a vector takes everything, and a packet has less than 64 KiB");
    frame
}

/// Makes a datagram what a DHCP client says for itself: source guard reads it (RFC 2131, 2).
fn ask_dhcp(data: &mut Vec<u8>, client: Mac) {
    const BOOT_REQUEST: u8 = 1;
    const ETHERNET: [u8; 2] = [1, 6];
    data.resize(data.len().max(dhcp::at::OPTIONS), 0);
    data[0] = BOOT_REQUEST;
    data[1..3].copy_from_slice(&ETHERNET);
    data[dhcp::at::CHADDR..][..6].copy_from_slice(&client.0);
}

fn ip_header(packet: &IpPacket) -> IpHeaders {
    let (ttl, number) = (packet.ttl, IpNumber(packet.proto.0));
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header::new(0, ttl, number, source.octets(), destination.octets());
            IpHeaders::Ipv4(header.expect("an empty packet is not too long"), Default::default())
        }
        (source, destination) => IpHeaders::Ipv6(
            Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: number,
                hop_limit: ttl,
                source: octets(source),
                destination: octets(destination),
            },
            Default::default(),
        ),
    }
}

const fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// In words, as `fwd trace` takes them.
pub fn describe(frame: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return format!("{} bytes, shorter than an Ethernet header", frame.len());
    };
    let mut text = match (&packet.net, &packet.link) {
        (Some(LaxNetSlice::Arp(arp)), _) => {
            let v4 = |bytes: &[u8]| {
                <[u8; 4]>::try_from(bytes).map_or("?".to_owned(), |o| IpAddr::from(o).to_string())
            };
            let verb = if arp.operation().0 == 1 { "request" } else { "reply" };
            let (sender, target) = (v4(arp.sender_protocol_addr()), v4(arp.target_protocol_addr()));
            format!("arp {verb} {sender} > {target}")
        }
        (Some(net), _) => ip_text(net, packet.transport.as_ref()),
        (None, Some(LinkSlice::Ethernet2(ethernet))) => match ethernet.ether_type() {
            EtherType(number) => format!("ethertype {number:#06x}"),
        },
        (None, _) => "no packet".to_owned(),
    };
    if let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link {
        let (from, to) = (Mac(ethernet.source()), Mac(ethernet.destination()));
        _ = write!(text, " from {from} to {to}");
    }
    for tag in &packet.link_exts {
        if let etherparse::LaxLinkExtSlice::Vlan(vlan) = tag {
            _ = write!(text, " vlan {}", vlan.vlan_identifier().value());
        }
    }
    text
}

fn ip_text(net: &LaxNetSlice<'_>, transport: Option<&TransportSlice<'_>>) -> String {
    let Some((source, destination, ttl, len, proto)) = ip_fields(net) else { return "no packet".to_owned() };
    let between = |l4: (u16, u16)| {
        let end = |addr: IpAddr, l4: u16| std::net::SocketAddr::new(addr, l4);
        format!("{} > {}", end(source, l4.0), end(destination, l4.1))
    };
    let head = match transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let bits = tcp.slice()[13];
            let flags: Vec<&str> = FLAGS.iter().filter(|(_, bit)| bits & bit != 0).map(|(f, _)| *f).collect();
            format!("tcp {} {}", between((tcp.source_port(), tcp.destination_port())), flags.join(","))
        }
        Some(TransportSlice::Udp(udp)) => {
            format!("udp {}", between((udp.source_port(), udp.destination_port())))
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            format!("icmp {source} > {destination} type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            format!("icmpv6 {source} > {destination} type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        _ => format!("proto/{proto} {source} > {destination}"),
    };
    format!("{head} ttl {ttl} len {len}")
}

fn ip_fields(net: &LaxNetSlice<'_>) -> Option<(IpAddr, IpAddr, u8, usize, u8)> {
    Some(match net {
        LaxNetSlice::Ipv4(v4) => {
            let header = v4.header();
            let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
            (source, destination, header.ttl(), header.total_len().into(), header.protocol().0)
        }
        LaxNetSlice::Ipv6(v6) => {
            let header = v6.header();
            let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
            let len = usize::from(header.payload_length()) + 40;
            (source, destination, header.hop_limit(), len, header.next_header().0)
        }
        LaxNetSlice::Arp(_) => return None,
    })
}

/// What the flow table and the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub proto: IpProto,
    pub sport: u16,
    pub dport: u16,
    /// The destination's L4 port; of ICMP type and code, the type first.
    pub service: u16,
}

impl Heads {
    /// None of a frame that is not IP, or whose headers cannot be read.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination, _, _, proto) = ip_fields(packet.net.as_ref()?)?;
        let plain = Self { source, destination, proto: IpProto(proto), sport: 0, dport: 0, service: 0 };
        Some(match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => plain.between(tcp.source_port(), tcp.destination_port()),
            Some(TransportSlice::Udp(udp)) => plain.between(udp.source_port(), udp.destination_port()),
            Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) => {
                plain.icmp(packet.ip_payload()?.payload)
            }
            None if plain.proto == IpProto::SCTP => match *packet.ip_payload()?.payload {
                [a, b, c, d, ..] => plain.between(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
                _ => plain,
            },
            _ => plain,
        })
    }

    const fn between(self, sport: u16, dport: u16) -> Self {
        Self { sport, dport, service: dport, ..self }
    }

    /// An error goes with the flow of the packet that it quotes.
    fn icmp(self, message: &[u8]) -> Self {
        let [kind, code, _, _, high, low, ..] = *message else { return self };
        let plain = Self { service: u16::from_be_bytes([kind, code]), ..self };
        if is_error(self.proto, kind) {
            return message.get(8..).and_then(Self::quoted).unwrap_or(plain);
        }
        let (sport, dport) = message_key(self.proto, plain.service, u16::from_be_bytes([high, low]));
        Self { sport, dport, ..plain }
    }

    /// The direction of the flow with which an ICMP error goes that quotes a packet of the other one.
    fn quoted(quotation: &[u8]) -> Option<Self> {
        let packet = LaxSlicedPacket::from_ip(quotation).ok()?;
        let (source, destination, _, _, proto) = ip_fields(packet.net.as_ref()?)?;
        let l4 = packet.ip_payload().map(|ip| ip.payload).filter(|l4| l4.len() >= 8)?;
        let word = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
        let (sport, dport) = match (IpProto(proto), l4[0]) {
            (IpProto::TCP | IpProto::UDP | IpProto::SCTP, _) => (word(0), word(2)),
            (proto @ (IpProto::ICMP | IpProto::ICMPV6), _) => message_key(proto, word(0), word(4)),
            _ => (0, 0),
        };
        let (source, destination, sport, dport) = (destination, source, dport, sport);
        Some(Self { source, destination, proto: IpProto(proto), sport, dport, service: dport })
    }

    /// The entry of the flow table that such a packet looks for in a zone.
    pub fn key(&self, zone: Zone) -> Key {
        match self.source {
            IpAddr::V4(_) => Key::V4(self.key_of::<V4>(zone)),
            IpAddr::V6(_) => Key::V6(self.key_of::<V6>(zone)),
        }
    }

    fn key_of<A: Address>(&self, zone: Zone) -> FlowKey<A> {
        FlowKey {
            src: A::from_ip(Ip::from(self.source)),
            dst: A::from_ip(Ip::from(self.destination)),
            sport: self.sport.to_be(),
            dport: self.dport.to_be(),
            zone,
            proto: self.proto,
            kind: 0,
        }
    }
}

/// `sport` and `dport` of the key of an ICMP message with its type and code, and the id at its place.
const fn message_key(proto: IpProto, service: u16, id: u16) -> (u16, u16) {
    let (sport, dport) = match proto {
        IpProto::ICMPV6 => message::key::<V6>(service.to_be(), id.to_be()),
        _ => message::key::<V4>(service.to_be(), id.to_be()),
    };
    (u16::from_be(sport), u16::from_be(dport))
}

const fn is_error(proto: IpProto, kind: u8) -> bool {
    match proto {
        IpProto::ICMPV6 => kind < icmpv6::FIRST_INFORMATIONAL,
        _ => {
            matches!(kind, icmp::UNREACHABLE..=icmp::REDIRECT | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM)
        }
    }
}

/// In hexadecimal.
pub fn hex(frame: &[u8]) -> String {
    frame.iter().fold(String::with_capacity(frame.len() * 2), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::text::PacketText;

    const FROM: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const TO: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn frame(text: &str) -> Vec<u8> {
        match text.parse() {
            Ok(PacketText::Ip(packet)) => encode(&packet, (FROM, TO)),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn frames_are_told_in_the_words_of_which_they_are_made() {
        for text in [
            "tcp 10.0.0.5:4000 > 10.0.0.9:443 syn ttl 64 len 40",
            "tcp 10.0.0.5:4000 > 10.0.0.9:443 syn,ack ttl 3 len 1400",
            "udp [fd00::5]:53 > [fd00::9]:5353 ttl 64 len 48",
            "icmp 10.0.0.5 > 10.0.0.9 type 3 code 1 ttl 64 len 28",
            "icmp 10.0.0.5 > 10.0.0.9 type 13 code 0 ttl 64 len 40",
            "icmpv6 fd00::5 > fd00::9 type 128 code 0 ttl 64 len 48",
            "proto/47 10.0.0.5 > 10.0.0.9 ttl 64 len 28",
        ] {
            let told = describe(&frame(text));
            assert_eq!(told, format!("{text} from {FROM} to {TO}"));
            assert_eq!(frame(&told), frame(text), "what was told is understood");
        }
        assert_eq!(describe(&[0; 13]), "13 bytes, shorter than an Ethernet header");
        let lldp = [&TO.0[..], &FROM.0, &[0x88, 0xcc], &[0; 46]].concat();
        assert_eq!(describe(&lldp), format!("ethertype 0x88cc from {FROM} to {TO}"));
    }

    #[test]
    fn a_client_of_dhcp_asks_for_itself() {
        let asks = frame("udp 0.0.0.0:68 > 255.255.255.255:67");
        assert_eq!(asks[42..45], [1, 1, 6]);
        assert_eq!((asks.len(), &asks[42 + dhcp::at::CHADDR..][..6]), (42 + dhcp::at::OPTIONS, &FROM.0[..]));
    }

    #[test]
    fn a_flow_is_looked_for_as_the_datapath_does() {
        let heads = |text: &str| Heads::of(&frame(text)).expect("an IP packet");
        let ports = |heads: Heads| (heads.sport, heads.dport, heads.service);
        assert_eq!(ports(heads("udp 10.0.0.5:4000 > 10.0.0.9:53")), (4000, 53, 53));
        assert_eq!(ports(heads("icmp 10.0.0.5 > 10.0.0.9 id 7")), (7, 0, 0x0800));
        assert_eq!(ports(heads("icmp fd00::5 > fd00::9 echo-reply id 7")), (0, 7, 0x8100));
        let own = ports(heads("icmp 10.0.0.5 > 10.0.0.9 type 13"));
        let answer = ports(heads("icmp 10.0.0.5 > 10.0.0.9 type 14"));
        assert_eq!((own.2, answer.2, (own.0, own.1)), (0x0d00, 0x0e00, (answer.1, answer.0)));
        assert_eq!(ports(heads("proto/47 10.0.0.5 > 10.0.0.9")), (0, 0, 0));
        let Key::V4(key) = heads("tcp 10.0.0.5:1 > 10.0.0.9:2").key(Zone(3)) else { panic!("IPv4") };
        assert_eq!((key.sport, key.dport, key.zone), (1_u16.to_be(), 2_u16.to_be(), Zone(3)));
        assert_eq!(Heads::of(&[0xff; 60]), None);
    }

    #[test]
    fn an_error_goes_with_the_flow_that_it_tells_of() {
        let quoted = frame("udp 10.0.0.5:4000 > 10.0.0.9:53");
        let mut error = frame("icmp 10.0.0.9 > 10.0.0.5 type 3 code 3 len 56");
        error[42..70].copy_from_slice(&quoted[14..42]);
        let heads = Heads::of(&error).expect("an IP packet");
        assert_eq!((heads.source.to_string(), heads.sport, heads.dport), ("10.0.0.9".to_owned(), 53, 4000));
        assert_eq!(heads.proto, IpProto::UDP);
    }
}
