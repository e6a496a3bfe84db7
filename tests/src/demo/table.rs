//! The table of steps: what was expected, and what came.

use anyhow::Result;

use crate::check_interrupted;

/// What a step got that was meant to get nothing.
pub const NO_ANSWER: &str = "no answer";

/// The steps so far; each is printed as it is known.
#[derive(Debug, Default)]
pub struct Table {
    steps: usize,
    failed: usize,
}

impl Table {
    /// Runs a step and prints its row. An expected text must be what the answer begins with.
    ///
    /// # Errors
    /// If Ctrl-C was pressed.
    pub fn step(&mut self, what: &str, expected: &str, run: impl FnOnce() -> Result<String>) -> Result<()> {
        let got = run();
        check_interrupted()?;
        match got {
            Ok(got) => self.row(what, expected, &got),
            Err(_) if expected == NO_ANSWER => self.row(what, expected, NO_ANSWER),
            Err(error) => self.row(what, expected, &format!("{error:#}")),
        }
        Ok(())
    }

    /// Prints a row.
    pub fn row(&mut self, what: &str, expected: &str, got: &str) {
        if self.steps == 0 {
            println!("  {:<56} {:<26} got", "step", "expected");
        }
        let as_expected = got.starts_with(expected);
        self.steps += 1;
        self.failed += usize::from(!as_expected);
        println!("{} {what:<56} {expected:<26} {got}", if as_expected { "✓" } else { "✗" });
    }

    pub fn all_as_expected(&self) -> bool {
        self.failed == 0
    }

    pub fn summary(&self) -> String {
        format!("{} of {} steps went as expected", self.steps - self.failed, self.steps)
    }
}
