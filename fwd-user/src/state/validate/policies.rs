//! Rules: ends that exist, services that mean something.

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Group, Network, Port, Set},
    text::{End, Moment, Service},
};

use super::Reporter;

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    for index in 0..document.policies.len() {
        check_one(document, index, out);
    }
}

/// The rule at `index` of the list.
pub(super) fn check_one(document: &Document, index: usize, out: &mut Vec<Problem>) {
    let policy = &document.policies[index];
    let mut report = Reporter::new(out, Noun::Policy, index, &policy.name);
    for (field, ends) in [("from", &policy.from), ("to", &policy.to)] {
        for (n, text) in ends.iter().enumerate() {
            let field = format!("{field}/{n}");
            match text.parse::<End>() {
                Err(error) => report.text(&field, Code::BadValue, error),
                Ok(end) => check_end(&mut report, &field, &end, document),
            }
        }
    }
    check_moment(&mut report, policy.expires.as_deref());
    for (n, text) in policy.services.iter().enumerate() {
        if let Err(error) = text.parse::<Service>() {
            report.text(&format!("services/{n}"), Code::BadValue, error);
        }
    }
}

/// When something ends is a moment, where it ends at all.
pub(super) fn check_moment(report: &mut Reporter<'_>, expires: Option<&str>) {
    if let Some(Err(error)) = expires.map(str::parse::<Moment>) {
        report.text("expires", Code::BadValue, error);
    }
}

fn check_end(report: &mut Reporter<'_>, field: &str, end: &End, document: &Document) {
    let (noun, name, exists) = match end {
        End::Any | End::Outside | End::Host | End::Cidr(_) => return,
        End::Port(name) => (Noun::Port, name, document.find::<Port>(name).is_some()),
        End::Group(name) => (Noun::Group, name, document.find::<Group>(name).is_some()),
        End::Set(name) => (Noun::Set, name, document.find::<Set>(name).is_some()),
        End::Network(name) => (Noun::Network, name, document.find::<Network>(name).is_some()),
    };
    if !exists {
        report.add(
            field,
            Code::UnknownReference,
            format_args!("there is no {noun} {name}"),
            format!("Add it first (fwd {noun} add), or mend the name (fwd {noun} list)."),
        );
    }
}
