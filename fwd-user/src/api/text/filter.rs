//! The packets that `fwd trace --live` is asked about, in the words of pcap-filter: `host 10.0.0.9 and port 443`.

use std::{net::IpAddr, str::FromStr};

use fwd_common::nat::L4Range;
use ipnet::IpNet;

use super::{TextError, parse_l4_range};

/// What a packet must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketFilter(Expression);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Every,
    Host(End, IpNet),
    L4Port(End, L4Range),
    Protocol(&'static str),
    Family { is_ipv4: bool },
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

/// Which end of a packet is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
    Either,
}

/// What is known of a packet, or of a flow by the packet that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends<'a> {
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or whatever else it is.
    pub protocol: &'a str,
    pub source: Option<(IpAddr, u16)>,
    pub destination: Option<(IpAddr, u16)>,
    /// What one of the two becomes; it counts as either.
    pub translated: Option<(IpAddr, u16)>,
}

const HINT: &str = "Filters are such as `host 10.0.0.9 and port 443`, `tcp and not src net 10.0.0.0/8`, `udp portrange \
    5000-5003 or icmp`, with parentheses.";
const PROTOCOLS: [(&str, &str); 6] = [
    ("tcp", "tcp"),
    ("udp", "udp"),
    ("sctp", "sctp"),
    ("icmp", "icmp"),
    ("icmp6", "icmpv6"),
    ("icmpv6", "icmpv6"),
];

impl PacketFilter {
    pub fn matches(&self, ends: &Ends<'_>) -> bool {
        self.0.matches(ends)
    }

    /// Addresses in which every packet that matches has an end, if there are such.
    pub fn net(&self) -> Option<IpNet> {
        self.0.net()
    }
}

impl Expression {
    fn matches(&self, ends: &Ends<'_>) -> bool {
        let is = |end: &End, has: &dyn Fn((IpAddr, u16)) -> bool| {
            let of = match end {
                End::Source => [ends.source, None, ends.translated],
                End::Destination => [None, ends.destination, ends.translated],
                End::Either => [ends.source, ends.destination, ends.translated],
            };
            of.into_iter().flatten().any(has)
        };
        match self {
            Self::Every => true,
            Self::Host(end, net) => is(end, &|(addr, _)| net.contains(&addr)),
            Self::L4Port(end, range) => {
                is(end, &|(_, port)| port != 0 && (range.low..=range.high).contains(&port))
            }
            Self::Protocol(name) => ends.protocol == *name,
            Self::Family { is_ipv4 } => ends.source.is_some_and(|(addr, _)| addr.is_ipv4() == *is_ipv4),
            Self::Not(one) => !one.matches(ends),
            Self::And(one, other) => one.matches(ends) && other.matches(ends),
            Self::Or(one, other) => one.matches(ends) || other.matches(ends),
        }
    }

    fn net(&self) -> Option<IpNet> {
        match self {
            Self::Host(_, net) => Some(*net),
            Self::And(one, other) => one.net().or_else(|| other.net()),
            _ => None,
        }
    }
}

impl FromStr for PacketFilter {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('!', " not ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        if words.is_empty() {
            return Ok(Self(Expression::Every));
        }
        let mut reader = Reader { words: &words, at: 0 };
        let found = reader.any()?;
        match reader.peek() {
            None => Ok(Self(found)),
            Some(_) => Err(reader.wrong("is not expected")),
        }
    }
}

