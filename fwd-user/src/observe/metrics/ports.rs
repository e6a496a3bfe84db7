//! Families by port and by network.

use std::collections::{BTreeMap, HashMap};

use fwd_common::{drop::DropReason, id::PortId};

use crate::{
    api::status::{ObjectState, Traffic},
    observe::{PortRole, ReadError, claims},
};

use super::{Source, families::Families, labels, table};

pub fn fill(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    states(out, source);
    traffic(out, source);
    losses(out, source);
    drops(out, source);
    fdb(out, source)
}

fn states(out: &mut Families, source: &Source<'_>) {
    let names = source.view.names;
    let mut counts = BTreeMap::new();
    for network in names.networks() {
        counts.extend(ObjectState::ALL.map(|state| ((network.to_owned(), state), 0_u32)));
    }
    let facts: HashMap<_, _> = source.facts.ports.iter().map(|facts| (facts.id, facts)).collect();
    for (id, port) in names.ports().filter(|(_, port)| port.role == PortRole::Vm) {
        let state = facts.get(&id).map_or(ObjectState::Pending, |facts| facts.state);
        *counts.entry((port.network.clone().unwrap_or_default(), state)).or_default() += 1;
    }
    let row = |((network, state), n): (&(String, ObjectState), &u32)| {
        (labels([network, state.name()]), f64::from(*n))
    };
    out.gauge(table::PORTS, counts.iter().map(row));
    let info = names.ports().map(|(id, port)| {
        let facts = facts.get(&id);
        let device = facts.map_or("", |f| f.device.as_str());
        let mac = facts.and_then(|f| f.mac.as_deref()).unwrap_or_default();
        let domain = facts.and_then(|f| f.domain.as_deref()).unwrap_or_default();
        labels([&port.name, port.network.as_deref().unwrap_or_default(), device, mac, domain])
    });
    out.info(table::PORT, info);
}

fn traffic(out: &mut Families, source: &Source<'_>) {
    let ports = &source.counters;
    let received = |of: fn(Traffic) -> u64| {
        ports.iter().flat_map(move |(_, port, c)| {
            [("xdp", c.xdp.received), ("skb", c.skb.received)].map(|(path, t)| (labels([port, path]), of(t)))
        })
    };
    out.counter(table::PORT_RECEIVED_PACKETS, received(|t| t.packets));
    out.counter(table::PORT_RECEIVED_BYTES, received(|t| t.bytes));
    let sent = |of: fn(Traffic) -> u64| ports.iter().map(move |(_, port, c)| (labels([port]), of(c.sent)));
    out.counter(table::PORT_SENT_PACKETS, sent(|t| t.packets));
    out.counter(table::PORT_SENT_BYTES, sent(|t| t.bytes));
    let outcomes = |of: fn(Traffic) -> u64| {
        ports.iter().flat_map(move |(_, port, c)| {
            [
                ("forwarded", [c.xdp.forwarded, c.skb.forwarded]),
                ("host", [c.xdp.host, c.skb.host]),
                ("answered", [c.xdp.answered, c.skb.answered]),
                ("dropped", [c.xdp.dropped, c.skb.dropped]),
            ]
            .map(|(outcome, hooks)| (labels([port, outcome]), hooks.map(of).iter().sum()))
        })
    };
    out.counter(table::PORT_PACKETS, outcomes(|t| t.packets));
    out.counter(table::PORT_BYTES, outcomes(|t| t.bytes));
    let by_port = |(_, port, c): &(_, &str, crate::api::status::PortCounters)| {
        (labels([port]), c.xdp.passed_up.packets)
    };
    out.counter(table::PORT_PASSED_UP, ports.iter().map(by_port));
    out.counter(table::PORT_COPIES, ports.iter().map(|(_, port, c)| (labels([port]), c.copies.packets)));
}

fn losses(out: &mut Families, source: &Source<'_>) {
    let ports = &source.counters;
    let lost = ports.iter().flat_map(|(_, port, c)| {
        [("between_hooks", c.lost_between_hooks), ("egress", c.egress_lost)]
            .map(|(place, n)| (labels([port, place]), n))
    });
    out.counter(table::PORT_LOST, lost);
    out.gauge(table::UNACCOUNTED, ports.iter().map(|(_, port, c)| (labels([port]), c.unaccounted as f64)));
    out.gauge(table::PORT_FLOWS, ports.iter().map(|(_, port, c)| (labels([port]), f64::from(c.flows))));
}

fn drops(out: &mut Families, source: &Source<'_>) {
    let mut counts = HashMap::<(PortId, u8), u64>::new();
    for (key, drop) in &source.drops {
        *counts.entry((key.port, key.reason)).or_default() += drop.count.packets;
    }
    let rows = source.counters.iter().flat_map(|(id, port, _)| {
        let count = |reason: &DropReason| counts.get(&(*id, *reason as u8)).copied().unwrap_or_default();
        DropReason::ALL.iter().map(move |reason| (labels([port, reason.name()]), count(reason)))
    });
    out.counter(table::PORT_DROPS, rows.collect::<Vec<_>>());
}

fn fdb(out: &mut Families, source: &Source<'_>) -> Result<(), ReadError> {
    let view = source.view;
    let mut networks: BTreeMap<&str, (u64, u64)> = view.names.networks().map(|n| (n, (0, 0))).collect();
    for (id, port) in view.names.ports() {
        let Some((entries, limit)) = port.network.as_deref().and_then(|n| networks.get_mut(n)) else {
            continue;
        };
        *entries += u64::from(view.maps.port_use(id)?.macs);
        if port.role == PortRole::Vm {
            *limit += u64::from(view.port(id).mac_limit);
        }
    }
    out.gauge(table::FDB_ENTRIES, networks.iter().map(|(n, (entries, _))| (labels([n]), *entries as f64)));
    let duplicates = claims::duplicates(view)?;
    let of = |network: &str| duplicates.iter().filter(|duplicate| duplicate.network == network).count();
    out.gauge(table::DUPLICATES, networks.keys().map(|network| (labels([network]), of(network) as f64)));
    out.gauge(table::FDB_LIMIT, networks.iter().map(|(n, (_, limit))| (labels([n]), *limit as f64)));
    Ok(())
}
