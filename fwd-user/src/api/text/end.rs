//! An end of a rule: whom `--from` and `--to` name.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

use super::{TextError, name::parse_name};

/// An end of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Everyone.
    Any,
    /// Everyone beyond the uplinks.
    Outside,
    /// This host.
    Host,
    Port(String),
    Group(String),
    Set(String),
    /// All ports of a network.
    Network(String),
    Cidr(IpNet),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Outside => f.write_str("outside"),
            Self::Host => f.write_str("host"),
            Self::Port(name) => write!(f, "port:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Set(name) => write!(f, "set:{name}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Cidr(net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Self::Cidr(net) => write!(f, "{net}"),
        }
    }
}

impl FromStr for End {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text {
            "any" => return Ok(Self::Any),
            "outside" => return Ok(Self::Outside),
            "host" => return Ok(Self::Host),
            _ => {}
        }
        let (make, name) = match text.split_once(':') {
            Some(("port", name)) => (Self::Port as fn(String) -> Self, name),
            Some(("group", name)) => (Self::Group as fn(String) -> Self, name),
            Some(("set", name)) => (Self::Set as fn(String) -> Self, name),
            Some(("network", name)) => (Self::Network as fn(String) -> Self, name),
            _ => {
                return parse_cidr(text)?.map(Self::Cidr).ok_or_else(|| {
                    TextError::new(
                        format!("`{text}` is not an end of a rule"),
                        "Use any, outside, host, port:NAME, group:NAME, set:NAME, network:NAME or a CIDR.",
                    )
                });
            }
        };
        parse_name(name)?;
        Ok(make(name.to_owned()))
    }
}

/// An address or CIDR; `None` if it is neither.
fn parse_cidr(text: &str) -> Result<Option<IpNet>, TextError> {
    let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
    net.into_iter().try_for_each(check_cidr)?;
    Ok(net)
}

/// That a CIDR has no host bits and is not IPv4 in the clothes of IPv6.
pub(crate) fn check_cidr(net: IpNet) -> Result<(), TextError> {
    if net.trunc() != net {
        return Err(TextError::new(
            format!("{net} has bits beyond its prefix"),
            format!("Write {} for the whole prefix, or {} for the one address.", net.trunc(), net.addr()),
        ));
    }
    if net.addr().to_canonical() != net.addr() {
        return Err(TextError::new(format!("{net} is IPv4 written as IPv6"), "Write it as an IPv4 CIDR."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_print_as_they_were_read() {
        for text in [
            "any",
            "outside",
            "host",
            "port:web1",
            "group:web",
            "set:office",
            "network:vmnat",
            "10.0.0.0/8",
            "10.0.0.5",
            "::/0",
            "2001:db8::/32",
            "2001:db8::1",
        ] {
            assert_eq!(text.parse::<End>().map(|e| e.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("10.0.0.5/32".parse::<End>().map(|e| e.to_string()).as_deref(), Ok("10.0.0.5"));
    }

    #[test]
    fn wrong_ends_say_what_is_wrong() {
        let message = |text: &str| text.parse::<End>().expect_err(text).message;
        assert_eq!(message("web"), "`web` is not an end of a rule");
        assert_eq!(message("grp:web"), "`grp:web` is not an end of a rule");
        assert_eq!(message("group:"), "the name is empty");
        assert_eq!(message("10.0.0.5/8"), "10.0.0.5/8 has bits beyond its prefix");
        assert_eq!(message("::ffff:10.0.0.0/104"), "::ffff:10.0.0.0/104 is IPv4 written as IPv6");
    }
}
