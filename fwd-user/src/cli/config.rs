//! `fwd config`: the whole configuration as one document.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    args::WriteArgs,
    file::{self, File},
    session::{self, Answered, Done, Session},
    value,
    view::{self, Column, Format, column},
};
use crate::api::{
    answer::{FlowImpact, PlanSummary, Written},
    error::{ApiError, Code},
    request::{HistoryQuery, RollbackQuery, WriteQuery},
    status::FlowRow,
};

const HISTORY: &[Column] = &[
    column("REVISION", "/revision"),
    column("TIME", "/time"),
    column("AUTHOR", "/author"),
    column("CHANGES", "/changes"),
];

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the document, as apply accepts it
    Show,
    /// Tell everything that is wrong with a document; needs no daemon
    Check(FileArgs),
    /// Show what a document would change; exit code 20 if anything
    Diff(Diff),
    /// Make a document the configuration, all or nothing
    Apply(Apply),
    /// Confirm what was applied with --confirm
    Confirm,
    /// Bring the document of an earlier revision back, as a new one
    Rollback(Rollback),
    /// List the revisions, the latest first: when, who, and what changed; -o json with the objects before and
    /// after
    History(History),
    /// Change a setting
    Set(Set),
}

/// A document's file, by option or bare.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct FileArgs {
    /// The document; - for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    option: Option<PathBuf>,
    /// As --file
    #[arg(value_name = "FILE")]
    bare: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    file: FileArgs,
    /// Also which live flows it would cut, or permit again, and by which rule
    #[arg(long)]
    against_flows: bool,
}

#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    file: FileArgs,
    /// Go back to the last confirmed revision after this time, unless `fwd config confirm` follows; also when
    /// the daemon dies in between
    #[arg(long, value_name = "TIME", value_parser = trial)]
    confirm: Option<u32>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// The revision; left out: the last confirmed one, or the one before if all are confirmed
    revision: Option<u64>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct History {
    /// The latest so many only
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Set {
    /// The setting, as udp_timeout
    key: String,
    /// Its value, as 120s; `default` takes it back to the default
    value: String,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Show => {
                let document = session.client.get("/v1/config", &()).await?;
                session.print(&match session.format {
                    Format::Json => view::json(&document),
                    _ => view::yaml(&document),
                })
            }
            Self::Check(file) => {
                let file = File::read(file.path())?;
                file.check()?;
                session.tell(&format!("{}: valid.\n", file.name))
            }
            Self::Diff(diff) => diff.run(session).await,
            Self::Apply(apply) => apply.run(session).await,
            Self::Confirm => confirm(session).await,
            Self::Rollback(rollback) => rollback.run(session).await,
            Self::History(history) => {
                let query = HistoryQuery { limit: history.limit };
                let answer = session.client.get("/v1/revisions", &query).await?;
                session.print(&view::list(&answer, HISTORY, session.format))
            }
            Self::Set(set) => set.run(session).await,
        }
    }
}

impl Diff {
    async fn run(self, session: &Session) -> Answered {
        let query = WriteQuery { dry_run: true, against_flows: self.against_flows, ..WriteQuery::default() };
        diff(session, self.file.path(), query).await
    }
}

async fn diff(session: &Session, file: &Path, query: WriteQuery) -> Answered {
    let answer = file::apply(file, session, query).await?;
    let plan = serde_json::from_value::<Written>(answer.clone()).ok().and_then(|w| w.plan);
    let plan =
        plan.ok_or_else(|| ApiError::new(Code::AnswerUnreadable, "The daemon's answer holds no plan."))?;
    session.print(&match session.format {
        Format::Json => view::json(&answer),
        Format::Yaml => view::yaml(&answer),
        _ => session::changes_text(&plan) + &flows_text(&plan),
    })?;
    let same = plan.added.is_empty() && plan.altered.is_empty() && plan.deleted.is_empty();
    Ok(if same { Done::Done } else { Done::Findings })
}

/// The live flows that would fare otherwise; nothing where they were not asked about.
fn flows_text(plan: &PlanSummary) -> String {
    let Some(flows) = &plan.flows else { return String::new() };
    let all = [
        ("cut", &flows.cut),
        ("allowed", &flows.allowed),
        ("answers refused", &flows.answers_refused),
        ("answers permitted", &flows.answers_permitted),
    ];
    if all.iter().all(|(_, flows)| flows.is_empty()) {
        return "No live flow would be cut.\n".to_owned();
    }
    let head =
        ["FLOW", "PORT", "PROTOCOL", "SOURCE", "DESTINATION", "BY", "REASON"].map(str::to_owned).to_vec();
    let row = |what: &str, of: &FlowImpact| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let FlowRow { port, protocol, source, destination, .. } = &of.flow;
        let ends = [text(port), protocol.clone(), source.clone(), destination.clone()];
        [vec![what.to_owned()], ends.to_vec(), vec![text(&of.by), text(&of.reason)]].concat()
    };
    let rows = all.iter().flat_map(|(what, flows)| flows.iter().map(|of| row(what, of)));
    view::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

impl Apply {
    async fn run(self, session: &Session) -> Answered {
        let query = WriteQuery { confirm: self.confirm, ..self.write.query() };
        let answer = file::apply(self.file.path(), session, query).await?;
        session.written(&answer, "applied")?;
        let changed = answer.get("changed").and_then(Value::as_array).is_some_and(|c| !c.is_empty());
        match self.confirm {
            Some(secs) if changed && !self.write.dry_run => {
                session.tell(&format!("It is rolled back after {secs}s, unless: fwd config confirm\n"))
            }
            _ => Ok(Done::Done),
        }
    }
}

async fn confirm(session: &Session) -> Answered {
    let answer = session.client.post("/v1/config/confirm", &(), &Value::Null).await?;
    match session.format {
        Format::Json => session.print(&view::json(&answer)),
        Format::Yaml => session.print(&view::yaml(&answer)),
        _ => session.tell(&format!("Confirmed revision {}.\n", view::cell(answer.get("revision")))),
    }
}

impl Rollback {
    async fn run(self, session: &Session) -> Answered {
        let WriteArgs { dry_run, if_revision, .. } = self.write;
        let query = RollbackQuery { revision: self.revision, dry_run, if_revision };
        let answer = session.client.post("/v1/config/rollback", &query, &Value::Null).await?;
        session.written(&answer, "rolled back")
    }
}

/// The time of a trial, in seconds.
fn trial(text: &str) -> Result<u32, String> {
    let secs = value::seconds(text)?;
    u32::try_from(secs).ok().filter(|secs| *secs > 0).ok_or_else(|| "write at least 1s".to_owned())
}

impl Set {
    async fn run(self, session: &Session) -> Answered {
        let value = if self.value == "default" { Value::Null } else { Value::from(self.value) };
        let body = json!({ self.key: value });
        let answer = session.client.patch("/v1/settings", &self.write.query(), &body).await?;
        session.written(&answer, "set")
    }
}

impl FileArgs {
    fn path(&self) -> &Path {
        self.option.as_ref().or(self.bare.as_ref()).expect("the group is required")
    }
}
