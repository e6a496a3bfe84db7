//! The audit log: who changed what and when, as it was and as it is; also what was refused. JSON lines in the
//! state directory, written before whoever asked is answered.
//!
//! The store comes first and has the same edits, durably. What a crash, a power cut or a full disk kept out of the log
//! is made good from there: at the next start, or with the next edit. So nobody waits until the log is synced after
//! an edit, which takes a journal's commit because the file got longer; all else is durable before the answer.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use fwd_common::sweep::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{bundle::Write, summary, writer::Writer};
use crate::{
    api::{
        answer::{ObjectDiff, Written},
        error::{ApiError, Code},
        query::FlowQuery,
        request::Author,
        settings::Settings,
    },
    observe::{Keep, RecordFile},
    state::{Desired, Edit},
    store::{self, Sqlite, Store},
};

/// Its name in the state directory.
pub const AUDIT: &str = "audit.log";

/// The log, and the last revision that is in it.
pub struct Audit {
    file: RecordFile,
    last: u64,
    /// The last one that a power cut leaves there.
    durable: u64,
}

/// What happened.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happened<'a> {
    /// The document changed.
    Edited { revision: u64, on_trial: bool, changes: &'a [ObjectDiff] },
    /// What was asked for was not done.
    Refused { asked: Value, error: &'a ApiError },
    /// What was on trial stays.
    Confirmed { revision: u64 },
    /// `revision` made the document of `to` the current one again.
    RolledBack { from: u64, to: u64, revision: u64 },
    /// Flows were ended by hand.
    FlowsEnded { asked: Value, flows: u64 },
    /// The daemon ends by request.
    Down { keep_datapath: bool },
}

#[derive(Serialize)]
struct Record<'a> {
    time: &'a str,
    /// A user's name or number; `fwd` itself.
    author: &'a str,
    uid: Option<u32>,
    pid: Option<i32>,
    #[serde(flatten)]
    happened: Happened<'a>,
}

/// As much of a record as says which revision it is.
#[derive(Deserialize)]
struct Edited {
    event: String,
    revision: u64,
}

fn keep(desired: &Desired) -> Keep {
    let Settings { audit_log_mib, audit_log_time, .. } = Settings::of(&desired.document.settings);
    Keep { bytes: u64::from(audit_log_mib) << 20, age: Duration::from_secs(audit_log_time.into()) }
}

