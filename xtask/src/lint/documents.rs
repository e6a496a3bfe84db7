//! Documents that lead through the code: every place that they name exists.
//!
//! `docs/packet-path.md` and `docs/edit-path.md` write each step as `file::function`, in backquotes: the file's
//! path without `.rs`, with `/` or `::` between folders, as far as it is needed to find it. `SPECIFICATION.md`
//! names tests in the same way.

use std::fs;

use anyhow::{Context, Result};

use super::Finding;
use super::source::{Source, files};
use crate::workspace;

pub fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let paths = files("docs/*-path.md")?.into_iter().map(|path| (path, code as Part));
    let promises = files("SPECIFICATION.md")?.into_iter().map(|path| (path, whole as Part));
    for (path, part) in paths.chain(promises) {
        let text = fs::read_to_string(workspace::root().join(&path)).with_context(|| path.clone())?;
        for (index, line) in text.lines().enumerate() {
            let lost = steps(line).filter(|step| !resolves(step, sources, part));
            findings.extend(lost.map(|step| Finding {
                path: path.clone(),
                line: index + 1,
                what: format!("`{step}` names no function or type that exists"),
            }));
        }
    }
    Ok(findings)
}

/// The part of a source in which names are looked for.
type Part = fn(&Source) -> &str;

fn code(source: &Source) -> &str {
    &source.code
}

/// With its tests.
fn whole(source: &Source) -> &str {
    &source.text
}

/// What stands in backquotes and has the form of a path.
fn steps(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains("::") && !text.contains(char::is_whitespace))
}

fn resolves(step: &str, sources: &[Source], part: Part) -> bool {
    let Some((file, name)) = step.rsplit_once("::") else { return false };
    let file = file.replace("::", "/").replace(".rs", "");
    let name = name.trim_end_matches("()");
    let ends = [format!("/{file}.rs"), format!("/{file}/mod.rs")];
    sources.iter().filter(|source| ends.iter().any(|end| source.path.ends_with(end))).any(|source| {
        ["fn", "struct", "enum", "trait", "const", "static", "type"].iter().any(|kind| {
            let definition = format!("{kind} {name}");
            part(source).match_indices(&definition).any(|(at, _)| {
                !part(source)[at + definition.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{code, resolves, steps, whole};
    use crate::lint::source::Source;

    #[test]
    fn steps_resolve_by_file_and_name() {
        let sources = [
            Source::new("fwd-ebpf/src/stage/flow.rs", "pub fn lookup<F>() {}"),
            Source::new("fwd-user/src/plan/mod.rs", "pub struct Plan;"),
        ];
        assert!(resolves("stage/flow::lookup", &sources, code));
        assert!(resolves("stage/flow.rs::lookup()", &sources, code));
        assert!(resolves("plan::Plan", &sources, code));
        assert!(!resolves("stage/flow::look", &sources, code));
        assert!(!resolves("stage/nat::lookup", &sources, code));
    }

    #[test]
    fn promises_name_tests() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn it_holds() {}\n}\n";
        let sources = [Source::new("fwd-user/src/plan/diff.rs", text)];
        assert!(resolves("plan/diff::it_holds", &sources, whole));
        assert!(!resolves("plan/diff::it_holds", &sources, code));
    }

    #[test]
    fn only_quoted_paths_are_steps() {
        assert_eq!(steps("a::b `c::d` e `f` `g::h i`").collect::<Vec<_>>(), ["c::d"]);
    }
}
