//! The project's Rust sources, as the rules look at them.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use super::blank::blank;
use crate::command::output;
use crate::workspace;

#[derive(Clone)]
pub struct Source {
    /// From the workspace's root.
    pub path: String,
    pub text: String,
    /// The text with comments, strings and test modules blanked out; its lines are those of the text.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let production = production(text);
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(production) }
    }

    /// How many lines there are before the test module.
    pub fn production_lines(&self) -> usize {
        self.code.lines().count()
    }

    /// Whether the whole file is tests.
    pub fn is_test(&self) -> bool {
        ["/tests.rs", "_tests.rs"].iter().any(|end| self.path.ends_with(end))
            || (self.path.starts_with("tests/") && !self.path.starts_with("tests/src/"))
    }

    /// The line, from 1, of a place in the text.
    pub fn line_at(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }
}

/// All sources that git knows or would add.
///
/// # Errors
/// When git does not answer, or a file cannot be read.
pub fn all() -> Result<Vec<Source>> {
    files("*.rs")?
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(workspace::root().join(&path)).with_context(|| path.clone())?;
            Ok(Source::new(&path, &text))
        })
        .collect()
}

/// The files of one pattern that git knows or would add, and that exist.
///
/// # Errors
/// When git does not answer.
pub fn files(pattern: &str) -> Result<BTreeSet<String>> {
    let mut git = std::process::Command::new("git");
    git.current_dir(workspace::root());
    let listed = output(git.args(["ls-files", "--cached", "--others", "--exclude-standard", "--", pattern]))?;
    Ok(listed.lines().filter(|path| workspace::root().join(path).exists()).map(str::to_owned).collect())
}

/// What stands before the file's test module.
fn production(text: &str) -> &str {
    let mut from = 0;
    while let Some(found) = text[from..].find("#[cfg(test)]\n") {
        let at = from + found;
        let next = text[at..].lines().nth(1).unwrap_or_default().trim_start();
        if next.starts_with("mod ") && next.ends_with('{') {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::production;

    #[test]
    fn the_test_module_is_not_production() {
        assert_eq!(production("a\n#[cfg(test)]\nmod tests {\n    b\n}\n"), "a\n");
    }

    #[test]
    fn a_test_file_of_its_own_hides_nothing() {
        let text = "#[cfg(test)]\nmod tests;\nfn production() {}\n";
        assert_eq!(production(text), text);
    }
}
