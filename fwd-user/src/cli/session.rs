//! One run of the CLI: where the daemon is, how answers are written, how a run ends.

use std::io::{ErrorKind, IsTerminal, Write};

use serde::Deserialize;
use serde_json::Value;

use super::{args::Global, view, view::Format};
use crate::api::{
    answer::{PlanSummary, Written},
    client::Client,
    error::{ApiError, Code, Kind},
};

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "a command that is done is Done")]
pub enum Done {
    Done,
    /// A check found something, or documents differ: exit code 20.
    Findings,
    /// It would be dropped, or differs from what was expected: exit code 21.
    Verdict,
}

/// What every command returns.
pub type Answered = Result<Done, ApiError>;

/// What every command works with.
#[derive(Debug)]
pub struct Session {
    pub client: Client,
    pub format: Format,
    pub quiet: bool,
    pub verbose: u8,
}

impl Session {
    pub fn new(global: &Global) -> Self {
        Self {
            client: Client::new(&global.socket),
            format: global.output,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// Writes an answer. A reader that went away is no error.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, text: &str) -> Answered {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                Err(ApiError::new(Code::IoFailed, format!("Standard output cannot be written: {e}.")))
            }
            _ => Ok(Done::Done),
        }
    }

    /// Writes what is for people only.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn tell(&self, text: &str) -> Answered {
        if self.quiet || self.format.is_machine() { Ok(Done::Done) } else { self.print(text) }
    }

    /// Tells of a write that was done, or what a dry run would do.
    ///
    /// # Errors
    /// As [`Self::print`]; or the answer is not one to a write.
    pub fn written(&self, answer: &Value, verb: &str) -> Answered {
        let written: Written = Written::deserialize(answer).map_err(|e| {
            ApiError::new(Code::AnswerUnreadable, format!("The daemon's answer is no write: {e}."))
        })?;
        match self.format {
            Format::Json => self.print(&view::json(answer)),
            Format::Yaml => self.print(&view::yaml(answer)),
            Format::Name | Format::Csv => {
                let names = written.changed.iter().map(|c| c.split_once('/').map_or(c.as_str(), |(_, n)| n));
                self.print(&names.map(|n| format!("{n}\n")).collect::<String>())
            }
            Format::Table | Format::Wide => match &written.plan {
                Some(plan) => self.print(&plan_text(plan)),
                None => self.tell(&sentence(&written, verb)),
            },
        }
    }
}

/// `Added port web1, uplink eth0 (revision 3).`, and how many flows were cut where that was counted.
fn sentence(written: &Written, verb: &str) -> String {
    match written.cut {
        Some(1) => format!("{}1 live flow was cut.\n", changes_sentence(written, verb)),
        Some(n) => format!("{}{n} live flows were cut.\n", changes_sentence(written, verb)),
        None => changes_sentence(written, verb),
    }
}

fn changes_sentence(written: &Written, verb: &str) -> String {
    if written.changed.is_empty() {
        return format!("Nothing to change (revision {}).\n", written.revision);
    }
    const SHOWN: usize = 5;
    let mut names: Vec<_> = written.changed.iter().take(SHOWN).map(|c| c.replacen('/', " ", 1)).collect();
    if written.changed.len() > SHOWN {
        names.push(format!("{} more", written.changed.len() - SHOWN));
    }
    let verb = verb[..1].to_uppercase() + &verb[1..];
    format!("{verb} {} (revision {}).\n", names.join(", "), written.revision)
}

/// The objects that a plan adds, alters (field by field) and deletes.
pub fn changes_text(plan: &PlanSummary) -> String {
    let mut out: String = plan.added.iter().map(|o| format!("+ {o}\n")).collect();
    for altered in &plan.altered {
        out += &format!("~ {}\n", altered.object);
        for f in &altered.fields {
            out +=
                &format!("    {}: {} -> {}\n", f.field, view::cell(Some(&f.from)), view::cell(Some(&f.to)));
        }
    }
    out.extend(plan.deleted.iter().map(|o| format!("- {o}\n")));
    out
}

fn plan_text(plan: &PlanSummary) -> String {
    let mut out = changes_text(plan);
    if !plan.rechecked.is_empty() {
        out += &format!("Live flows decided anew: {}\n", plan.rechecked.join(", "));
    }
    if plan.map_writes.is_empty() {
        return out + "No map is written.\n";
    }
    let head =
        ["MAP", "PUTS", "DELETES", "BEFORE", "ENTRIES", "CAPACITY", "MEMORY"].map(str::to_owned).to_vec();
    let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let rows = plan.map_writes.iter().map(|m| {
        let writes = [m.map.clone(), m.puts.to_string(), m.deletes.to_string()];
        let rows = [m.before, m.entries, m.capacity].map(count);
        let memory = m.memory.map_or_else(|| "-".to_owned(), |bytes| format!("{} KiB", bytes.div_ceil(1024)));
        writes.into_iter().chain(rows).chain([memory]).collect()
    });
    out + &view::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// An error as people read it: what, each problem, how to mend it, and the code.
pub fn error_text(error: &ApiError) -> String {
    let mut out = format!("{} {}\n", paint("error:"), error.message);
    if error.problems.len() > 1 {
        for problem in &error.problems {
            out += &format!("  {}\n", problem.message);
            out.extend(problem.hints.iter().map(|h| format!("    {h}\n")));
        }
    }
    out.extend(error.hints.iter().map(|h| format!("  {h}\n")));
    out + &format!("  ({}; fwd explain {})\n", error.code, error.code)
}

/// Writes an error: as the API words it where a program reads, else for people.
pub fn print_error(error: &ApiError, format: Format) -> u8 {
    let text = match format {
        Format::Json => view::json(&serde_json::json!({"api": crate::api::spec::API, "error": error})),
        _ => error_text(error),
    };
    // Nobody is left to tell if standard error is gone.
    _ = std::io::stderr().lock().write_all(text.as_bytes());
    error.kind.exit_code()
}

/// Exit code of an answer that found something.
pub const fn exit_code(done: Done) -> u8 {
    match done {
        Done::Done => 0,
        Done::Findings => Kind::Findings.exit_code(),
        Done::Verdict => Kind::Verdict.exit_code(),
    }
}

fn paint(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    if plain || !std::io::stderr().is_terminal() {
        text.to_owned()
    } else {
        format!("\x1b[1;31m{text}\x1b[0m")
    }
}
