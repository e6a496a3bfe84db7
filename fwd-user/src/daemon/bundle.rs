//! Edits that wait at the same time are made together: one compile, one plan, one commit, one sync of the
//! store; and each has its own revision and its own answer, as if they had been made one after the other.

use std::{collections::BTreeSet, mem, sync::Arc, time::Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    existing,
    sockets::Socket,
    writer::{Job, Reply},
};
use crate::{
    api::{
        answer::Written,
        object::Noun,
        request::{Author, WriteQuery},
    },
    host::Inventory,
    state::{self, Change, Desired, Edit, EditedRules, Numbers},
    store::Revision,
};

/// More are not made together: the first of them waits for the last.
const MOST: usize = 1000;

/// An edit, and who waits for what comes of it.
#[derive(Debug)]
pub struct Write {
    pub edit: Box<Edit>,
    pub query: WriteQuery,
    pub author: Option<Author>,
    pub asked: Instant,
    pub reply: Reply<Written>,
}

impl Write {
    /// The edit, to be made once. A document is not left behind: one that nobody else has is altered in place.
    pub fn taken(&mut self) -> Edit {
        match &mut *self.edit {
            Edit::Replace(document) => Edit::Replace(mem::take(document)),
            other => other.clone(),
        }
    }

    /// A dry run is held against what is in force, a trial is about one edit, and what becomes of live flows is
    /// told by one edit.
    const fn is_alone(&self) -> bool {
        self.query.dry_run || self.query.confirm.is_some() || existing::settles_first(self.query)
    }
}

/// A write with those that wait behind it; and the job that waits behind them, if it was found.
pub fn gather(first: Write, jobs: &mut UnboundedReceiver<Job>) -> (Vec<Write>, Option<Job>) {
    let mut writes = vec![first];
    while writes.len() < MOST && !writes[0].is_alone() {
        match jobs.try_recv() {
            Ok(Job::Write(write)) if !write.is_alone() => writes.push(write),
            Ok(other) => return (writes, Some(other)),
            Err(_) => break,
        }
    }
    (writes, None)
}

/// What accepted edits came to.
pub struct Bundle {
    pub desired: Desired,
    /// Those that changed something.
    pub edits: Vec<Revision>,
    /// The host as it was seen for them.
    pub inventory: Option<Arc<Inventory>>,
    pub sockets: Option<Vec<Socket>>,
}

impl Bundle {
    /// Without any yet.
    pub fn new(desired: &Desired) -> Self {
        Self { desired: desired.clone(), edits: Vec::new(), inventory: None, sockets: None }
    }

    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.edits.iter().flat_map(|edit| &edit.changes)
    }

    /// The rules that are edited, if nothing else is and they are worth following: to follow an edit of most of them
    /// takes longer than to compile what it leaves. `before`: the numbers in force.
    pub fn edited_rules(&self, before: &Numbers) -> Option<EditedRules<'_>> {
        if !self.changes().all(|change| change.kind == Noun::Policy.name()) {
            return None;
        }
        let names: BTreeSet<&str> = self.changes().map(|change| change.name.as_str()).collect();
        let are_few = names.len() <= self.desired.document.policies.len() / 2 + 1;
        are_few.then(|| state::edited_rules(before, &self.desired, &names))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    fn write(dry_run: bool) -> Write {
        let edit = Box::new(Edit::Settings(BTreeMap::new()));
        let query = WriteQuery { dry_run, ..WriteQuery::default() };
        Write { edit, query, author: None, asked: Instant::now(), reply: oneshot::channel().0 }
    }

    #[test]
    fn what_waits_is_gathered_up_to_the_first_other_job() {
        let (sender, mut jobs) = mpsc::unbounded_channel();
        let queued =
            [Job::Write(write(false)), Job::Write(write(false)), Job::Learnt, Job::Write(write(false))];
        for job in queued {
            sender.send(job).expect("the receiver is here");
        }
        let (writes, next) = gather(write(false), &mut jobs);
        assert_eq!(writes.len(), 3);
        assert!(matches!(next, Some(Job::Learnt)));
        assert_eq!(gather(write(false), &mut jobs).0.len(), 2);
        assert_eq!(gather(write(false), &mut jobs).0.len(), 1);
    }

    #[test]
    fn a_dry_run_is_looked_at_alone() {
        let (sender, mut jobs) = mpsc::unbounded_channel();
        sender.send(Job::Write(write(true))).expect("the receiver is here");
        sender.send(Job::Write(write(false))).expect("the receiver is here");
        let (writes, next) = gather(write(false), &mut jobs);
        assert_eq!(writes.len(), 1);
        let Some(Job::Write(dry)) = next else { panic!("the dry run was taken: {next:?}") };
        assert_eq!(gather(dry, &mut jobs).0.len(), 1);
    }
}
