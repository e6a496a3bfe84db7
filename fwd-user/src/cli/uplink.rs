//! `fwd uplink`: interfaces towards the outside.

use clap::{ArgAction, Args, Subcommand};

use super::{
    args::{Delete, Name, WriteArgs},
    session::{Answered, Session},
    verbs::{Added, Patch, Verbs},
    view::{Column, column, wide},
};
use crate::api::{
    object::Noun,
    spec::{Hook, Uplink},
};

const COLUMNS: &[Column] = &[
    column("DEVICE", "/device"),
    column("HOOK", "/hook"),
    column("NETWORK", "/network"),
    column("ADDRESSES", "/ips"),
    column("STATE", "/state"),
    wide("CONFIGURED-HOOK", "/configured_hook"),
    wide("MAC", "/mac"),
    wide("MTU", "/mtu"),
    wide("REASON", "/hook_reason"),
];
const UPLINK: Verbs = Verbs { noun: Noun::Uplink, columns: COLUMNS };

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add an uplink
    Add(Add),
    /// List the uplinks
    List,
    /// Show an uplink
    Show(Name),
    /// Change an uplink
    Set(Set),
    /// Delete an uplink that no network uses
    Delete(Delete),
}

#[derive(Debug, Args)]
pub struct Add {
    /// The interface
    device: String,
    /// Which hook is to run
    #[arg(long, value_enum, default_value_t)]
    hook: Hook,
    /// Take the interface from a Linux bridge that has it; fwd gives it back
    #[arg(long)]
    take_over: bool,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Set {
    /// The interface
    device: String,
    /// Which hook is to run
    #[arg(long, value_enum)]
    hook: Option<Hook>,
    /// Whether the interface is taken from a Linux bridge that has it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    take_over: Option<bool>,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => {
                let uplink = Uplink { device: add.device, hook: add.hook, take_over: add.take_over };
                UPLINK.add(session, Added { object: &uplink, may_exist: add.may_exist }, &add.write).await
            }
            Self::List => UPLINK.list(session).await,
            Self::Show(name) => UPLINK.show(session, &name.name).await,
            Self::Set(set) => {
                let patch = Patch::default().field("hook", set.hook).field("take_over", set.take_over);
                UPLINK.set(session, &set.device, patch, &set.write).await
            }
            Self::Delete(delete) => UPLINK.delete(session, &delete).await,
        }
    }
}
