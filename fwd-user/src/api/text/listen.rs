//! Where a forward listens, and where it leads.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use fwd_common::{nat::L4Range, proto::IpProto};

use super::{TextError, name::parse_name, parse_l4_range, show_l4_range};

/// Protocols that a forward takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Tcp,
    Udp,
    TcpAndUdp,
    Sctp,
    /// Pings: it has no L4 ports.
    Icmp,
    /// TCP, UDP and pings: the host's sockets of SCTP cannot be seen.
    Any,
}

impl Protocols {
    pub const fn list(self) -> &'static [IpProto] {
        match self {
            Self::Tcp => &[IpProto::TCP],
            Self::Udp => &[IpProto::UDP],
            Self::TcpAndUdp => &[IpProto::TCP, IpProto::UDP],
            Self::Sctp => &[IpProto::SCTP],
            Self::Icmp => &[IpProto::ICMP, IpProto::ICMPV6],
            Self::Any => &[IpProto::TCP, IpProto::UDP, IpProto::ICMP, IpProto::ICMPV6],
        }
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::TcpAndUdp => "tcp+udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Any => "any",
        })
    }
}

impl FromStr for Protocols {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "tcp+udp" | "udp+tcp" => Ok(Self::TcpAndUdp),
            "sctp" => Ok(Self::Sctp),
            "icmp" => Ok(Self::Icmp),
            "any" => Ok(Self::Any),
            _ => Err(TextError::new(
                format!("`{text}` is not a protocol"),
                "Use tcp, udp, tcp+udp, sctp, icmp or any.",
            )),
        }
    }
}

/// `PROTO:[ADDR:]L4PORT[-L4PORT]`, IPv6 in brackets; no address: every address of the uplinks. Without L4 ports,
/// `PROTO:ADDR` or `PROTO:*`: all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub protocols: Protocols,
    pub addr: Option<IpAddr>,
    pub l4_ports: L4Range,
}

impl Listen {
    /// Whether it takes every L4 port that nothing else has.
    pub fn is_whole(&self) -> bool {
        self.l4_ports == L4Range::ALL
    }

    /// Of two that would take a packet, the one of less breadth does: of named L4 ports, of one protocol, of any.
    pub fn breadth(&self) -> u8 {
        match (self.is_whole(), self.protocols) {
            (false, _) => 0,
            (true, Protocols::Any) => 2,
            (true, _) => 1,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.protocols)?;
        let l4_ports = show_l4_range(self.l4_ports);
        match (self.addr, self.is_whole()) {
            (Some(IpAddr::V4(v4)), true) => write!(f, "{v4}"),
            (Some(IpAddr::V6(v6)), true) => write!(f, "[{v6}]"),
            (None, true) => f.write_str("*"),
            (Some(IpAddr::V4(v4)), false) => write!(f, "{v4}:{l4_ports}"),
            (Some(IpAddr::V6(v6)), false) => write!(f, "[{v6}]:{l4_ports}"),
            (None, false) => f.write_str(&l4_ports),
        }
    }
}

impl FromStr for Listen {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (protocols, rest) = text.split_once(':').ok_or_else(|| {
            TextError::new(format!("`{text}` is not a listen"), "A listen is such as tcp:203.0.113.10:8080.")
        })?;
        let protocols: Protocols = protocols.parse()?;
        if is_addr_alone(rest) {
            return Ok(Self { protocols, addr: parse_listen_addr(rest)?, l4_ports: L4Range::ALL });
        }
        let (addr, l4_ports) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (addr, l4_ports) = (parse_listen_addr(addr)?, parse_l4_range(l4_ports)?);
        let protocols = match protocols {
            _ if l4_ports == L4Range::ALL => protocols,
            Protocols::Icmp => {
                return Err(TextError::new(
                    "ICMP has no L4 ports",
                    "Write the address alone: icmp:203.0.113.10.",
                ));
            }
            Protocols::Any => Protocols::TcpAndUdp,
            _ => protocols,
        };
        Ok(Self { protocols, addr, l4_ports })
    }
}

/// Whether no L4 port follows; `2001:db8::1:80` is taken for an address with one, without its brackets.
fn is_addr_alone(rest: &str) -> bool {
    match rest.parse() {
        Ok(IpAddr::V4(_)) => true,
        Ok(IpAddr::V6(_)) => rest.rsplit_once(':').is_none_or(|(addr, _)| addr.parse::<Ipv6Addr>().is_err()),
        Err(_) => rest == "*" || rest.ends_with(']'),
    }
}

