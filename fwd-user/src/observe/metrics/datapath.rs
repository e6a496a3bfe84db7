//! Families of the datapath as a whole: versions, hooks, maps, events, revisions, drops.

use std::collections::BTreeMap;

use fwd_common::{counter::FlowCounter, drop::DropReason, layout::ABI_VERSION, map};

use crate::{
    api::version::{COMMIT, VERSION},
    observe::ReadError,
};

use super::{Source, families::Families, labels, table};

pub fn fill(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    let view = source.view;
    out.info(table::BUILD, [labels([VERSION, COMMIT])]);
    let generation = view.settings.epoch.to_string();
    out.info(table::DATAPATH, [labels([&ABI_VERSION.to_string(), &generation])]);
    hooks(out, source);
    maps(out, source)?;
    let by_reason = view.maps.drops_by_reason()?;
    let drops = |reason: &DropReason| (labels([reason.name()]), by_reason[*reason as usize].packets);
    out.counter(table::DROPS, DropReason::ALL.iter().map(drops));
    let kernel = ("kernel", source.flow_counters[FlowCounter::EventsLost as usize]);
    let shed = [kernel].into_iter().chain(source.facts.events_shed.iter().copied());
    out.counter(table::EVENTS_LOST, shed.map(|(consumer, n)| (labels([consumer]), n)));
    let revisions = source.facts.revisions;
    let revisions = [
        ("accepted", revisions.accepted),
        ("applied", revisions.applied),
        ("confirmed", revisions.confirmed),
    ];
    out.gauge(table::REVISION, revisions.map(|(state, n)| (labels([state]), n as f64)));
    Ok(())
}

fn hooks(out: &mut Families, source: &Source<'_>) {
    let hooks = source.facts.hooks.iter();
    out.gauge(
        table::HOOK_ATTACHED,
        hooks.map(|h| (labels([&h.device, h.hook]), if h.is_attached { 1.0 } else { 0.0 })),
    );
    let errors = source.facts.ports.iter().filter_map(|port| {
        let device = source.facts.devices.get(&source.view.port(port.id).ifindex)?;
        let row = |error, n| (labels([&port.device, error]), n);
        Some([row("tx_dropped", device.tx_dropped), row("tx_errors", device.tx_errors)])
    });
    out.counter(table::REDIRECT_ERRORS, errors.flatten());
}

fn maps(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    let view = source.view;
    let [v4, v6] = view.maps.table_use()?;
    let (macs, addresses) = learnt(source)?;
    let mut entries: BTreeMap<_, u64> = source.facts.map_entries.iter().copied().collect();
    for (map, rows) in [
        // Both directions of each flow.
        (map::FLOWS4, 2 * u64::from(v4.flows)),
        (map::FLOWS6, 2 * u64::from(v6.flows)),
        (map::FDB, macs),
        (map::NEIGHBORS, addresses),
        (map::DROPS, source.drops.len() as u64),
        (map::RULE_TOTALS, view.maps.rule_totals()?.len() as u64),
        (map::FORWARD_TOTALS, view.maps.forward_totals()?.len() as u64),
    ] {
        *entries.entry(map).or_default() += rows;
    }
    out.gauge(table::MAP_ENTRIES, entries.iter().map(|(map, rows)| (labels([map]), *rows as f64)));
    // The ring buffer's size is in bytes.
    let capacities = view.maps.capacities().iter().filter(|(name, _)| *name != map::EVENTS);
    out.gauge(table::MAP_CAPACITY, capacities.map(|(name, n)| (labels([name]), f64::from(*n))));
    Ok(())
}

/// MACs and addresses that the datapath learnt, over all named ports.
fn learnt(source: &Source<'_>) -> Result<(u64, u64), ReadError> {
    let mut learnt = (0, 0);
    for (id, _) in source.view.names.ports() {
        let port = source.view.maps.port_use(id)?;
        learnt = (learnt.0 + u64::from(port.macs), learnt.1 + u64::from(port.addresses));
    }
    Ok(learnt)
}
