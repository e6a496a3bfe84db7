//! The store's part of an edit: what was brought about is kept, and only that.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    bundle::Bundle,
    place::Placed,
    trial::Keeping,
    writer::{Tools, Writer},
};
use crate::{
    api::{error::ApiError, request::WriteQuery},
    datapath,
    store::{Sqlite, Store},
};

/// Of so many changes the store is told while they are brought about, by a thread of its own; and they leave memory behind.
pub(super) const MANY: usize = 1000;

impl Tools {
    pub(super) fn store(&self) -> MutexGuard<'_, Sqlite> {
        locked(&self.store)
    }
}

/// No holder leaves a store half written: what was not committed is taken back.
pub(super) fn locked(store: &Mutex<Sqlite>) -> MutexGuard<'_, Sqlite> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an edit of very many objects left behind goes back to the system when the next edit is likely not to wait for it.
pub(super) fn release_memory_soon() {
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(2));
        datapath::release_free_memory();
    });
}

impl Writer {
    /// Brings about what edits came to, then commits it to the store: a revision that is kept is one that works. What
    /// leads up to the commit binds nobody: of many objects it is done at the same time.
    pub(super) fn keep(
        &mut self,
        bundle: &Bundle,
        keeping: Keeping,
        confirmed: u64,
        query: WriteQuery,
    ) -> Result<Placed, ApiError> {
        let start = Instant::now();
        let store = Arc::clone(&self.tools.store);
        let prepare = || locked(&store).prepare(&bundle.desired, &bundle.edits, confirmed);
        let kept = thread::scope(|scope| {
            let early = (bundle.changes().count() >= MANY).then(|| scope.spawn(prepare));
            let placed = self.bring_about(bundle, keeping, query)?;
            let bound = start.elapsed();
            early.map_or_else(prepare, |early| early.join().expect("it does not panic"))?;
            locked(&store).commit()?;
            let (revision, edits) = (bundle.desired.revision, bundle.edits.len());
            let kept = start.elapsed();
            tracing::debug!("revision {revision}: edits {edits}, in force in {bound:?}, kept in {kept:?}");
            Ok(placed)
        });
        if kept.is_err() {
            locked(&store).abandon();
        }
        kept
    }
}