fn parse_listen_addr(text: &str) -> Result<Option<IpAddr>, TextError> {
    if text.is_empty() || text == "*" {
        return Ok(None);
    }
    let addr: Option<IpAddr> = match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None if text.parse::<Ipv6Addr>().is_ok() || text.contains(':') => {
            return Err(TextError::new(
                format!("the IPv6 address {text} stands without brackets"),
                format!("Write it as [{text}]."),
            ));
        }
        None => text.parse().ok(),
    };
    let Some(addr) = addr else {
        return Err(TextError::new(
            format!("`{text}` is not an address"),
            "Use an address of this host, or none for every address of the uplinks.",
        ));
    };
    if addr.is_unspecified() {
        return Ok(None);
    }
    if addr.is_multicast() || addr.is_loopback() || addr.to_canonical() != addr {
        return Err(TextError::new(
            format!("a forward cannot listen on {addr}"),
            "Use an address that the outside reaches.",
        ));
    }
    Ok(Some(addr))
}

/// `PORT:L4PORT[-L4PORT]`, or `PORT` where every L4 port is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub port: String,
    pub l4_ports: L4Range,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.l4_ports == L4Range::ALL {
            return f.write_str(&self.port);
        }
        write!(f, "{}:{}", self.port, show_l4_range(self.l4_ports))
    }
}

impl FromStr for Target {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (port, l4_ports) = match text.rsplit_once(':') {
            Some((port, l4_ports)) => (port, Some(l4_ports)),
            None => (text, None),
        };
        if port.parse::<IpAddr>().is_ok() || port.starts_with('[') {
            return Err(TextError::new(
                format!("`{port}` is an address, not a port's name"),
                "Forwards lead to ports by name: see fwd port list.",
            ));
        }
        parse_name(port)?;
        let l4_ports = l4_ports.map_or(Ok(L4Range::ALL), parse_l4_range)?;
        Ok(Self { port: port.to_owned(), l4_ports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_print_as_they_were_read() {
        for text in [
            "tcp:203.0.113.10:8080",
            "udp:53",
            "tcp+udp:[2001:db8::1]:5000-5003",
            "tcp:[fe80::1]:1-65534",
            "tcp:[fe80::1]",
            "icmp:203.0.113.10",
            "any:*",
            "sctp:203.0.113.10:2905",
        ] {
            assert_eq!(text.parse::<Listen>().map(|l| l.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_listen_on_no_address_is_on_all() {
        for text in ["tcp:8080", "tcp::8080", "tcp:*:8080", "tcp:0.0.0.0:8080", "tcp:[::]:8080"] {
            assert_eq!(text.parse::<Listen>().map(|l| l.to_string()).as_deref(), Ok("tcp:8080"), "{text}");
        }
    }

    #[test]
    fn a_listen_without_l4_ports_is_on_all_of_them() {
        for (text, same) in [
            ("tcp:203.0.113.10:1-65535", "tcp:203.0.113.10"),
            ("any:[2001:db8::1]:1-65535", "any:[2001:db8::1]"),
            ("icmp:0.0.0.0", "icmp:*"),
            ("any:8080", "tcp+udp:8080"),
        ] {
            assert_eq!(text.parse::<Listen>().map(|l| l.to_string()).as_deref(), Ok(same), "{text}");
        }
        let breadth = |text: &str| text.parse::<Listen>().expect(text).breadth();
        assert_eq!(["tcp:1-65534", "udp:*", "icmp:*", "any:*"].map(breadth), [0, 1, 1, 2]);
    }

    #[test]
    fn wrong_listens_say_what_is_wrong() {
        let message = |text: &str| text.parse::<Listen>().expect_err(text).message;
        assert_eq!(message("8080"), "`8080` is not a listen");
        assert_eq!(message("tpc:8080"), "`tpc` is not a protocol");
        assert_eq!(message("tcp:2001:db8::1:80"), "the IPv6 address 2001:db8::1 stands without brackets");
        assert_eq!(message("tcp:web1:80"), "`web1` is not an address");
        assert_eq!(message("tcp:10.0.0.1:0"), "`0` is not an L4 port");
        assert_eq!(message("tcp:127.0.0.1:80"), "a forward cannot listen on 127.0.0.1");
        assert_eq!(message("tcp:9-8"), "the range 9-8 ends before it starts");
        assert_eq!(message("icmp:203.0.113.10:8"), "ICMP has no L4 ports");
        assert_eq!(message("any:2001:db8::1"), "the IPv6 address 2001:db8::1 stands without brackets");
        assert_eq!(message("any:web1"), "`web1` is not an L4 port");
        assert_eq!(message("any:"), "`` is not an L4 port");
        assert_eq!(message("any:127.0.0.1"), "a forward cannot listen on 127.0.0.1");
    }

    #[test]
    fn targets_name_a_port() {
        for text in ["web1:80", "web1:9000-9099", "web1"] {
            assert_eq!(text.parse::<Target>().map(|t| t.to_string()).as_deref(), Ok(text));
        }
        for bad in ["", "web1:", ":80", "10.0.0.5:80", "[::1]:80", "Web:80", "web1:0"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
