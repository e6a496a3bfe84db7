//! The command line: options that every command takes, and the commands. Help texts are the doc comments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{
    bench, completion, config, deferred::Deferred, doctor, down, drop, explain, flow, forward, generate,
    group, guard, import, metrics, nat, network, policy, port, set, status, top, trace, up, uplink, version,
    view::Format,
};
use crate::{api::request::Existing, daemon::DEFAULT_SOCKET};

/// The network of a virtual machine host, in the kernel
#[derive(Debug, Parser)]
#[command(name = "fwd", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options everywhere")]
pub struct Global {
    /// How to write the answer
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
    /// The daemon's socket
    #[arg(long, global = true, env = "FWD_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Write nothing but what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell more; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start fwd on this host
    Up(up::Up),
    /// Stop fwd and give the host back as it was
    Down(down::Down),
    /// Show what fwd does and sees
    Status(status::Status),
    /// Interfaces towards the outside
    #[command(subcommand)]
    Uplink(Deferred<uplink::Verb>),
    /// Address spaces that ports belong to
    #[command(subcommand)]
    Network(Deferred<network::Verb>),
    /// Attachments of VMs
    #[command(subcommand)]
    Port(Deferred<port::Verb>),
    /// Outside addresses and L4 ports that lead to a port
    #[command(subcommand)]
    Forward(Deferred<forward::Verb>),
    /// How flows to outside are translated, and the live translations
    #[command(subcommand)]
    Nat(Deferred<nat::Verb>),
    /// Named sets of ports
    #[command(subcommand)]
    Group(Deferred<group::Verb>),
    /// Named lists of CIDRs
    #[command(subcommand)]
    Set(Deferred<set::Verb>),
    /// Rules: who may talk to whom
    #[command(subcommand)]
    Policy(Deferred<policy::Verb>),
    /// Live conversations
    #[command(subcommand)]
    Flow(Deferred<flow::Verb>),
    /// What was dropped, and why
    #[command(subcommand)]
    Drop(Deferred<drop::Verb>),
    /// What would become of a packet, stage by stage; nothing is changed
    Trace(trace::Trace),
    /// The whole configuration as one document
    #[command(subcommand)]
    Config(Deferred<config::Verb>),
    /// Another program's network as a document
    #[command(subcommand)]
    Import(Deferred<import::Verb>),
    /// Look for what is wrong, and say how to mend it
    Doctor(doctor::Doctor),
    /// Print the metrics
    Metrics(metrics::Metrics),
    /// Follow what each port carries and loses
    Top(top::Top),
    /// Measure what live traffic costs on this host
    Bench(bench::Bench),
    /// Explain an error code
    Explain(explain::Explain),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Print the versions of the CLI and of the daemon
    Version(version::Version),
    /// Watch over a change on trial
    #[command(hide = true)]
    Guard(guard::Guard),
    /// Write generated documentation
    #[command(hide = true)]
    Generate(generate::Generate),
}

/// Options of every write.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every write")]
pub struct WriteArgs {
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Refuse if the document is no longer at this revision
    #[arg(long, value_name = "N")]
    pub if_revision: Option<u64>,
    /// What becomes of live flows
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub existing: Existing,
    /// Decide live flows before answering, and say how many were cut
    #[arg(long)]
    pub wait: bool,
}

/// The name of one object.
#[derive(Debug, Args)]
pub struct Name {
    pub name: String,
}

/// What a delete takes.
#[derive(Debug, Args)]
pub struct Delete {
    pub name: String,
    /// Succeed if there is no such object
    #[arg(long)]
    pub if_exists: bool,
    #[command(flatten)]
    pub write: WriteArgs,
}
