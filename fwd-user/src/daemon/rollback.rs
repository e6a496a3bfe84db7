//! The way back: to an earlier revision, and to the confirmed one, when asked, when a trial's time is over, and
//! at the start. What comes back is a new revision: the history only grows.

use std::time::SystemTime;

use serde_json::json;

use super::{
    audit::Happened,
    bundle::Bundle,
    summary,
    trial::{Keeping, Trial},
    writer::Writer,
};
use crate::{
    api::{
        answer::Written,
        error::{ApiError, Code},
        request::{Author, RollbackQuery, WriteQuery},
        spec::{API, Document},
        text::ServiceNames,
    },
    state::{self, Desired, Edit},
    store::{Sqlite, Store},
};

/// What a daemon comes up with.
pub struct Start {
    pub desired: Desired,
    /// The revision that is confirmed then.
    pub confirmed: u64,
    /// What was on trial and is rolled back.
    pub undone: Option<Happened<'static>>,
}

/// The document to come up with: what is not confirmed is rolled back.
///
/// # Errors
/// The store cannot be read or written.
pub fn start(store: &mut Sqlite, services: &ServiceNames) -> Result<Start, ApiError> {
    let (newest, confirmed) = (store.load()?, store.confirmed()?);
    let with = |desired: Desired, confirmed| Start { desired, confirmed, undone: None };
    if newest.revision == confirmed {
        return Ok(with(newest, confirmed));
    }
    let from = newest.revision;
    let back = document_at(store, confirmed)
        .and_then(|document| state::accept(&newest, Edit::Replace(document), None, services));
    match back {
        Ok(back) if back.changes.is_empty() => {
            store.confirm(from)?;
            Ok(with(newest.clone(), from))
        }
        Ok(back) => {
            let revision = back.desired.revision;
            tracing::info!("revision {from} was not confirmed: back to {confirmed}, as {revision}");
            let edit = summary::kept(revision, None, SystemTime::now(), back.changes);
            store.save(&back.desired, &[edit], revision)?;
            let undone = Some(Happened::RolledBack { from, to: confirmed, revision });
            Ok(Start { undone, ..with(back.desired, revision) })
        }
        // A host without any document would be worse.
        Err(error) => {
            tracing::error!("revision {from} was not confirmed, and stays: {error}");
            Ok(with(newest, confirmed))
        }
    }
}

fn document_at(store: &Sqlite, revision: u64) -> Result<Document, ApiError> {
    store.document_at(revision)?.ok_or_else(|| {
        ApiError::new(Code::NoSuchObject, format!("There is no revision {revision} in the history."))
            .about(format!("revision {revision}"))
            .hint("List them: fwd config history.")
    })
}

impl Writer {
    /// Confirms what is on trial.
    pub(super) fn confirm(&mut self, author: Author) -> Result<Written, ApiError> {
        let revision = self.world.desired.revision;
        if self.trial.is_none() {
            let sentence = format!("No change waits for confirmation; the revision is {revision}.");
            return Err(ApiError::new(Code::NothingOnTrial, sentence)
                .hint("See what became of it: fwd config history."));
        }
        self.tools.store().confirm(revision)?;
        self.begin_trial(None, revision);
        self.publish();
        self.tools.audit.note(Some(author), Happened::Confirmed { revision });
        Ok(Written { api: API.to_owned(), revision, ..Written::default() })
    }

    /// Makes the document of an earlier revision the next one.
    pub(super) fn roll_back(&mut self, query: RollbackQuery, author: Author) -> Result<Written, ApiError> {
        let before = self.world.desired.revision.saturating_sub(1);
        let confirmed = self.trial.as_ref().map(|_| self.world.confirmed);
        let target = query.revision.or(confirmed).unwrap_or(before);
        let edit = Edit::Replace(document_at(&self.tools.store(), target)?);
        let (from, RollbackQuery { dry_run, if_revision, .. }) = (self.world.desired.revision, query);
        let query = WriteQuery { dry_run, if_revision, ..WriteQuery::default() };
        let written = match confirmed == Some(target) && !dry_run {
            true => self.go_back(edit, Some(author), if_revision),
            false => self.write(edit, query, Some(author)),
        };
        if !dry_run {
            let asked = json!({"action": "rollback", "to": target});
            let happened = match &written {
                Ok(Written { revision, .. }) => {
                    Happened::RolledBack { from, to: target, revision: *revision }
                }
                Err(error) => Happened::Refused { asked, error },
            };
            self.tools.audit.note(Some(author), happened);
        }
        written
    }

    /// After a trial's time. What fails is logged and shown: the trial stays, to be ended by hand.
    pub(super) fn expire(&mut self, trial: u64) {
        if self.trial.as_ref().is_none_or(|current| current.id != trial) {
            return;
        }
        let (from, to) = (self.world.desired.revision, self.world.confirmed);
        let back = document_at(&self.tools.store(), to);
        match back.and_then(|document| self.go_back(Edit::Replace(document), None, None)) {
            Ok(written) => {
                let revision = written.revision;
                tracing::warn!("revision {from} was not confirmed in time: back to {to}, as {revision}");
                self.tools.audit.note(None, Happened::RolledBack { from, to, revision });
            }
            Err(error) => tracing::error!("revision {from} could not be rolled back: {error}"),
        }
    }

    /// Brings what was confirmed back. The host has no say: it took it before.
    fn go_back(
        &mut self,
        edit: Edit,
        author: Option<Author>,
        if_revision: Option<u64>,
    ) -> Result<Written, ApiError> {
        let mut bundle = Bundle::new(&self.world.accepted);
        let changes = state::amend(&mut bundle.desired, edit, if_revision, &self.tools.services)?;
        let (revision, changed) = (bundle.desired.revision, summary::names(&changes));
        if changes.is_empty() {
            // What was on trial came to nothing.
            self.tools.store().confirm(revision)?;
            self.begin_trial(None, revision);
            self.publish();
        } else {
            bundle.edits.push(summary::kept(revision, author, SystemTime::now(), changes));
            self.accept(bundle, Keeping::Back, WriteQuery::default())?;
        }
        Ok(Written { api: API.to_owned(), revision, changed, ..Written::default() })
    }

    /// Ends the trial under way, and begins another or none.
    pub(super) fn begin_trial(&mut self, trial: Option<Trial>, confirmed: u64) {
        self.world.confirmed = confirmed;
        self.world.confirm_until = trial.as_ref().map(|trial| trial.until);
        if let Some(over) = std::mem::replace(&mut self.trial, trial) {
            over.dismiss();
        }
    }

    /// Gives the host back as it was; nothing is left to be rolled back.
    pub(super) fn tear_down(mut self) -> Result<(), ApiError> {
        if let Some(trial) = self.trial.take() {
            trial.dismiss();
        }
        self.tools.ground.tear_down()
    }
}
