//! Rules: ends that exist, services that mean something, source L4 ports only of protocols that have any.

use std::fmt::Display;

use fwd_common::proto::IpProto;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Action, Document, Policy},
    text::{End, Match, Moment, Service, parse_l4_range},
};

use super::{Known, Reporter};

/// Whether there is an object of a kind and a name.
type Exists<'a> = dyn Fn(Noun, &str) -> bool + 'a;

pub(super) fn check(document: &Document, known: &Known<'_>, out: &mut Vec<Problem>) {
    for (index, policy) in document.policies.iter().enumerate() {
        check_one(policy, index, &|noun, name| known.has(noun, name), out);
    }
}

/// The rule at `index` of the list.
pub(super) fn check_one(policy: &Policy, index: usize, exists: &Exists<'_>, out: &mut Vec<Problem>) {
    let mut report = Reporter::new(out, Noun::Policy, index, &policy.name);
    for (field, ends) in [("from", &policy.from), ("to", &policy.to)] {
        for (n, text) in ends.iter().enumerate() {
            let field = format_args!("{field}/{n}");
            match text.parse::<End>() {
                Err(error) => report.text(field, Code::BadValue, error),
                Ok(end) => check_end(&mut report, field, &end, exists),
            }
        }
    }
    if policy.stateless && policy.action != Action::Allow {
        let clause = "only a rule that allows is stateless: what is refused has no answers";
        report.add(
            "stateless",
            Code::BadValue,
            clause,
            "Leave it out (--stateless off), or let the rule allow.",
        );
    }
    check_moment(&mut report, policy.expires.as_deref());
    for (n, text) in policy.services.iter().enumerate() {
        if let Err(error) = text.parse::<Service>() {
            report.text(format_args!("services/{n}"), Code::BadValue, error);
        }
    }
    check_sources(&mut report, policy);
}

/// Source L4 ports are of protocols that have any.
fn check_sources(report: &mut Reporter<'_>, policy: &Policy) {
    const HINT: &str = "Give services of TCP, UDP or SCTP, as --service udp or tcp/1-1023.";
    for (n, text) in policy.source_l4_ports.iter().enumerate() {
        if let Err(error) = parse_l4_range(text) {
            report.text(format_args!("source_l4_ports/{n}"), Code::BadValue, error);
        }
    }
    if policy.source_l4_ports.is_empty() {
        return;
    }
    if policy.services.is_empty() {
        let clause = "it has source L4 ports, and is about every protocol";
        report.add("source_l4_ports", Code::BadValue, clause, HINT);
    }
    for (n, text) in policy.services.iter().enumerate() {
        let Ok(service) = text.parse::<Service>() else { continue };
        let has_l4_ports = |one: &Match| one.proto.is_some_and(IpProto::has_l4_ports);
        if !service.matches().iter().all(has_l4_ports) {
            let clause = format_args!("it has source L4 ports, and `{service}` has none");
            report.add(format_args!("services/{n}"), Code::BadValue, clause, HINT);
        }
    }
}

/// When something ends is a moment, where it ends at all.
pub(super) fn check_moment(report: &mut Reporter<'_>, expires: Option<&str>) {
    if let Some(Err(error)) = expires.map(str::parse::<Moment>) {
        report.text("expires", Code::BadValue, error);
    }
}

fn check_end(report: &mut Reporter<'_>, field: impl Display, end: &End, exists: &Exists<'_>) {
    let (noun, name) = match end {
        End::Any | End::Outside | End::Host | End::Cidr(_) => return,
        End::Port(name) => (Noun::Port, name),
        End::Group(name) => (Noun::Group, name),
        End::Set(name) => (Noun::Set, name),
        End::Network(name) => (Noun::Network, name),
    };
    if !exists(noun, name) {
        report.add(
            field,
            Code::UnknownReference,
            format_args!("there is no {noun} {name}"),
            format!("Add it first (fwd {noun} add), or mend the name (fwd {noun} list)."),
        );
    }
}
