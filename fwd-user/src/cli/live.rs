//! `fwd trace --live`: what does happen to packets, by what the datapath tells anyway, so nothing is slower while it is
//! watched. Packets that open a flow, end one or are dropped are told one by one; those of known flows, which do
//! nothing but count, once a second with how many there were.

use std::{collections::HashMap, io::Write as _, net::SocketAddr, time::Duration};

use fwd_common::drop::DropReason;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    session::{Answered, Done, Session},
    view::{Format, column, wide},
    watch::Event,
};
use crate::api::{
    error::ApiError,
    query::{DropQuery, FlowQuery},
    text::{Ends, PacketFilter},
};

const COUNTED: Duration = Duration::from_secs(1);
/// Flows whose packets are counted.
const FLOWS: usize = 10_000;
const EVENT: Event = Event {
    name: "/event",
    columns: &[
        column("TIME", "/time"),
        column("EVENT", "/event"),
        column("STAGE", "/stage"),
        column("PORT", "/port"),
        column("PROTO", "/protocol"),
        column("SOURCE", "/source"),
        column("DESTINATION", "/destination"),
        column("TRANSLATED", "/translated"),
        column("RULE", "/rule"),
        column("REASON", "/reason"),
        column("PACKETS-OUT", "/packets/out"),
        column("PACKETS-IN", "/packets/in"),
        wide("NETWORK", "/network"),
        wide("FORWARD", "/forward"),
        wide("PATH", "/path"),
        wide("STATE", "/state"),
        wide("BYTES-OUT", "/bytes/out"),
        wide("BYTES-IN", "/bytes/in"),
        wide("HEAD", "/head"),
    ],
};

/// What is watched.
pub struct Live {
    pub filter: PacketFilter,
    /// Events after which it ends.
    pub limit: Option<usize>,
}

