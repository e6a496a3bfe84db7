//! `fwd generate`: documentation that is made from the code, for `cargo xtask docs`.

use clap::{CommandFactory, ValueEnum};

use super::{
    args::Cli,
    session::{Answered, Session},
};
use crate::{
    api::{openapi, settings},
    observe::metrics,
};

#[derive(Debug, clap::Args)]
pub struct Generate {
    #[arg(value_enum)]
    page: Page,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    Cli,
    Maps,
    DropReasons,
    Settings,
    ErrorCodes,
    Metrics,
    Openapi,
}

impl Generate {
    pub fn run(self, session: &Session) -> Answered {
        session.print(&match self.page {
            Page::Cli => cli(),
            Page::Maps => maps(),
            Page::DropReasons => drop_reasons(),
            Page::Settings => settings_table(),
            Page::ErrorCodes => error_codes(),
            Page::Metrics => metrics::document(),
            Page::Openapi => openapi::openapi().to_pretty_json().expect("a description is plain data") + "\n",
        })
    }
}

/// Every command with its help, in the order of `fwd help`.
fn cli() -> String {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut out = "# The command line\n\nMade from the code by `cargo xtask docs`.\n".to_owned();
    page(&mut root, "", &mut out);
    out
}

/// A command's help and that of its verbs. Options that all commands have are in the first one's only.
fn page(command: &mut clap::Command, path: &str, out: &mut String) {
    let is_root = path.is_empty();
    let path = format!("{path}{}", command.get_name());
    let mut shown = command.clone().mut_args(|arg| {
        let is_elsewhere = arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
        let is_hidden = arg.is_hide_set() || is_elsewhere && !is_root;
        arg.hide_env_values(true).hide(is_hidden)
    });
    let help = shown.render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    *out += &format!("\n## `{path}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    for sub in command.get_subcommands_mut() {
        if !sub.is_hide_set() && sub.get_name() != "help" {
            page(sub, &format!("{path} "), out);
        }
    }
}

fn drop_reasons() -> String {
    let head = "# Drop reasons\n\nMade from the code by `cargo xtask docs`. A number, once given, means the same for ever.\n\n\
                `way` is the stage that chooses where a packet goes: forward, route or FDB.\n\n\
                | number | reason | stage | what happened | what to do |\n| --- | --- | --- | --- | --- |\n";
    fwd_common::drop::DropReason::ALL.iter().fold(head.to_owned(), |out, r| {
        out + &format!(
            "| {} | `{}` | {} | {} | {} |\n",
            *r as u8,
            r.name(),
            r.stage(),
            r.sentence(),
            r.remedy()
        )
    })
}

fn maps() -> String {
    let head = format!(
        "# Maps\n\nMade from the code by `cargo xtask docs`. ABI {}.\n\n| map | written by | rows |\n| --- | --- | --- |\n",
        fwd_common::layout::ABI_VERSION
    );
    fwd_common::map::ALL.iter().fold(head, |out, m| {
        out + &format!("| `{}` | {} | {} |\n", m.name, format!("{:?}", m.writer).to_lowercase(), m.doc)
    })
}

fn settings_table() -> String {
    let head = "# Settings\n\nMade from the code by `cargo xtask docs`. `fwd config set KEY VALUE` changes one.\n\n\
                | key | default | range | meaning |\n| --- | --- | --- | --- |\n";
    settings::table().iter().fold(head.to_owned(), |out, s| {
        let default = s.default.as_str().map_or_else(|| s.default.to_string(), str::to_owned);
        out + &format!("| `{}` | {default} | {} | {} |\n", s.key, s.range, s.doc)
    })
}

fn error_codes() -> String {
    let head = "# Error codes\n\nMade from the code by `cargo xtask docs`. A number, once given, means the same for ever.\n\n\
                | code | exit code | what happened | what to do |\n| --- | --- | --- | --- |\n";
    crate::api::error::Code::ALL.iter().fold(head.to_owned(), |out, c| {
        out + &format!("| `{c}` | {} | {} | {} |\n", c.kind().exit_code(), c.sentence(), c.remedy())
    })
}
