//! Whether a document holds together: every problem, each at its place. One file a noun.

mod forwards;
mod groups;
mod known;
mod listens;
mod nats;
mod networks;
mod policies;
mod ports;
mod prefixes;
mod services;
mod subnets;
#[cfg(test)]
mod tests;
mod uplinks;

use std::collections::BTreeMap;

use fwd_common::network::MAX_NETWORKS;

use crate::api::{
    error::{Code, Problem},
    object::Named,
    settings,
    spec::{Document, Forward, Group, Nat, Network, Policy, Port, Set},
    text::parse_name,
};

use super::{numbers::MOST_PORTS, problem::Reporter};
use known::Known;

/// All that is wrong with a document; empty if nothing is.
pub(super) fn problems(document: &Document) -> Vec<Problem> {
    let mut out = Vec::new();
    for (key, value) in &document.settings {
        if let Err(error) = settings::normalize(key, value) {
            Reporter::setting(&mut out, key).text("", Code::BadSetting, error);
        }
    }
    check_names::<Network>(document, &mut out);
    check_names::<Port>(document, &mut out);
    check_names::<Forward>(document, &mut out);
    check_names::<Nat>(document, &mut out);
    check_names::<Group>(document, &mut out);
    check_names::<Set>(document, &mut out);
    check_names::<Policy>(document, &mut out);
    uplinks::check(document, &mut out);
    networks::check(document, &mut out);
    subnets::check(document, &mut out);
    ports::check(document, &mut out);
    forwards::check(document, &mut out);
    listens::check(document, &mut out);
    nats::check(document, &mut out);
    let known = Known::of(document);
    groups::check(document, &known, &mut out);
    policies::check(document, &known, &mut out);
    check_room(document, &mut out);
    out
}

/// All that is wrong with the rule at `index` of the list, in a document without any other problem.
pub(super) fn rule(document: &Document, index: usize, out: &mut Vec<Problem>) {
    check_name(&document.policies[index], index, out);
    let exists = |noun, name: &str| document.has(noun, name);
    policies::check_one(&document.policies[index], index, &exists, out);
}

fn check_name<T: Named>(object: &T, index: usize, out: &mut Vec<Problem>) {
    let name = object.name();
    if let Err(error) = parse_name(name) {
        Reporter::new(out, T::NOUN, index, name).text("name", Code::BadName, error);
    }
}

/// Names are names, and none is there twice.
fn check_names<T: Named>(document: &Document, out: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for (index, object) in T::list(document).enumerate() {
        check_name(object, index, out);
        let name = object.name();
        if let Some(first) = seen.insert(name, index) {
            Reporter::new(out, T::NOUN, index, name).add(
                "name",
                Code::DuplicateName,
                format_args!("number {} of {} has the same name", first + 1, T::NOUN.list()),
                "Rename one of them.",
            );
        }
    }
}

/// The datapath's tables have room for all.
fn check_room(document: &Document, out: &mut Vec<Problem>) {
    let host_ports = document.networks.iter().filter(|n| n.has_host_port()).count();
    let ports = document.ports.len() + document.uplinks.len() + host_ports;
    let most = MOST_PORTS as usize;
    if ports > most {
        let last = document.ports.len().saturating_sub(1);
        let name = document.ports.last().map_or("", |p| p.name.as_str());
        Reporter::new(out, Port::NOUN, last, name).add(
            "",
            Code::TooMany,
            format_args!("there are {ports} ports, uplinks and host ports, and room for {most}"),
            "Delete ports that are not used.",
        );
    }
    let most = MAX_NETWORKS as usize - 1;
    if let Some(network) = document.networks.get(most) {
        Reporter::new(out, Network::NOUN, most, &network.name).add(
            "",
            Code::TooMany,
            format_args!("there are {} networks, and room for {most}", document.networks.len()),
            "Delete networks that are not used.",
        );
    }
}
