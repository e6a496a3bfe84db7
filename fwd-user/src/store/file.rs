//! The store's file, before SQLite opens it: made whole or not at all, and never touched if it is not ours.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::Error;

/// In the file's header: "fwd" and the kind of file.
const APPLICATION_ID: u32 = u32::from_be_bytes(*b"fwd1");
/// Of the tables below.
pub(super) const VERSION: u32 = 2;

const TABLES: &str = "
CREATE TABLE objects (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    json TEXT NOT NULL,
    UNIQUE (kind, name)
);
CREATE TABLE numbers (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    at_secs INTEGER NOT NULL,
    author TEXT NOT NULL,
    changes TEXT NOT NULL,
    uid INTEGER,
    pid INTEGER
);
CREATE TABLE confirmed (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
);
INSERT INTO confirmed VALUES (1, 0);
";

/// From version 1, which knew who asked by name only, and no trials.
const FROM_1: &str = "
ALTER TABLE revisions ADD COLUMN uid INTEGER;
ALTER TABLE revisions ADD COLUMN pid INTEGER;
CREATE TABLE confirmed (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
);
INSERT INTO confirmed SELECT 1, coalesce(max(revision), 0) FROM revisions;
";

/// Makes the file if there is none.
///
/// # Errors
/// If the directory cannot be written.
pub(super) fn ensure(path: &Path) -> Result<(), Error> {
    let failed = |action| move |source| Error::Io { path: path.to_owned(), action, source };
    if path.try_exists().map_err(failed("looking for it"))? {
        return Ok(());
    }
    // Under another name first: a crash must not leave half a store.
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("removing an old draft")(e)),
        _ => {}
    }
    write_empty(&draft).map_err(|source| Error::Database {
        path: path.to_owned(),
        action: "making it",
        source,
    })?;
    fs::rename(&draft, path).map_err(failed("naming it"))?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed("naming it"))
}

fn write_empty(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    connection.execute_batch(TABLES)?;
    connection.close().map_err(|(_, e)| e)
}

/// Brings the tables of an earlier version to this one, all or nothing.
///
/// # Errors
/// The file is as it was then.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(FROM_1)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Makes SQLite's log as long as it gets, of zeros, which are no frames (file format, 4.1). To write over what a
/// file holds takes the disk one write; to lengthen it takes the file system's journal too, with each edit.
///
/// # Errors
/// If the disk has no room for it.
pub(super) fn lengthen_log(path: &Path) -> io::Result<()> {
    const LENGTH: u64 = 4 << 20;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mut log = File::options().append(true).create(true).open(log)?;
    let missing = LENGTH.saturating_sub(log.metadata()?.len());
    io::copy(&mut io::repeat(0).take(missing), &mut log)?;
    log.sync_all()
}

/// Reads the file's header (SQLite file format, 1.3): whether the file is fwd's, of a version that is known.
///
/// # Errors
/// If it is not; nothing was changed then.
pub(super) fn check_header(path: &Path) -> Result<(), Error> {
    const SIZE: usize = 100;
    let foreign = |what| Error::Foreign { path: path.to_owned(), what };
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SIZE as u64).read_to_end(&mut header))
        .map_err(|source| Error::Io { path: path.to_owned(), action: "reading it", source })?;
    if header.len() < SIZE || !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("it is no SQLite database"));
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (version, application) = (word(60), word(68));
    if application != APPLICATION_ID {
        return Err(foreign("it is the database of another program"));
    }
    if version > VERSION {
        return Err(Error::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    Ok(())
}
