//! Paths in code: what a source names of its own crate, however it is written.

use super::source::Source;

/// A path from the crate's root, as far as the rules look: `crate::a::{b::C, d}` is `a::b::C` and `a::d`.
pub struct NamedPath {
    pub segments: Vec<String>,
    /// From 1.
    pub line: usize,
}

/// Everything that a source names by `crate::`, by its crate's name, or by `super::` up to the root.
pub fn named(source: &Source, module: &[&str], crate_name: &str) -> Vec<NamedPath> {
    let mut paths = Vec::new();
    for root in ["crate", crate_name] {
        for start in words(&source.code, root) {
            collect(source, start + root.len(), &mut Vec::new(), &mut paths);
        }
    }
    for start in words(&source.code, "super") {
        if source.code[..start].ends_with("super::") {
            continue; // the chain was followed from its first link
        }
        let mut supers = 0;
        let mut end = start;
        while source.code[end..].starts_with("super") {
            supers += 1;
            end += "super".len();
            if !source.code[end..].starts_with("::super") {
                break;
            }
            end += "::".len();
        }
        let mut above: Vec<String> =
            module.iter().take(module.len().saturating_sub(supers)).map(|&name| name.to_owned()).collect();
        collect(source, end, &mut above, &mut paths);
    }
    paths
}

/// Where a whole word stands in code.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let open = word.ends_with(['_', ':']) || !code[at + word.len()..].starts_with(is_part);
        open && !code[..at].ends_with(is_part)
    })
}

/// Follows a path, or a tree of them, from behind its root; returns where it ends.
fn collect(source: &Source, from: usize, above: &mut Vec<String>, paths: &mut Vec<NamedPath>) -> usize {
    let code = &source.code;
    let more = code[from..].strip_prefix("::");
    let Some(rest) =
        more.filter(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{'))
    else {
        if !above.is_empty() {
            paths.push(NamedPath { segments: above.clone(), line: source.line_at(from) });
        }
        return from;
    };
    let mut at = code.len() - rest.len();
    if !rest.starts_with('{') {
        let end = at + rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        above.push(code[at..end].to_owned());
        let end = collect(source, end, above, paths);
        above.pop();
        return end;
    }
    loop {
        at += 1; // past the brace or the comma
        at += code[at..].len() - code[at..].trim_start().len();
        let end = code[at..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(code.len(), |n| at + n);
        if end > at {
            above.push(code[at..end].to_owned());
            at = collect(source, end, above, paths);
            above.pop();
        }
        match code[at..].find([',', '}']) {
            Some(next) if code[at + next..].starts_with(',') => at += next,
            Some(next) => return at + next + 1,
            None => return code.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::named;
    use crate::lint::source::Source;

    fn names(code: &str) -> Vec<String> {
        let source = Source::new("fwd-user/src/api/server.rs", code);
        let mut names: Vec<_> = named(&source, &["api", "server"], "fwd_user")
            .into_iter()
            .map(|path| format!("{} {}", path.line, path.segments.join("::")))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn trees_are_followed() {
        assert_eq!(
            names("use crate::{\n    a::{b::C, d},\n    e,\n};\nuse crate::f::G as H;"),
            ["2 a::b::C", "2 a::d", "3 e", "5 f::G"]
        );
    }

    #[test]
    fn super_is_resolved() {
        assert_eq!(
            names("use super::spec::A; super::super::state::edit(); super::{b, c};"),
            ["1 api::b", "1 api::c", "1 api::spec::A", "1 state::edit"]
        );
    }

    #[test]
    fn paths_in_expressions_count_and_comments_do_not() {
        assert_eq!(
            names("// crate::a\nlet x = fwd_user::b::c::<u8>(\"crate::d\"); my_crate::e();"),
            ["2 b::c"]
        );
    }
}
