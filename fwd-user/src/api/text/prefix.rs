//! A prefix of IPv6 and its counterpart outside.

use std::{fmt, str::FromStr};

use fwd_common::prefix::MAX_BITS;
use ipnet::{IpNet, Ipv6Net};

use super::{TextError, end::check_cidr};
use crate::api::spec::Nat;

/// `INSIDE=OUTSIDE`, prefixes of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixPair {
    pub inside: Ipv6Net,
    pub outside: Ipv6Net,
}

impl fmt::Display for PrefixPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.inside, self.outside)
    }
}

impl FromStr for PrefixPair {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const HINT: &str = "Write INSIDE=OUTSIDE, as fd00:10::/64=2001:db8:10::/64.";
        let Some((inside, outside)) = text.split_once('=') else {
            return Err(TextError::new(format!("`{text}` is not two prefixes"), HINT));
        };
        let (inside, outside) = (prefix(inside, HINT)?, prefix(outside, HINT)?);
        if inside.prefix_len() != outside.prefix_len() {
            return Err(TextError::new(
                format!("{inside} and {outside} are not of one length"),
                "Give both the length of the longer one, with zeros where the shorter one ends.",
            ));
        }
        if inside.contains(&outside) {
            return Err(TextError::new(
                format!("{inside} is its own counterpart"),
                "Leave it out: a prefix that outside routes to this host needs no translation in a network of mode routed.",
            ));
        }
        Ok(Self { inside, outside })
    }
}

fn prefix(text: &str, hint: &str) -> Result<Ipv6Net, TextError> {
    let net = match text.parse() {
        Ok(IpNet::V6(net)) => net,
        Ok(IpNet::V4(net)) => {
            let clause = format!("{net} is IPv4, of which addresses are translated and no prefixes");
            return Err(TextError::new(clause, "Use --address or --one-to-one for IPv4."));
        }
        Err(_) => return Err(TextError::new(format!("`{text}` is not a prefix"), hint)),
    };
    check_cidr(net.into())?;
    if net.prefix_len() == 0 || u32::from(net.prefix_len()) > MAX_BITS {
        let clause = format!("{net} does not leave an interface identifier of 64 bits or more");
        return Err(TextError::new(
            clause,
            "Use prefixes of a length from 1 to 64, such as /48, /56 or /64.",
        ));
    }
    let addr = net.addr();
    if addr.is_multicast() || addr.is_unspecified() || addr.is_unicast_link_local() {
        return Err(TextError::new(format!("{net} is not a range for hosts"), hint));
    }
    Ok(net)
}

impl Nat {
    /// The prefixes that it translates into each other, where it is that.
    pub fn prefixes(&self) -> Option<PrefixPair> {
        self.prefix.as_deref().and_then(|text| text.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_print_as_they_were_read() {
        for text in ["fd00:10::/64=2001:db8:10::/64", "fd00::/48=2001:db8:1::/48"] {
            assert_eq!(text.parse::<PrefixPair>().map(|pair| pair.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn wrong_pairs_say_what_is_wrong() {
        let message = |text: &str| text.parse::<PrefixPair>().expect_err(text).message;
        assert_eq!(message("fd00:10::/64"), "`fd00:10::/64` is not two prefixes");
        assert_eq!(message("fd00:10::=2001:db8:10::/64"), "`fd00:10::` is not a prefix");
        assert_eq!(message("fd00:10::/64=web1"), "`web1` is not a prefix");
        assert_eq!(
            message("10.10.0.0/24=203.0.113.0/24"),
            "10.10.0.0/24 is IPv4, of which addresses are translated and no prefixes"
        );
        assert_eq!(
            message("fd00:10::/64=2001:db8:10::/56"),
            "fd00:10::/64 and 2001:db8:10::/56 are not of one length"
        );
        assert_eq!(message("fd00:10::/64=fd00:10::/64"), "fd00:10::/64 is its own counterpart");
        assert_eq!(message("fd00:10::1/64=2001:db8:10::/64"), "fd00:10::1/64 has bits beyond its prefix");
        for (text, bits) in [("fd00:10::/80=2001:db8:10::/80", 80), ("::/0=::/0", 0)] {
            assert!(message(text).contains(&format!("/{bits} does not leave")), "{text}");
        }
        assert_eq!(message("fd00:10::/64=ff02::/64"), "ff02::/64 is not a range for hosts");
        assert_eq!(message("fd00:10::/64=fe80::/64"), "fe80::/64 is not a range for hosts");
    }
}
