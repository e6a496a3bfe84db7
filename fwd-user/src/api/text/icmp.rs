//! ICMP messages that rules and packets name: types of both families by nft's names, and by their numbers, with a
//! code or without.

use std::{fmt, str::FromStr};

use fwd_common::proto::IpProto;

use super::TextError;

/// Names of types, with their numbers in ICMP and in ICMPv6 (IANA "ICMP Type Numbers", "ICMPv6 type Numbers").
const TYPES: &[(&str, Option<u8>, Option<u8>)] = &[
    ("echo-request", Some(8), Some(128)),
    ("echo-reply", Some(0), Some(129)),
    ("destination-unreachable", Some(3), Some(1)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
    ("source-quench", Some(4), None),
    ("redirect", Some(5), None),
    ("router-advertisement", Some(9), None),
    ("router-solicitation", Some(10), None),
    ("timestamp-request", Some(13), None),
    ("timestamp-reply", Some(14), None),
    ("info-request", Some(15), None),
    ("info-reply", Some(16), None),
    ("address-mask-request", Some(17), None),
    ("address-mask-reply", Some(18), None),
    ("packet-too-big", None, Some(2)),
    ("mld-listener-query", None, Some(130)),
    ("mld-listener-report", None, Some(131)),
    ("mld-listener-done", None, Some(132)),
    ("nd-router-solicit", None, Some(133)),
    ("nd-router-advert", None, Some(134)),
    ("nd-neighbor-solicit", None, Some(135)),
    ("nd-neighbor-advert", None, Some(136)),
    ("nd-redirect", None, Some(137)),
    ("router-renumbering", None, Some(138)),
    ("ind-neighbor-solicit", None, Some(141)),
    ("ind-neighbor-advert", None, Some(142)),
    ("mld2-listener-report", None, Some(143)),
];

/// What an operator means by a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IcmpMessage {
    /// A type that both families have under this name, by its place in the table: each by its own number.
    Both(usize),
    /// One family's type, with one code or every.
    Of { proto: IpProto, kind: u8, code: Option<u8> },
}

impl IcmpMessage {
    /// The messages that are meant: family, type, and code (none: every).
    pub fn messages(self) -> Vec<(IpProto, u8, Option<u8>)> {
        match self {
            Self::Both(index) => {
                let (_, v4, v6) = TYPES[index];
                let of = |proto, kind: Option<u8>| kind.map(|kind| (proto, kind, None));
                [of(IpProto::ICMP, v4), of(IpProto::ICMPV6, v6)].into_iter().flatten().collect()
            }
            Self::Of { proto, kind, code } => vec![(proto, kind, code)],
        }
    }
}

/// The number of a type in a family.
pub(super) fn type_number(proto: IpProto, name: &str) -> Option<u8> {
    let (_, v4, v6) = TYPES.iter().find(|(other, ..)| *other == name)?;
    if proto == IpProto::ICMPV6 { *v6 } else { *v4 }
}

/// A name that stands for this type alone, as it is written behind its family.
fn name_of(proto: IpProto, kind: u8) -> Option<&'static str> {
    let is_meant = |(_, v4, v6): &&(&str, Option<u8>, Option<u8>)| match proto {
        IpProto::ICMPV6 => *v6 == Some(kind),
        _ => *v4 == Some(kind) && v6.is_none(),
    };
    TYPES.iter().find(is_meant).map(|(name, ..)| *name)
}

impl fmt::Display for IcmpMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Both(index) => write!(f, "icmp/{}", TYPES[index].0),
            Self::Of { proto, kind, code } => {
                f.write_str(if proto == IpProto::ICMPV6 { "icmpv6/" } else { "icmp/" })?;
                match name_of(proto, kind) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "{kind}")?,
                }
                code.map_or(Ok(()), |code| write!(f, "/{code}"))
            }
        }
    }
}

impl FromStr for IcmpMessage {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (family, message) = text.split_once('/').unwrap_or((text, ""));
        let proto = if family == "icmp" { IpProto::ICMP } else { IpProto::ICMPV6 };
        let (kind, code) = match message.split_once('/') {
            Some((kind, code)) => (kind, Some(number("code", code)?)),
            None => (message, None),
        };
        if kind.starts_with(|first: char| first.is_ascii_digit()) {
            return Ok(Self::Of { proto, kind: number("type", kind)?, code });
        }
        match TYPES.iter().position(|(name, ..)| *name == kind) {
            Some(index) => named(index, proto, code),
            None => Err(TextError::new(
                format!("`{kind}` is not an ICMP message that rules know"),
                "Use a name of nft's, as icmp/echo-request or icmpv6/packet-too-big, or numbers: icmp/TYPE, icmp/TYPE/CODE, \
                 icmpv6/TYPE; icmp alone is all of both families.",
            )),
        }
    }
}

