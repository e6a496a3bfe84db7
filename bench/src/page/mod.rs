//! The page of a run: the targets with what was measured, every series in tables, and plots.
//!
//! The part of `docs/performance.md` between two markers is made from the results, and nothing else of it.

mod markdown;
mod plot;
mod target;
mod targets;

pub use markdown::number;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::result::Results;

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// What the page says of each scenario, by name.
pub type About<'a> = &'a [(&'static str, &'static str)];

/// Writes the page's measured part, and its plots beside it.
///
/// # Errors
/// If the page has no markers, or cannot be written.
pub fn write(results: &Results, about: About<'_>, page: &Path) -> Result<()> {
    let folder = page.parent().context("a page is in a folder")?.join("performance");
    let plots = plot::draw(results, &folder)?;
    let measured = markdown::measured(results, about, &plots);
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let text = replaced(&text, &measured)
        .with_context(|| format!("{} has no markers {BEGIN} and {END}", page.display()))?;
    fs::write(page, text).with_context(|| page.display().to_string())
}

fn replaced(text: &str, measured: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", measured.trim()))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = "a\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nz\n";
        let new = "a\n<!-- measured: begin -->\n\nnew\n\n<!-- measured: end -->\nz\n";
        assert_eq!(replaced(text, "new\n").as_deref(), Some(new));
        assert_eq!(replaced(new, "new").as_deref(), Some(new));
        assert_eq!(replaced("no markers", "new"), None);
    }
}
