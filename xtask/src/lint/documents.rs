//! Documents that lead through the code: every place that they name exists.
//!
//! `docs/packet-path.md` and `docs/edit-path.md` write each step as `file::function`, in backquotes: the file's
//! path without `.rs`, with `/` or `::` between folders, as far as it is needed to find it.

use std::fs;

use anyhow::{Context, Result};

use super::Finding;
use super::source::{Source, files};
use crate::workspace;

pub fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files("docs/*-path.md")? {
        let text = fs::read_to_string(workspace::root().join(&path)).with_context(|| path.clone())?;
        for (index, line) in text.lines().enumerate() {
            let lost = steps(line).filter(|step| !resolves(step, sources));
            findings.extend(lost.map(|step| Finding {
                path: path.clone(),
                line: index + 1,
                what: format!("`{step}` names no function or type that exists"),
            }));
        }
    }
    Ok(findings)
}

/// What stands in backquotes and has the form of a path.
fn steps(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains("::") && !text.contains(char::is_whitespace))
}

fn resolves(step: &str, sources: &[Source]) -> bool {
    let Some((file, name)) = step.rsplit_once("::") else { return false };
    let file = file.replace("::", "/").replace(".rs", "");
    let name = name.trim_end_matches("()");
    let ends = [format!("/{file}.rs"), format!("/{file}/mod.rs")];
    sources.iter().filter(|source| ends.iter().any(|end| source.path.ends_with(end))).any(|source| {
        ["fn", "struct", "enum", "trait", "const", "static", "type"].iter().any(|kind| {
            let definition = format!("{kind} {name}");
            source.code.match_indices(&definition).any(|(at, _)| {
                !source.code[at + definition.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{resolves, steps};
    use crate::lint::source::Source;

    #[test]
    fn steps_resolve_by_file_and_name() {
        let sources = [
            Source::new("fwd-ebpf/src/stage/flow.rs", "pub fn lookup<F>() {}"),
            Source::new("fwd-user/src/plan/mod.rs", "pub struct Plan;"),
        ];
        assert!(resolves("stage/flow::lookup", &sources));
        assert!(resolves("stage/flow.rs::lookup()", &sources));
        assert!(resolves("plan::Plan", &sources));
        assert!(!resolves("stage/flow::look", &sources));
        assert!(!resolves("stage/nat::lookup", &sources));
    }

    #[test]
    fn only_quoted_paths_are_steps() {
        assert_eq!(steps("a::b `c::d` e `f` `g::h i`").collect::<Vec<_>>(), ["c::d"]);
    }
}
