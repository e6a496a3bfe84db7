//! Services that a rule names: protocols with their L4 ports, ICMP with its types and codes.

use std::{collections::BTreeMap, fmt, str::FromStr};

use fwd_common::{nat::L4Range, proto::IpProto};

use super::{IcmpMessage, TextError, parse_l4_range, show_l4_range};

/// Names of the host's services (`/etc/services`) with their protocols and L4 ports.
pub type ServiceNames = BTreeMap<String, Vec<(IpProto, u16)>>;

/// What a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Any,
    /// L4 ports of TCP, UDP or SCTP, first and last.
    L4 {
        proto: IpProto,
        low: u16,
        high: u16,
    },
    /// All of ICMP and ICMPv6.
    Icmp,
    IcmpMessage(IcmpMessage),
    Proto(IpProto),
}

/// What a service matches in a packet: a protocol (`None`: every) and a range of L4 ports. ICMP has
/// its type and code in place of the L4 port, type first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub proto: Option<IpProto>,
    pub low: u16,
    pub high: u16,
}

const EXAMPLES: &str = "Services are such as tcp/80, udp/5000-5003, sctp/9, icmp, icmp/echo-request, icmpv6/packet-too-big, \
    proto/47 or any.";

impl Service {
    /// What it matches, in a few ranges.
    pub fn matches(self) -> Vec<Match> {
        let all = |proto| Match { proto, low: 0, high: u16::MAX };
        let message = |(proto, kind, code): (IpProto, u8, Option<u8>)| {
            let of_code = |code| u16::from_be_bytes([kind, code]);
            Match {
                proto: Some(proto),
                low: of_code(code.unwrap_or(0)),
                high: of_code(code.unwrap_or(u8::MAX)),
            }
        };
        match self {
            Self::Any => vec![all(None)],
            Self::L4 { proto, low, high } => vec![Match { proto: Some(proto), low, high }],
            Self::Icmp => vec![all(Some(IpProto::ICMP)), all(Some(IpProto::ICMPV6))],
            Self::IcmpMessage(named) => named.messages().into_iter().map(message).collect(),
            Self::Proto(proto) => vec![all(Some(proto))],
        }
    }

    /// One text, which stands for several services where the host has one name for several.
    ///
    /// # Errors
    /// Says what a service looks like.
    pub fn parse(text: &str, names: &ServiceNames) -> Result<Vec<Self>, TextError> {
        let is_name = !text.contains('/') && !matches!(text, "any" | "icmp" | "icmpv6");
        match is_name.then(|| names.get(text)).flatten() {
            Some(found) => {
                Ok(found.iter().map(|&(proto, l4)| Self::L4 { proto, low: l4, high: l4 }).collect())
            }
            None => Ok(vec![text.parse()?]),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::L4 { proto, low, high } => {
                let name = match *proto {
                    IpProto::TCP => "tcp",
                    IpProto::SCTP => "sctp",
                    _ => "udp",
                };
                write!(f, "{name}/{}", show_l4_range(L4Range { low: *low, high: *high }))
            }
            Self::Icmp => f.write_str("icmp"),
            Self::IcmpMessage(message) => message.fmt(f),
            Self::Proto(IpProto::ICMPV6) => f.write_str("icmpv6"),
            Self::Proto(IpProto::TCP) => f.write_str("tcp"),
            Self::Proto(IpProto::UDP) => f.write_str("udp"),
            Self::Proto(IpProto::SCTP) => f.write_str("sctp"),
            Self::Proto(proto) => write!(f, "proto/{}", proto.0),
        }
    }
}

impl FromStr for Service {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let l4 = |proto, range| parse_l4_range(range).map(|r| Self::L4 { proto, low: r.low, high: r.high });
        match text.split_once('/') {
            None if text == "any" => Ok(Self::Any),
            None if text == "icmp" => Ok(Self::Icmp),
            None if matches!(text, "icmpv6" | "icmp6") => Ok(Self::Proto(IpProto::ICMPV6)),
            None if text == "tcp" => Ok(Self::Proto(IpProto::TCP)),
            None if text == "udp" => Ok(Self::Proto(IpProto::UDP)),
            None if text == "sctp" => Ok(Self::Proto(IpProto::SCTP)),
            None => Err(TextError::new(
                format!("`{text}` is not a service, and the host's services have no such name"),
                EXAMPLES,
            )),
            Some(("tcp", range)) => l4(IpProto::TCP, range),
            Some(("udp", range)) => l4(IpProto::UDP, range),
            Some(("sctp", range)) => l4(IpProto::SCTP, range),
            Some(("icmp" | "icmpv6" | "icmp6", _)) => text.parse().map(Self::IcmpMessage),
            Some(("proto", number)) => {
                let proto = number.parse().map_err(|_| {
                    TextError::new(
                        format!("`{number}` is not a protocol's number"),
                        "Protocol numbers are 0 to 255.",
                    )
                })?;
                Ok(Self::Proto(IpProto(proto)))
            }
            Some((proto, _)) => {
                Err(TextError::new(format!("`{proto}` is not a protocol that rules know"), EXAMPLES))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_print_as_they_were_read() {
        for text in [
            "any",
            "tcp/80",
            "udp/5000-5003",
            "sctp/9",
            "icmp",
            "icmpv6",
            "icmp/echo-request",
            "icmp/8/0",
            "proto/47",
            "tcp",
            "udp",
            "sctp",
        ] {
            assert_eq!(text.parse::<Service>().map(|s| s.to_string()).as_deref(), Ok(text));
        }
        for (text, proto) in [("tcp", IpProto::TCP), ("udp", IpProto::UDP), ("sctp", IpProto::SCTP)] {
            assert_eq!(text.parse::<Service>(), Ok(Service::Proto(proto)));
        }
    }

    #[test]
    fn names_are_the_hosts() {
        let names = ServiceNames::from([
            ("domain".to_owned(), vec![(IpProto::TCP, 53), (IpProto::UDP, 53)]),
            ("any".to_owned(), vec![(IpProto::TCP, 1)]),
        ]);
        let texts = |text| {
            let found = Service::parse(text, &names).expect(text);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts("domain"), ["tcp/53", "udp/53"]);
        assert_eq!(texts("any"), ["any"]);
        assert!(Service::parse("gopher", &names).is_err());
    }

    #[test]
    fn icmp_messages_match_every_code_of_their_type_or_one() {
        let found = "icmp/echo-request".parse::<Service>().expect("a service").matches();
        assert_eq!(found[0], Match { proto: Some(IpProto::ICMP), low: 0x0800, high: 0x08ff });
        assert_eq!(found[1], Match { proto: Some(IpProto::ICMPV6), low: 0x8000, high: 0x80ff });
        let found = "icmp/3/4".parse::<Service>().expect("a service").matches();
        assert_eq!(found, [Match { proto: Some(IpProto::ICMP), low: 0x0304, high: 0x0304 }]);
    }

    #[test]
    fn wrong_services_say_what_is_wrong() {
        let error = |text: &str| text.parse::<Service>().expect_err(text);
        for text in [
            "",
            "tpc/80",
            "tcp/",
            "tcp/0",
            "sctp/",
            "sctp/65536",
            "icmp/900",
            "icmp/pong",
            "proto/256",
            "proto/x",
            "any/80",
        ] {
            assert!(!error(text).message.is_empty(), "{text}");
        }
    }
}
