//! What an edit changed, object by object, and the way back.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{
    json::Json,
    object::{Named, Noun, Object},
    spec::{Document, Forward, Group, Nat, Network, Policy, Port, Set, Uplink},
};

/// `Change::kind` of a setting.
const SETTING: &str = "setting";

/// One object that an edit changed, as it was and as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// A noun, or `setting`.
    pub kind: String,
    pub name: String,
    /// `None`: it is new.
    pub before: Option<Json>,
    /// `None`: it is gone.
    pub after: Option<Json>,
}

impl Change {
    /// Of a rule; one of the two is there.
    pub(super) fn of_rule(name: String, before: Option<Policy>, after: Option<Policy>) -> Self {
        let json = |policy: Option<Policy>| policy.as_ref().map(Json::of);
        Self { kind: Noun::Policy.name().to_owned(), name, before: json(before), after: json(after) }
    }
}

/// All objects and settings that are not the same in both, in the order of the new document, then those
/// that are gone, by name. Only what differs is put into JSON: a document has a hundred thousand rules.
pub(super) fn changes(old: &Document, new: &Document) -> Vec<Change> {
    let mut found = Found::default();
    found.compare(SETTING, settings(old), settings(new));
    found.objects::<Uplink>(old, new);
    found.objects::<Network>(old, new);
    found.objects::<Port>(old, new);
    found.objects::<Forward>(old, new);
    found.objects::<Nat>(old, new);
    found.objects::<Group>(old, new);
    found.objects::<Set>(old, new);
    found.objects::<Policy>(old, new);
    found.there.extend(found.gone);
    found.there
}

#[derive(Default)]
struct Found {
    there: Vec<Change>,
    gone: Vec<Change>,
}

impl Found {
    fn objects<T: Named + PartialEq + Serialize>(&mut self, old: &Document, new: &Document) {
        self.compare(T::NOUN.name(), T::list(old).map(named), T::list(new).map(named));
    }

    fn compare<'a, T: PartialEq + Serialize + 'a>(
        &mut self,
        kind: &str,
        old: impl Iterator<Item = (&'a str, &'a T)>,
        new: impl Iterator<Item = (&'a str, &'a T)>,
    ) {
        let change = |name: &str, before: Option<&T>, after: Option<&T>| Change {
            kind: kind.to_owned(),
            name: name.to_owned(),
            before: before.map(Json::of),
            after: after.map(Json::of),
        };
        let mut before: HashMap<&str, &T> = old.collect();
        let differing = new.filter_map(|(name, object)| {
            let was = before.remove(name);
            (was != Some(object)).then(|| change(name, was, Some(object)))
        });
        self.there.extend(differing);
        let mut gone: Vec<(&str, &T)> = before.into_iter().collect();
        gone.sort_unstable_by_key(|(name, _)| *name);
        self.gone.extend(gone.into_iter().map(|(name, was)| change(name, Some(was), None)));
    }
}

fn settings(document: &Document) -> impl Iterator<Item = (&str, &Value)> {
    document.settings.iter().map(|(key, value)| (key.as_str(), value))
}

fn named<T: Named>(object: &T) -> (&str, &T) {
    (object.name(), object)
}

/// Takes changes back: the document as it was before them, but for the order of objects that come back.
///
/// # Errors
/// If a change is not of an object that this version knows.
pub fn undo(document: &mut Document, changes: &[Change]) -> serde_json::Result<()> {
    for Change { kind, name, before, .. } in changes {
        let noun = Noun::ALL.into_iter().find(|noun| noun.name() == kind);
        match (noun, before.as_ref().map(Json::value)) {
            (None, Some(value)) => _ = document.settings.insert(name.clone(), value),
            (None, None) => _ = document.settings.remove(name),
            (Some(noun), Some(json)) => document.put(Object::from_json(noun, json)?),
            (Some(noun), None) => document.remove(noun, name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_came_or_differs_is_told_before_what_is_gone() {
        let document = |json: Value| serde_json::from_value::<Document>(json).expect("a document");
        let rule = |name: &str, action: &str| json!({"name": name, "action": action});
        let old = document(json!({
            "settings": {"mtu": 1},
            "uplinks": [{"device": "eth0"}],
            "policies": [rule("z", "deny"), rule("a", "deny"), rule("same", "deny"), rule("b", "deny")],
        }));
        let new = document(json!({
            "groups": [{"name": "web"}],
            "policies": [rule("c", "allow"), rule("b", "allow"), rule("same", "deny")],
        }));
        let found = changes(&old, &new);
        let told: Vec<_> = found
            .iter()
            .map(|c| (c.kind.as_str(), c.name.as_str(), c.before.is_some(), c.after.is_some()))
            .collect();
        assert_eq!(
            told,
            [
                ("group", "web", false, true),
                ("policy", "c", false, true),
                ("policy", "b", true, true),
                ("setting", "mtu", true, false),
                ("uplink", "eth0", true, false),
                ("policy", "a", true, false),
                ("policy", "z", true, false),
            ]
        );
        let b = &found[2];
        let action = |side: &Option<Json>| side.as_ref().map(|rule| rule.value()["action"].clone());
        assert_eq!((action(&b.before), action(&b.after)), (Some(json!("deny")), Some(json!("allow"))));
        assert_eq!(changes(&new, &new), []);
    }
}
