//! Frames for people: one line as tcpdump would write it, and a hex dump that marks what differs.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpPacketSlice, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice,
};

use super::Mac;
use super::packet::{ACK, FIN, PSH, RST, SYN, URG};

const ROW: usize = 16;

/// One line that says what the frame is; what cannot be parsed is named.
#[must_use]
pub fn render(frame: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return format!("[runt] length {}", frame.len());
    };
    let mut line = String::new();
    let mut ether_type = 0;
    if let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link {
        ether_type = ethernet.ether_type().0;
        let _ = write!(line, "{} > {} ", Mac(ethernet.source()), Mac(ethernet.destination()));
    }
    for tag in &packet.link_exts {
        if let LaxLinkExtSlice::Vlan(vlan) = tag {
            ether_type = vlan.ether_type().0;
            let _ = write!(line, "vlan {} ", vlan.vlan_identifier().value());
        }
    }
    match &packet.net {
        Some(LaxNetSlice::Arp(arp)) => line += &arp_text(arp),
        Some(net) => line += &ip_text(net, packet.transport.as_ref()),
        None => {
            let _ = write!(line, "ethertype {ether_type:#06x}");
        }
    }
    if let Some((error, layer)) = &packet.stop_err {
        let _ = write!(line, " [{layer}: {error}]");
    }
    let _ = write!(line, " length {}", frame.len());
    line
}

fn arp_text(arp: &ArpPacketSlice<'_>) -> String {
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(octets) => Ipv4Addr::from(octets).to_string(),
        Err(_) => format!("{bytes:02x?}"),
    };
    let (sender, target) = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
    let sender_mac =
        <[u8; 6]>::try_from(arp.sender_hw_addr()).map_or_else(|_| "?".into(), |mac| Mac(mac).to_string());
    match arp.operation().0 {
        1 => format!("ARP who-has {target} tell {sender} ({sender_mac})"),
        2 => format!("ARP {sender} is-at {sender_mac} to {target}"),
        other => format!("ARP operation {other} {sender} > {target}"),
    }
}

fn ip_text(net: &LaxNetSlice<'_>, transport: Option<&TransportSlice<'_>>) -> String {
    let (family, source, destination, hops) = match net {
        LaxNetSlice::Ipv4(v4) => {
            let header = v4.header();
            ("IP", header.source_addr().to_string(), header.destination_addr().to_string(), header.ttl())
        }
        LaxNetSlice::Ipv6(v6) => {
            let header = v6.header();
            let (source, destination) =
                (Ipv6Addr::from(header.source()), Ipv6Addr::from(header.destination()));
            ("IP6", source.to_string(), destination.to_string(), header.hop_limit())
        }
        LaxNetSlice::Arp(_) => unreachable!("ARP has its own text"),
    };
    let ends = |from: u16, to: u16| format!("{family} {source}.{from} > {destination}.{to}");
    let mut line = match transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let flags = tcp_flags(tcp);
            let (seq, ack) = (tcp.sequence_number(), tcp.acknowledgment_number());
            let data = tcp.payload().len();
            format!(
                "{}: tcp [{flags}] seq {seq} ack {ack} data {data}",
                ends(tcp.source_port(), tcp.destination_port())
            )
        }
        Some(TransportSlice::Udp(udp)) => {
            format!("{}: udp data {}", ends(udp.source_port(), udp.destination_port()), udp.payload().len())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let (kind, code, rest) = (icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8());
            format!("{family} {source} > {destination}: {}", icmp_text("icmp", kind, code, rest))
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let (kind, code, rest) = (icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8());
            format!("{family} {source} > {destination}: {}", icmp_text("icmp6", kind, code, rest))
        }
        Some(TransportSlice::Igmp(_)) => format!("{family} {source} > {destination}: igmp"),
        None => {
            let payload = net.ip_payload_ref().expect("ARP has its own text");
            format!(
                "{family} {source} > {destination}: proto {} data {}",
                payload.ip_number.0,
                payload.payload.len()
            )
        }
    };
    let _ = write!(line, " hops {hops}");
    if net.ip_payload_ref().is_some_and(|payload| payload.fragmented) {
        line += " fragment";
    }
    line
}

fn tcp_flags(tcp: &TcpSlice<'_>) -> String {
    let bits = tcp.slice()[13];
    let names = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (URG, 'U'), (ACK, '.')];
    names.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name).collect()
}

fn icmp_text(name: &str, kind: u8, code: u8, rest: [u8; 4]) -> String {
    let [a, b, c, d] = rest;
    let (id, seq) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    match (name, kind) {
        ("icmp", 8) | ("icmp6", 128) => format!("{name} echo request id {id} seq {seq}"),
        ("icmp", 0) | ("icmp6", 129) => format!("{name} echo reply id {id} seq {seq}"),
        _ => format!("{name} type {kind} code {code}"),
    }
}

/// Both frames in one line each, then the rows of bytes in which they differ; `None` if they are equal.
#[must_use]
pub fn difference(expected: &[u8], got: &[u8]) -> Option<String> {
    if expected == got {
        return None;
    }
    let mut text = format!("expected {}\n     got {}\n", render(expected), render(got));
    for at in (0..expected.len().max(got.len())).step_by(ROW) {
        let (wanted, found) = (row(expected, at), row(got, at));
        if wanted == found {
            continue;
        }
        let marks: String =
            (0..ROW).map(|n| if wanted.get(n) == found.get(n) { "   " } else { " ^^" }).collect();
        let _ = writeln!(text, "{at:04x} -{}\n     +{}\n      {}", hex(wanted), hex(found), marks.trim_end());
    }
    Some(text)
}

/// Fails with the difference.
///
/// # Panics
/// If the frames are not equal.
#[track_caller]
pub fn assert_frames_equal(expected: &[u8], got: &[u8]) {
    if let Some(difference) = difference(expected, got) {
        panic!("frames differ\n{difference}");
    }
}

fn row(frame: &[u8], at: usize) -> &[u8] {
    &frame[at.min(frame.len())..(at + ROW).min(frame.len())]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, " {byte:02x}");
        text
    })
}
