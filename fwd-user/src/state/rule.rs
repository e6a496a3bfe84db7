//! Edits of one rule. Nothing names a rule, and rules share nothing but their list: so all others stay as
//! they were found, and only the one is looked at. It comes to the same as looking at the whole document.

use std::collections::{BTreeMap, BTreeSet};

use fwd_common::id::RuleId;

use crate::api::{
    error::{ApiError, Code, Problem},
    object::{Noun, Object},
    spec::Policy,
    text::{Service, ServiceNames, parse_l4_range, show_l4_range},
};

use super::{Change, Desired, Edit, Numbers, edit, naming, problem::Reporter, validate};

/// Adds, changes or deletes a rule.
pub(super) fn amend(
    desired: &mut Desired,
    mut edit: Edit,
    services: &ServiceNames,
) -> Result<Vec<Change>, ApiError> {
    let document = &mut desired.document;
    if let Edit::Add { object, .. } = &mut edit {
        naming::complete(object, document);
    }
    let name = match &edit {
        Edit::Add { object, .. } => object.name().to_owned(),
        Edit::Set { name, .. } | Edit::Delete { name, .. } => name.clone(),
        Edit::Replace(_) | Edit::Settings(_) | Edit::Expire(_) => {
            return edit::amend_whole(desired, edit, services);
        }
    };
    let before = document.find::<Policy>(&name).cloned();
    edit::apply(document, edit)?;
    let mut problems = Vec::new();
    let place = document.policies.iter().position(|policy| policy.name == name);
    if let Some(index) = place {
        normalize(index, &mut document.policies[index], services, &mut problems);
        validate::rule(document, index, &mut problems);
    }
    if !problems.is_empty() {
        match before {
            Some(policy) => document.put(Object::Policy(policy)),
            None => document.remove(Noun::Policy, &name),
        }
        return Err(ApiError::from_problems(problems));
    }
    let after = place.map(|index| document.policies[index].clone());
    if before == after {
        return Ok(Vec::new());
    }
    desired.revision += 1;
    desired.numbers.follow_rule(&name, after.is_some());
    Ok(vec![Change::of_rule(name, before, after)])
}

/// Rules that came, changed or went, by number: as they are now, or none.
pub type EditedRules<'a> = BTreeMap<RuleId, Option<&'a Policy>>;

/// What edits of rules of these names came to.
pub fn edited_rules<'a>(before: &Numbers, after: &'a Desired, names: &BTreeSet<&str>) -> EditedRules<'a> {
    let gone = names.iter().filter_map(|name| Some((*before.rules.get(*name)?, None)));
    let mut edited: EditedRules<'_> = gone.collect();
    let policies = after.document.policies.iter().filter(|policy| names.contains(policy.name.as_str()));
    edited
        .extend(policies.filter_map(|policy| Some((*after.numbers.rules.get(&policy.name)?, Some(policy)))));
    edited
}

/// One spelling of its end and of its source L4 ports; numbers for the names of services, which the host could change later. What is not understood stays, for
/// validation to find.
pub(super) fn normalize(
    index: usize,
    policy: &mut Policy,
    services: &ServiceNames,
    problems: &mut Vec<Problem>,
) {
    edit::moment(&mut policy.expires);
    let mut texts = Vec::new();
    for (n, text) in policy.services.iter().enumerate() {
        match Service::parse(text, services) {
            Ok(found) => texts.extend(found.iter().map(ToString::to_string)),
            Err(error) => {
                let mut report = Reporter::new(problems, Noun::Policy, index, &policy.name);
                report.text(format_args!("services/{n}"), Code::BadValue, error);
            }
        }
    }
    policy.services = texts;
    if policy.source_l4_ports.iter().any(|text| text == "any") {
        policy.source_l4_ports.clear();
    }
    for text in &mut policy.source_l4_ports {
        if let Ok(range) = parse_l4_range(text) {
            *text = show_l4_range(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::accept;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn lab() -> Desired {
        let document = json!({
            "networks": [{"name": "n", "mode": "nat", "subnets": ["10.10.0.0/24"]}],
            "groups": [{"name": "web", "members": []}],
        });
        let document = serde_json::from_value(document).expect("a document");
        accept(&Desired::default(), Edit::Replace(document), None, &ServiceNames::new())
            .expect("a valid document")
            .desired
    }

    /// Some are refused: unknown groups, services that are none, names that are taken or are not there.
    fn edits() -> impl Strategy<Value = Edit> {
        let name = (0u8..5).prop_map(|n| if n == 4 { String::new() } else { format!("p{n}") });
        let end = prop_oneof![Just("group:web"), Just("group:none"), Just("outside"), Just("any")];
        let service = prop_oneof![Just("tcp/80"), Just("http"), Just("nothing"), Just("any")];
        let moment = prop_oneof![Just(None), Just(Some("2030-01-01T10:00:00+01:00")), Just(Some("2h"))];
        let parts = (0u8..3, name, end, service, moment, any::<bool>());
        parts.prop_map(|(kind, name, end, service, expires, lenient)| match kind {
            0 => {
                let json = json!({"name": name, "action": "allow", "to": end, "services": service, "expires": expires});
                let object = Object::from_json(Noun::Policy, json).expect("a rule");
                Edit::Add { object, may_exist: lenient }
            }
            1 => {
                let Value::Object(patch) = json!({"to": [end], "services": [service], "expires": expires}) else {
                    unreachable!("an object")
                };
                Edit::Set { noun: Noun::Policy, name, patch }
            }
            _ => Edit::Delete { noun: Noun::Policy, name, if_exists: lenient },
        })
    }

    proptest! {
        /// Invariant: an edit of one rule comes to what looking at the whole document comes to.
        #[test]
        fn one_rule_is_as_good_as_the_whole(edits in proptest::collection::vec(edits(), 1..20)) {
            let services = ServiceNames::from([("http".to_owned(), vec![(fwd_common::proto::IpProto::TCP, 80)])]);
            let mut one = lab();
            let mut whole = lab();
            for edit in edits {
                let before = one.clone();
                let by_one = amend(&mut one, edit.clone(), &services);
                let by_whole = edit::amend_whole(&mut whole, edit, &services);
                prop_assert_eq!(&by_one, &by_whole);
                prop_assert_eq!(&one, &whole);
                if by_one.is_err() {
                    prop_assert_eq!(&one, &before);
                }
            }
        }
    }
}
