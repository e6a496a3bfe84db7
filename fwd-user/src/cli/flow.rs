//! `fwd flow`: live conversations.

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::{
    session::{Answered, Session},
    view::{self, Column, column, wide},
    watch,
};
use crate::api::{query::FlowQuery, status::FlowState};

const COLUMNS: &[Column] = &[
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
const EVENT: &[&str] = &["/time", "/event", "/port", "/protocol", "/source", "/destination", "/rule"];

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the flows
    List(Filter),
    /// Tell of flows as they start and end
    Watch(Filter),
    /// Count the flows
    Count(Count),
}

#[derive(Debug, Args)]
pub struct Count {
    #[command(flatten)]
    filter: Filter,
    /// Tell too how many flows this revision's edit has cut
    #[arg(long, value_name = "REVISION")]
    cut_by: Option<u64>,
}

#[derive(Debug, Args)]
pub struct Filter {
    /// With this port at either end
    #[arg(long)]
    port: Option<String>,
    /// With an address in here at either end
    #[arg(long, value_name = "CIDR", value_parser = super::value::cidr)]
    peer: Option<IpNet>,
    /// Of this protocol
    #[arg(long, value_name = "PROTO")]
    proto: Option<String>,
    /// Permitted by this rule
    #[arg(long)]
    rule: Option<String>,
    /// In this state
    #[arg(long, value_enum)]
    state: Option<FlowState>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::List(filter) => {
                let answer = session.client.get("/v1/flows", &filter.query()).await?;
                session.print(&view::list(&answer, COLUMNS, session.format))
            }
            Self::Watch(filter) => watch::run(session, "/v1/flows/watch", &filter.query(), EVENT).await,
            Self::Count(count) => {
                let query = FlowQuery { cut_by: count.cut_by, ..count.filter.query() };
                let answer = session.client.get("/v1/flows/count", &query).await?;
                session.print(&view::show(&answer, "flows", session.format))
            }
        }
    }
}

impl Filter {
    fn query(self) -> FlowQuery {
        FlowQuery {
            port: self.port,
            peer: self.peer,
            proto: self.proto,
            rule: self.rule,
            state: self.state,
            limit: self.limit,
            ..FlowQuery::default()
        }
    }
}
