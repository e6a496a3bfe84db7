//! Groups and sets: members that exist, selectors and CIDRs that mean something.

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Port},
    text::{check_cidr, parse_selector},
};

use super::Reporter;

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    for (index, group) in document.groups.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Group, index, &group.name);
        for (n, member) in group.members.iter().enumerate() {
            if document.find::<Port>(member).is_none() {
                report.add(
                    &format!("members/{n}"),
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
                report.text(&format!("cidrs/{n}"), Code::BadValue, error);
            }
        }
    }
}
