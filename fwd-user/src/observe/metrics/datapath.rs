//! Families of the datapath as a whole: versions, hooks, maps, events, revisions, drops.

use fwd_common::{counter::FlowCounter, drop::DropReason, layout::ABI_VERSION, map};

use crate::observe::ReadError;

use super::{Source, families::Families, labels, table};

/// The commit that this was built from, where the build knew it.
const COMMIT: &str = match option_env!("FWD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

pub fn fill(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    let view = source.view;
    out.info(table::BUILD, [labels([env!("CARGO_PKG_VERSION"), COMMIT])]);
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
    let learnt: u64 = macs(source)?.iter().sum();
    let own = [
        // Both directions of each flow.
        (map::FLOWS4, 2 * u64::from(v4.flows)),
        (map::FLOWS6, 2 * u64::from(v6.flows)),
        (map::FDB, learnt),
        (map::DROPS, source.drops.len() as u64),
        (map::RULE_TOTALS, view.maps.rule_totals()?.len() as u64),
        (map::FORWARD_TOTALS, view.maps.forward_totals()?.len() as u64),
    ];
    let written = source.facts.map_entries.iter().filter(|(name, _)| own.iter().all(|(n, _)| n != name));
    let entries = own.iter().chain(written);
    out.gauge(table::MAP_ENTRIES, entries.map(|(name, n)| (labels([name]), *n as f64)));
    // The ring buffer's size is in bytes.
    let capacities = view.maps.capacities().iter().filter(|(name, _)| *name != map::EVENTS);
    out.gauge(table::MAP_CAPACITY, capacities.map(|(name, n)| (labels([name]), f64::from(*n))));
    Ok(())
}

/// FDB entries of each named port.
fn macs(source: &Source<'_>) -> Result<Vec<u64>, ReadError> {
    let view = source.view;
    view.names.ports().map(|(id, _)| Ok(view.maps.port_use(id)?.macs.into())).collect()
}
