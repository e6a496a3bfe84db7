//! Edits in the words of answers: what was changed, and what a plan would do.

use std::time::SystemTime;

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    api::{
        answer::{Altered, FieldChange, PlanSummary, Revision},
        request::Author,
    },
    state::{Accepted, Change},
};

/// A moment as answers write it: RFC 3339, UTC, to the second.
pub fn time_text(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).replace_nanosecond(0).expect("0 is a nanosecond");
    at.format(&Rfc3339).expect("years have four digits")
}

/// `KIND/NAME` of each change.
pub fn names(changes: &[Change]) -> Vec<String> {
    changes.iter().map(name).collect()
}

fn name(change: &Change) -> String {
    format!("{}/{}", change.kind, change.name)
}

/// What an edit would do to the objects.
pub fn plan(changes: &[Change]) -> PlanSummary {
    let mut plan = PlanSummary::default();
    for change in changes {
        match (&change.before, &change.after) {
            (None, _) => plan.added.push(name(change)),
            (Some(_), None) => plan.deleted.push(name(change)),
            (Some(before), Some(after)) => {
                plan.altered.push(Altered { object: name(change), fields: fields(before, after) });
            }
        }
    }
    plan
}

fn fields(before: &Value, after: &Value) -> Vec<FieldChange> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return vec![FieldChange { field: "value".to_owned(), from: before.clone(), to: after.clone() }];
    };
    let keys = old.keys().chain(new.keys().filter(|k| !old.contains_key(*k)));
    let pair =
        |key: &String| (old.get(key).cloned().unwrap_or_default(), new.get(key).cloned().unwrap_or_default());
    keys.map(|key| (key, pair(key)))
        .filter(|(_, (from, to))| from != to)
        .map(|(key, (from, to))| FieldChange { field: key.clone(), from, to })
        .collect()
}

/// An edit as the history shows it.
pub fn revision(accepted: &Accepted, author: Option<Author>) -> Revision {
    let sign = |c: &Change| match (&c.before, &c.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    Revision {
        revision: accepted.desired.revision,
        time: time_text(SystemTime::now()),
        uid: author.map(|a| a.uid),
        pid: author.and_then(|a| a.pid),
        changes: accepted.changes.iter().map(|c| format!("{}{}", sign(c), name(c))).collect(),
    }
}