impl Live {
    /// Ends well on Ctrl-C, when standard output was closed, and with the daemon.
    pub async fn run(&self, session: &Session) -> Answered {
        let client = &session.client;
        let mut drops = client.stream("/v1/drops/watch", &DropQuery::default()).await?;
        let mut flows = client.stream("/v1/flows/watch", &FlowQuery::default()).await?;
        let mut counted = Counted::default();
        counted.follow(self.flows(session).await?);
        let mut ticks = interval(COUNTED);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut text = if session.format == Format::Csv { EVENT.head() } else { String::new() };
        loop {
            let mut out = std::io::stdout().lock();
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() || left == 0 {
                return Ok(Done::Done);
            }
            drop(out);
            let events = tokio::select! {
                drop = drops.next() => drop?.map(|drop| vec![named("drop", drop)]),
                flow = flows.next() => flow?.map(|flow| vec![with_reason(flow)]),
                _ = ticks.tick() => Some(counted.follow(self.flows(session).await?)),
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(events) = events else { return Ok(Done::Done) };
            let wanted: Vec<_> = events.iter().filter(|event| self.is_wanted(event)).take(left).collect();
            left -= wanted.len();
            text = wanted.into_iter().map(|event| EVENT.line(event, session.format)).collect();
        }
    }

    /// Live flows that may be asked for.
    async fn flows(&self, session: &Session) -> Result<Vec<Value>, ApiError> {
        let query = FlowQuery { peer: self.filter.net(), limit: Some(FLOWS), ..FlowQuery::default() };
        let mut answer = session.client.get("/v1/flows", &query).await?;
        Ok(answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    fn is_wanted(&self, event: &Value) -> bool {
        let end = |name: &str| {
            let text = event[name].as_str()?;
            let end = text.parse::<SocketAddr>().map(|end| (end.ip(), end.port()));
            end.ok().or_else(|| Some((text.parse().ok()?, 0)))
        };
        self.filter.matches(&Ends {
            protocol: event["protocol"].as_str().unwrap_or_default(),
            source: end("source"),
            destination: end("destination"),
            translated: end("translated"),
        })
    }
}

/// Packets and bytes of flows, both ways, when they were last looked at.
#[derive(Default)]
struct Counted(HashMap<String, [u64; 4]>);

const COUNTS: [&str; 4] = ["/packets/out", "/packets/in", "/bytes/out", "/bytes/in"];

impl Counted {
    /// What came since the last look, of flows that were there then.
    fn follow(&mut self, flows: Vec<Value>) -> Vec<Value> {
        let time = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut now = HashMap::with_capacity(flows.len());
        let mut events = Vec::new();
        for mut flow in flows {
            let counts = COUNTS.map(|pointer| flow.pointer(pointer).and_then(Value::as_u64).unwrap_or(0));
            let name = flow["name"].as_str().unwrap_or_default().to_owned();
            let before = self.0.get(&name).copied();
            let moved = before.map(|before| std::array::from_fn(|n| counts[n].saturating_sub(before[n])));
            if let Some([packets_out, packets_in, bytes_out, bytes_in]) =
                moved.filter(|moved| *moved != [0; 4])
            {
                flow["packets"] = json!({"out": packets_out, "in": packets_in});
                flow["bytes"] = json!({"out": bytes_out, "in": bytes_in});
                flow["time"] = time.clone().into();
                events.push(named("packets", flow));
            }
            now.insert(name, counts);
        }
        self.0 = now;
        events
    }
}

fn named(event: &str, mut of: Value) -> Value {
    of["event"] = event.into();
    with_stage(of)
}

/// Why a flow ended stands where the reason of a drop does.
fn with_reason(mut flow: Value) -> Value {
    flow["reason"] = flow["close_reason"].clone();
    with_stage(flow)
}

/// The stage of the pipeline at which it came to pass.
fn with_stage(mut of: Value) -> Value {
    let reason = of["reason"].as_str().unwrap_or_default();
    let stage = match of["event"].as_str().unwrap_or_default() {
        "drop" => DropReason::from_name(reason).map(DropReason::stage),
        "flow_start" => Some("admit"),
        "packets" => Some("flow"),
        "flow_end" if matches!(reason, "policy" | "route") => Some("recheck"),
        // Found expired, or ended by a command.
        _ => None,
    };
    of["stage"] = stage.into();
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(name: &str, packets: (u64, u64)) -> Value {
        let (out, back) = packets;
        json!({"name": name, "protocol": "tcp", "packets": {"out": out, "in": back}, "bytes": {"out": 10 * out, "in": back}})
    }

    #[test]
    fn packets_of_known_flows_are_told_by_how_many_came() {
        let mut counted = Counted::default();
        assert!(counted.follow(vec![flow("a", (3, 2)), flow("b", (1, 0))]).is_empty(), "nothing came yet");
        // One is quiet, one is new and told by its start, one has ended.
        let events = counted.follow(vec![flow("a", (7, 2)), flow("c", (1, 0))]);
        assert_eq!(events.len(), 1, "{events:?}");
        let a = &events[0];
        assert_eq!((&a["event"], &a["name"]), (&"packets".into(), &"a".into()));
        assert_eq!((&a["packets"], &a["bytes"]), (&json!({"out": 4, "in": 0}), &json!({"out": 40, "in": 0})));
        assert_eq!(counted.follow(vec![flow("c", (2, 5))])[0]["packets"], json!({"out": 1, "in": 5}));
    }

    #[test]
    fn events_are_told_at_their_stage() {
        let stage = |event: &str, reason: Value| {
            with_stage(json!({"event": event, "reason": reason}))["stage"].clone()
        };
        assert_eq!(stage("drop", json!("source_mac_spoofed")), "source");
        assert_eq!(stage("drop", json!("policy_denied")), "policy");
        assert_eq!(stage("flow_start", Value::Null), "admit");
        assert_eq!(stage("packets", Value::Null), "flow");
        assert_eq!(stage("flow_end", json!("policy")), "recheck");
        assert_eq!(stage("flow_end", json!("expired")), Value::Null);
    }

    #[test]
    fn events_are_narrowed_by_their_ends() {
        let wanted = |filter: &str, event: Value| {
            Live { filter: filter.parse().expect(filter), limit: None }.is_wanted(&event)
        };
        let drop = json!({"protocol": "udp", "source": "10.0.0.5:4000", "destination": "[fd00::9]:443"});
        assert!(wanted("port 443", drop.clone()) && !wanted("port 80", drop));
        let echo =
            json!({"protocol": "icmp", "source": "10.0.0.5", "destination": "10.0.0.9", "translated": null});
        assert!(wanted("icmp and host 10.0.0.9", echo.clone()) && !wanted("port 443", echo));
        let frame = json!({"protocol": "0x88cc", "source": "52:54:00:00:00:01", "destination": null});
        assert!(wanted("", frame.clone()) && !wanted("ip or ip6", frame));
    }
}
