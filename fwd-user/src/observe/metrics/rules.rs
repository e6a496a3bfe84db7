//! Families by rule and by forward.

use std::collections::HashMap;

use fwd_common::counter::Totals;

use crate::{
    api::spec::Action,
    observe::{NamedRule, ReadError, rules::counts},
};

use super::{Source, families::Families, labels, table};

pub fn fill(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    rules(out, source)?;
    forwards(out, source)
}

fn rules(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    let counts = counts(source.view, &source.drops, source.usage)?;
    let rules: Vec<_> = source
        .view
        .names
        .rules()
        .map(|(id, rule)| {
            (labels([&rule.name, action_name(rule)]), counts.get(&id).copied().unwrap_or_default())
        })
        .collect();
    out.counter(table::RULE_FLOWS, rules.iter().map(|(labels, count)| (labels.clone(), count.flows)));
    if source.usage.is_some() {
        let packets = rules.iter().map(|(labels, count)| (labels.clone(), count.packets.unwrap_or_default()));
        out.counter(table::RULE_PACKETS, packets);
    }
    let last_hits = rules.iter().filter_map(|(labels, count)| {
        Some((labels.clone(), source.view.now.unix_secs_of(count.last_hit_ns)?))
    });
    out.gauge(table::RULE_LAST_HIT, last_hits);
    Ok(())
}

const fn action_name(rule: &NamedRule) -> &'static str {
    match (rule.is_staged, rule.action) {
        (false, Action::Allow) => "allow",
        (false, Action::Deny) => "deny",
        (false, Action::Reject) => "reject",
        (true, Action::Allow) => "staged_allow",
        (true, Action::Deny) => "staged_deny",
        (true, Action::Reject) => "staged_reject",
    }
}

fn forwards(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    let totals: HashMap<_, _> = source.view.maps.forward_totals()?.into_iter().collect();
    let forwards: Vec<_> = source.view.names.forwards().collect();
    out.counter(
        table::FORWARD_FLOWS_TOTAL,
        forwards.iter().flat_map(|(id, name)| {
            let Totals { flows, cut, .. } = totals.get(id).copied().unwrap_or_default();
            [("admitted", flows), ("cut", cut)].map(|(outcome, n)| (labels([name, outcome]), n))
        }),
    );
    let Some(usage) = source.usage else { return Ok(()) };
    out.gauge(
        table::FORWARD_FLOWS,
        forwards.iter().map(|(id, name)| {
            (labels([name]), usage.forward_flows.get(id).copied().unwrap_or_default() as f64)
        }),
    );
    out.counter(
        table::FORWARD_BYTES,
        forwards.iter().flat_map(|(id, name)| {
            let bytes = usage.forward_bytes.get(id).copied().unwrap_or_default();
            [("egress", bytes.out), ("ingress", bytes.in_)].map(|(way, n)| (labels([name, way]), n))
        }),
    );
    Ok(())
}
