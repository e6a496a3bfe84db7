//! The store in an SQLite file: one row an object, one a revision; write-ahead log, synced at each commit.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};
use serde_json::Value;

use super::{Error, Revision, Store, file};
use crate::{
    api::{
        object::{Noun, Object},
        spec::Document,
    },
    state::{Change, Desired, LAST_NUMBER, Numbers, undo},
};

/// Older edits are forgotten.
const KEPT_REVISIONS: u64 = 10_000;
/// `objects.kind` of a setting.
const SETTING: &str = "setting";
/// Transactions after which the log is brought into the file, as soon as nobody waits.
const LOGGED: u32 = 64;
/// Pages after which it is done in any case, by whoever waits then.
const LOG_PAGES: u32 = 8000;

/// A store in a file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
    /// Transactions in the log.
    logged: u32,
    /// A transaction waits for its commit.
    is_prepared: bool,
}

impl Sqlite {
    /// Opens the store at `path`, or makes it.
    ///
    /// # Errors
    /// If the file is not fwd's, is of a later version, or is damaged; nothing was changed then.
    pub fn open(path: &Path) -> Result<Self, Error> {
        file::ensure(path)?;
        file::check_header(path)?;
        let failed = |source| failure(path, "opening it", source);
        let mut connection = Connection::open(path).map_err(failed)?;
        let state: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if state != "ok" {
            return Err(Error::Damaged { path: path.to_owned(), what: state });
        }
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(failed)?;
        file::migrate(&mut connection).map_err(failed)?;
        let failed = |source| Error::Io { path: path.to_owned(), action: "making room for its log", source };
        file::lengthen_log(path).map_err(failed)?;
        let store = Self { path: path.to_owned(), connection, logged: 0, is_prepared: false };
        store.load()?;
        Ok(store)
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), what: what.into() }
    }

    fn read<T, F>(&self, sql: &str, row: F) -> Result<Vec<T>, Error>
    where
        F: FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    {
        let failed = |source| failure(&self.path, "reading it", source);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let rows = statement.query_map([], row).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    fn document(&self) -> Result<Document, Error> {
        let mut document = Document::default();
        let sql = "SELECT kind, name, json FROM objects ORDER BY rowid";
        type Row = (String, String, String);
        let rows: Vec<Row> = self.read(sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        for (kind, name, json) in rows {
            let unreadable = |e: serde_json::Error| self.damaged(format!("{kind} {name}: {e}"));
            let json: Value = serde_json::from_str(&json).map_err(unreadable)?;
            if kind == SETTING {
                document.settings.insert(name, json);
                continue;
            }
            let noun = Noun::ALL.into_iter().find(|noun| noun.name() == kind);
            let noun = noun.ok_or_else(|| self.damaged(format!("{kind} {name} is of no known kind")))?;
            document.append(Object::from_json(noun, json).map_err(unreadable)?);
        }
        Ok(document)
    }

    fn numbers(&self) -> Result<Numbers, Error> {
        let rows = self.read("SELECT kind, name, number FROM numbers", |row| {
            Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
        })?;
        let rows: BTreeMap<(String, String), u32> = rows.into_iter().collect();
        Numbers::from_rows(&rows).map_err(|(kind, name)| self.damaged(format!("the number of {kind} {name}")))
    }

    fn revision(&self) -> Result<u64, Error> {
        let newest = self.read("SELECT max(revision) FROM revisions", |row| row.get::<_, Option<u64>>(0))?;
        Ok(newest.first().copied().flatten().unwrap_or(0))
    }
}

fn failure(path: &Path, action: &'static str, source: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            Error::Damaged { path: path.to_owned(), what: source.to_string() }
        }
        _ => Error::Database { path: path.to_owned(), action, source },
    }
}

impl Store for Sqlite {
    fn load(&self) -> Result<Desired, Error> {
        let (document, numbers) = (self.document()?, self.numbers()?);
        if !numbers.fit(&document) {
            return Err(self.damaged("its numbers are not those of its objects"));
        }
        Ok(Desired { revision: self.revision()?, document, numbers })
    }

    fn confirmed(&self) -> Result<u64, Error> {
        let rows = self.read("SELECT revision FROM confirmed", |row| row.get(0))?;
        rows.first().copied().ok_or_else(|| self.damaged("it does not say what was confirmed"))
    }

    fn confirm(&mut self, revision: u64) -> Result<(), Error> {
        let failed = |source| failure(&self.path, "writing it", source);
        write_confirmed(&self.connection, revision).map_err(failed)
    }

