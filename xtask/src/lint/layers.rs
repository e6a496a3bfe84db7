//! Arrows go one way: what each module may name of its own crate.
//!
//! Packet: top to bottom through `pipeline.rs`. Edit: cli → api → state → compile → plan → datapath.
//! Observation: maps → observe → api → cli. A module that is not in the table may not be there.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Finding;
use super::path::{named, words};
use super::source::Source;

/// A module, and the layers of its crate that it may name; every module may name its own. `a::b` is a layer
/// apart from the rest of `a`.
type Layer = (&'static str, &'static [&'static str]);

struct Crate {
    folder: &'static str,
    name: &'static str,
    layers: &'static [Layer],
}

const CRATES: [Crate; 1] = [Crate {
    folder: "fwd-user/src/",
    name: "fwd_user",
    layers: &[
        ("main", &["cli"]),
        ("lib", &[]),
        // Of observe only the table of metrics, which it prints as a document.
        ("cli", &["api", "api::client", "daemon", "import", "observe"]),
        (
            "daemon",
            &[
                "api",
                "api::server",
                "compile",
                "datapath",
                "diagnose",
                "host",
                "host::survey",
                "observe",
                "plan",
                "state",
                "store",
            ],
        ),
        ("diagnose", &["api", "compile", "host::inventory", "host::survey", "state"]),
        // What is exchanged is everybody's vocabulary; who exchanges it is not.
        ("api", &[]),
        ("api::client", &["api"]),
        ("api::server", &["api", "observe", "state"]),
        ("import", &["api"]),
        ("state", &["api"]),
        ("store", &["api", "state"]),
        ("compile", &["api", "host::inventory", "state"]),
        ("plan", &["compile"]),
        ("datapath", &["api", "compile", "host::inventory", "plan"]),
        ("host", &["api", "host::inventory", "host::survey"]),
        ("host::inventory", &[]),
        ("host::survey", &[]),
        ("observe", &["api", "compile", "datapath", "state"]),
    ],
}];

const PIPELINE: &str = "fwd-ebpf/src/pipeline.rs";
const STAGES: &str = "fwd-ebpf/src/stage/";
/// A flood is the whole way of a frame to a group, which never comes to the stages of a miss.
const WHOLE_WAYS: [&str; 1] = ["fwd-ebpf/src/stage/flood.rs"];

pub fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let layered = CRATES.iter().flat_map(|one| {
        sources
            .iter()
            .filter(|source| source.path.starts_with(one.folder) && !source.is_test())
            .flat_map(|source| one.check(source))
    });
    Ok(layered.chain(check_stages(sources)).collect())
}

impl Crate {
    fn check(&self, source: &Source) -> Vec<Finding> {
        let module = module(source, self.folder);
        let Some((own, allowed)) = self.layer(&module) else {
            let what = format!(
                "no layer is named after {}: the table of {} says which there are",
                module[0],
                file!()
            );
            return vec![Finding { path: source.path.clone(), line: 1, what }];
        };
        named(source, &module, self.name)
            .into_iter()
            .filter(|path| {
                let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
                self.layer(&segments).is_some_and(|(layer, _)| layer != own && !allowed.contains(layer))
            })
            .map(|path| {
                let what = format!(
                    "`{own}` names `{}`; it may name {} (arrows go one way)",
                    path.segments.join("::"),
                    if allowed.is_empty() { "no other layer".to_owned() } else { allowed.join(", ") }
                );
                Finding { path: source.path.clone(), line: path.line, what }
            })
            .collect()
    }

    /// The innermost layer that a path is in.
    fn layer(&self, path: &[&str]) -> Option<&Layer> {
        let is_within = |layer: &str| {
            let layer: Vec<&str> = layer.split("::").collect();
            path.starts_with(&layer)
        };
        self.layers.iter().filter(|(name, _)| is_within(name)).max_by_key(|(name, _)| name.len())
    }
}

/// Stages share look-ups, but what the pipeline calls, no stage calls: the way of a packet is read there alone.
fn check_stages(sources: &[Source]) -> Vec<Finding> {
    let Some(pipeline) = sources.iter().find(|source| source.path == PIPELINE) else { return Vec::new() };
    let stages: Vec<&Source> = sources.iter().filter(|source| source.path.starts_with(STAGES)).collect();
    let entries: BTreeSet<&str> = stages
        .iter()
        .filter_map(|stage| stage.path.strip_prefix(STAGES)?.strip_suffix(".rs"))
        .flat_map(|stage| {
            let end = |at: usize| at + stage.len() + "::".len();
            let is_call = move |at: &usize| {
                pipeline.code[*at + stage.len()..].starts_with("::")
                    && pipeline.code[end(*at)..].starts_with(char::is_lowercase)
            };
            words(&pipeline.code, stage).filter(is_call).map(move |at| {
                let name = &pipeline.code[end(at)..];
                let length = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
                &pipeline.code[at..end(at) + length]
            })
        })
        .collect();
    let calls = stages.iter().filter(|stage| !WHOLE_WAYS.contains(&stage.path.as_str())).flat_map(|stage| {
        entries.iter().flat_map(move |entry| words(&stage.code, entry).map(move |at| (*stage, *entry, at)))
    });
    calls
        .map(|(stage, entry, at)| Finding {
            path: stage.path.clone(),
            line: stage.line_at(at),
            what: format!("`{entry}` is a stage of the pipeline: no stage calls a stage"),
        })
        .collect()
}

/// A source's module path: `fwd-user/src/api/mod.rs` is `api`.
fn module<'a>(source: &'a Source, folder: &str) -> Vec<&'a str> {
    let path = source.path.trim_start_matches(folder).trim_end_matches(".rs");
    path.split('/').filter(|&name| name != "mod").collect()
}

