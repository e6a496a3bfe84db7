//! Where the accepted document lives: durable before an edit is acknowledged.
//!
//! One daemon at a time uses a store; its lock is the daemon's. The trait is what several hosts would share.

mod error;
mod file;
mod sqlite;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use sqlite::Sqlite;

use serde::Serialize;

use crate::{
    api::spec::Document,
    state::{Change, Desired},
};

/// One accepted edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revision {
    pub revision: u64,
    /// Seconds since 1970, UTC.
    pub at_secs: i64,
    /// Who asked: `root`, or a user's name or number; `fwd` itself.
    pub author: String,
    /// The user and the process that asked; none: fwd itself.
    pub uid: Option<u32>,
    pub pid: Option<i32>,
    pub changes: Vec<Change>,
}

/// The accepted document with its history.
pub trait Store {
    /// What was accepted last.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was written.
    fn load(&self) -> Result<Desired, Error>;

    /// The last revision that needs no confirmation: the one to come up with. The newest one, unless a change
    /// is on trial.
    ///
    /// # Errors
    /// If it cannot be read.
    fn confirmed(&self) -> Result<u64, Error>;

    /// Writes accepted edits, one after the other, what they came to, and the revision that is then the confirmed
    /// one, so that [`Self::commit`] is all that is left to do. Until then nothing is kept of it. None writes nothing.
    ///
    /// # Errors
    /// Nothing was changed then. Also if the edits do not follow the last one that was kept.
    fn prepare(&mut self, desired: &Desired, edits: &[Revision], confirmed: u64) -> Result<(), Error>;

    /// Keeps what was prepared: when this returns, it is durable.
    ///
    /// # Errors
    /// Nothing was changed then.
    fn commit(&mut self) -> Result<(), Error>;

    /// Forgets what was prepared, if anything was.
    fn abandon(&mut self);

    /// Prepares and commits.
    ///
    /// # Errors
    /// As both.
    fn save(&mut self, desired: &Desired, edits: &[Revision], confirmed: u64) -> Result<(), Error> {
        self.prepare(desired, edits, confirmed)?;
        self.commit()
    }

    /// Makes a revision the confirmed one; durable as an edit.
    ///
    /// # Errors
    /// Nothing was changed then.
    fn confirm(&mut self, revision: u64) -> Result<(), Error>;

    /// What can wait until nobody waits: called between edits.
    ///
    /// # Errors
    /// Nothing is lost then.
    fn tidy(&mut self) -> Result<(), Error>;

    /// The last `limit` edits, the newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    fn history(&self, limit: u32) -> Result<Vec<Revision>, Error>;

    /// The document as it was at a revision; `None` if the history does not reach back so far.
    ///
    /// # Errors
    /// If it cannot be read.
    fn document_at(&self, revision: u64) -> Result<Option<Document>, Error>;
}
