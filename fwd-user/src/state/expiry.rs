//! Objects that end by themselves: forwards and rules, at the moment that the document gives them.

use crate::api::{spec::Document, text::Moment};

/// When the next object ends; none if none does.
pub fn next_expiry(document: &Document) -> Option<Moment> {
    let forwards = document.forwards.iter().map(|forward| &forward.expires);
    let ends = forwards.chain(document.policies.iter().map(|policy| &policy.expires));
    ends.filter_map(moment).min()
}

/// Takes out what has ended.
pub(super) fn expire(document: &mut Document, now: Moment) {
    let goes_on = |expires: &Option<String>| moment(expires).is_none_or(|end| end > now);
    document.forwards.retain(|forward| goes_on(&forward.expires));
    document.policies.retain(|policy| goes_on(&policy.expires));
}

/// Validation has refused what is not a moment.
fn moment(expires: &Option<String>) -> Option<Moment> {
    expires.as_ref().and_then(|text| text.parse().ok())
}
