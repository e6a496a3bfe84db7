//! `fwd nat`: translations.

use clap::{Args, Subcommand};

use super::{
    session::{Answered, Session},
    view::{self, Column, column, wide},
};
use crate::api::query::FlowQuery;

const COLUMNS: &[Column] = &[
    column("NETWORK", "/network"),
    column("PORT", "/port"),
    column("PROTO", "/protocol"),
    column("SOURCE", "/source"),
    column("DESTINATION", "/destination"),
    column("TRANSLATED", "/translated"),
    column("STATE", "/state"),
    wide("ID", "/id"),
    wide("FORWARD", "/forward"),
    wide("AGE", "/age_secs"),
];

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the live translations
    Table(Table),
}

#[derive(Debug, Args)]
pub struct Table {
    /// Of this port only
    #[arg(long)]
    port: Option<String>,
    /// Of this protocol only
    #[arg(long, value_name = "PROTO")]
    proto: Option<String>,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        let Self::Table(table) = self;
        let query = FlowQuery { port: table.port, proto: table.proto, ..FlowQuery::default() };
        let answer = session.client.get("/v1/nat/table", &query).await?;
        session.print(&view::list(&answer, COLUMNS, session.format))
    }
}
