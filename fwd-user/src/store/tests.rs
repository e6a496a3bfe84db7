//! The store in a directory of its own.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::state::{Accepted, Edit, accept};

fn document(ports: &[&str]) -> Document {
    let port = |name: &&str| json!({"name": name, "device": format!("tap-{name}"), "network": "n"});
    let json = json!({
        "settings": {"udp_timeout": "10s"},
        "networks": [{"name": "n", "mode": "nat", "subnets": ["10.0.0.0/24"]}],
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
    });
    serde_json::from_value(json).expect("a document")
}

fn replaced(current: &Desired, document: Document) -> Accepted {
    accept(current, Edit::Replace(document), None, &Default::default()).expect("a valid document")
}

/// Keeps edits that were accepted one after the other.
fn save(store: &mut Sqlite, accepted: &[&Accepted]) -> Result<(), Error> {
    let kept = |a: &&Accepted| Revision {
        revision: a.desired.revision,
        at_secs: 1_700_000_000,
        author: "root".to_owned(),
        uid: Some(0),
        pid: Some(4711),
        changes: a.changes.clone(),
    };
    let edits: Vec<_> = accepted.iter().filter(|a| !a.changes.is_empty()).map(kept).collect();
    let desired = &accepted.last().expect("there is one").desired;
    store.save(desired, &edits, desired.revision)
}

/// A store with one edit kept, in a directory that goes with the first value.
fn kept() -> (tempfile::TempDir, std::path::PathBuf, Accepted) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fwd.db");
    let accepted = replaced(&Desired::default(), document(&["b", "a"]));
    let mut store = Sqlite::open(&path).expect("a new store");
    save(&mut store, &[&accepted]).expect("kept");
    (directory, path, accepted)
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    assert_eq!(store.load().expect("loaded"), first.desired);
    let second = replaced(&first.desired, document(&["c", "a"]));
    save(&mut store, &[&second]).expect("kept");
    drop(store);
    let store = Sqlite::open(&path).expect("an old store");
    assert_eq!(store.load().expect("loaded"), second.desired);
    let history = store.history(10).expect("history");
    assert_eq!(history.iter().map(|r| r.revision).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((history[0].author.as_str(), &history[0].changes), ("root", &second.changes));
    assert_eq!((history[0].uid, history[0].pid), (Some(0), Some(4711)));
    assert_eq!(store.history(1).expect("history").len(), 1);
}

#[test]
fn earlier_documents_can_be_had_again() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    let mut without = document(&["a"]);
    without.settings.clear();
    let second = replaced(&first.desired, without);
    save(&mut store, &[&second]).expect("kept");
    let mut back = store.document_at(1).expect("readable").expect("within the history");
    back.ports.sort_by(|x, y| y.name.cmp(&x.name));
    assert_eq!(back, first.desired.document);
    assert_eq!(store.document_at(2).expect("readable").expect("now"), second.desired.document);
    assert_eq!(store.document_at(0).expect("readable").expect("the start"), Document::default());
    assert_eq!(store.document_at(3).expect("readable"), None);
}

#[test]
fn edits_that_are_kept_together_are_revisions_of_their_own() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    // One comes and goes within them.
    let second = replaced(&first.desired, document(&["a", "b", "c"]));
    let third = replaced(&second.desired, document(&["a", "d"]));
    save(&mut store, &[&second, &third]).expect("kept");
    store.tidy().expect("tidied");
    drop(store);
    let store = Sqlite::open(&path).expect("an old store");
    assert_eq!(store.load().expect("loaded"), third.desired);
    let history = store.history(10).expect("history");
    assert_eq!(history.iter().map(|r| r.revision).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(history[1].changes, second.changes);
    assert_eq!(store.document_at(2).expect("readable").map(|d| d.ports.len()), Some(3));
}

#[test]
fn what_was_confirmed_is_remembered() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    assert_eq!(store.confirmed().expect("readable"), 1);
    let second = replaced(&first.desired, document(&["a"]));
    let edit = Revision {
        revision: 2,
        changes: second.changes.clone(),
        ..store.history(1).expect("one")[0].clone()
    };
    store.save(&second.desired, &[edit], 1).expect("kept");
    drop(store);
    let mut store = Sqlite::open(&path).expect("an old store");
    assert_eq!(store.confirmed().expect("readable"), 1);
    store.confirm(2).expect("written");
    drop(store);
    let store = Sqlite::open(&path).expect("an old store");
    assert_eq!(store.confirmed().expect("readable"), 2);
}

#[test]
fn what_was_prepared_is_kept_when_it_is_committed_and_not_before() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    let second = replaced(&first.desired, document(&["a"]));
    let edit = Revision {
        revision: 2,
        changes: second.changes.clone(),
        ..store.history(1).expect("one")[0].clone()
    };
    let edits = [edit];
    store.prepare(&second.desired, &edits, 2).expect("prepared");
    // A daemon that dies now, and one whose edit cannot be brought about.
    assert_eq!(Sqlite::open(&path).expect("opened beside it").load().expect("loaded"), first.desired);
    store.abandon();
    store.commit().expect("there is nothing to commit");
    assert_eq!(store.load().expect("loaded"), first.desired);
    store.prepare(&second.desired, &edits, 2).expect("prepared");
    store.commit().expect("committed");
    drop(store);
    let store = Sqlite::open(&path).expect("an old store");
    assert_eq!((store.load().expect("loaded"), store.confirmed().expect("readable")), (second.desired, 2));
}