impl Audit {
    /// `desired` is what the store has.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn open(state_dir: &Path, desired: &Desired) -> Result<Self, ApiError> {
        let path = state_dir.join(AUDIT);
        Self::of(&path, desired).map_err(|e| {
            ApiError::new(Code::IoFailed, format!("Audit log {} cannot be written: {e}.", path.display()))
                .hint("Make room, or give its folder back to root.")
        })
    }

    fn of(path: &Path, desired: &Desired) -> io::Result<Self> {
        let file = RecordFile::open(path, keep(desired))?;
        let mut last = 0;
        file.read_back(|line| match serde_json::from_str::<Edited>(line) {
            Ok(record) if record.event == "edited" => {
                last = record.revision;
                true
            }
            _ => false,
        })?;
        // A store that was put back from a copy begins again.
        let last = last.min(desired.revision);
        Ok(Self { file, last, durable: last })
    }

    /// Writes what the store has and the log does not. A failure is logged, and made good later.
    pub fn catch_up(&mut self, store: &Sqlite, desired: &Desired, is_on_trial: bool) {
        let missing = desired.revision.saturating_sub(self.last);
        match store.history(missing.try_into().unwrap_or(u32::MAX)) {
            Ok(mut edits) => {
                edits.reverse();
                self.edited(&edits, is_on_trial);
                self.settle();
            }
            Err(error) => tracing::error!("{}", ApiError::from(error)),
        }
    }

    /// Writes edits that the store has just kept.
    pub fn accepted(&mut self, edits: &[store::Revision], store: &Sqlite, to: &Desired, is_on_trial: bool) {
        self.file.set_keep(keep(to));
        match edits.first() {
            Some(first) if first.revision == self.last + 1 => self.edited(edits, is_on_trial),
            Some(_) => self.catch_up(store, to, is_on_trial),
            None => {}
        }
    }

    fn edited(&mut self, edits: &[store::Revision], on_trial: bool) {
        let Some(last) = edits.last().map(|edit| edit.revision) else { return };
        let mut lines = Vec::new();
        for edit in edits {
            let store::Revision { revision, ref author, uid, pid, .. } = *edit;
            let (time, diffs) = (summary::made_at(edit), summary::diffs(edit));
            let happened = Happened::Edited { revision, on_trial, changes: &diffs };
            add(&mut lines, &Record { time: &time, author, uid, pid, happened });
        }
        match self.file.append(&lines, SystemTime::now()) {
            Ok(()) => self.last = last,
            Err(error) => not_in_it(&error),
        }
    }

    /// Makes the edits durable that are in it: between jobs. If the disk refuses, they are written once more with the
    /// next one.
    pub fn settle(&mut self) {
        if self.last == self.durable {
            return;
        }
        match self.file.sync() {
            Ok(()) => self.durable = self.last,
            Err(error) => {
                self.last = self.durable;
                not_in_it(&error);
            }
        }
    }

    /// Writes anything else; nobody: fwd itself.
    pub fn note(&mut self, author: Option<Author>, happened: Happened<'_>) {
        let who = summary::kept(0, author, SystemTime::now(), Vec::new());
        let time = summary::time_text(SystemTime::now());
        let mut lines = Vec::new();
        add(&mut lines, &Record { time: &time, author: &who.author, uid: who.uid, pid: who.pid, happened });
        match self.file.append(&lines, SystemTime::now()).and_then(|()| self.file.sync()) {
            Ok(()) => self.durable = self.last,
            Err(error) => not_in_it(&error),
        }
    }
}

fn not_in_it(error: &io::Error) {
    tracing::error!("audit log: what was changed is not in it yet: {error}");
}

impl Writer {
    pub(super) fn note_refusal(&mut self, write: &Write, answer: &Result<Written, ApiError>) {
        if let (Err(error), false) = (answer, write.query.dry_run) {
            let asked = asked(&write.edit);
            self.tools.audit.note(write.author, Happened::Refused { asked, error });
        }
    }

    /// Ends flows by their keys, and says how many there were.
    pub(super) fn end_flows(
        &mut self,
        commands: &[Command],
        query: &FlowQuery,
        author: Author,
    ) -> Result<u64, ApiError> {
        let flows = self.tools.ground.end_flows(commands)?;
        if flows > 0 {
            let mut asked = serde_json::to_value(query).expect("queries are plain data");
            asked.as_object_mut().expect("it has fields").retain(|_, value| !value.is_null());
            self.tools.audit.note(Some(author), Happened::FlowsEnded { asked, flows });
        }
        Ok(flows)
    }
}

fn add(lines: &mut Vec<u8>, record: &Record<'_>) {
    serde_json::to_writer(&mut *lines, record).expect("records are plain data");
    lines.push(b'\n');
}

/// What an edit asks for. A document that was refused is not kept: whoever asked has it.
fn asked(edit: &Edit) -> Value {
    match edit {
        Edit::Replace(_) => json!({"action": "apply"}),
        Edit::Add { object, .. } => {
            let name = format!("{}/{}", object.noun().name(), object.name());
            json!({"action": "add", "object": name, "value": object.to_json().unwrap_or_default()})
        }
        Edit::Set { noun, name, patch } => {
            json!({"action": "set", "object": format!("{}/{name}", noun.name()), "value": patch})
        }
        Edit::Delete { noun, name, .. } => {
            json!({"action": "delete", "object": format!("{}/{name}", noun.name())})
        }
        Edit::Settings(values) => json!({"action": "set", "object": "settings", "value": values}),
        Edit::Expire(at) => json!({"action": "expire", "value": at.to_string()}),
    }
}
