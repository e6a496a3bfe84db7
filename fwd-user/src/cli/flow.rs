//! `fwd flow`: live conversations.

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::{
    session::{Answered, Done, Session},
    value,
    view::{self, Column, Format, column, wide},
    watch::{self, Event},
};
use crate::api::{
    error::{ApiError, Code},
    event::FlowVerdict,
    query::FlowQuery,
    status::FlowState,
};

const FLOWS: &str = "/v1/flows";
const HINT: &str = "List them: fwd flow list.";
const COLUMNS: &[Column] = &[
    column("NAME", "/name"),
    column("NETWORK", "/network"),
    column("PORT", "/port"),
    column("PROTO", "/protocol"),
    column("SOURCE", "/source"),
    column("DESTINATION", "/destination"),
    column("TRANSLATED", "/translated"),
    column("STATE", "/state"),
    column("RULE", "/rule"),
    wide("FORWARD", "/forward"),
    wide("ID", "/id"),
    wide("PATH", "/path"),
    wide("PACKETS-OUT", "/packets/out"),
    wide("PACKETS-IN", "/packets/in"),
    wide("BYTES-OUT", "/bytes/out"),
    wide("BYTES-IN", "/bytes/in"),
    wide("AGE", "/age_secs"),
];
/// Of flows that an edit cut.
const CUT: &[Column] = &[
    column("NAME", "/name"),
    column("NETWORK", "/network"),
    column("PORT", "/port"),
    column("PROTO", "/protocol"),
    column("SOURCE", "/source"),
    column("DESTINATION", "/destination"),
    column("TRANSLATED", "/translated"),
    column("RULE", "/rule"),
    column("CUT-BY", "/cut_by"),
    column("ENDED", "/ended"),
    wide("CLOSE-REASON", "/close_reason"),
    wide("FORWARD", "/forward"),
    wide("PACKETS-OUT", "/packets/out"),
    wide("PACKETS-IN", "/packets/in"),
    wide("BYTES-OUT", "/bytes/out"),
    wide("BYTES-IN", "/bytes/in"),
];
const EVENT: Event = Event {
    name: "/name",
    columns: &[
        column("TIME", "/time"),
        column("EVENT", "/event"),
        column("PORT", "/port"),
        column("PROTO", "/protocol"),
        column("SOURCE", "/source"),
        column("DESTINATION", "/destination"),
        column("TRANSLATED", "/translated"),
        column("RULE", "/rule"),
        column("CLOSE-REASON", "/close_reason"),
        column("PACKETS-OUT", "/packets/out"),
        column("PACKETS-IN", "/packets/in"),
        wide("NAME", "/name"),
        wide("NETWORK", "/network"),
        wide("PEER-PORT", "/peer_port"),
        wide("FORWARD", "/forward"),
        wide("VERDICT", "/verdict"),
        wide("CUT-BY", "/cut_by"),
        wide("BYTES-OUT", "/bytes/out"),
        wide("BYTES-IN", "/bytes/in"),
    ],
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the flows
    List(List),
    /// Tell of flows as they start and end, and with --since of those before
    Watch(Watch),
    /// Show one flow
    Show(One),
    /// End flows; what is permitted may start anew
    Delete(Delete),
    /// Count the flows
    Count(Count),
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    state: InState,
    /// List the flows that this revision's edit has cut, as they ended: of the last 16384 starts and ends
    #[arg(long, value_name = "REVISION")]
    cut_by: Option<u64>,
}

#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    state: InState,
    /// Of flows that were permitted to their end, or that policy cut
    #[arg(long, value_enum)]
    verdict: Option<FlowVerdict>,
    /// First those since so long ago that are kept (the last 16384), as 90s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = value::seconds)]
    since: Option<u64>,
    /// Only kept ones, until so long ago, and end
    #[arg(long, value_name = "TIME", value_parser = value::seconds)]
    until: Option<u64>,
}

#[derive(Debug, Args)]
pub struct One {
    /// Its name in the list; or options that only one flow matches
    name: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    state: InState,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// A flow's name in the list; or options, to end all that match
    name: Option<String>,
    /// End every flow
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    state: InState,
    /// List the flows that would end, and end none
    #[arg(long)]
    dry_run: bool,
    /// Succeed if there is no flow of that name
    #[arg(long)]
    if_exists: bool,
}

