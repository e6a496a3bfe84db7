//! Families of the flow tables and of NAT.

use std::net::IpAddr;

use fwd_common::{
    addr::{Ip, V4, V6},
    counter::FlowCounter,
    proto::IpProto,
};

use crate::{
    api::status::FlowState,
    observe::{Family, PortRole, usage::Usage, view::protocol},
};

use super::{Source, families::Families, labels, table};

/// Protocols that are there from zero, by family.
const PROTOCOLS: [(&str, [IpProto; 4]); 2] = [
    (V4::NAME, [IpProto::TCP, IpProto::UDP, IpProto::SCTP, IpProto::ICMP]),
    (V6::NAME, [IpProto::TCP, IpProto::UDP, IpProto::SCTP, IpProto::ICMPV6]),
];

pub fn fill(out: &mut Families, source: &Source<'_>) {
    counters(out, source);
    let limit = f64::from(source.view.settings.flow_limit);
    out.gauge(table::FLOWS_LIMIT, [V4::NAME, V6::NAME].map(|family| (labels([family]), limit)));
    let addresses = nat_addresses(source);
    let range = f64::from(source.view.settings.nat_l4_ports.len());
    out.gauge(
        table::NAT_LIMIT,
        addresses.iter().map(|(a, p)| (labels([&a.to_string(), &protocol(*p)]), range)),
    );
    if let Some(usage) = source.usage {
        live(out, source, usage);
        let used = |key: &(IpAddr, IpProto)| usage.nat_l4_ports.get(key).copied().unwrap_or_default() as f64;
        out.gauge(
            table::NAT_IN_USE,
            addresses.iter().map(|key| (labels([&key.0.to_string(), &protocol(key.1)]), used(key))),
        );
    }
}

fn counters(out: &mut Families, source: &Source<'_>) {
    use FlowCounter as C;
    let count = |counter: C| source.flow_counters[counter as usize];
    let admissions = [
        ("admitted", C::Admitted),
        ("flow_table_full", C::RefusedTableFull),
        ("port_flow_limit", C::RefusedPortLimit),
        ("half_open_limit", C::RefusedHalfOpen),
        ("nat_exhausted", C::RefusedNatExhausted),
    ];
    out.counter(table::FLOW_ADMISSIONS, admissions.map(|(outcome, c)| (labels([outcome]), count(c))));
    let cuts = [
        ("policy", C::CutByPolicy),
        ("route", C::CutByRoute),
        ("delete", C::CutByDelete),
        ("host_socket", C::CutByHostSocket),
    ];
    out.counter(table::FLOWS_CUT, cuts.map(|(cause, c)| (labels([cause]), count(c))));
    out.counter(table::FLOWS_EXPIRED, [(vec![], count(C::Expired))]);
    out.counter(table::FLOWS_REOPENED, [(vec![], count(C::Reopened))]);
    out.counter(table::FLOW_RECHECKS, [(vec![], count(C::Rechecked))]);
}

/// What the walk of the tables found.
fn live(out: &mut Families, source: &Source<'_>, usage: &Usage) {
    let mut flows = usage.flows.clone();
    for (family, protocols) in PROTOCOLS {
        for proto in protocols {
            for state in FlowState::ALL {
                flows.entry((family, proto, state)).or_default();
            }
        }
    }
    out.gauge(
        table::FLOWS,
        flows.iter().map(|((family, proto, state), n)| {
            (labels([family, &protocol(*proto), state.name()]), *n as f64)
        }),
    );
    let translations = |(id, port, _): &(_, &str, _)| {
        (labels([port]), usage.translations.get(id).copied().unwrap_or_default() as f64)
    };
    out.gauge(table::PORT_TRANSLATIONS, source.counters.iter().map(translations));
    let mappings = |(id, port, _): &(_, &str, _)| {
        (labels([port]), usage.mappings.get(id).copied().unwrap_or_default() as f64)
    };
    out.gauge(table::PORT_MAPPINGS, source.counters.iter().map(mappings));
}

/// Addresses that the uplinks translate to, by protocol.
fn nat_addresses(source: &Source<'_>) -> Vec<(IpAddr, IpProto)> {
    let view = source.view;
    let uplinks = view.names.ports().filter(|(_, port)| port.role == PortRole::Uplink);
    let mut addresses: Vec<_> = uplinks
        .flat_map(|(id, _)| {
            let row = view.port(id);
            [row.own4, row.own6].into_iter().zip(PROTOCOLS)
        })
        .filter(|(address, _)| !address.is_none())
        .flat_map(|(address, (_, protocols)): (Ip, _)| protocols.map(|proto| (address.to_std(), proto)))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
