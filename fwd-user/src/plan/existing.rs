//! Plans that treat the flows that live when an edit binds otherwise than deciding them anew.

use std::collections::BTreeSet;

use fwd_common::settings::{Settings, flag};

use super::{Admitted, MapOp, Row};

/// A plan under which live flows live on: while it is applied, what it no longer permits is marked, by
/// packets as by the sweep at its end, and the mark is held against later decisions.
///
/// Who sees something of the plan sees the flag too, which is written first; and the sweep leaves nothing
/// to be decided when the flag goes. So no packet can cut a flow in between, whenever it comes. Should the
/// daemon die in between, the next start takes the flag back with the rest of the edit.
pub fn keep(mut plan: Vec<MapOp>, old: Settings, new: Settings) -> Vec<MapOp> {
    let keeping = |settings: Settings| {
        MapOp::Put(Row::Settings(Settings { flags: settings.flags | flag::KEEP_FLOWS, ..settings }))
    };
    for op in &mut plan {
        if matches!(op, MapOp::Put(Row::Settings(_))) {
            *op = keeping(new);
        }
    }
    plan.insert(0, keeping(old));
    plan.extend([MapOp::Recheck, MapOp::Put(Row::Settings(new))]);
    plan
}

/// A plan that ends these flows, too.
///
/// They end when the new policy holds, so none comes back by the old one, and before any flow is decided
/// anew, which could put another rule in the place of the one that admitted it.
pub fn cut(mut plan: Vec<MapOp>, flows: &BTreeSet<Admitted>) -> Vec<MapOp> {
    let is_late = |op: &MapOp| matches!(op, MapOp::Bump(_) | MapOp::Delete(_));
    let at = plan.iter().position(is_late).unwrap_or(plan.len());
    plan.splice(at..at, flows.iter().copied().map(MapOp::Cut));
    plan
}