#[derive(Debug, Args)]
pub struct Count {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    state: InState,
    /// Tell too how many flows this revision's edit has cut
    #[arg(long, value_name = "REVISION")]
    cut_by: Option<u64>,
}

#[derive(Debug, Args)]
struct InState {
    /// In this state
    #[arg(long, value_enum)]
    state: Option<FlowState>,
}

#[derive(Debug, Args)]
pub struct Filter {
    /// With this port at either end
    #[arg(long)]
    port: Option<String>,
    /// With a port of this group at either end
    #[arg(long)]
    group: Option<String>,
    /// With an address in here at either end
    #[arg(long, value_name = "CIDR", value_parser = super::value::cidr)]
    peer: Option<IpNet>,
    /// Of this protocol
    #[arg(long, value_name = "PROTO")]
    proto: Option<String>,
    /// Permitted by this rule
    #[arg(long)]
    rule: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::List(list) => {
                let query = FlowQuery { cut_by: list.cut_by, ..list.filter.query(list.state) };
                let answer = session.client.get(FLOWS, &query).await?;
                let columns = if list.cut_by.is_some() { CUT } else { COLUMNS };
                session.print(&view::list(&answer, columns, session.format))
            }
            Self::Watch(watch) => {
                let query = FlowQuery {
                    verdict: watch.verdict,
                    since_secs: watch.since,
                    until_secs: watch.until,
                    ..watch.filter.query(watch.state)
                };
                watch::run(session, "/v1/flows/watch", &query, &EVENT).await
            }
            Self::Show(one) => one.run(session).await,
            Self::Delete(delete) => delete.run(session).await,
            Self::Count(count) => {
                let query = FlowQuery { cut_by: count.cut_by, ..count.filter.query(count.state) };
                let answer = session.client.get("/v1/flows/count", &query).await?;
                session.print(&view::show(&answer, "flows", session.format))
            }
        }
    }
}

impl One {
    async fn run(self, session: &Session) -> Answered {
        let asked = self.filter.query(self.state);
        let name = match self.name {
            Some(name) if asked == FlowQuery::default() => name,
            name => only_one(session, FlowQuery { name, ..asked }).await?,
        };
        let path = format!("{FLOWS}/{}", crate::api::client::escape(&name));
        let answer = session.client.get(&path, &()).await?;
        session.print(&view::show(&answer, "name", session.format))
    }
}

/// The name of the only flow that a query matches, or of the first if one is as many as were asked for.
async fn only_one(session: &Session, query: FlowQuery) -> Result<String, ApiError> {
    let limit = Some(query.limit.unwrap_or(2));
    let answer = session.client.get(FLOWS, &FlowQuery { limit, ..query }).await?;
    let flows = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    match flows {
        [] => Err(ApiError::new(Code::NoSuchObject, "There is no such flow.").hint(HINT)),
        [flow] => Ok(flow["name"].as_str().unwrap_or_default().to_owned()),
        _ => Err(ApiError::new(Code::BadArguments, "More than one flow matches.")
            .hint("Give NAME as fwd flow list shows it, more options, or --limit 1.")),
    }
}

impl Delete {
    async fn run(self, session: &Session) -> Answered {
        let query = FlowQuery { name: self.name, ..self.filter.query(self.state) };
        if self.all == (query != FlowQuery::default()) {
            return Err(ApiError::new(
                Code::BadArguments,
                "Give NAME, or options that choose flows, or --all.",
            )
            .hint(HINT));
        }
        if self.dry_run {
            let answer = session.client.get(FLOWS, &query).await?;
            return session.print(&view::list(&answer, COLUMNS, session.format));
        }
        match session.client.delete(FLOWS, &query).await {
            Err(error) if error.code == Code::NoSuchObject && self.if_exists => Ok(Done::Done),
            Err(error) => Err(error),
            Ok(answer) => match session.format {
                Format::Table | Format::Wide => {
                    let flows = answer["cut"].as_u64().unwrap_or_default();
                    session.tell(&format!("Ended {flows} flow{}.\n", if flows == 1 { "" } else { "s" }))
                }
                _ => session.written(&answer, "ended"),
            },
        }
    }
}

impl Filter {
    fn query(self, state: InState) -> FlowQuery {
        FlowQuery {
            port: self.port,
            group: self.group,
            peer: self.peer,
            proto: self.proto,
            rule: self.rule,
            state: state.state,
            limit: self.limit,
            ..FlowQuery::default()
        }
    }
}