#[cfg(test)]
mod tests {
    use super::{CRATES, check};
    use crate::lint::source::Source;

    fn findings(path: &str, code: &str) -> usize {
        check(&[Source::new(path, code)]).expect("no I/O").len()
    }

    #[test]
    fn arrows_go_one_way() {
        assert_eq!(findings("fwd-user/src/compile/rows.rs", "use crate::state::Desired;"), 0);
        assert_eq!(findings("fwd-user/src/compile/rows.rs", "use crate::datapath::Maps;"), 1);
        assert_eq!(findings("fwd-user/src/compile/rows.rs", "use super::super::datapath::Maps;"), 1);
        assert_eq!(findings("fwd-user/src/compile/rows.rs", "use super::{tables, rows};"), 0);
        assert_eq!(findings("fwd-user/src/main.rs", "fwd_user::plan::diff();"), 1);
    }

    #[test]
    fn a_part_of_a_module_may_be_closed_where_the_rest_is_open() {
        assert_eq!(findings("fwd-user/src/state/edit.rs", "use crate::api::spec::Document;"), 0);
        assert_eq!(findings("fwd-user/src/state/edit.rs", "use crate::api::server;"), 1);
        assert_eq!(findings("fwd-user/src/api/spec.rs", "use crate::api::server;"), 1);
    }

    #[test]
    fn the_arrows_form_no_circle() {
        for one in &CRATES {
            let mut settled: Vec<&str> = Vec::new();
            while settled.len() < one.layers.len() {
                let next = one.layers.iter().find(|(name, allowed)| {
                    !settled.contains(name) && allowed.iter().all(|below| settled.contains(below))
                });
                settled.push(next.expect("a circle, or an arrow to no layer").0);
            }
        }
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        assert_eq!(findings("fwd-user/src/extra.rs", ""), 1);
    }

    #[test]
    fn stages_share_look_ups_and_call_no_stage() {
        let pipeline = Source::new("fwd-ebpf/src/pipeline.rs", "route::find::<F>(a)?; parse::ether(b)");
        let route = Source::new("fwd-ebpf/src/stage/route.rs", "pub fn find() {} pub fn lookup() {}");
        let found = |code: &str| {
            let admit = Source::new("fwd-ebpf/src/stage/admit.rs", code);
            check(&[pipeline.clone(), route.clone(), admit]).expect("no I/O").len()
        };
        assert_eq!(found("parse::ether(); route::lookup(); let way: route::Way;"), 0);
        assert_eq!(found("crate::stage::route::find(way);"), 1);
    }
}
