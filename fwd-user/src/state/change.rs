//! What an edit changed, object by object, and the way back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{
    object::{Noun, Object},
    spec::{Document, Policy},
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
    pub before: Option<Value>,
    /// `None`: it is gone.
    pub after: Option<Value>,
}

impl Change {
    /// Of a rule; one of the two is there.
    pub(super) fn of_rule(name: String, before: Option<Policy>, after: Option<Policy>) -> Self {
        let json = |policy: Option<Policy>| policy.map(|policy| plain(&Object::Policy(policy)));
        Self { kind: Noun::Policy.name().to_owned(), name, before: json(before), after: json(after) }
    }
}

fn plain(object: &Object) -> Value {
    object.to_json().expect("every field of an object is plain data")
}

/// All objects and settings that are not the same in both, in the order of the new document, then those
/// that are gone.
pub(super) fn changes(old: &Document, new: &Document) -> Vec<Change> {
    let mut before: BTreeMap<Key, Value> = rows(old).into_iter().collect();
    let mut changes = Vec::new();
    let change = |(noun, name): Key, before, after| Change {
        kind: noun.map_or(SETTING, Noun::name).to_owned(),
        name,
        before,
        after,
    };
    for (key, value) in rows(new) {
        let old = before.remove(&key);
        if old.as_ref() != Some(&value) {
            changes.push(change(key, old, Some(value)));
        }
    }
    changes.extend(before.into_iter().map(|(key, value)| change(key, Some(value), None)));
    changes
}

/// The noun (none of a setting) and the name.
type Key = (Option<Noun>, String);

fn rows(document: &Document) -> Vec<(Key, Value)> {
    let settings = document.settings.iter().map(|(key, value)| ((None, key.clone()), value.clone()));
    let objects = document.objects().into_iter().map(|object| {
        let json = plain(&object);
        ((Some(object.noun()), object.name().to_owned()), json)
    });
    settings.chain(objects).collect()
}

/// Takes changes back: the document as it was before them, but for the order of objects that come back.
///
/// # Errors
/// If a change is not of an object that this version knows.
pub fn undo(document: &mut Document, changes: &[Change]) -> serde_json::Result<()> {
    for Change { kind, name, before, .. } in changes {
        let noun = Noun::ALL.into_iter().find(|noun| noun.name() == kind);
        match (noun, before.clone()) {
            (None, Some(value)) => _ = document.settings.insert(name.clone(), value),
            (None, None) => _ = document.settings.remove(name),
            (Some(noun), Some(json)) => document.put(Object::from_json(noun, json)?),
            (Some(noun), None) => document.remove(noun, name),
        }
    }
    Ok(())
}
