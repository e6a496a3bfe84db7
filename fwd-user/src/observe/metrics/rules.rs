//! Families by rule and by forward.

use std::collections::HashMap;

use fwd_common::{counter::Totals, id::RuleId};

use crate::{api::spec::Action, observe::ReadError};

use super::{Source, families::Families, labels, table};

pub fn fill(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    rules(out, source)?;
    forwards(out, source)
}

fn rules(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    let totals: HashMap<_, _> = source.view.maps.rule_totals()?.into_iter().collect();
    let denied = denied(source);
    let rules: Vec<_> = source.view.names.rules().collect();
    let total = |id: &RuleId| totals.get(id).copied().unwrap_or_default();
    out.counter(
        table::RULE_FLOWS,
        rules.iter().map(|(id, rule)| {
            let flows = match rule.action {
                Action::Allow => total(id).flows,
                Action::Deny | Action::Reject => total(id).cut,
            };
            (labels([&rule.name, action_name(rule.action)]), flows)
        }),
    );
    if let Some(usage) = source.usage {
        out.counter(
            table::RULE_PACKETS,
            rules.iter().map(|(id, rule)| {
                let packets = match rule.action {
                    Action::Allow => usage.rule_packets.get(id).copied().unwrap_or_default(),
                    Action::Deny | Action::Reject => denied.get(id).map_or(0, |d| d.packets),
                };
                (labels([&rule.name, action_name(rule.action)]), packets)
            }),
        );
    }
    let last_hits = rules.iter().filter_map(|(id, rule)| {
        let hit_ns = total(id).last_hit_ns.max(denied.get(id).map_or(0, |d| d.last_ns));
        let at = source.view.now.unix_secs_of(hit_ns)?;
        Some((labels([&rule.name, action_name(rule.action)]), at))
    });
    out.gauge(table::RULE_LAST_HIT, last_hits);
    Ok(())
}

/// What a rule dropped.
#[derive(Default)]
struct Denied {
    packets: u64,
    last_ns: u64,
}

fn denied(source: &Source<'_>) -> HashMap<RuleId, Denied> {
    let mut rules = HashMap::<_, Denied>::new();
    for (key, drop) in &source.drops {
        let rule = rules.entry(key.rule).or_default();
        rule.packets += drop.count.packets;
        rule.last_ns = rule.last_ns.max(drop.last_seen_ns);
    }
    rules
}

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Reject => "reject",
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
