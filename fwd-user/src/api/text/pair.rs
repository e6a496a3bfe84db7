//! An outside address for one port.

use std::{fmt, net::IpAddr, str::FromStr};

use fwd_common::nat::L4Range;

use super::{TextError, name::parse_name, parse_l4_range};
use crate::api::spec::Nat;

/// `ADDR=PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub addr: IpAddr,
    pub port: String,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.addr, self.port)
    }
}

impl FromStr for Pair {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const HINT: &str = "Write ADDR=PORT, as 203.0.113.11=web1.";
        let Some((addr, port)) = text.split_once('=') else {
            return Err(TextError::new(format!("`{text}` is not an address and a port"), HINT));
        };
        let addr = addr.parse().map_err(|_| TextError::new(format!("`{addr}` is not an address"), HINT))?;
        parse_name(port)?;
        Ok(Self { addr, port: port.to_owned() })
    }
}

impl Nat {
    /// The address and port of one-to-one NAT, where it is that.
    pub fn pair(&self) -> Option<Pair> {
        self.one_to_one.as_deref().and_then(|text| text.parse().ok())
    }

    /// The L4 ports of its address, where they are given.
    pub fn l4_range(&self) -> Option<L4Range> {
        self.l4_ports.as_deref().and_then(|text| parse_l4_range(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_print_as_they_were_read() {
        for text in ["203.0.113.11=web1", "2001:db8::11=web1"] {
            assert_eq!(text.parse::<Pair>().map(|pair| pair.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn wrong_pairs_say_what_is_wrong() {
        let message = |text: &str| text.parse::<Pair>().expect_err("refused").message;
        assert_eq!(message("203.0.113.11"), "`203.0.113.11` is not an address and a port");
        assert_eq!(message("web1=203.0.113.11"), "`web1` is not an address");
        assert!("203.0.113.11=Web 1".parse::<Pair>().is_err());
    }
}
