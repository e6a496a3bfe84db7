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

use crate::command;
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

pub fn run() -> Result<()> {
    setup::build_tools()?;
    let parts = [
        command::run(workspace::cargo().args(["fmt", "--all", "--check"])),
        command::run(workspace::cargo().args(["clippy", "--all-targets", "--", "--deny=warnings"])),
        command::run(&mut workspace::bpf_cargo("clippy", &["--", "--deny=warnings"])),
        check_house(),
    ];
    let failed: Vec<String> =
        parts.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n       "));
    Ok(())
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
