//! `fwd drop`: what was dropped, and why.

use clap::{Args, Subcommand};

use super::{
    session::{Answered, Session},
    value, view,
    view::{Column, column, wide},
    watch,
};
use crate::api::query::DropQuery;

const COLUMNS: &[Column] = &[
    column("REASON", "/reason"),
    column("PORT", "/port"),
    column("NETWORK", "/network"),
    column("DIRECTION", "/direction"),
    column("RULE", "/rule"),
    column("FORWARD", "/forward"),
    column("PACKETS", "/packets"),
    wide("BYTES", "/bytes"),
    column("LAST-SEEN", "/last_seen"),
];
const REASONS: &[Column] = &[
    column("REASON", "/reason"),
    wide("NUMBER", "/number"),
    column("PACKETS", "/packets"),
    column("MEANING", "/meaning"),
    wide("REMEDY", "/remedy"),
];
const EVENT: &[&str] = &[
    "/time",
    "/reason",
    "/port",
    "/direction",
    "/rule",
    "/forward",
    "/protocol",
    "/source",
    "/destination",
    "/bytes",
];

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the counters of drops
    List(Filter),
    /// Tell of drops as they happen
    Watch(Filter),
    /// List the reasons that there are, and what to do about each
    Reasons,
}

#[derive(Debug, Args)]
pub struct Filter {
    /// That came in on this port
    #[arg(long)]
    port: Option<String>,
    /// For this reason
    #[arg(long)]
    reason: Option<String>,
    /// Because of this rule
    #[arg(long)]
    rule: Option<String>,
    /// Seen since so long ago, as 90s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = value::seconds)]
    since: Option<u64>,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::List(filter) => {
                let answer = session.client.get("/v1/drops", &filter.query()).await?;
                session.print(&view::list(&answer, COLUMNS, session.format))
            }
            Self::Watch(filter) => watch::run(session, "/v1/drops/watch", &filter.query(), EVENT).await,
            Self::Reasons => {
                let answer = session.client.get("/v1/drops/reasons", &()).await?;
                session.print(&view::list(&answer, REASONS, session.format))
            }
        }
    }
}

impl Filter {
    fn query(self) -> DropQuery {
        DropQuery { port: self.port, reason: self.reason, rule: self.rule, since_secs: self.since }
    }
}
