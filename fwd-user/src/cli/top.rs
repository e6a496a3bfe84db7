//! `fwd top`: what each port carries and loses now.
//!
//! Rates are the differences of what the daemon counts between two looks, over the time between them.

use std::{
    cmp::Reverse,
    collections::HashMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    session::{Answered, Done, Session},
    value,
    view::{self, Column, Format, column, wide},
};
use crate::api::{
    error::{ApiError, Code},
    query::DropQuery,
    spec::API,
    status::{Direction, DropRow, PortStatus, Traffic},
};

const PORTS: &[Column] = &[
    column("PORT", "/port"),
    column("NETWORK", "/network"),
    column("RECEIVED/S", "/received_packets"),
    column("RECEIVED-BITS/S", "/received_bits"),
    column("SENT/S", "/sent_packets"),
    column("SENT-BITS/S", "/sent_bits"),
    column("DROPPED/S", "/dropped_packets"),
    column("FLOWS", "/flows"),
];
const DROPS: &[Column] = &[
    column("REASON", "/reason"),
    column("PORT", "/port"),
    column("RULE", "/rule"),
    wide("FORWARD", "/forward"),
    column("PACKETS/S", "/packets"),
];
/// Home, and clears what is below (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Follow what each port carries and loses: packets and bits a second, drops by reason, flows
///
/// RECEIVED is what came in on the port's device from its guest (of an uplink: from outside), SENT what went out by
/// it. On a terminal it goes on until Ctrl-C, elsewhere it tells once.
#[derive(Debug, Args)]
pub struct Top {
    /// How long to look before each answer, as 2s, 1m
    #[arg(long, value_name = "TIME", value_parser = value::interval, default_value = "2s")]
    every: u64,
    /// How often to tell [default: on a terminal until Ctrl-C, elsewhere once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// By what to sort
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Order::Bits)]
    sort: Order,
    /// At most so many ports, and so many kinds of drops
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Bits,
    Packets,
    Drops,
    Flows,
}

/// What the daemon has counted up to a moment.
struct Look {
    at: Instant,
    ports: Vec<PortStatus>,
    drops: Vec<DropRow>,
}

/// A port's rates, each a second.
#[derive(Debug, PartialEq, Serialize)]
struct PortRates {
    port: String,
    network: Option<String>,
    received_packets: u64,
    received_bits: u64,
    sent_packets: u64,
    sent_bits: u64,
    dropped_packets: u64,
    /// As many as there are now.
    flows: u32,
}

/// Drops of one kind, a second.
#[derive(Debug, PartialEq, Serialize)]
struct DropRates {
    reason: String,
    port: Option<String>,
    rule: Option<String>,
    forward: Option<String>,
    packets: u64,
}

impl Top {
    pub async fn run(self, session: &Session) -> Answered {
        let is_screen = std::io::stdout().is_terminal() && !session.format.is_machine();
        let count = self.count.unwrap_or(if is_screen { u64::MAX } else { 1 });
        let mut before = look(session).await?;
        for _ in 0..count {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(self.every)) => {}
                _ = tokio::signal::ctrl_c() => break,
            }
            let now = look(session).await?;
            let text = self.text(&before, &now, session.format);
            session.print(&if is_screen { format!("{CLEAR}{text}") } else { text })?;
            before = now;
        }
        Ok(Done::Done)
    }

    fn text(&self, before: &Look, now: &Look, format: Format) -> String {
        let secs = now.at.duration_since(before.at).as_secs_f64();
        let mut ports = port_rates(&before.ports, &now.ports, secs);
        ports.sort_by_key(|port| Reverse((self.sort.key(port), Reverse(port.port.clone()))));
        let mut drops = drop_rates(&before.drops, &now.drops, secs);
        drops.sort_by_key(|drop| Reverse(drop.packets));
        ports.truncate(self.limit);
        drops.truncate(self.limit);
        let answer = json!({"api": API, "seconds": secs, "ports": ports, "drops": drops});
        match format {
            Format::Json => format!("{answer}\n"),
            Format::Yaml => format!("---\n{}", view::yaml(&answer)),
            Format::Csv | Format::Name => view::list(&json!({"items": ports}), PORTS, format),
            Format::Table | Format::Wide => {
                let told = |rows: Value, columns| view::list(&json!({"items": short(rows)}), columns, format);
                let ports = told(json!(ports), PORTS);
                if drops.is_empty() { ports } else { format!("{ports}\n{}", told(json!(drops), DROPS)) }
            }
        }
    }
}

impl Order {
    const fn key(self, port: &PortRates) -> u64 {
        match self {
            Self::Bits => port.received_bits + port.sent_bits,
            Self::Packets => port.received_packets + port.sent_packets,
            Self::Drops => port.dropped_packets,
            Self::Flows => port.flows as u64,
        }
    }
}

async fn look(session: &Session) -> Result<Look, ApiError> {
    let mut ports = list::<PortStatus>(session, "/v1/uplinks", &()).await?;
    ports.extend(list::<PortStatus>(session, "/v1/ports", &()).await?);
    let drops = list(session, "/v1/drops", &DropQuery::default()).await?;
    Ok(Look { at: Instant::now(), ports, drops })
}

async fn list<T: DeserializeOwned>(
    session: &Session,
    path: &str,
    query: &impl Serialize,
) -> Result<Vec<T>, ApiError> {
    #[derive(Deserialize)]
    struct List<T> {
        items: Vec<T>,
    }
    let answer = session.client.get(path, query).await?;
    let List { items } = serde_json::from_value(answer).map_err(|e| {
        ApiError::new(Code::AnswerUnreadable, format!("The daemon's answer is no such list: {e}."))
    })?;
    Ok(items)
}

