//! What a network's DHCP gives out.

use std::{fmt, net::IpAddr, str::FromStr};

use super::TextError;

/// `off`, `snoop`, or ranges of addresses with commas between them: `10.10.0.100-10.10.0.200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dhcp {
    Off,
    /// What servers outside give is followed, and guests have nothing else.
    Snoop,
    Ranges(Vec<AddressRange>),
}

/// Addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    pub first: IpAddr,
    pub last: IpAddr,
}

impl fmt::Display for Dhcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Snoop => f.write_str("snoop"),
            Self::Ranges(ranges) => {
                let texts: Vec<_> = ranges.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

impl FromStr for Dhcp {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text {
            "off" => return Ok(Self::Off),
            "snoop" => return Ok(Self::Snoop),
            _ => {}
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Ranges)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for AddressRange {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const HINT: &str = "Write off, or FIRST-LAST such as 10.10.0.100-10.10.0.200; several with commas.";
        let bad = || TextError::new(format!("`{text}` is not a range of addresses"), HINT);
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let range = Self { first: first.parse().map_err(|_| bad())?, last: last.parse().map_err(|_| bad())? };
        if range.first.is_ipv4() != range.last.is_ipv4() {
            return Err(bad());
        }
        if range.first > range.last {
            return Err(TextError::new(
                format!("the range {text} ends before it starts"),
                format!("Write it as {last}-{first}."),
            ));
        }
        Ok(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_parse_and_print() {
        for text in ["off", "snoop", "10.10.0.100-10.10.0.200", "10.0.0.5-10.0.0.5,fd00::10-fd00::ff"] {
            assert_eq!(text.parse::<Dhcp>().map(|dhcp| dhcp.to_string()).as_deref(), Ok(text));
        }
        for text in
            ["", "on", "10.0.0.1", "10.0.0.9-10.0.0.1", "10.0.0.1-fd00::1", "10.0.0.1-10.0.0.2,", "a-b"]
        {
            assert!(text.parse::<Dhcp>().is_err(), "{text}");
        }
    }
}
