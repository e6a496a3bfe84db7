//! `fwd status`: what fwd does and sees.

use clap::Args;
use serde_json::Value;

use super::{
    session::{Answered, Done, Session},
    view::{self, Column, Format, column, wide},
};
use crate::api::{
    answer::DaemonStatus,
    error::{ApiError, Code},
    object::Noun,
};

const INTERFACES: &[Column] = &[
    column("DEVICE", "/device"),
    column("KIND", "/kind"),
    column("UP", "/up"),
    column("ADDRESSES", "/addresses"),
    column("USED-AS", "/used_as"),
];
const CHECK: &[Column] = &[
    column("PORT", "/port"),
    column("XDP-RECEIVED", "/counters/xdp/received/packets"),
    column("SKB-RECEIVED", "/counters/skb/received/packets"),
    wide("LOST-BETWEEN-HOOKS", "/counters/lost_between_hooks"),
    wide("EGRESS-LOST", "/counters/egress_lost"),
    column("RESIDUE", "/counters/unaccounted"),
];

#[derive(Debug, Args)]
pub struct Status {
    /// Hold the ledgers against each other; exit code 20 if a packet is not accounted for
    #[arg(long)]
    check: bool,
}

impl Status {
    pub async fn run(self, session: &Session) -> Answered {
        if self.check {
            return check(session).await;
        }
        let answer = session.client.get("/v1/status", &()).await?;
        session.print(&match session.format {
            Format::Table | Format::Wide => text(&answer)?,
            format => view::show(&answer, "version", format),
        })
    }
}

/// The status as people read it.
///
/// # Errors
/// The answer is no status.
pub fn text(answer: &Value) -> Result<String, ApiError> {
    let status: DaemonStatus = serde_json::from_value(answer.clone()).map_err(|e| {
        ApiError::new(Code::AnswerUnreadable, format!("The daemon's answer is no status: {e}."))
    })?;
    let count = |(list, n): (&String, &u64)| match (n, Noun::of_list(list)) {
        (0, _) => None,
        (1, Some(noun)) => Some(format!("1 {noun}")),
        _ => Some(format!("{n} {list}")),
    };
    let objects: Vec<_> = status.objects.iter().filter_map(count).collect();
    let objects = if objects.is_empty() { "nothing configured".to_owned() } else { objects.join(", ") };
    let revision = status.revision;
    let mut out = format!(
        "fwd {} is up since {} (process {}), revision {}{}\n{objects}\n{} of {} flows, {} packets dropped\n",
        status.version,
        status.started,
        status.pid,
        revision.accepted,
        if revision.applied == revision.accepted { "" } else { ", not all of it applied" },
        status.flows,
        status.flows_limit,
        status.dropped_packets,
    );
    out.extend(status.problems.iter().map(|p| format!("! {p}\n")));
    if !status.interfaces.is_empty() {
        let items = serde_json::json!({"items": answer.get("interfaces")});
        out += "\n";
        out += &view::list(&items, INTERFACES, Format::Table);
    }
    Ok(out)
}

async fn check(session: &Session) -> Answered {
    let answer = session.client.get("/v1/status/check", &()).await?;
    let exact = answer.get("exact").and_then(Value::as_bool).unwrap_or(false);
    session.print(&match session.format {
        Format::Table | Format::Wide => {
            let items = serde_json::json!({"items": answer.get("ports")});
            let findings = answer.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
            let mut out = view::list(&items, CHECK, session.format);
            out.extend(findings.iter().map(|f| format!("! {}\n", view::cell(Some(f)))));
            out + &format!("Residue: {}\n", view::cell(answer.get("residue")))
        }
        format => view::show(&answer, "residue", format),
    })?;
    Ok(if exact { Done::Done } else { Done::Findings })
}
