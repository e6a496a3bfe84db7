//! `fwd config`: the whole configuration as one document.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    args::WriteArgs,
    file::File,
    session::{self, Answered, Done, Session},
    view::{self, Column, Format, column},
};
use crate::api::{
    answer::Written,
    error::{ApiError, Code},
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
    Diff(FileArgs),
    /// Make a document the configuration, all or nothing
    Apply(Apply),
    /// List the revisions, the latest first
    History,
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
pub struct Apply {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
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
                let file = file.read()?;
                file.check()?;
                session.tell(&format!("{}: valid.\n", file.name))
            }
            Self::Diff(file) => diff(session, &file.read()?).await,
            Self::Apply(apply) => {
                let answer = apply.file.read()?.apply(session, &apply.write).await?;
                session.written(&answer, "applied")
            }
            Self::History => {
                let answer = session.client.get("/v1/revisions", &()).await?;
                session.print(&view::list(&answer, HISTORY, session.format))
            }
            Self::Set(set) => set.run(session).await,
        }
    }
}

async fn diff(session: &Session, file: &File) -> Answered {
    let write = WriteArgs { dry_run: true, ..WriteArgs::default() };
    let answer = file.apply(session, &write).await?;
    let plan = serde_json::from_value::<Written>(answer.clone()).ok().and_then(|w| w.plan);
    let plan =
        plan.ok_or_else(|| ApiError::new(Code::AnswerUnreadable, "The daemon's answer holds no plan."))?;
    session.print(&match session.format {
        Format::Json => view::json(&answer),
        Format::Yaml => view::yaml(&answer),
        _ => session::changes_text(&plan),
    })?;
    let same = plan.added.is_empty() && plan.altered.is_empty() && plan.deleted.is_empty();
    Ok(if same { Done::Done } else { Done::Findings })
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
    fn read(&self) -> Result<File, ApiError> {
        let path = self.option.as_ref().or(self.bare.as_ref()).expect("the group is required");
        File::read(path)
    }
}
