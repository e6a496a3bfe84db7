//! Names of objects, devices, MACs, and label selectors.

use std::collections::BTreeMap;

use fwd_common::addr::Mac;
use wildmatch::WildMatch;

use super::TextError;

/// `[a-z0-9][a-z0-9-]{0,31}`.
///
/// # Errors
/// Says which character is wrong, or that the name is too long.
pub fn parse_name(text: &str) -> Result<(), TextError> {
    const HINT: &str = "Names are 1 to 32 of a-z, 0-9 and -, and do not start with -.";
    let wrong = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'));
    let message = if text.is_empty() {
        "the name is empty".to_owned()
    } else if let Some(c) = wrong {
        format!("the name has the character `{}`", c.escape_debug())
    } else if text.starts_with('-') {
        "the name starts with -".to_owned()
    } else if text.len() > 32 {
        format!("the name has {} characters", text.len())
    } else {
        return Ok(());
    };
    Err(TextError::new(message, HINT))
}

/// An interface's name as the kernel takes it.
///
/// # Errors
/// Says why the kernel would refuse it.
pub fn parse_device(text: &str) -> Result<(), TextError> {
    const HINT: &str = "Interface names are 1 to 15 characters without / : or white space.";
    let is_bad = text.is_empty()
        || text.len() > 15
        || matches!(text, "." | "..")
        || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if is_bad {
        return Err(TextError::new(format!("`{}` is not an interface's name", text.escape_debug()), HINT));
    }
    Ok(())
}

/// An interface's name in which `*` is any characters and `?` is one.
///
/// # Errors
/// Says why no interface could match.
pub fn parse_pattern(text: &str) -> Result<WildMatch, TextError> {
    let least: String = text.chars().filter(|c| *c != '*').collect();
    if !least.is_empty() {
        parse_device(&least)?;
    }
    Ok(WildMatch::new(text))
}

/// `52:54:00:12:34:56`, one station's.
///
/// # Errors
/// Also for multicast and all-zero addresses, which no guest may have.
pub fn parse_mac(text: &str) -> Result<Mac, TextError> {
    const HINT: &str = "A MAC is six hexadecimal bytes such as 52:54:00:12:34:56.";
    let mut mac = Mac::NONE;
    let parts: Vec<&str> = text.split(':').collect();
    let is_byte = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes: Option<Vec<u8>> =
        parts.iter().map(|p| Some(*p).filter(is_byte).and_then(|p| u8::from_str_radix(p, 16).ok())).collect();
    match bytes {
        Some(bytes) if bytes.len() == 6 => mac.0.copy_from_slice(&bytes),
        _ => return Err(TextError::new(format!("`{text}` is not a MAC"), HINT)),
    }
    if mac == Mac::NONE || mac.is_group() {
        return Err(TextError::new(
            format!("{mac} is not the MAC of one station"),
            "The first byte must be even, and not all bytes 0.",
        ));
    }
    Ok(mac)
}

/// `key=value[,key=value]`: all must match.
///
/// # Errors
/// For a part without `=`, an empty key, or a key twice.
pub fn parse_selector(text: &str) -> Result<BTreeMap<String, String>, TextError> {
    let mut selector = BTreeMap::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || !part.contains('=') {
            return Err(TextError::new(
                format!("`{}` is not a label", part.trim()),
                "Selectors are key=value, several with commas between them.",
            ));
        }
        if selector.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(TextError::new(
                format!("the label {key} is asked for twice"),
                "A port has one value for each label: name it once.",
            ));
        }
    }
    Ok(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "0", "web-1", &"a".repeat(32)] {
            assert_eq!(parse_name(good), Ok(()));
        }
        for bad in ["", "-a", "Web", "a_b", "a b", "ä", "a.b", &"a".repeat(33)] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_what_the_kernel_takes() {
        for good in ["eth0", "eth0.100", "Tap_1", "fifteen-letters"] {
            assert_eq!(parse_device(good), Ok(()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "sixteen-letters-"] {
            assert!(parse_device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_as_a_shells() {
        let matches = |pattern: &str, device: &str| parse_pattern(pattern).expect("one").matches(device);
        for (pattern, device) in
            [("vnet*", "vnet12"), ("vnet*", "vnet"), ("tap?", "tap0"), ("*-a", "x-a"), ("*", "t")]
        {
            assert!(matches(pattern, device), "{pattern} {device}");
        }
        for (pattern, device) in [("vnet*", "xvnet1"), ("tap?", "tap"), ("tap?", "tap10"), ("*-a", "x-ab")] {
            assert!(!matches(pattern, device), "{pattern} {device}");
        }
        for bad in ["a/*", "sixteen-letters-*", "a b*"] {
            assert!(parse_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn macs_are_of_one_station() {
        assert_eq!(parse_mac("52:54:00:12:34:Ff"), Ok(Mac([0x52, 0x54, 0, 0x12, 0x34, 0xff])));
        for bad in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52-54-00-12-34-56", "+2:54:00:12:34:56"] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
        for group in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
            assert!(parse_mac(group).is_err(), "{group}");
        }
    }

    #[test]
    fn selectors_are_labels() {
        let two = parse_selector("role=web, tier=").expect("two labels");
        assert_eq!(two.get("role").map(String::as_str), Some("web"));
        assert_eq!(two.get("tier").map(String::as_str), Some(""));
        for bad in ["", "role", "=web", "role=web,", "a=1,a=2"] {
            assert!(parse_selector(bad).is_err(), "{bad}");
        }
    }
}
