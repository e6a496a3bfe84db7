//! The packet that `fwd trace` is asked about: `tcp 10.0.0.5:40000 > 10.0.0.9:443 syn`, or a whole frame.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use fwd_common::{
    addr::Mac,
    proto::{IpProto, icmp, icmpv6},
};

use super::{TextError, icmp::type_number, parse_mac};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketText {
    Ip(IpPacket),
    /// A whole frame, as an event shows its first bytes.
    Frame(Vec<u8>),
}

/// An IP packet in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    pub proto: IpProto,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// L4 ports; 0 where the protocol has none.
    pub sport: u16,
    pub dport: u16,
    /// Bits of the TCP header.
    pub tcp_flags: u8,
    /// Type and code.
    pub icmp: (u8, u8),
    /// An echo's id.
    pub id: u16,
    pub ttl: u8,
    /// Bytes of the IP packet; none: its headers alone.
    pub len: Option<u16>,
    /// MACs; none: those that such a packet would have.
    pub from: Option<Mac>,
    pub to: Option<Mac>,
}

const EXAMPLE: &str = "Packets are such as `tcp 10.0.0.5:40000 > 10.0.0.9:443 syn`, `udp [fd00::5]:53 > [fd00::9]:53`, \
    `icmp 10.0.0.5 > 10.0.0.9 echo-request`, `proto/47 10.0.0.5 > 10.0.0.9`, or `frame` and hexadecimal bytes.";
const FLAGS: [(&str, u8); 6] =
    [("fin", 0x01), ("syn", 0x02), ("rst", 0x04), ("psh", 0x08), ("ack", 0x10), ("urg", 0x20)];
/// A hop limit that most hosts start with.
const TTL: u8 = 64;

impl FromStr for PacketText {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut words = text.split_whitespace();
        let Some(proto) = words.next() else { return Err(TextError::new("it is empty", EXAMPLE)) };
        if proto == "frame" {
            return frame(&words.collect::<String>()).map(Self::Frame);
        }
        let proto = protocol(proto)?;
        let (Some(source), Some(">" | "->"), Some(destination)) = (words.next(), words.next(), words.next())
        else {
            return Err(TextError::new(format!("`{text}` is not PROTOCOL SOURCE > DESTINATION"), EXAMPLE));
        };
        let has_ports = matches!(proto, IpProto::TCP | IpProto::UDP | IpProto::SCTP);
        let ((source, sport), (destination, dport)) = (end(source, has_ports)?, end(destination, has_ports)?);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(TextError::new(
                "the source and the destination are of two address families",
                EXAMPLE,
            ));
        }
        let proto = match (proto, source.is_ipv4()) {
            (IpProto::ICMP | IpProto::ICMPV6, true) => IpProto::ICMP,
            (IpProto::ICMP | IpProto::ICMPV6, false) => IpProto::ICMPV6,
            (other, _) => other,
        };
        let echo = if source.is_ipv4() { icmp::ECHO_REQUEST } else { icmpv6::ECHO_REQUEST };
        let (tcp_flags, icmp, ttl) = (0, (echo, 0), TTL);
        let mut packet = IpPacket {
            proto,
            source,
            destination,
            sport,
            dport,
            tcp_flags,
            icmp,
            id: 1,
            ttl,
            len: None,
            from: None,
            to: None,
        };
        packet.take_options(&mut words)?;
        if packet.proto == IpProto::TCP && packet.tcp_flags == 0 {
            packet.tcp_flags = 0x02;
        }
        Ok(Self::Ip(packet))
    }
}

impl IpPacket {
    fn take_options<'a>(&mut self, words: &mut impl Iterator<Item = &'a str>) -> Result<(), TextError> {
        while let Some(word) = words.next() {
            let mut value = || {
                let missing = || TextError::new(format!("`{word}` needs a value"), EXAMPLE);
                words.next().ok_or_else(missing)
            };
            match word {
                "ttl" => self.ttl = number(value()?)?,
                "len" => self.len = Some(number(value()?)?),
                "id" => self.id = number(value()?)?,
                "type" => self.icmp.0 = number(value()?)?,
                "code" => self.icmp.1 = number(value()?)?,
                "from" => self.from = Some(mac(value()?)?),
                "to" => self.to = Some(mac(value()?)?),
                _ => self.take_word(word)?,
            }
        }
        Ok(())
    }

    /// TCP flags, or the name of an ICMP message.
    fn take_word(&mut self, word: &str) -> Result<(), TextError> {
        let message = type_number(self.proto, word);
        match (self.proto, message) {
            (IpProto::ICMP | IpProto::ICMPV6, Some(kind)) => self.icmp = (kind, 0),
            (IpProto::TCP, _) => {
                for flag in word.split([',', '+']) {
                    let found = FLAGS.iter().find(|(name, _)| *name == flag);
                    self.tcp_flags |= found.ok_or_else(|| unknown(flag))?.1;
                }
            }
            _ => return Err(unknown(word)),
        }
        Ok(())
    }
}

fn unknown(word: &str) -> TextError {
    TextError::new(
        format!("`{word}` says nothing of such a packet"),
        "After the addresses may come TCP flags (syn, ack, fin, rst, psh, urg), an ICMP message (echo-request), or one of \
         ttl, len, id, type, code, from and to with a value.",
    )
}

fn protocol(text: &str) -> Result<IpProto, TextError> {
    let of_number = |digits: &str| digits.parse().ok().map(IpProto);
    let known = match text {
        "tcp" => Some(IpProto::TCP),
        "udp" => Some(IpProto::UDP),
        "sctp" => Some(IpProto::SCTP),
        "icmp" => Some(IpProto::ICMP),
        "icmpv6" | "icmp6" => Some(IpProto::ICMPV6),
        _ => text.strip_prefix("proto/").and_then(of_number),
    };
    known.ok_or_else(|| TextError::new(format!("`{text}` is not a protocol"), EXAMPLE))
}

