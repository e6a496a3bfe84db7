//! Services that a rule names: protocols with their L4 ports, ICMP with its types.

use std::{collections::BTreeMap, fmt, str::FromStr};

use fwd_common::{
    nat::L4Range,
    proto::{IpProto, icmp, icmpv6},
};

use super::{TextError, parse_l4_range, show_l4_range};

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
    /// One message of ICMP, by its index in the table of messages.
    IcmpMessage(usize),
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

/// ICMP messages by name, with their types in ICMP and ICMPv6.
const MESSAGES: &[(&str, u8, u8)] = &[
    ("echo-request", icmp::ECHO_REQUEST, icmpv6::ECHO_REQUEST),
    ("echo-reply", icmp::ECHO_REPLY, icmpv6::ECHO_REPLY),
];

impl Service {
    /// What it matches, in a few ranges.
    pub fn matches(self) -> Vec<Match> {
        let all = |proto| Match { proto, low: 0, high: u16::MAX };
        let message = |proto, kind: u8| {
            let low = u16::from_be_bytes([kind, 0]);
            Match { proto: Some(proto), low, high: low | 0xff }
        };
        match self {
            Self::Any => vec![all(None)],
            Self::L4 { proto, low, high } => vec![Match { proto: Some(proto), low, high }],
            Self::Icmp => vec![all(Some(IpProto::ICMP)), all(Some(IpProto::ICMPV6))],
            Self::IcmpMessage(index) => {
                let (_, v4, v6) = MESSAGES[index];
                vec![message(IpProto::ICMP, v4), message(IpProto::ICMPV6, v6)]
            }
            Self::Proto(proto) => vec![all(Some(proto))],
        }
    }

    /// One text, which stands for several services where the host has one name for several.
    ///
    /// # Errors
    /// Says what a service looks like.
    pub fn parse(text: &str, names: &ServiceNames) -> Result<Vec<Self>, TextError> {
        match names.get(text) {
            Some(found) if !text.contains('/') && !matches!(text, "any" | "icmp") => {
                Ok(found.iter().map(|&(proto, l4)| Self::L4 { proto, low: l4, high: l4 }).collect())
            }
            _ => Ok(vec![text.parse()?]),
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
            Self::IcmpMessage(index) => write!(f, "icmp/{}", MESSAGES[*index].0),
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
            None if text == "tcp" => Ok(Self::Proto(IpProto::TCP)),
            None if text == "udp" => Ok(Self::Proto(IpProto::UDP)),
            None if text == "sctp" => Ok(Self::Proto(IpProto::SCTP)),
            None => Err(TextError::new(
                format!("`{text}` is not a service, and the host's services have no such name"),
                "Services are such as tcp/80, udp/5000-5003, sctp/9, icmp, icmp/echo-request, proto/47 or any.",
            )),
            Some(("tcp", range)) => l4(IpProto::TCP, range),
            Some(("udp", range)) => l4(IpProto::UDP, range),
            Some(("sctp", range)) => l4(IpProto::SCTP, range),
            Some(("icmp", name)) => {
                MESSAGES.iter().position(|m| m.0 == name).map(Self::IcmpMessage).ok_or_else(|| {
                    TextError::new(
                        format!("`{name}` is not an ICMP message that rules know"),
                        "Use icmp/echo-request, icmp/echo-reply, or icmp for all.",
                    )
                })
            }
            Some(("proto", number)) => {
                let proto = number.parse().map_err(|_| {
                    TextError::new(
                        format!("`{number}` is not a protocol's number"),
                        "Protocol numbers are 0 to 255.",
                    )
                })?;
                Ok(Self::Proto(IpProto(proto)))
            }
            Some((proto, _)) => Err(TextError::new(
                format!("`{proto}` is not a protocol that rules know"),
                "Services are such as tcp/80, udp/5000-5003, sctp/9, icmp, icmp/echo-request, proto/47 or any.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_print_as_they_were_read() {
        for text in ["any", "tcp/80", "udp/5000-5003", "sctp/9", "icmp", "icmp/echo-request", "proto/47"] {
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
    fn icmp_messages_match_every_code_of_their_type() {
        let found = "icmp/echo-request".parse::<Service>().expect("a service").matches();
        assert_eq!(found[0], Match { proto: Some(IpProto::ICMP), low: 0x0800, high: 0x08ff });
        assert_eq!(found[1], Match { proto: Some(IpProto::ICMPV6), low: 0x8000, high: 0x80ff });
    }

    #[test]
    fn wrong_services_say_what_is_wrong() {
        let error = |text: &str| text.parse::<Service>().expect_err(text);
        for text in
            ["", "tpc/80", "tcp/", "tcp/0", "sctp/", "sctp/65536", "icmp/9", "proto/256", "proto/x", "any/80"]
        {
            assert!(!error(text).message.is_empty(), "{text}");
        }
    }
}