    fn prepare(&mut self, desired: &Desired, edits: &[Revision], confirmed: u64) -> Result<(), Error> {
        if edits.is_empty() {
            return Ok(());
        }
        let kept = self.revision()?;
        let given = edits.iter().map(|edit| edit.revision);
        if let Some((wanted, given)) = (kept + 1..).zip(given).find(|(wanted, given)| wanted != given) {
            return Err(Error::OutOfOrder { path: self.path.clone(), kept: wanted - 1, given });
        }
        let written = self.connection.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            self.is_prepared = true;
            write(&self.connection, desired, edits, confirmed)
        });
        if written.is_err() {
            self.abandon();
        }
        written.map_err(|source| failure(&self.path, "writing it", source))
    }

    fn commit(&mut self) -> Result<(), Error> {
        if !self.is_prepared {
            return Ok(());
        }
        let committed = self.connection.execute_batch("COMMIT");
        match committed {
            Ok(()) => (self.is_prepared, self.logged) = (false, self.logged + 1),
            Err(_) => self.abandon(),
        }
        committed.map_err(|source| failure(&self.path, "writing it", source))
    }

    fn abandon(&mut self) {
        if !std::mem::take(&mut self.is_prepared) || self.connection.is_autocommit() {
            return;
        }
        if let Err(source) = self.connection.execute_batch("ROLLBACK") {
            tracing::error!("{}", failure(&self.path, "taking back what was written", source));
        }
    }

    /// Brings the log into the file. Else the edit that fills the log would wait for it.
    fn tidy(&mut self) -> Result<(), Error> {
        if self.logged < LOGGED {
            return Ok(());
        }
        self.logged = 0;
        let failed = |source| failure(&self.path, "bringing its log into it", source);
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(failed)
    }

    fn history(&self, limit: u32) -> Result<Vec<Revision>, Error> {
        let sql = format!(
            "SELECT revision, at_secs, author, uid, pid, changes FROM revisions ORDER BY revision DESC
             LIMIT {limit}"
        );
        let rows = self.read(&sql, |row| {
            let edit = Revision {
                revision: row.get(0)?,
                at_secs: row.get(1)?,
                author: row.get(2)?,
                uid: row.get(3)?,
                pid: row.get(4)?,
                changes: Vec::new(),
            };
            Ok((edit, row.get::<_, String>(5)?))
        })?;
        let with_changes = |(edit, changes): (Revision, String)| {
            let unreadable = |e| self.damaged(format!("revision {}: {e}", edit.revision));
            let changes = serde_json::from_str(&changes).map_err(unreadable)?;
            Ok(Revision { changes, ..edit })
        };
        rows.into_iter().map(with_changes).collect()
    }

    fn document_at(&self, revision: u64) -> Result<Option<Document>, Error> {
        let current = self.revision()?;
        let Some(back) = current.checked_sub(revision) else { return Ok(None) };
        let Ok(back) = u32::try_from(back) else { return Ok(None) };
        let edits = self.history(back)?;
        let mut document = self.document()?;
        if edits.len() < back as usize {
            return Ok(None);
        }
        for edit in edits {
            undo(&mut document, &edit.changes)
                .map_err(|e| self.damaged(format!("revision {revision}: {e}")))?;
        }
        Ok(Some(document))
    }
}

fn write(
    transaction: &Connection,
    desired: &Desired,
    edits: &[Revision],
    confirmed: u64,
) -> rusqlite::Result<()> {
    for edit in edits {
        for change in &edit.changes {
            write_object(transaction, change)?;
            for (kind, number) in desired.numbers.rows_of(&change.kind, &change.name) {
                write_number(transaction, (kind, &change.name), number)?;
            }
        }
        write_revision(transaction, edit)?;
    }
    for (kind, number) in desired.numbers.last.rows() {
        write_number(transaction, (LAST_NUMBER, kind), Some(number))?;
    }
    write_confirmed(transaction, confirmed)?;
    // What leads back to the confirmed document stays.
    let oldest = desired.revision.saturating_sub(KEPT_REVISIONS).min(confirmed);
    transaction.prepare_cached("DELETE FROM revisions WHERE revision <= ?1")?.execute([oldest])?;
    Ok(())
}

fn write_confirmed(connection: &Connection, revision: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE confirmed SET revision = ?1")?;
    statement.execute([revision]).map(drop)
}

fn write_revision(transaction: &Connection, edit: &Revision) -> rusqlite::Result<()> {
    let Revision { revision, at_secs, author, uid, pid, changes } = edit;
    let json =
        serde_json::to_string(changes).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    transaction
        .prepare_cached(
            "INSERT INTO revisions (revision, at_secs, author, uid, pid, changes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![revision, at_secs, author, uid, pid, json])?;
    Ok(())
}

/// An object that is there keeps its row, and so its place in the document.
fn write_object(transaction: &Connection, change: &Change) -> rusqlite::Result<()> {
    let Change { kind, name, after, .. } = change;
    match after {
        Some(json) => transaction
            .prepare_cached(
                "INSERT INTO objects (kind, name, json) VALUES (?1, ?2, ?3)
                 ON CONFLICT (kind, name) DO UPDATE SET json = excluded.json",
            )?
            .execute(params![kind, name, json.text()])?,
        None => transaction
            .prepare_cached("DELETE FROM objects WHERE kind = ?1 AND name = ?2")?
            .execute(params![kind, name])?,
    };
    Ok(())
}

fn write_number(
    transaction: &Connection,
    (kind, name): (&str, &str),
    number: Option<u32>,
) -> rusqlite::Result<()> {
    match number {
        Some(number) => transaction
            .prepare_cached(
                "INSERT INTO numbers (kind, name, number) VALUES (?1, ?2, ?3)
                 ON CONFLICT (kind, name) DO UPDATE SET number = excluded.number
                 WHERE number <> excluded.number",
            )?
            .execute(params![kind, name, number])?,
        None => transaction
            .prepare_cached("DELETE FROM numbers WHERE kind = ?1 AND name = ?2")?
            .execute([kind, name])?,
    };
    Ok(())
}