fn named(index: usize, proto: IpProto, code: Option<u8>) -> Result<IcmpMessage, TextError> {
    let (name, v4, v6) = TYPES[index];
    match (proto, v4, v6, code) {
        (IpProto::ICMPV6, _, Some(kind), _) => Ok(IcmpMessage::Of { proto, kind, code }),
        (IpProto::ICMP, Some(_), Some(_), None) => Ok(IcmpMessage::Both(index)),
        (IpProto::ICMP, Some(kind), None, _) => Ok(IcmpMessage::Of { proto, kind, code }),
        (IpProto::ICMP, Some(kind), Some(_), Some(code)) => Err(TextError::new(
            format!("`{name}` is a type of both families, whose codes mean different things"),
            format!(
                "Write the type's number for IPv4, as icmp/{kind}/{code}, or icmpv6/{name}/{code} for IPv6."
            ),
        )),
        (_, Some(_), ..) => Err(TextError::new(
            format!("`{name}` is no message of ICMPv6"),
            format!("It is one of IPv4's: icmp/{name}."),
        )),
        _ => Err(TextError::new(
            format!("`{name}` is no message of ICMP for IPv4"),
            format!("It is one of IPv6's: icmpv6/{name}."),
        )),
    }
}

fn number(what: &str, text: &str) -> Result<u8, TextError> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| {
        TextError::new(
            format!("`{text}` is not an ICMP {what}"),
            format!("An ICMP {what} is a number from 0 to 255."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> IcmpMessage {
        text.parse().expect(text)
    }

    #[test]
    fn a_number_is_one_familys_and_a_name_is_each_familys_that_has_it() {
        let (v4, v6) = (IpProto::ICMP, IpProto::ICMPV6);
        for (text, wanted) in [
            ("icmp/8", vec![(v4, 8, None)]),
            ("icmp/3/4", vec![(v4, 3, Some(4))]),
            ("icmpv6/128", vec![(v6, 128, None)]),
            ("icmp6/1/4", vec![(v6, 1, Some(4))]),
            ("icmp/echo-request", vec![(v4, 8, None), (v6, 128, None)]),
            ("icmp/time-exceeded", vec![(v4, 11, None), (v6, 3, None)]),
            ("icmpv6/echo-request", vec![(v6, 128, None)]),
            ("icmpv6/destination-unreachable/4", vec![(v6, 1, Some(4))]),
            ("icmp/timestamp-request", vec![(v4, 13, None)]),
            ("icmp/redirect/1", vec![(v4, 5, Some(1))]),
        ] {
            assert_eq!(read(text).messages(), wanted, "{text}");
        }
    }

    #[test]
    fn each_message_has_one_spelling() {
        for (text, spelling) in [
            ("icmp/8", "icmp/8"),
            ("icmp/0/7", "icmp/0/7"),
            ("icmp/13", "icmp/timestamp-request"),
            ("icmp/echo-request", "icmp/echo-request"),
            ("icmp6/128", "icmpv6/echo-request"),
            ("icmpv6/2/0", "icmpv6/packet-too-big/0"),
            ("icmpv6/200", "icmpv6/200"),
        ] {
            assert_eq!(read(text).to_string(), spelling);
            assert_eq!(read(spelling), read(text));
        }
        for (name, v4, v6) in TYPES {
            for family in [v4.map(|_| "icmp"), v6.map(|_| "icmpv6")].into_iter().flatten() {
                let text = format!("{family}/{name}");
                assert_eq!(read(&text).to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_no_message_says_what_would_be() {
        let told = |text: &str| {
            let error = text.parse::<IcmpMessage>().expect_err(text);
            format!("{}: {}", error.message, error.hint)
        };
        for (text, wanted) in [
            ("icmp/", "`` is not an ICMP message"),
            ("icmp/256", "`256` is not an ICMP type: "),
            ("icmp/8/", "`` is not an ICMP code: "),
            ("icmp/8/x", "`x` is not an ICMP code: "),
            ("icmp/8/1/1", "`1/1` is not an ICMP code: "),
            ("icmp/8x", "`8x` is not an ICMP type: "),
            ("icmp/pong", "`pong` is not an ICMP message that rules know: "),
            (
                "icmp/packet-too-big",
                "no message of ICMP for IPv4: It is one of IPv6's: icmpv6/packet-too-big.",
            ),
            (
                "icmpv6/timestamp-request",
                "no message of ICMPv6: It is one of IPv4's: icmp/timestamp-request.",
            ),
            ("icmp/destination-unreachable/3", "as icmp/3/3, or icmpv6/destination-unreachable/3 for IPv6."),
        ] {
            assert!(told(text).contains(wanted), "{text}: {}", told(text));
        }
    }
}
