//! What each rule did, or would do where it is staged: for lists of rules and for metrics alike.

use std::collections::HashMap;

use fwd_common::{
    counter::{DropCount, DropKey},
    id::RuleId,
};

use crate::api::spec::Action;

use super::{ReadError, View, names::rule_of_drop, usage::Usage};

/// What a rule did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// Flows that it admitted; of a deny or reject rule, live ones that it cut; of a staged rule, those that it
    /// would decide.
    pub flows: u64,
    /// Their packets; of a deny or reject rule, those that it dropped. Of a staged rule also those that are
    /// dropped, and that it would decide. Not known before large flow tables were walked.
    pub packets: Option<u64>,
    /// Nanoseconds since boot; 0: never.
    pub last_hit_ns: u64,
}

/// What a rule dropped.
#[derive(Clone, Copy, Default)]
struct Denied {
    packets: u64,
    last_ns: u64,
}

/// By rule, of all that are named.
///
/// # Errors
/// [`ReadError`] names the map.
pub fn counts(
    view: &View<'_>,
    drops: &[(DropKey, DropCount)],
    usage: Option<&Usage>,
) -> Result<HashMap<RuleId, RuleCount>, ReadError> {
    let totals: HashMap<_, _> = view.maps.rule_totals()?.into_iter().collect();
    let denied = denied(drops);
    let of_flows = |id: &RuleId| usage.map(|usage| usage.rule_packets.get(id).copied().unwrap_or_default());
    let count = |id: &RuleId, counts_flows: bool| {
        let (totals, denied) =
            (totals.get(id).copied().unwrap_or_default(), denied.get(id).copied().unwrap_or_default());
        let last_hit_ns = totals.last_hit_ns.max(denied.last_ns);
        if counts_flows {
            RuleCount { flows: totals.flows, packets: of_flows(id), last_hit_ns }
        } else {
            RuleCount { flows: totals.cut, packets: Some(denied.packets), last_hit_ns }
        }
    };
    let rules = view.names.rules();
    Ok(rules.map(|(id, rule)| (id, count(&id, rule.is_staged || rule.action == Action::Allow))).collect())
}

fn denied(drops: &[(DropKey, DropCount)]) -> HashMap<RuleId, Denied> {
    let mut rules = HashMap::<_, Denied>::new();
    for (key, drop) in drops {
        let Some(id) = rule_of_drop(key.reason, key.rule) else { continue };
        let rule = rules.entry(id).or_default();
        rule.packets += drop.count.packets;
        rule.last_ns = rule.last_ns.max(drop.last_seen_ns);
    }
    rules
}