#[test]
fn edits_with_a_gap_are_refused() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    let second = replaced(&first.desired, document(&["a"]));
    let third = replaced(&second.desired, document(&["d"]));
    let fourth = replaced(&third.desired, document(&["e"]));
    let error = save(&mut store, &[&second, &fourth]).expect_err("the third is missing");
    assert!(matches!(error, Error::OutOfOrder { kept: 2, given: 4, .. }), "{error}");
    assert_eq!(store.load().expect("loaded"), first.desired);
}

#[test]
fn a_store_of_the_first_version_is_brought_up() {
    let (_directory, path, first) = kept();
    let connection = rusqlite::Connection::open(&path).expect("opened");
    let older = "ALTER TABLE revisions DROP COLUMN uid; ALTER TABLE revisions DROP COLUMN pid;
                 DROP TABLE confirmed; PRAGMA user_version = 1;";
    connection.execute_batch(older).expect("made older");
    drop(connection);
    let store = Sqlite::open(&path).expect("an old store");
    assert_eq!(store.load().expect("loaded"), first.desired);
    assert_eq!(store.history(10).expect("history")[0].uid, None);
    assert_eq!(store.confirmed().expect("readable"), 1);
    drop(store);
    Sqlite::open(&path).expect("it is of this version now");
}

#[test]
fn an_edit_that_does_not_follow_is_refused() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    let error = save(&mut store, &[&first]).expect_err("kept already");
    assert!(matches!(error, Error::OutOfOrder { kept: 1, given: 1, .. }));
    assert_eq!(store.load().expect("loaded"), first.desired);
}

#[test]
fn an_edit_without_changes_writes_nothing() {
    let (_directory, path, first) = kept();
    let mut store = Sqlite::open(&path).expect("an old store");
    let same = replaced(&first.desired, first.desired.document.clone());
    save(&mut store, &[&same]).expect("nothing to keep");
    assert_eq!(store.history(10).expect("history").len(), 1);
}

/// The error of opening a file with this content, which must stay as it is.
fn refused(content: &[u8]) -> Error {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fwd.db");
    fs::write(&path, content).expect("written");
    let error = Sqlite::open(&path).expect_err("not a store");
    assert_eq!(fs::read(&path).expect("still there"), content);
    error
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let is_foreign = |error: Error| matches!(error, Error::Foreign { .. });
    assert!(is_foreign(refused(b"")));
    assert!(is_foreign(refused(b"listen: tcp:80\n")));
    let directory = tempfile::tempdir().expect("a directory");
    let other = directory.path().join("other.db");
    rusqlite::Connection::open(&other).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("made");
    assert!(is_foreign(refused(&fs::read(&other).expect("read"))));
}

#[test]
fn stores_of_later_versions_are_refused() {
    let (_directory, path, _) = kept();
    let connection = rusqlite::Connection::open(&path).expect("opened");
    connection.pragma_update(None, "user_version", 99).expect("updated");
    connection.pragma_update(None, "journal_mode", "DELETE").expect("out of the log");
    drop(connection);
    let error = refused(&fs::read(&path).expect("read"));
    assert!(matches!(error, Error::Newer { found: 99, .. }), "{error}");
}

#[test]
fn damage_is_found_and_told() {
    let (_directory, path, _) = kept();
    let connection = rusqlite::Connection::open(&path).expect("opened");
    connection.pragma_update(None, "journal_mode", "DELETE").expect("out of the log");
    drop(connection);
    let whole = fs::read(&path).expect("read");
    let mut torn = whole.clone();
    torn[4096..4600].fill(0xa5);
    assert!(matches!(refused(&torn), Error::Damaged { .. }));
    assert!(matches!(refused(&whole[..4096]), Error::Damaged { .. }));
    for (sql, what) in [
        ("UPDATE objects SET json = '{}' WHERE kind = 'port'", "port b: missing field"),
        ("UPDATE objects SET kind = 'thing'", "is of no known kind"),
        ("DELETE FROM numbers WHERE kind = 'port'", "its numbers are not those of its objects"),
        ("UPDATE numbers SET number = 99999 WHERE kind = 'port'", "the number of port a"),
    ] {
        fs::write(&path, &whole).expect("written");
        rusqlite::Connection::open(&path).and_then(|c| c.execute_batch(sql)).expect("spoilt");
        let error = Sqlite::open(&path).expect_err(sql).to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn a_draft_of_a_crashed_start_does_no_harm() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fwd.db");
    fs::write(directory.path().join("fwd.db.new"), b"half").expect("written");
    let store = Sqlite::open(&path).expect("a new store");
    assert_eq!(store.load().expect("loaded"), Desired::default());
}

#[test]
fn a_missing_directory_is_told() {
    let error = Sqlite::open(std::path::Path::new("/nonexistent/fwd.db")).expect_err("no directory");
    assert!(matches!(error, Error::Database { .. } | Error::Io { .. }));
    let told = crate::api::error::ApiError::from(error);
    assert_eq!(told.code, crate::api::error::Code::StoreFailed);
    assert!(matches!(serde_json::to_value(&told), Ok(Value::Object(_))));
}
