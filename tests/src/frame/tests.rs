//! The builder against etherparse's parser and checksums, and the texts of a failure.

use etherparse::{NetHeaders, PacketHeaders};

use super::*;

const VM: &str = "52:54:00:00:00:11";
const GW: &str = "52:54:00:00:00:01";

fn samples() -> Vec<Packet> {
    let pairs = [("10.10.0.11", "203.0.113.2"), ("fd00:10::11", "2001:db8:113::2")];
    let mut samples = vec![];
    for (from, to) in pairs {
        let (source, destination) = (End::from((ip(from), 40000)), End::from((ip(to), 80)));
        samples
            .push(Packet::tcp(source, destination).flags(SYN).tcp_options(&[2, 4, 5, 180, 1]).payload("odd"));
        samples.push(Packet::udp(source, destination).payload(b"hello").tos(0xb8).hops(3));
        samples.push(Packet::echo_request(from, to, 7, 9).payload([1, 2, 3]));
        samples.push(Packet::icmp(from, to, 3, 1, [0; 4]).payload([0x45; 28]));
    }
    samples.push(samples[1].clone().vlan(20).ip_options(&[1, 1, 1]));
    let last = samples[4].clone();
    samples.push(last.extension(Extension::padding(Extension::HOP_BY_HOP)).extension(Extension::padding(60)));
    samples.into_iter().map(|packet| packet.macs(VM, GW)).collect()
}

/// What etherparse would have put into the frame's checksums; true if that is what is there.
fn sums_are_right(frame: &[u8]) -> bool {
    let packet = PacketHeaders::from_ethernet_slice(frame).expect("the frame is well formed");
    let mut transport = packet.transport.expect("every sample has an L4 header");
    let before = transport.clone();
    let payload = packet.payload.slice();
    match packet.net.expect("every sample is IP") {
        NetHeaders::Ipv4(ip, _) => {
            transport.update_checksum_ipv4(&ip, payload).expect("the payload is short");
            before == transport && ip.header_checksum == ip.calc_header_checksum()
        }
        NetHeaders::Ipv6(ip, _) => {
            transport.update_checksum_ipv6(&ip, payload).expect("the payload is short");
            before == transport
        }
        NetHeaders::Arp(_) => false,
    }
}

#[test]
fn another_parser_agrees_with_every_length_and_checksum() {
    for packet in samples() {
        let frame = packet.frame();
        assert!(sums_are_right(&frame), "{}", render(&frame));
    }
}

#[test]
fn a_wrong_checksum_is_seen_by_the_other_parser() {
    let frame = samples().remove(1).fault(Fault::L4Checksum(0x1234)).frame();
    assert!(!sums_are_right(&frame));
    let frame = samples().remove(1).fault(Fault::IpChecksum(0x1234)).frame();
    assert!(!sums_are_right(&frame));
}

#[test]
fn fragments_carry_the_bytes_of_the_whole() {
    for (from, to) in [("10.10.0.11:1", "203.0.113.2:2"), ("[fd00:10::11]:1", "[2001:db8:113::2]:2")] {
        let content: Vec<u8> = (0..100).collect();
        let whole = Packet::udp(from, to).payload(&content);
        let l4 = whole.frame()[if from.starts_with('[') { 54 } else { 34 }..].to_vec();
        let mut joined: Vec<u8> = vec![];
        for frame in whole.fragments(77, 48) {
            let packet = PacketHeaders::from_ethernet_slice(&frame).expect("a fragment is well formed");
            assert!(render(&frame).contains(" fragment"), "{}", render(&frame));
            joined.extend(packet.payload.slice());
        }
        assert_eq!(joined, l4, "{from}");
    }
}

#[test]
fn faults_stand_where_the_field_is() {
    let udp = Packet::udp("10.0.0.1:1", "10.0.0.2:2");
    assert_eq!(udp.clone().fault(Fault::Version(5)).frame()[14], 0x55);
    assert_eq!(udp.clone().fault(Fault::HeaderWords(4)).frame()[14], 0x44);
    assert_eq!(udp.clone().fault(Fault::IpLength(0x0102)).frame()[16..18], [1, 2]);
    assert_eq!(udp.fault(Fault::UdpLength(0x0102)).frame()[38..40], [1, 2]);
    let v6 = Packet::udp("[fd00::1]:1", "[fd00::2]:2").fault(Fault::IpLength(0x0102)).frame();
    assert_eq!(v6[18..20], [1, 2]);
    assert_eq!(Packet::tcp("10.0.0.1:1", "10.0.0.2:2").fault(Fault::TcpWords(3)).frame()[46], 0x30);
}

#[test]
fn lines_read_like_tcpdump() {
    let line = |packet: Packet| render(&packet.frame());
    assert_eq!(
        line(Packet::tcp("10.0.0.1:1", "10.0.0.2:2").macs(VM, GW).vlan(7).flags(SYN | ACK)),
        "52:54:00:00:00:11 > 52:54:00:00:00:01 vlan 7 IP 10.0.0.1.1 > 10.0.0.2.2: \
         tcp [S.] seq 1000 ack 2000 data 0 hops 64 length 58",
    );
    assert_eq!(
        line(Packet::arp_request(VM, "10.0.0.1", "10.0.0.2")),
        "52:54:00:00:00:11 > ff:ff:ff:ff:ff:ff ARP who-has 10.0.0.2 tell 10.0.0.1 (52:54:00:00:00:11) length 42",
    );
    assert_eq!(
        line(Packet::neighbor_solicitation(VM, "fe80::1", "fd00::2", &[NdOption::SourceLink(VM.into())])),
        "52:54:00:00:00:11 > 33:33:ff:00:00:02 IP6 fe80::1 > ff02::1:ff00:2: icmp6 type 135 code 0 hops 255 length 86",
    );
    assert_eq!(render(&[0; 13]), "[runt] length 13");
    let cut = &Packet::tcp("10.0.0.1:1", "10.0.0.2:2").frame()[..40];
    assert!(render(cut).contains('['), "a cut frame names its error: {}", render(cut));
}

#[test]
fn a_difference_marks_its_bytes() {
    let one = Packet::udp("10.0.0.1:1", "10.0.0.2:2").payload("abc").frame();
    let mut two = one.clone();
    two[44] ^= 0xff;
    let text = difference(&one, &two).expect("they differ");
    assert!(text.contains("0020 -") && !text.contains("0010 -"), "{text}");
    assert_eq!(text.matches("^^").count(), 1, "{text}");
    assert_eq!(difference(&one, &one.clone()), None);
}

#[test]
fn headers_end_where_the_payload_begins() {
    for packet in samples() {
        let Body::Ip(ip) = &packet.body else { unreachable!("every sample is IP") };
        let frame = packet.frame();
        assert_eq!(header_end(&frame), frame.len() - ip.payload.len(), "{}", render(&frame));
    }
}
