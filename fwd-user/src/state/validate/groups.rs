//! Groups and sets: members that exist, selectors and CIDRs that mean something.

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::Document,
    text::{check_cidr, parse_selector},
};

use super::{Known, Reporter};

pub(super) fn check(document: &Document, known: &Known<'_>, out: &mut Vec<Problem>) {
    for (index, group) in document.groups.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Group, index, &group.name);
        for (n, member) in group.members.iter().enumerate() {
            if !known.has(Noun::Port, member) {
                report.add(
                    format!("members/{n}"),
                    Code::UnknownReference,
                    format_args!("there is no port {member}"),
                    format!("Add it first: fwd port add {member} --device TAP --network NETWORK."),
                );
            }
        }
        if let Some(Err(error)) = group.selector.as_deref().map(parse_selector) {
            report.text("selector", Code::BadValue, error);
        }
    }
    for (index, set) in document.sets.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Set, index, &set.name);
        for (n, cidr) in set.cidrs.iter().enumerate() {
            if let Err(error) = check_cidr(*cidr) {
                report.text(format!("cidrs/{n}"), Code::BadValue, error);
            }
        }
    }
}
