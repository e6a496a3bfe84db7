//! `fwd trace`: what would become of a packet, stage by stage; and what does become of those on their way (`live`).

use clap::Args;
use serde_json::Value;

use super::{
    live::Live,
    session::{Answered, Done, Session},
    view::{self, Column, Format, cell, column},
};
use crate::api::{text::PacketFilter, trace::TraceQuery};

const STAGES: &[Column] = &[
    column("STAGE", "/stage"),
    column("PATH", "/path"),
    column("RESULT", "/result"),
    column("DETAIL", "/detail"),
];
const RULES: &[Column] = &[
    column("RULE", "/rule"),
    column("ACTION", "/action"),
    column("TIER", "/tier"),
    column("PRIORITY", "/priority"),
    column("DIRECTION", "/direction"),
    column("WINS", "/wins"),
    column("STAGED", "/staged"),
];
const FIELDS: &[(&str, &str)] = &[
    ("verdict", "/verdict"),
    ("reason", "/reason"),
    ("meaning", "/meaning"),
    ("remedy", "/remedy"),
    ("direction", "/direction"),
    ("rule", "/rule"),
    ("port", "/port"),
    ("network", "/network"),
    ("egress", "/egress"),
    ("forward", "/forward"),
    ("translated", "/translated"),
    ("flow", "/flow"),
    ("in", "/frame/text"),
    ("out", "/sent/text"),
];

#[derive(Debug, Args)]
pub struct Trace {
    /// Where it comes in: a port, an uplink's device, host:NETWORK, or outside
    #[arg(value_name = "PORT|outside", required_unless_present = "live")]
    port: Option<String>,
    /// As 'tcp 10.0.0.5:40000 > 10.0.0.9:443 syn', or 'frame' and hexadecimal bytes
    #[arg(required_unless_present = "live")]
    packet: Option<String>,
    /// What does happen, as it happens: packets that open flows, end them or are dropped, and once a second how many
    /// packets known flows carried
    #[arg(long, conflicts_with_all = ["port", "packet"])]
    live: bool,
    /// Of these packets, as 'host 10.0.0.9 and port 443'; `src` is who opened a flow [default: all]
    #[arg(long, value_name = "EXPR", requires = "live", default_value = "", hide_default_value = true)]
    filter: PacketFilter,
    /// End after so many events
    #[arg(long, value_name = "N", requires = "live")]
    limit: Option<usize>,
}

impl Trace {
    pub async fn run(self, session: &Session) -> Answered {
        let (Some(port), Some(packet)) = (self.port, self.packet) else {
            return Live { filter: self.filter, limit: self.limit }.run(session).await;
        };
        let query = TraceQuery { port, packet };
        let answer = session.client.get("/v1/trace", &query).await?;
        session.print(&text(&answer, session.format))?;
        Ok(if answer["verdict"] == "drop" { Done::Verdict } else { Done::Done })
    }
}

fn text(answer: &Value, format: Format) -> String {
    match format {
        Format::Table | Format::Wide => people(answer),
        Format::Csv => view::list(&items(answer, "stages"), STAGES, format),
        Format::Name => cell(answer.get("verdict")) + "\n",
        Format::Json | Format::Yaml => view::show(answer, "verdict", format),
    }
}

fn people(answer: &Value) -> String {
    let is_there = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    let mut out = String::new();
    for (name, pointer) in FIELDS.iter().filter(|(_, pointer)| is_there(answer.pointer(pointer))) {
        let head = format!("{name}:");
        out += &format!("{head:<12}{}\n", cell(answer.pointer(pointer)));
    }
    for (name, columns) in [("stages", STAGES), ("rules", RULES)] {
        let list = items(answer, name);
        if list["items"].as_array().is_some_and(|items| !items.is_empty()) {
            out += &format!("\n{}", view::list(&list, columns, Format::Table));
        }
    }
    out
}

fn items(answer: &Value, name: &str) -> Value {
    serde_json::json!({"items": answer[name]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn people_read_the_verdict_then_the_stages_then_the_rules() {
        let answer = json!({
            "api": "fwd/v1", "kind": "trace", "verdict": "drop", "reason": "policy_denied", "rule": "no-ssh",
            "port": "web1", "network": "left", "egress": null, "frame": {"text": "tcp …", "bytes": "00"},
            "sent": null,
            "stages": [
                {"stage": "source", "path": "skb", "result": "pass", "detail": null},
                {"stage": "policy", "path": "skb", "result": "drop", "detail": "A rule denies it."},
            ],
            "rules": [{"rule": "no-ssh", "action": "deny", "tier": "tenant", "priority": 1000, "direction": "egress", "wins": true,
                "staged": false}],
        });
        expect![[r#"
            verdict:    drop
            reason:     policy_denied
            rule:       no-ssh
            port:       web1
            network:    left
            in:         tcp …

            STAGE   PATH  RESULT  DETAIL
            source  skb   pass    -
            policy  skb   drop    A rule denies it.

            RULE    ACTION  TIER    PRIORITY  DIRECTION  WINS  STAGED
            no-ssh  deny    tenant  1000      egress     yes   no
        "#]]
        .assert_eq(&text(&answer, Format::Table));
        assert_eq!(text(&answer, Format::Name), "drop\n");
        assert!(text(&answer, Format::Csv).starts_with("STAGE,PATH,RESULT,DETAIL\nsource,skb,pass,-\n"));
    }
}
