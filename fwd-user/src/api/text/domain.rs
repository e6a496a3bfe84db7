//! The interface of a libvirt domain that a port follows.

use std::{fmt, str::FromStr};

use super::TextError;

/// `DOMAIN[/N]`: the N-th interface of a domain, from 0, in the order of its XML; left out: the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainNic {
    pub domain: String,
    pub index: usize,
}

impl FromStr for DomainNic {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const HINT: &str = "Write DOMAIN or DOMAIN/N, as web1 or web1/1: N counts its interfaces from 0.";
        let (domain, index) = text.split_once('/').unwrap_or((text, "0"));
        let is_name = !domain.is_empty() && !domain.contains(char::is_control);
        match index.parse() {
            Ok(index) if is_name && index < 1000 => Ok(Self { domain: domain.to_owned(), index }),
            _ => Err(TextError::new(
                format!("`{}` is not an interface of a libvirt domain", text.escape_debug()),
                HINT,
            )),
        }
    }
}

impl fmt::Display for DomainNic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_of_a_domain_is_its_name_and_its_place() {
        let shown = |text: &str| text.parse::<DomainNic>().map(|nic| nic.to_string());
        assert_eq!(shown("web1").as_deref(), Ok("web1/0"));
        assert_eq!(shown("my vm/12").as_deref(), Ok("my vm/12"));
        for bad in ["", "/1", "web1/", "web1/x", "web1/-1", "web1/1000", "a\nb", "a/1/2"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