/// Reads words from left to right.
struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &[&str]) -> bool {
        let is_it = self.peek().is_some_and(|next| word.contains(&next));
        self.at += usize::from(is_it);
        is_it
    }

    /// Words with `or` between them; `and` binds closer, as `not` does.
    fn any(&mut self) -> Result<Expression, TextError> {
        let mut found = self.all()?;
        while self.take(&["or", "||"]) {
            found = Expression::Or(Box::new(found), Box::new(self.all()?));
        }
        Ok(found)
    }

    /// `tcp port 443` means both.
    fn all(&mut self) -> Result<Expression, TextError> {
        let mut found = self.one()?;
        loop {
            let is_said = self.take(&["and", "&&"]);
            if !is_said && self.peek().is_none_or(|next| matches!(next, "or" | "||" | ")")) {
                return Ok(found);
            }
            found = Expression::And(Box::new(found), Box::new(self.one()?));
        }
    }

    fn one(&mut self) -> Result<Expression, TextError> {
        if self.take(&["not"]) {
            return Ok(Expression::Not(Box::new(self.one()?)));
        }
        if self.take(&["("]) {
            let found = self.any()?;
            return if self.take(&[")"]) {
                Ok(found)
            } else {
                Err(self.wrong("stands where `)` is missing"))
            };
        }
        let next = self.peek();
        if let Some((_, name)) = PROTOCOLS.iter().find(|(word, _)| next == Some(*word)) {
            self.at += 1;
            return Ok(Expression::Protocol(name));
        }
        if self.take(&["ip"]) {
            return Ok(Expression::Family { is_ipv4: true });
        }
        if self.take(&["ip6"]) {
            return Ok(Expression::Family { is_ipv4: false });
        }
        self.end()
    }

    fn end(&mut self) -> Result<Expression, TextError> {
        let end = match self.peek() {
            Some("src") => End::Source,
            Some("dst") => End::Destination,
            _ => End::Either,
        };
        self.at += usize::from(end != End::Either);
        if self.take(&["port", "portrange"]) {
            let found = self.peek().and_then(|text| parse_l4_range(text).ok());
            let range = found.ok_or_else(|| self.wrong("is no L4 port"))?;
            self.at += 1;
            return Ok(Expression::L4Port(end, range));
        }
        let is_named = self.take(&["host", "net"]);
        let found = self
            .peek()
            .and_then(|text| text.parse().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into())));
        let why = if is_named || end != End::Either { "is no address" } else { "is no word of a filter" };
        let net = found.ok_or_else(|| self.wrong(why))?;
        self.at += 1;
        Ok(Expression::Host(end, net))
    }

    fn wrong(&self, why: &str) -> TextError {
        let what = match self.peek() {
            Some(word) => format!("word {}, `{word}`, {why}", self.at + 1),
            None => "it ends too early".to_owned(),
        };
        TextError::new(what, HINT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<(IpAddr, u16)> {
        let end: std::net::SocketAddr = text.parse().expect("an end");
        Some((end.ip(), end.port()))
    }

    fn matches(filter: &str) -> bool {
        let ends = Ends {
            protocol: "tcp",
            source: end("192.0.2.7:40000"),
            destination: end("203.0.113.10:8080"),
            translated: end("10.0.0.9:443"),
        };
        filter.parse::<PacketFilter>().expect(filter).matches(&ends)
    }

    #[test]
    fn filters_mean_what_they_mean_to_pcap() {
        for filter in [
            "",
            "host 10.0.0.9 and port 443",
            "tcp port 8080",
            "192.0.2.7",
            "src 192.0.2.7 dst port 8080",
            "src net 192.0.2.0/24",
            "portrange 8000-9000",
            "not udp",
            "!icmp && ip",
            "udp or tcp",
            "(udp or tcp) and not (host 10.0.0.8 or ip6)",
            "icmp and host 10.0.0.8 or tcp",
        ] {
            assert!(matches(filter), "{filter}");
        }
        for filter in [
            "host 10.0.0.8",
            "dst host 192.0.2.7",
            "src port 8080",
            "tcp port 80",
            "icmp6 or sctp",
            "ip6",
            "not (tcp or udp)",
            "tcp and (udp or icmp)",
        ] {
            assert!(!matches(filter), "{filter}");
        }
    }

    #[test]
    fn every_packet_that_matches_has_an_end_there() {
        let net =
            |filter: &str| filter.parse::<PacketFilter>().expect(filter).net().map(|net| net.to_string());
        assert_eq!(net("tcp and (port 80 and host 10.0.0.9)").as_deref(), Some("10.0.0.9/32"));
        assert_eq!(net("src net 10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
        for none in ["", "tcp", "not host 10.0.0.9", "host 10.0.0.9 or tcp"] {
            assert_eq!(net(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_filter_is_told_with_its_place() {
        let error = |filter: &str| filter.parse::<PacketFilter>().expect_err(filter).message;
        assert_eq!(error("host 10.0.0.9 and prot 443"), "word 4, `prot`, is no word of a filter");
        assert_eq!(error("host example.org"), "word 2, `example.org`, is no address");
        assert_eq!(error("tcp port 0"), "word 3, `0`, is no L4 port");
        assert_eq!(error("(tcp or udp"), "it ends too early");
        assert_eq!(error("tcp )"), "word 2, `)`, is not expected");
        assert_eq!(error("src"), "it ends too early");
        assert_eq!(error("tcp and"), "it ends too early");
    }
}
