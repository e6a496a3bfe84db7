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
}

impl Protocols {
    pub const fn list(self) -> &'static [IpProto] {
        match self {
            Self::Tcp => &[IpProto::TCP],
            Self::Udp => &[IpProto::UDP],
            Self::TcpAndUdp => &[IpProto::TCP, IpProto::UDP],
        }
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::TcpAndUdp => "tcp+udp",
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
            "sctp" | "icmp" | "any" => Err(TextError::unsupported(
                format!("forwards of {text} are not built yet"),
                "Use tcp, udp or tcp+udp.",
            )),
            _ => Err(TextError::new(format!("`{text}` is not a protocol"), "Use tcp, udp or tcp+udp.")),
        }
    }
}

/// `PROTO:[ADDR:]L4PORT[-L4PORT]`, IPv6 in brackets; no address: every address of the uplinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub protocols: Protocols,
    pub addr: Option<IpAddr>,
    pub l4_ports: L4Range,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.protocols)?;
        match self.addr {
            Some(IpAddr::V4(v4)) => write!(f, "{v4}:")?,
            Some(IpAddr::V6(v6)) => write!(f, "[{v6}]:")?,
            None => {}
        }
        f.write_str(&show_l4_range(self.l4_ports))
    }
}

impl FromStr for Listen {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (protocols, rest) = text.split_once(':').ok_or_else(|| {
            TextError::new(format!("`{text}` is not a listen"), "A listen is such as tcp:203.0.113.10:8080.")
        })?;
        let protocols = protocols.parse()?;
        let (addr, l4_ports) = match rest.rsplit_once(':') {
            Some((addr, l4_ports)) => (parse_listen_addr(addr)?, l4_ports),
            None => (None, rest),
        };
        Ok(Self { protocols, addr, l4_ports: parse_l4_range(l4_ports)? })
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

/// `PORT:L4PORT[-L4PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub port: String,
    pub l4_ports: L4Range,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.port, show_l4_range(self.l4_ports))
    }
}

impl FromStr for Target {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (port, l4_ports) = text.rsplit_once(':').ok_or_else(|| {
            TextError::new(
                format!("`{text}` names no L4 port"),
                "A target is a port and an L4 port such as web1:80.",
            )
        })?;
        if port.parse::<IpAddr>().is_ok() || port.starts_with('[') {
            return Err(TextError::new(
                format!("`{port}` is an address, not a port's name"),
                "Forwards lead to ports by name: see fwd port list.",
            ));
        }
        parse_name(port)?;
        Ok(Self { port: port.to_owned(), l4_ports: parse_l4_range(l4_ports)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_print_as_they_were_read() {
        for text in
            ["tcp:203.0.113.10:8080", "udp:53", "tcp+udp:[2001:db8::1]:5000-5003", "tcp:[fe80::1]:1-65535"]
        {
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
    fn wrong_listens_say_what_is_wrong() {
        let message = |text: &str| text.parse::<Listen>().expect_err(text).message;
        assert_eq!(message("8080"), "`8080` is not a listen");
        assert_eq!(message("tpc:8080"), "`tpc` is not a protocol");
        assert_eq!(message("tcp:2001:db8::1:80"), "the IPv6 address 2001:db8::1 stands without brackets");
        assert_eq!(message("tcp:web1:80"), "`web1` is not an address");
        assert_eq!(message("tcp:10.0.0.1:0"), "`0` is not an L4 port");
        assert_eq!(message("tcp:127.0.0.1:80"), "a forward cannot listen on 127.0.0.1");
        assert_eq!(message("tcp:9-8"), "the range 9-8 ends before it starts");
        assert!("sctp:9".parse::<Listen>().expect_err("sctp").is_unsupported);
    }

    #[test]
    fn targets_name_a_port() {
        for text in ["web1:80", "web1:9000-9099"] {
            assert_eq!(text.parse::<Target>().map(|t| t.to_string()).as_deref(), Ok(text));
        }
        for bad in ["web1", "web1:", ":80", "10.0.0.5:80", "[::1]:80", "Web:80", "web1:0"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
