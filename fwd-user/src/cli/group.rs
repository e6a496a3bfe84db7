//! `fwd group`: named sets of ports.

use clap::{Args, Subcommand};

use super::{
    args::{Delete, Name, WriteArgs},
    session::{Answered, Session},
    verbs::{Added, Patch, Verbs},
    view::{Column, column},
};
use crate::api::{object::Noun, spec::Group};

const COLUMNS: &[Column] =
    &[column("NAME", "/name"), column("MEMBERS", "/members"), column("SELECTOR", "/selector")];
const GROUP: Verbs = Verbs { noun: Noun::Group, columns: COLUMNS };

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a group
    Add(Add),
    /// List the groups
    List,
    /// Show a group
    Show(Name),
    /// Change a group
    Set(Set),
    /// Delete a group that no rule names
    Delete(Delete),
}

#[derive(Debug, Args)]
pub struct Add {
    name: String,
    /// A port that belongs to it; repeatable
    #[arg(long = "member", value_name = "PORT")]
    members: Vec<String>,
    /// Ports with all these labels belong to it
    #[arg(long, value_name = "KEY=VALUE[,KEY=VALUE]")]
    selector: Option<String>,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Set {
    name: String,
    /// A port that belongs to it; repeatable, replaces those it has
    #[arg(long = "member", value_name = "PORT")]
    members: Option<Vec<String>>,
    /// Ports with all these labels belong to it
    #[arg(long, value_name = "KEY=VALUE[,KEY=VALUE]")]
    selector: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => {
                let group = Group { name: add.name, members: add.members, selector: add.selector };
                GROUP.add(session, Added { object: &group, may_exist: add.may_exist }, &add.write).await
            }
            Self::List => GROUP.list(session).await,
            Self::Show(name) => GROUP.show(session, &name.name).await,
            Self::Set(set) => {
                let patch = Patch::default().field("members", set.members).field("selector", set.selector);
                GROUP.set(session, &set.name, patch, &set.write).await
            }
            Self::Delete(delete) => GROUP.delete(session, &delete).await,
        }
    }
}
