//! The settings: one table of keys, defaults, ranges and meanings, from which parsing, `config show` and
//! the documentation are made.
//!
//! Timeouts default to at least what RFC 4787 (REQ-5), RFC 5382 (REQ-5) and RFC 5508 (REQ-2) ask of a NAT;
//! shorter ones are the operator's own choice.

use std::collections::BTreeMap;

use fwd_common::nat::L4Range;
use serde_json::Value;

use super::text::{TextError, parse_l4_range, show_l4_range};

/// How much detail `/metrics` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricsDetail {
    Basic,
    Port,
    Rule,
}

/// The values that a setting may have.
pub trait Domain {
    type Value: Copy;
    /// The value of what a document holds; `None` if it is not one.
    fn read(&self, value: &Value) -> Option<Self::Value>;
    /// As the document holds it.
    fn show(&self, value: Self::Value) -> Value;
    /// "a number from 1 to 5".
    fn describe(&self) -> String;
}

struct Count(u32, u32);
struct Seconds(u32, u32);
struct L4Ports;
/// One bit of a word, or none.
struct Bit;
struct Choice<T: 'static>(&'static [(&'static str, T)]);

const ALLOW_DENY: Choice<bool> = Choice(&[("allow", true), ("deny", false)]);
const ON_OFF: Choice<bool> = Choice(&[("on", true), ("off", false)]);
const DETAIL: Choice<MetricsDetail> =
    Choice(&[("basic", MetricsDetail::Basic), ("port", MetricsDetail::Port), ("rule", MetricsDetail::Rule)]);
const DAY: u32 = 86_400;

macro_rules! settings {
    ($($key:ident: $type:ty = $default:expr, $domain:expr, $doc:literal;)*) => {
        /// All settings, those left out at their defaults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Settings { $(#[doc = $doc] pub $key: $type,)* }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// Every setting, in the order of the documentation.
        pub fn table() -> Vec<Setting> {
            vec![$(Setting {
                key: stringify!($key),
                default: $domain.show($default),
                range: $domain.describe(),
                doc: $doc,
            },)*]
        }

        /// One setting's value as the document keeps it: `2h` becomes `7200s`.
        ///
        /// # Errors
        /// For a key that does not exist (with those that look like it), or a value out of its range.
        pub fn normalize(key: &str, value: &Value) -> Result<Value, TextError> {
            match key {
                $(stringify!($key) => read_with(&$domain, value).map(|v| $domain.show(v)),)*
                _ => Err(unknown(key)),
            }
        }

        impl Settings {
            /// The values of a document, keys that do not exist and values out of range being left at
            /// their defaults: [`normalize`] has refused them before.
            pub fn of(values: &BTreeMap<String, Value>) -> Self {
                let mut settings = Self::default();
                $(if let Some(value) = values.get(stringify!($key)).and_then(|v| $domain.read(v)) {
                    settings.$key = value;
                })*
                settings
            }
        }
    };
}

settings! {
    flow_limit: u32 = 262_144, Count(1024, 4 << 20), "Most flows of a family. The tables are made for this number when the datapath is loaded; later it can only be lowered, until the next fwd up.";
    flow_limit_per_port: u32 = 131_072, Count(16, 4 << 20), "Most flows that one port may own, of both families.";
    half_open_limit: u32 = 65_536, Count(16, 4 << 20), "Most flows of a family that nobody has answered yet.";
    half_open_limit_per_port: u32 = 16_384, Count(16, 4 << 20), "Most flows of one port that nobody has answered yet.";
    tcp_half_open_timeout: u32 = 240, Seconds(1, DAY), "TCP or SCTP that is not established yet (RFC 5382: at least 4 minutes).";
    tcp_established_timeout: u32 = 7440, Seconds(1, 30 * DAY), "Established TCP (RFC 5382: at least 2 hours and 4 minutes).";
    tcp_closing_timeout: u32 = 240, Seconds(1, DAY), "TCP after a reset, or a FIN of each side, and SCTP after an abort or the end of a shutdown (RFC 5382: at least 4 minutes).";
    udp_one_way_timeout: u32 = 120, Seconds(1, DAY), "UDP that was not answered (RFC 4787: at least 2 minutes).";
    udp_timeout: u32 = 300, Seconds(1, DAY), "UDP that was answered (RFC 4787: 5 minutes or more).";
    icmp_timeout: u32 = 60, Seconds(1, DAY), "ICMP queries (RFC 5508: at least 60 seconds).";
    sctp_timeout: u32 = 210, Seconds(1, DAY), "Established SCTP; its ends send heartbeats every 30 seconds (RFC 9260).";
    other_timeout: u32 = 600, Seconds(1, DAY), "All other protocols.";
    nat_l4_ports: L4Range = L4Range { low: 20_000, high: 32_767 }, L4Ports, "L4 ports for translated flows whose own is taken; kept out of the host's ephemeral ones.";
    midstream_tcp: bool = true, ALLOW_DENY, "Whether TCP other than a connection's first SYN may open a flow, where policy allows it and no socket of the host owns it.";
    fdb_limit_per_port: u32 = 1024, Count(1, 65_534), "Most MAC addresses that one VM port may have; uplinks have no limit of their own.";
    fdb_timeout: u32 = 300, Seconds(1, DAY), "A learnt MAC address that was silent for so long is forgotten.";
    flood_limit_per_port: u32 = 65_536, Count(64, 1 << 24), "Most copies a second that broadcast, multicast and unknown unicast of one VM port may make: one for each other member of its network.";
    mark: u32 = 0x0800_0000, Bit, "The skb mark bit of frames that fwd itself emits; 0 for none.";
    events_per_tick: u32 = 512, Count(0, 65_535), "Most drops that each CPU tells within 134 ms; counters are exact whatever this is.";
    flow_events_per_tick: u32 = 4096, Count(0, 65_535), "Most starts and ends of flows that each CPU tells within 134 ms.";
    metrics_detail: MetricsDetail = MetricsDetail::Rule, DETAIL, "How much detail /metrics has: totals, by port and forward, or by rule too.";
    audit_log_mib: u32 = 256, Count(1, 1 << 20), "Most room of the audit log, in MiB; the oldest records go.";
    audit_log_time: u32 = 183 * DAY, Seconds(DAY, 3650 * DAY), "How long the audit log is kept: six months.";
    flow_log: bool = true, ON_OFF, "Whether starts and ends of flows are told (fwd flow watch) and kept (flow.log in the state directory).";
    flow_log_mib: u32 = 1024, Count(1, 1 << 20), "Most room of the flow log, in MiB; the oldest records go.";
    flow_log_time: u32 = 183 * DAY, Seconds(DAY, 3650 * DAY), "How long the flow log is kept: six months.";
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub key: &'static str,
    pub default: Value,
    /// "a number from 1 to 5".
    pub range: String,
    pub doc: &'static str,
}

/// The line of a key.
///
/// # Errors
/// For a key that does not exist, with those that look like it.
pub fn find(key: &str) -> Result<Setting, TextError> {
    table().into_iter().find(|setting| setting.key == key).ok_or_else(|| unknown(key))
}

fn read_with<D: Domain>(domain: &D, value: &Value) -> Result<D::Value, TextError> {
    domain.read(value).ok_or_else(|| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        TextError {
            message: format!("`{text}` is not {}", domain.describe()),
            hint: "See the range of each setting: docs/settings.md.".to_owned(),
        }
    })
}

fn unknown(key: &str) -> TextError {
    let word = key.split('_').next().unwrap_or(key);
    let alike: Vec<_> = table().iter().map(|s| s.key).filter(|k| k.contains(word)).collect();
    let hint = match alike.as_slice() {
        [] => format!("Settings are {}.", table().iter().map(|s| s.key).collect::<Vec<_>>().join(", ")),
        keys => format!("Did you mean {}?", keys.join(" or ")),
    };
    TextError { message: format!("there is no setting `{key}`"), hint }
}

/// A whole number, which YAML may have given as text.
fn whole(value: &Value) -> Option<u32> {
    match value {
        Value::Number(n) => n.as_u64()?.try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

impl Domain for Count {
    type Value = u32;

    fn read(&self, value: &Value) -> Option<u32> {
        whole(value).filter(|n| (self.0..=self.1).contains(n))
    }

    fn show(&self, value: u32) -> Value {
        value.into()
    }

    fn describe(&self) -> String {
        format!("a number from {} to {}", self.0, self.1)
    }
}

impl Domain for Seconds {
    type Value = u32;

    /// `7440s`, `2m`, `1h`, `1d`; without a unit, seconds.
    fn read(&self, value: &Value) -> Option<u32> {
        let secs = match value {
            Value::String(text) => {
                let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                let unit = match &text[digits.len()..] {
                    "" | "s" => 1,
                    "m" => 60,
                    "h" => 3600,
                    "d" => DAY,
                    _ => return None,
                };
                digits.parse::<u32>().ok()?.checked_mul(unit)?
            }
            other => whole(other)?,
        };
        (self.0..=self.1).contains(&secs).then_some(secs)
    }

    fn show(&self, value: u32) -> Value {
        format!("{value}s").into()
    }

    fn describe(&self) -> String {
        format!("a time from {}s to {}s", self.0, self.1)
    }
}

impl Domain for L4Ports {
    type Value = L4Range;

    fn read(&self, value: &Value) -> Option<L4Range> {
        parse_l4_range(value.as_str()?).ok().filter(|r| r.low >= 1024 && r.len() >= 64)
    }

    fn show(&self, value: L4Range) -> Value {
        show_l4_range(value).into()
    }

    fn describe(&self) -> String {
        "a range of at least 64 L4 ports from 1024 on, such as 20000-32767".to_owned()
    }
}

impl Domain for Bit {
    type Value = u32;

    fn read(&self, value: &Value) -> Option<u32> {
        let bits = match value {
            Value::String(text) => match text.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => text.parse().ok()?,
            },
            other => whole(other)?,
        };
        (bits.count_ones() <= 1).then_some(bits)
    }

    fn show(&self, value: u32) -> Value {
        format!("{value:#x}").into()
    }

    fn describe(&self) -> String {
        "one bit such as 0x8000000, or 0".to_owned()
    }
}

impl<T: Copy + PartialEq> Domain for Choice<T> {
    type Value = T;

    fn read(&self, value: &Value) -> Option<T> {
        // YAML 1.1 writers turn on and off into booleans.
        let word = match value {
            Value::Bool(true) => "on",
            Value::Bool(false) => "off",
            other => other.as_str()?,
        };
        self.0.iter().find(|(name, _)| *name == word).map(|(_, v)| *v)
    }

    fn show(&self, value: T) -> Value {
        let found = self.0.iter().find(|(_, v)| *v == value);
        found.expect("every value of the type has a name in the choice").0.into()
    }

    fn describe(&self) -> String {
        self.0.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        let mut document = BTreeMap::new();
        for setting in table() {
            assert_eq!(normalize(setting.key, &setting.default), Ok(setting.default.clone()));
            document.insert(setting.key.to_owned(), setting.default);
        }
        assert_eq!(Settings::of(&document), Settings::default());
    }

    #[test]
    fn the_examples_of_the_contract_are_understood() {
        let document: BTreeMap<String, Value> = serde_json::from_value(json!({
            "flow_limit": 1_048_576, "flow_limit_per_port": 262_144, "nat_l4_ports": "20000-32767",
            "tcp_established_timeout": "7440s", "udp_timeout": "300s", "midstream_tcp": "allow",
            "metrics_detail": "port", "flow_log": "on",
        }))
        .expect("an object");
        for (key, value) in &document {
            assert_eq!(normalize(key, value), Ok(value.clone()), "{key}");
        }
        let settings = Settings::of(&document);
        assert_eq!((settings.flow_limit, settings.udp_timeout), (1_048_576, 300));
    }

    #[test]
    fn values_are_kept_in_one_spelling() {
        for (key, given, kept) in [
            ("udp_timeout", json!("5m"), json!("300s")),
            ("udp_timeout", json!(30), json!("30s")),
            ("flow_limit", json!("2048"), json!(2048)),
            ("flow_log", json!(false), json!("off")),
            ("mark", json!(16), json!("0x10")),
        ] {
            assert_eq!(normalize(key, &given), Ok(kept), "{key}");
        }
    }

    #[test]
    fn wrong_settings_say_what_is_right() {
        for (key, value) in [
            ("flow_limit", json!(5_000_000)),
            ("flow_limit", json!(-1)),
            ("flow_limit", json!(1.5)),
            ("udp_timeout", json!("0s")),
            ("udp_timeout", json!("5x")),
            ("udp_timeout", json!("99999999h")),
            ("nat_l4_ports", json!("80-2000")),
            ("nat_l4_ports", json!("20000-20001")),
            ("midstream_tcp", json!("maybe")),
            ("mark", json!("0x3")),
            ("metrics_detail", Value::Null),
        ] {
            let message = normalize(key, &value).expect_err(key).message;
            assert!(message.contains("is not"), "{message}");
        }
        let error = normalize("flow_limits", &json!(1)).expect_err("unknown");
        assert_eq!(error.message, "there is no setting `flow_limits`");
        assert!(error.hint.contains("flow_limit"), "{}", error.hint);
    }
}
