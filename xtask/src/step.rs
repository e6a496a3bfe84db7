//! A step of a task: one line on the terminal that says what was done and how long it took.

use std::io::{Write, stdout};
use std::time::Instant;

use anyhow::{Context, Result};

/// A step that is under way; its line is open.
pub struct Step {
    started: Instant,
}

impl Step {
    /// Runs a step and closes its line with what the step says it has done, and the seconds it took.
    ///
    /// # Errors
    /// The step's own error, with the step's name in front.
    pub fn run(name: &str, work: impl FnOnce(&Self) -> Result<String>) -> Result<()> {
        print!("{name:<15} ");
        flush();
        let step = Self { started: Instant::now() };
        let done = work(&step);
        match &done {
            Ok(done) => println!("{done} ({:.1} s)", step.started.elapsed().as_secs_f64()),
            Err(_) => println!("failed"),
        }
        done.map(drop).with_context(|| name.to_owned())
    }

    /// Says what the step is about to do, where that takes a while.
    pub fn says(&self, what: &str) {
        print!("{what} … ");
        flush();
    }
}

fn flush() {
    // A terminal that is gone takes no progress; the step itself goes on.
    let _ = stdout().flush();
}
