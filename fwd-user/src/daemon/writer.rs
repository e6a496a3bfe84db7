//! The one writer: every request, every change of the host and every timer becomes a job; jobs are done one
//! after the other, each whole or not at all.
//!
//! An edit goes state → host; it is answered when the host is as the document wants it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::{ground::Ground, summary, world::World};
use crate::{
    api::{
        answer::{Revision, Written},
        error::ApiError,
        request::{Author, WriteQuery},
        spec::API,
        text::ServiceNames,
    },
    state::{self, Accepted, Edit},
};

/// What is to be done.
#[derive(Debug)]
pub enum Job {
    Write {
        edit: Box<Edit>,
        query: WriteQuery,
        author: Option<Author>,
        reply: Reply<Written>,
    },
    Revisions {
        reply: Reply<Vec<Revision>>,
    },
    /// The last one.
    Down {
        keep_datapath: bool,
        reply: Reply<()>,
    },
}

/// Where an answer goes. Whoever asked may have gone: the job is done all the same.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// The writer's own.
pub struct Writer {
    ground: Box<dyn Ground>,
    world: World,
    services: ServiceNames,
    readers: watch::Sender<Arc<World>>,
    history: Vec<Revision>,
}

impl Writer {
    /// A writer over a ground, and where its readers look.
    ///
    /// # Errors
    /// The host or the datapath cannot be read.
    pub fn new(
        mut ground: Box<dyn Ground>,
        services: ServiceNames,
    ) -> Result<(Self, watch::Receiver<Arc<World>>), ApiError> {
        let world = World { inventory: ground.inventory()?, ..World::default() };
        let (readers, seen) = watch::channel(Arc::new(world.clone()));
        Ok((Self { ground, world, services, readers, history: Vec::new() }, seen))
    }

    /// Does jobs until the last one.
    pub fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            // Whoever asked may have gone; the work is done all the same.
            match job {
                Job::Write { edit, query, author, reply } => {
                    _ = reply.send(self.write(*edit, query, author));
                }
                Job::Revisions { reply } => _ = reply.send(Ok(self.history.iter().rev().cloned().collect())),
                Job::Down { keep_datapath, reply } => {
                    let result = if keep_datapath { Ok(()) } else { self.ground.tear_down() };
                    _ = reply.send(result);
                    return;
                }
            }
        }
    }

    /// Makes an edit, or tells what it would do.
    pub fn write(
        &mut self,
        edit: Edit,
        query: WriteQuery,
        author: Option<Author>,
    ) -> Result<Written, ApiError> {
        let accepted = state::accept(&self.world.desired, edit, query.if_revision, &self.services)?;
        let changed = summary::names(&accepted.changes);
        let mut written = Written {
            api: API.to_owned(),
            revision: accepted.desired.revision,
            changed,
            ..Written::default()
        };
        if query.dry_run {
            written.revision = self.world.desired.revision;
            written.plan = Some(summary::plan(&accepted.changes));
        } else if !accepted.changes.is_empty() {
            self.accept(accepted, author)?;
        }
        Ok(written)
    }

    fn accept(&mut self, accepted: Accepted, author: Option<Author>) -> Result<(), ApiError> {
        self.ground.prepare(&accepted.desired.document)?;
        let inventory = self.ground.inventory()?;
        self.history.push(summary::revision(&accepted, author));
        self.world.applied = accepted.desired.revision;
        self.world.desired = accepted.desired;
        self.world.inventory = inventory;
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        self.readers.send_replace(Arc::new(self.world.clone()));
    }
}