/// An address, with an L4 port where the protocol has one.
fn end(text: &str, has_port: bool) -> Result<(IpAddr, u16), TextError> {
    let end = match has_port {
        true => text.parse::<SocketAddr>().ok().map(|end| (end.ip(), end.port())),
        false => text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|addr| (addr, 0)),
    };
    end.ok_or_else(|| {
        let what = if has_port { "an address and an L4 port" } else { "an address" };
        TextError::new(format!("`{text}` is not {what}"), EXAMPLE)
    })
}

fn number<T: FromStr>(text: &str) -> Result<T, TextError> {
    text.parse().map_err(|_| TextError::new(format!("`{text}` is not a number that fits there"), EXAMPLE))
}

fn mac(text: &str) -> Result<Mac, TextError> {
    parse_mac(text).map_err(|_| TextError::new(format!("`{text}` is not a MAC"), EXAMPLE))
}

fn frame(text: &str) -> Result<Vec<u8>, TextError> {
    const LEAST: usize = 14;
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(text, 16).ok())?
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let bytes = bytes.ok_or_else(|| TextError::new("the frame's bytes are not hexadecimal", EXAMPLE))?;
    if bytes.len() < LEAST {
        return Err(TextError::new("the frame is shorter than an Ethernet header", EXAMPLE));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpPacket {
        match text.parse() {
            Ok(PacketText::Ip(packet)) => packet,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn packets_are_read_in_words() {
        let packet = ip("tcp 10.0.0.5:40000 > 10.0.0.9:443 syn");
        assert_eq!((packet.proto, packet.sport, packet.dport), (IpProto::TCP, 40000, 443));
        assert_eq!((packet.tcp_flags, packet.ttl, packet.len), (0x02, 64, None));
        assert_eq!(ip("tcp 10.0.0.5:1 -> 10.0.0.9:2").tcp_flags, 0x02);
        assert_eq!(ip("tcp 10.0.0.5:1 > 10.0.0.9:2 syn,ack").tcp_flags, 0x12);
        assert_eq!(ip("tcp 10.0.0.5:1 > 10.0.0.9:2 ack psh ttl 1 len 1400").tcp_flags, 0x18);
        let v6 = ip("udp [fd00::5]:53 > [fd00::9]:5353 ttl 3 from 02:00:00:00:00:01");
        assert_eq!((v6.source.is_ipv6(), v6.ttl, v6.from), (true, 3, Some(Mac([2, 0, 0, 0, 0, 1]))));
        assert_eq!(ip("icmp 10.0.0.5 > 10.0.0.9").icmp, (8, 0));
        let echo = ip("icmp fd00::5 > fd00::9 echo-reply id 7");
        assert_eq!((echo.proto, echo.icmp, echo.id), (IpProto::ICMPV6, (129, 0), 7));
        assert_eq!(ip("proto/47 10.0.0.5 > 10.0.0.9").proto, IpProto(47));
        assert_eq!(ip("icmp 10.0.0.5 > 10.0.0.9 type 3 code 1").icmp, (3, 1));
        assert_eq!(ip("icmp 10.0.0.5 > 10.0.0.9 timestamp-request").icmp, (13, 0));
        assert_eq!(ip("icmp fd00::5 > fd00::9 packet-too-big").icmp, (2, 0));
    }

    #[test]
    fn frames_are_read_as_bytes() {
        let bytes = "ffffffffffff 020000000001 0806 0001";
        let read: PacketText = format!("frame {bytes}").parse().expect("a frame");
        let PacketText::Frame(frame) = read else { panic!("{read:?}") };
        assert_eq!((frame.len(), frame[12], frame[13]), (16, 8, 6));
        assert!("frame ff:ff".parse::<PacketText>().is_err());
        assert!(format!("frame {bytes}+1").parse::<PacketText>().is_err());
    }

    #[test]
    fn what_is_no_packet_is_told() {
        for (bad, told) in [
            ("", "it is empty"),
            ("tpc 1.1.1.1:1 > 1.1.1.2:2", "`tpc` is not a protocol"),
            ("tcp 1.1.1.1 > 1.1.1.2:2", "`1.1.1.1` is not an address and an L4 port"),
            ("icmp 1.1.1.1:3 > 1.1.1.2", "`1.1.1.1:3` is not an address"),
            ("tcp 1.1.1.1:1 1.1.1.2:2", "`tcp 1.1.1.1:1 1.1.1.2:2` is not PROTOCOL SOURCE > DESTINATION"),
            ("tcp 1.1.1.1:1 > [::1]:2", "the source and the destination are of two address families"),
            ("tcp 1.1.1.1:1 > 1.1.1.2:2 syn,ack,ecn", "`ecn` says nothing of such a packet"),
            ("udp 1.1.1.1:1 > 1.1.1.2:2 syn", "`syn` says nothing of such a packet"),
            ("udp 1.1.1.1:1 > 1.1.1.2:2 ttl", "`ttl` needs a value"),
            ("icmp 1.1.1.1 > 1.1.1.2 packet-too-big", "`packet-too-big` says nothing of such a packet"),
            ("udp 1.1.1.1:1 > 1.1.1.2:2 ttl 256", "`256` is not a number that fits there"),
            ("udp 1.1.1.1:1 > 1.1.1.2:2 to 7", "`7` is not a MAC"),
            ("proto/256 1.1.1.1 > 1.1.1.2", "`proto/256` is not a protocol"),
        ] {
            assert_eq!(bad.parse::<PacketText>().expect_err(bad).message, told, "{bad}");
        }
    }
}
