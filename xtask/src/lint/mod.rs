//! What every change is held against, beyond the tests: form, clippy on both targets, and the house rules.
//!
//! A finding is one line: the place, what is there, and the rule that it breaks. All findings are shown at
//! once.

mod blank;
mod documents;
mod files;
mod layers;
mod path;
mod source;
mod words;

use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::command;
use crate::docs;
use crate::setup;
use crate::step::Step;
use crate::workspace;
use source::Source;

/// A place that breaks a rule.
struct Finding {
    path: String,
    /// From 1.
    line: usize,
    /// What is there and why it may not be.
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A house rule: looks at all sources and tells what breaks it.
type Rule = fn(&[Source]) -> Result<Vec<Finding>>;

const RULES: [(&str, Rule); 4] = [
    ("files", files::check),
    ("layers", layers::check),
    ("words", words::check),
    ("documents", documents::check),
];

#[derive(clap::Args)]
pub struct Args {
    /// The one part to run [default: all]
    part: Option<Part>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// rustfmt
    Form,
    /// clippy for the host
    Host,
    /// clippy for the kernel object
    Kernel,
    /// The house rules
    House,
    /// Documents that are made from the code
    Docs,
}

pub fn run(args: Args) -> Result<()> {
    setup::build_tools()?;
    let parts = args.part.map_or_else(|| Part::value_variants().to_vec(), |part| vec![part]);
    let failed: Vec<String> =
        parts.into_iter().filter_map(|part| part.check().err()).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n       "));
    Ok(())
}

impl Part {
    fn check(self) -> Result<()> {
        let mut cargo = workspace::cargo();
        match self {
            Self::Form => command::run(cargo.args(["fmt", "--all", "--check"])),
            Self::Host => command::run(cargo.args(["clippy", "--all-targets", "--", "--deny=warnings"])),
            Self::Kernel => command::run(&mut workspace::bpf_cargo("clippy", &["--", "--deny=warnings"])),
            Self::House => check_house(),
            Self::Docs => docs::check(),
        }
    }
}

fn check_house() -> Result<()> {
    let sources = source::all()?;
    let mut findings = Vec::new();
    for (name, rule) in RULES {
        Step::run(name, |_| {
            let before = findings.len();
            findings.extend(rule(&sources)?);
            Ok(format!("{} sources, {} findings", sources.len(), findings.len() - before))
        })?;
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    ensure!(findings.is_empty(), "{} places break the house rules, see above", findings.len());
    Ok(())
}
