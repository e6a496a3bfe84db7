//! Files: their size, their names, their first line, and nothing left for later.

use anyhow::Result;

use super::Finding;
use super::source::Source;

/// Lines before the tests.
const LONGEST: usize = 400;
/// Names that would take anything in.
const LUMPS: [&str; 8] = ["utils", "util", "helpers", "helper", "common", "misc", "types", "manager"];
/// Promises to somebody else. Written in two halves, or this file would find itself.
const PROMISES: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("todo", "!(")];

pub fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    Ok(sources
        .iter()
        .flat_map(|source| {
            [size(source), name(source), header(source)].into_iter().flatten().chain(promises(source))
        })
        .collect())
}

fn size(source: &Source) -> Option<Finding> {
    let lines = source.production_lines();
    (lines > LONGEST && !source.is_test()).then(|| {
        finding(source, LONGEST + 1, format!("{lines} lines: a file has at most {LONGEST} without its tests"))
    })
}

fn name(source: &Source) -> Option<Finding> {
    let lump = source.path.split(['/', '.']).find(|name| LUMPS.contains(name))?;
    Some(finding(source, 1, format!("`{lump}` names no one thing: split it by noun")))
}

fn header(source: &Source) -> Option<Finding> {
    (!source.text.starts_with("//!"))
        .then(|| finding(source, 1, "a file begins with `//!`: what it is responsible for".to_owned()))
}

fn promises(source: &Source) -> impl Iterator<Item = Finding> {
    source.text.lines().enumerate().filter_map(|(index, line)| {
        let promise = PROMISES.iter().find(|&&promise| line.contains(promise))?;
        Some(finding(source, index + 1, format!("`{promise}`: do it, or open an issue")))
    })
}

fn finding(source: &Source, line: usize, what: String) -> Finding {
    Finding { path: source.path.clone(), line, what }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::lint::source::Source;

    fn findings(path: &str, text: &str) -> usize {
        check(&[Source::new(path, text)]).expect("no I/O").len()
    }

    #[test]
    fn tests_do_not_count_as_length() {
        let production = "//! A file.\n".to_owned() + &"\n".repeat(399);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(100));
        assert_eq!(findings("fwd-user/src/a.rs", &(production.clone() + &tests)), 0);
        assert_eq!(findings("fwd-user/src/a.rs", &(production + "\n" + &tests)), 1);
    }

    #[test]
    fn lumps_are_refused_as_file_and_as_folder() {
        assert_eq!(findings("fwd-user/src/utils.rs", "//! A file.\n"), 1);
        assert_eq!(findings("fwd-user/src/helpers/a.rs", "//! A file.\n"), 1);
        assert_eq!(findings("fwd-common/src/flow.rs", "//! A file.\n"), 0);
    }

    #[test]
    fn nothing_is_left_for_later() {
        assert_eq!(findings("fwd-user/src/a.rs", concat!("//! A file.\n// TO", "DO: more\n")), 1);
        assert_eq!(findings("fwd-user/src/a.rs", "fn f() {}\n"), 1);
    }
}
