//! Values of options that have a spelling of their own.

use std::{net::IpAddr, time::SystemTime};

use ipnet::IpNet;

use crate::api::text::Moment;

/// A CIDR, or an address for its whole length.
pub fn cidr(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "write ADDRESS/LENGTH, as 198.51.100.0/24".to_owned())
}

/// `on` or `off`.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

/// `KEY=VALUE`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// A time as `90s`, `5m`, `2h` or `1d`, in seconds.
pub fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => 0,
    };
    let seconds = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|_| unit > 0);
    seconds.ok_or_else(|| "write a number with s, m, h or d, as 5m".to_owned())
}

/// A time between two looks, in seconds.
pub fn interval(text: &str) -> Result<u64, String> {
    seconds(text).and_then(|s| match s {
        1..=3600 => Ok(s),
        _ => Err("give it from 1s to 1h".to_owned()),
    })
}

/// The moment that is so long from now, as documents write it.
pub fn from_now(seconds: Option<u64>) -> Option<String> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    seconds.map(|s| Moment { unix_secs: since.as_secs().saturating_add(s).cast_signed() }.to_string())
}

/// A time for which an object is to live, in seconds: at most a century.
pub fn lifetime(text: &str) -> Result<u64, String> {
    const CENTURY: u64 = 100 * 365 * 86400;
    seconds(text).and_then(|s| match s {
        1..=CENTURY => Ok(s),
        _ => Err("give it from 1s to 36500d".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1d"), Ok(86400));
        for bad in ["", "m", "5w", "-1s", "5 m", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lifetimes_are_not_nothing_and_not_for_ever() {
        assert_eq!(lifetime("2h"), Ok(7200));
        assert!(lifetime("0s").is_err() && lifetime("36501d").is_err());
        assert_eq!(from_now(None), None);
    }

    #[test]
    fn an_address_is_a_cidr_of_its_whole_length() {
        assert_eq!(cidr("10.0.0.1").map(|c| c.to_string()), Ok("10.0.0.1/32".to_owned()));
        assert!(cidr("10.0.0").is_err());
    }
}
