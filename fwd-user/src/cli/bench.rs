//! `fwd bench`: what live traffic costs on this host.

use clap::Args;
use serde_json::{Value, json};

use super::{
    session::{Answered, Session},
    value,
    view::{self, Column, Format, column, wide},
};
use crate::api::query::BenchQuery;

const PROGRAMS: &[Column] = &[
    column("PROGRAM", "/program"),
    column("RUNS/S", "/runs_per_sec"),
    column("NS/RUN", "/ns_per_run"),
    column("CPU-%", "/cpu_percent"),
];
const PORTS: &[Column] = &[
    column("PORT", "/port"),
    column("PATH", "/path"),
    column("RECEIVED/S", "/received"),
    column("BITS/S", "/bits"),
    column("FORWARDED/S", "/forwarded"),
    wide("HOST/S", "/host"),
    wide("ANSWERED/S", "/answered"),
    column("DROPPED/S", "/dropped"),
    wide("PASSED-UP/S", "/passed_up"),
];

/// Measure what live traffic costs: packets a second of each port, and nanoseconds a packet of each program
///
/// Nothing is sent and nothing is changed. While it looks, the kernel times every BPF program of the host, which costs
/// each run some nanoseconds; they are in the figures.
#[derive(Debug, Args)]
pub struct Bench {
    /// Only these ports, such as both ends of a conversation [default: all]
    port: Vec<String>,
    /// How long to look, as 5s, 1m
    #[arg(long = "for", value_name = "TIME", value_parser = value::seconds, default_value = "5s")]
    time: u64,
}

impl Bench {
    pub async fn run(self, session: &Session) -> Answered {
        let port = (!self.port.is_empty()).then(|| self.port.join(","));
        let answer = session.client.get("/v1/bench", &BenchQuery { port, secs: self.time }).await?;
        session.print(&match session.format {
            Format::Table | Format::Wide => text(&answer, session.format),
            Format::Csv | Format::Name => view::list(&items(&answer, "ports"), PORTS, session.format),
            format => view::show(&answer, "kind", format),
        })
    }
}

fn text(answer: &Value, format: Format) -> String {
    let ports = view::list(&items(answer, "ports"), PORTS, format);
    format!("{}\n{ports}", view::list(&items(answer, "programs"), PROGRAMS, format))
}

fn items(answer: &Value, list: &str) -> Value {
    json!({"items": answer.get(list)})
}
