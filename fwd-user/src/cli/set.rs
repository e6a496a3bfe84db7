//! `fwd set`: named lists of CIDRs.

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::{
    args::{Delete, Name, WriteArgs},
    session::{Answered, Session},
    verbs::{Added, Patch, Verbs},
    view::{Column, column},
};
use crate::api::{object::Noun, spec};

const COLUMNS: &[Column] = &[column("NAME", "/name"), column("CIDRS", "/cidrs")];
const SET: Verbs = Verbs { noun: Noun::Set, columns: COLUMNS };

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a set
    Add(Add),
    /// List the sets
    List,
    /// Show a set
    Show(Name),
    /// Change a set
    Set(Set),
    /// Delete a set that no rule names
    Delete(Delete),
}

#[derive(Debug, Args)]
pub struct Add {
    name: String,
    /// Addresses in it; repeatable
    #[arg(long = "cidr", value_name = "CIDR", value_parser = super::value::cidr)]
    cidrs: Vec<IpNet>,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Set {
    name: String,
    /// Addresses in it; repeatable, replaces those it has
    #[arg(long = "cidr", value_name = "CIDR", value_parser = super::value::cidr)]
    cidrs: Option<Vec<IpNet>>,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => {
                let set = spec::Set { name: add.name, cidrs: add.cidrs };
                SET.add(session, Added { object: &set, may_exist: add.may_exist }, &add.write).await
            }
            Self::List => SET.list(session).await,
            Self::Show(name) => SET.show(session, &name.name).await,
            Self::Set(set) => {
                let patch = Patch::default().field("cidrs", set.cidrs);
                SET.set(session, &set.name, patch, &set.write).await
            }
            Self::Delete(delete) => SET.delete(session, &delete).await,
        }
    }
}