/// A second's share of what was counted between two looks; 0 of what was reset meanwhile.
fn rate(before: u64, now: u64, secs: f64) -> u64 {
    (now.saturating_sub(before) as f64 / secs).round() as u64
}

fn port_rates(before: &[PortStatus], now: &[PortStatus], secs: f64) -> Vec<PortRates> {
    let before: HashMap<_, _> = before.iter().map(|port| (&port.name, port)).collect();
    // A port that came meanwhile has no past.
    let known = now.iter().filter_map(|now| Some((*before.get(&now.name)?, now)));
    let rates = known.map(|(before, now)| {
        let per_sec = |of: fn(&PortStatus) -> u64| rate(of(before), of(now), secs);
        PortRates {
            port: now.name.clone(),
            network: now.network.clone(),
            received_packets: per_sec(|port| received(port).packets),
            received_bits: per_sec(|port| received(port).bytes * 8),
            sent_packets: per_sec(|port| port.counters.sent.packets),
            sent_bits: per_sec(|port| port.counters.sent.bytes * 8),
            dropped_packets: per_sec(|port| {
                port.counters.xdp.dropped.packets + port.counters.skb.dropped.packets
            }),
            flows: now.counters.flows,
        }
    });
    rates.collect()
}

/// What came in, once: TCX counts again what XDP passed up.
fn received(port: &PortStatus) -> Traffic {
    let (xdp, skb) = (port.counters.xdp, port.counters.skb);
    let once =
        |of: fn(Traffic) -> u64| (of(xdp.received) + of(skb.received)).saturating_sub(of(xdp.passed_up));
    Traffic { packets: once(|t| t.packets), bytes: once(|t| t.bytes) }
}

fn drop_rates(before: &[DropRow], now: &[DropRow], secs: f64) -> Vec<DropRates> {
    fn kind(row: &DropRow) -> (&String, &Option<String>, &Option<String>, &Option<String>, bool) {
        (&row.reason, &row.port, &row.rule, &row.forward, row.direction == Direction::Egress)
    }
    let before: HashMap<_, _> = before.iter().map(|row| (kind(row), row.packets)).collect();
    let rates = now.iter().map(|row| DropRates {
        reason: row.reason.clone(),
        port: row.port.clone(),
        rule: row.rule.clone(),
        forward: row.forward.clone(),
        packets: rate(before.get(&kind(row)).copied().unwrap_or(0), row.packets, secs),
    });
    rates.filter(|row| row.packets > 0).collect()
}

/// Large numbers as people read them.
fn short(rows: Value) -> Value {
    match rows {
        Value::Array(rows) => rows.into_iter().map(short).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, short(value))).collect(),
        Value::Number(number) => {
            number.as_u64().map_or(Value::Number(number), |n| Value::String(with_unit(n)))
        }
        other => other,
    }
}

/// With three digits and a unit of thousands.
fn with_unit(number: u64) -> String {
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| number >= *size) else {
        return number.to_string();
    };
    let part = number as f64 / size as f64;
    let digits = usize::from(part < 99.95) + usize::from(part < 9.995);
    format!("{part:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown =
            [0, 999, 1000, 12_345, 999_499, 9_996_000, 1_500_000_000, 2_000_000_000_000].map(with_unit);
        assert_eq!(shown, ["0", "999", "1.00k", "12.3k", "999k", "10.0M", "1.50G", "2.00T"]);
    }

    fn port(name: &str, xdp: [u64; 2], skb: u64, sent: u64) -> PortStatus {
        let traffic = |packets| json!({"packets": packets, "bytes": packets * 100});
        let hook = |received, passed_up| {
            let mut hook = json!({"passed_up": traffic(passed_up), "received": traffic(received)});
            for outcome in ["forwarded", "host", "answered", "dropped"] {
                hook[outcome] = traffic(0);
            }
            hook
        };
        let status = json!({
            "name": name, "device": name, "ips": [], "configured_hook": "auto", "hook_reason": "",
            "state": "ready", "counters": {
                "xdp": hook(xdp[0], xdp[1]), "skb": hook(skb, 0), "copies": traffic(0), "sent": traffic(sent),
                "lost_between_hooks": 0, "egress_lost": 0, "unaccounted": 0, "flows": 7, "half_open": 0,
            },
        });
        serde_json::from_value(status).expect("a port's status")
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let before = [port("web1", [1000, 100], 100, 10), port("db1", [5000, 0], 0, 0)];
        // db1 was made anew meanwhile, and so counts from 0; web2 is new.
        let now = [port("web1", [1200, 150], 150, 50), port("db1", [1, 0], 0, 0), port("web2", [9, 0], 0, 0)];
        let rates = port_rates(&before, &now, 2.0);
        let told: Vec<_> = rates
            .iter()
            .map(|r| (r.port.as_str(), r.received_packets, r.received_bits, r.sent_packets))
            .collect();
        assert_eq!(told, [("web1", 100, 80_000, 20), ("db1", 0, 0, 0)]);
    }

    #[test]
    fn only_drops_that_happen_are_told() {
        let row = |reason: &str, packets| DropRow {
            reason: reason.to_owned(),
            port: Some("web1".to_owned()),
            network: None,
            direction: Direction::Egress,
            rule: None,
            forward: None,
            packets,
            bytes: 0,
            last_seen: None,
        };
        let rates = drop_rates(
            &[row("policy_denied", 10), row("no_route", 5)],
            &[row("policy_denied", 30), row("no_route", 5), row("same_port", 2)],
            2.0,
        );
        let told: Vec<_> = rates.iter().map(|row| (row.reason.as_str(), row.packets)).collect();
        assert_eq!(told, [("policy_denied", 10), ("same_port", 1)]);
    }
}
