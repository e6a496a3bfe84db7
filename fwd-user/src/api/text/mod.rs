//! The texts of the command line and the document: names, listens, targets, ends, services, selectors,
//! MACs. Each parses to a type that prints as the same text; an error says what was read and what would
//! have been understood, without naming the object: its owner does.

mod dhcp;
mod domain;
mod end;
mod filter;
mod icmp;
mod listen;
mod moment;
mod name;
mod packet;
mod pair;
mod prefix;
mod service;

pub use dhcp::{AddressRange, Dhcp};
pub use domain::DomainNic;
pub use end::End;
pub(crate) use end::check_cidr;
pub use filter::{Ends, PacketFilter};
pub use icmp::IcmpMessage;
pub use listen::{Listen, Protocols, Target};
pub use moment::Moment;
pub use name::{parse_device, parse_mac, parse_name, parse_pattern, parse_selector};
pub use packet::{IpPacket, PacketText};
pub use pair::Pair;
pub use prefix::PrefixPair;
pub use service::{Match, Service, ServiceNames};

use fwd_common::nat::L4Range;

/// A text that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TextError {
    /// A clause without the object's name or a final stop: "`tpc` is not a protocol".
    pub message: String,
    /// A full sentence.
    pub hint: String,
}

impl TextError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// `80` or `5000-5003`; 0 is no L4 port.
pub(crate) fn parse_l4_range(text: &str) -> Result<L4Range, TextError> {
    let number = |digits: &str| -> Result<u16, TextError> {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number = if is_number { digits.parse().ok().filter(|n| *n > 0) } else { None };
        number.ok_or_else(|| {
            TextError::new(
                format!("`{digits}` is not an L4 port"),
                "L4 ports are numbers from 1 to 65535, or ranges such as 5000-5003.",
            )
        })
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let range = L4Range { low: number(low)?, high: number(high)? };
    if range.is_empty() {
        return Err(TextError::new(
            format!("the range {text} ends before it starts"),
            format!("Write it as {high}-{low}."),
        ));
    }
    Ok(range)
}

/// `80` or `5000-5003`.
pub(crate) fn show_l4_range(range: L4Range) -> String {
    if range.low == range.high { range.low.to_string() } else { format!("{}-{}", range.low, range.high) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4_ranges_parse_and_print() {
        for text in ["1", "80", "65535", "5000-5003"] {
            assert_eq!(parse_l4_range(text).map(show_l4_range).as_deref(), Ok(text));
        }
        assert_eq!(parse_l4_range("80-80"), Ok(L4Range { low: 80, high: 80 }));
        for text in ["", "0", "65536", "+80", "-", "80-", "90-80", "1-2-3", "http"] {
            assert!(parse_l4_range(text).is_err(), "{text}");
        }
    }
}
