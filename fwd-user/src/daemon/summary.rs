//! Edits in the words of answers: what was changed, by whom, and what a plan would do.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use fwd_common::map;
use nix::unistd::{Uid, User};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    api::{
        answer::{Altered, FieldChange, MapWrites, ObjectDiff, PlanSummary, Revision},
        request::Author,
    },
    compile::row_bytes,
    observe::Names,
    plan::{MapOp, Row, RowKeyOf},
    state::Change,
    store,
};

/// How full maps are: rows that user space has written, and the most there may be.
pub struct Room {
    pub before: Vec<(&'static str, u64)>,
    pub entries: Vec<(&'static str, u64)>,
    pub capacities: Vec<(&'static str, u32)>,
}

/// A moment as answers write it: RFC 3339, UTC, to the second.
pub fn time_text(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).replace_nanosecond(0).expect("0 is a nanosecond");
    at.format(&Rfc3339).expect("years have four digits")
}

/// An edit as it is kept; nobody: fwd itself.
pub fn kept(revision: u64, author: Option<Author>, now: SystemTime, changes: Vec<Change>) -> store::Revision {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = |author: Author| match User::from_uid(Uid::from_raw(author.uid)) {
        Ok(Some(user)) => user.name,
        _ => author.uid.to_string(),
    };
    store::Revision {
        revision,
        at_secs: since.as_secs().cast_signed(),
        author: author.map_or_else(|| "fwd".to_owned(), name),
        uid: author.map(|author| author.uid),
        pid: author.and_then(|author| author.pid),
        changes,
    }
}

/// What an edit changed.
pub fn diffs(kept: &store::Revision) -> Vec<ObjectDiff> {
    kept.changes.iter().map(diff).collect()
}

/// When an edit was made.
pub fn made_at(kept: &store::Revision) -> String {
    time_text(SystemTime::UNIX_EPOCH + Duration::from_secs(kept.at_secs.try_into().unwrap_or(0)))
}

/// An edit as the history shows it.
pub fn revision(kept: &store::Revision) -> Revision {
    let sign = |c: &Change| match (&c.before, &c.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    Revision {
        revision: kept.revision,
        time: made_at(kept),
        author: kept.author.clone(),
        uid: kept.uid,
        pid: kept.pid,
        changes: kept.changes.iter().map(|c| format!("{}{}", sign(c), name(c))).collect(),
        diff: diffs(kept),
    }
}

fn diff(change: &Change) -> ObjectDiff {
    ObjectDiff { object: name(change), before: change.before.clone(), after: change.after.clone() }
}

/// `KIND/NAME` of each change.
pub fn names(changes: &[Change]) -> Vec<String> {
    changes.iter().map(name).collect()
}

fn name(change: &Change) -> String {
    format!("{}/{}", change.kind, change.name)
}

/// What an edit would do.
pub fn plan<'a>(
    changes: impl Iterator<Item = &'a Change>,
    ops: &[MapOp],
    ports: &Names,
    room: &Room,
) -> PlanSummary {
    let mut plan = PlanSummary::default();
    for change in changes {
        match (&change.before, &change.after) {
            (None, _) => plan.added.push(name(change)),
            (Some(_), None) => plan.deleted.push(name(change)),
            (Some(before), Some(after)) => {
                plan.altered
                    .push(Altered { object: name(change), fields: fields(&before.value(), &after.value()) });
            }
        }
    }
    let mut writes: BTreeMap<&str, MapWrites> = BTreeMap::new();
    for op in ops {
        let Some((map, is_delete)) = written(op) else { continue };
        let row = writes.entry(map).or_insert_with(|| map_writes(map, room));
        *(if is_delete { &mut row.deletes } else { &mut row.puts }) += 1;
        if let MapOp::Bump(port) = op {
            plan.rechecked.extend(ports.port(*port));
        }
    }
    plan.map_writes = writes.into_values().collect();
    plan
}

fn map_writes(map: &str, room: &Room) -> MapWrites {
    let of = |rows: &[(&str, u64)]| rows.iter().find(|(name, _)| *name == map).map(|(_, n)| *n);
    let (before, entries) = (of(&room.before), of(&room.entries));
    let memory = |rows: Option<u64>| Some(row_bytes(map)? * rows?);
    let capacity = room.capacities.iter().find(|(name, _)| *name == map).map(|(_, n)| u64::from(*n));
    MapWrites {
        map: map.to_owned(),
        before,
        entries,
        capacity,
        memory_before: memory(before),
        memory: memory(entries),
        ..MapWrites::default()
    }
}

/// The map that a step writes, and whether it deletes there; none of a step about flows.
const fn written(op: &MapOp) -> Option<(&'static str, bool)> {
    Some(match op {
        MapOp::Put(row) => (put(row), false),
        MapOp::StageView(..) | MapOp::Bump(_) => (map::PORTS, false),
        MapOp::StageClass(_, _, class) => (map::IDENTITIES, class.is_none()),
        MapOp::StagePolicy(_, row) => (map::POLICIES, row.is_none()),
        MapOp::Commit => (map::SETTINGS, false),
        MapOp::Delete(key) => (deleted(key), true),
        MapOp::Recheck | MapOp::Cut(_) => return None,
    })
}

const fn put(row: &Row) -> &'static str {
    match row {
        Row::Settings(_) => map::SETTINGS,
        Row::Port(..) => map::PORTS,
        Row::PortOfDevice(..) => map::PORT_OF_DEVICE,
        Row::Device(..) => map::DEVICES,
        Row::Network(..) => map::NETWORKS,
        Row::Member(..) => map::MEMBERS,
        Row::Neighbor(..) => map::NEIGHBORS,
        Row::AllowedSource(..) => map::ALLOWED_SOURCES,
        Row::HostAddress(..) => map::HOST_ADDRESSES,
        Row::Forward(..) => map::FORWARDS,
        Row::ForwardClient(..) => map::FORWARD_CLIENTS,
        Row::NatExemption(..) => map::NAT_EXEMPTIONS,
        Row::NatPrefix(..) => map::NAT_PREFIXES,
        Row::Policy(..) => map::POLICIES,
        Row::PolicyRow(..) => map::ROWS,
        Row::Fdb(..) => map::FDB,
    }
}

const fn deleted(key: &RowKeyOf) -> &'static str {
    match key {
        RowKeyOf::Port(_) => map::PORTS,
        RowKeyOf::PortOfDevice(_) => map::PORT_OF_DEVICE,
        RowKeyOf::Device(_) => map::DEVICES,
        RowKeyOf::Network(_) => map::NETWORKS,
        RowKeyOf::Member(_) => map::MEMBERS,
        RowKeyOf::Neighbor(_) => map::NEIGHBORS,
        RowKeyOf::AllowedSource(..) => map::ALLOWED_SOURCES,
        RowKeyOf::HostAddress(_) => map::HOST_ADDRESSES,
        RowKeyOf::Forward(..) => map::FORWARDS,
        RowKeyOf::ForwardClient(..) => map::FORWARD_CLIENTS,
        RowKeyOf::NatExemption(..) => map::NAT_EXEMPTIONS,
        RowKeyOf::NatPrefix(..) => map::NAT_PREFIXES,
        RowKeyOf::Policy(_) => map::POLICIES,
        RowKeyOf::PolicyRow(..) => map::ROWS,
        RowKeyOf::Fdb(_) => map::FDB,
    }
}

fn fields(before: &Value, after: &Value) -> Vec<FieldChange> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return vec![FieldChange { field: "value".to_owned(), from: before.clone(), to: after.clone() }];
    };
    let keys = old.keys().chain(new.keys().filter(|k| !old.contains_key(*k)));
    let value = |object: &serde_json::Map<String, Value>, key| object.get(key).cloned().unwrap_or_default();
    keys.map(|key| FieldChange { field: key.clone(), from: value(old, key), to: value(new, key) })
        .filter(|change| change.from != change.to)
        .collect()
}
