//! The one writer: every request, every change of the host and every timer becomes a job; jobs are done one
//! after the other, each whole or not at all.
//!
//! An edit goes state → host → compile → plan → datapath → store, and is answered when it is durable. The
//! store comes last, so that a revision that is kept is one that works: should the machine die in between,
//! nobody was told, and the next start brings the rows back to the document that was kept. If any step
//! refuses, host, programs and rows are brought back to the old document.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use fwd_common::sweep::Command;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    admission, existing,
    failure::{of_query, of_read},
    ground::Ground,
    summary, wanted,
    world::World,
};
use crate::{
    api::{
        answer::{PlanSummary, Revision, Written},
        error::{ApiError, Code},
        request::{Author, WriteQuery},
        spec::API,
        text::ServiceNames,
    },
    compile::{Compiled, Tables, compile},
    host::{Changes, Inventory, Wanted},
    observe::{Names, Observer, metrics::ApplyOutcome},
    plan::{MapOp, diff},
    state::{self, Accepted, Desired, Edit},
    store::{Sqlite, Store},
};

/// Edits that the history shows.
const HISTORY: u32 = 1000;

/// What is to be done.
#[derive(Debug)]
pub enum Job {
    Write {
        edit: Box<Edit>,
        query: WriteQuery,
        author: Option<Author>,
        reply: Reply<Written>,
    },
    /// Ends flows by their keys, and answers how many there were.
    EndFlows {
        commands: Vec<Command>,
        reply: Reply<u64>,
    },
    Revisions {
        reply: Reply<Vec<Revision>>,
    },
    /// Interfaces, addresses, routes or neighbors changed.
    Host(Changes),
    /// The datapath saw a MAC or an address for the first time.
    Learnt,
    /// The last one.
    Down {
        keep_datapath: bool,
        reply: Reply<()>,
    },
}

/// Where an answer goes. Whoever asked may have gone: the job is done all the same.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What the writer works on and with.
pub struct Tools {
    pub ground: Box<dyn Ground>,
    pub store: Sqlite,
    pub observer: Arc<Observer>,
    pub services: ServiceNames,
    /// Keeps the namespaces of several daemons apart.
    pub instance: String,
}

/// The writer's own.
pub struct Writer {
    tools: Tools,
    world: World,
    /// What the host was last prepared for.
    wanted: Wanted,
    readers: watch::Sender<Arc<World>>,
}

/// A document brought to the host and the datapath.
struct Placed {
    inventory: Arc<Inventory>,
    compiled: Compiled,
    refused: Arc<BTreeMap<u32, ApiError>>,
}

impl Writer {
    /// Brings host and datapath to the document that was kept, by the difference only.
    ///
    /// # Errors
    /// The store or the datapath cannot be read, or the document cannot be brought about.
    pub fn new(tools: Tools) -> Result<(Self, watch::Receiver<Arc<World>>), ApiError> {
        let desired = tools.store.load()?;
        let tables = tools.ground.tables()?;
        let (readers, seen) = watch::channel(Arc::default());
        let compiled = Compiled { tables, ..Compiled::default() };
        let world = World { compiled: Arc::new(compiled), ..World::default() };
        let mut writer = Self { tools, world, wanted: Wanted::default(), readers };
        let placed = writer.place(&desired, Look::Again, Refusals::Noted)?;
        writer.put(&placed.compiled.tables)?;
        writer.take(desired, placed);
        Ok((writer, seen))
    }

    /// Does jobs until the last one.
    pub fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Write { edit, query, author, reply } => {
                    let start = Instant::now();
                    let result = self.write(*edit, query, author);
                    self.note(&result, query, start);
                    _ = reply.send(result);
                }
                Job::EndFlows { commands, reply } => _ = reply.send(self.tools.ground.end_flows(&commands)),
                Job::Revisions { reply } => _ = reply.send(self.revisions()),
                Job::Host(changes) => self.follow_host(&changes),
                Job::Learnt => {
                    if self.is_other_host() {
                        self.look_again();
                    }
                }
                Job::Down { keep_datapath, reply } => {
                    let result = if keep_datapath { Ok(()) } else { self.tools.ground.tear_down() };
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
        let desired = Arc::clone(&self.world.desired);
        let accepted = state::accept(&desired, edit, query.if_revision, &self.tools.services)?;
        self.admit(&accepted)?;
        let mut written = Written {
            api: API.to_owned(),
            revision: accepted.desired.revision,
            changed: summary::names(&accepted.changes),
            ..Written::default()
        };
        if query.dry_run {
            written.revision = desired.revision;
            written.plan = Some(self.plan(&accepted)?);
        } else if accepted.changes.is_empty() {
            written.cut = query.wait.then_some(0);
        } else {
            self.accept(accepted, author, query)?;
            let cut = query.wait.then(|| self.tools.observer.cut_by(written.revision));
            written.cut = cut.transpose().map_err(|e| of_query(&e))?;
        }
        Ok(written)
    }

    /// Whether this host takes an edit. One that concerns interfaces is held against them as they are now.
    fn admit(&mut self, accepted: &Accepted) -> Result<(), ApiError> {
        let concerns = |kinds: &[&str]| accepted.changes.iter().any(|c| kinds.contains(&c.kind.as_str()));
        let inventory = match concerns(&["uplink", "port"]) {
            true => Arc::new(self.tools.ground.inventory(&[])?),
            false => Arc::clone(&self.world.inventory),
        };
        let sockets = if concerns(&["forward"]) { self.tools.ground.sockets() } else { Vec::new() };
        match admission::problems(accepted, &inventory, &sockets) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(ApiError::from_problems(problems)),
        }
    }

    /// What an edit would do to objects and maps.
    fn plan(&self, accepted: &Accepted) -> Result<PlanSummary, ApiError> {
        let tables = &self.world.compiled.tables;
        let compiled = compile(&accepted.desired, &self.world.inventory, tables);
        let capacities = self.tools.observer.view(|view| view.maps.capacities().to_vec());
        let room = summary::Room {
            entries: compiled.tables.rows_by_map(),
            capacities: capacities.map_err(|e| of_read(&e))?,
        };
        let plan = diff(tables, &compiled.tables);
        Ok(summary::plan(&accepted.changes, &plan, &Names::new(&accepted.desired), &room))
    }

    fn accept(
        &mut self,
        accepted: Accepted,
        author: Option<Author>,
        query: WriteQuery,
    ) -> Result<(), ApiError> {
        let concerns_host = |c: &state::Change| matches!(c.kind.as_str(), "uplink" | "network" | "port");
        let look = if accepted.changes.iter().any(concerns_host) { Look::Again } else { Look::AsKnown };
        let placed = self.place(&accepted.desired, look, Refusals::Fatal);
        let kept = placed.and_then(|placed| {
            if existing::settles_first(query) {
                self.tools.ground.apply(&[MapOp::Recheck])?;
            }
            self.tools.observer.binds(accepted.desired.revision).map_err(|e| of_read(&e))?;
            let plan = existing::plan(&self.world, &placed.compiled.tables, &accepted.changes, query);
            self.apply(&plan)?;
            self.tools.store.save(&accepted, &summary::stamp(author, SystemTime::now()))?;
            Ok(placed)
        });
        match kept {
            Ok(placed) => {
                self.take(accepted.desired, placed);
                Ok(())
            }
            Err(error) => {
                self.undo();
                Err(error)
            }
        }
    }

    /// Brings the host and the programs, but not the rows, to a document. What nothing concerns is not asked
    /// again: an edit of a rule touches neither netlink nor links.
    fn place(&mut self, desired: &Desired, look: Look, refusals: Refusals) -> Result<Placed, ApiError> {
        let networks: Vec<_> =
            desired.document.networks.iter().filter(|n| n.has_host_port()).map(|n| n.name.as_str()).collect();
        let ground = &mut self.tools.ground;
        let previous = &self.world.compiled;
        let mut inventory = match look {
            Look::Again => Arc::new(ground.inventory(&networks)?),
            Look::AsKnown => Arc::clone(&self.world.inventory),
        };
        let mut compiled = compile(desired, &inventory, &previous.tables);
        let wanted = wanted::of(desired, &compiled, &self.tools.instance);
        if look == Look::Again || self.wanted != wanted {
            ground.prepare(&wanted)?;
            self.wanted = wanted;
            let prepared = ground.inventory(&networks)?;
            if prepared != *inventory {
                compiled = compile(desired, &prepared, &previous.tables);
                inventory = Arc::new(prepared);
            }
        }
        let mut refused = Arc::clone(&self.world.refused);
        if look == Look::Again || compiled.ports != previous.ports {
            refused = Arc::new(ground.attach(&compiled.ports).into_iter().collect());
            // That a driver refuses XDP is known once it was tried: `auto` then falls back to TCX.
            if refused.values().any(|error| error.code == Code::DriverLacks) {
                inventory = Arc::new(ground.inventory(&networks)?);
                compiled = compile(desired, &inventory, &previous.tables);
                refused = Arc::new(ground.attach(&compiled.ports).into_iter().collect());
            }
        }
        let new = refused.iter().find(|(ifindex, _)| !self.world.refused.contains_key(ifindex));
        match (new, refusals) {
            (Some((_, error)), Refusals::Fatal) => Err(error.clone()),
            _ => Ok(Placed { inventory, compiled, refused }),
        }
    }

    fn put(&mut self, tables: &Tables) -> Result<(), ApiError> {
        self.apply(&diff(&self.world.compiled.tables, tables))
    }

    fn apply(&mut self, plan: &[MapOp]) -> Result<(), ApiError> {
        if plan.is_empty() { Ok(()) } else { self.tools.ground.apply(plan) }
    }

    /// After a refusal: everything as the document in force wants it. What fails here is logged; the next
    /// change of the host or the next edit tries again.
    fn undo(&mut self) {
        let desired = Arc::clone(&self.world.desired);
        let undone = self.tools.ground.tables().and_then(|tables| {
            self.world.compiled = Arc::new(Compiled { tables, ..(*self.world.compiled).clone() });
            let placed = self.place(&desired, Look::Again, Refusals::Noted)?;
            self.put(&placed.compiled.tables)?;
            Ok(placed)
        });
        match undone {
            Ok(placed) => self.take(Desired::clone(&desired), placed),
            Err(error) => tracing::error!("an edit could not be undone: {error}"),
        }
    }

    fn take(&mut self, desired: Desired, placed: Placed) {
        for (ifindex, error) in placed.refused.iter() {
            if self.world.refused.get(ifindex) != Some(error) {
                tracing::warn!("{error}");
            }
        }
        self.tools.observer.rename(Names::new(&desired));
        self.world = World {
            applied: desired.revision,
            desired: Arc::new(desired),
            inventory: placed.inventory,
            compiled: Arc::new(placed.compiled),
            refused: placed.refused,
        };
        self.readers.send_replace(Arc::new(self.world.clone()));
    }

    fn follow_host(&mut self, changes: &Changes) {
        if changes.devices && self.is_other_host() {
            self.look_again();
        }
        let is_concerned = |id, port: &fwd_common::port::Port| {
            let by_route = changes.routes && port.is(fwd_common::port::PortKind::Uplink);
            (by_route || changes.neighbors.contains(&port.ifindex)).then_some(MapOp::Bump(id))
        };
        let ports = &self.world.compiled.tables.ports;
        let plan: Vec<_> = ports.iter().filter_map(|(id, port)| is_concerned(*id, port)).collect();
        if let Err(error) = self.tools.ground.apply(&plan) {
            tracing::error!("flows could not be marked after a change of routes: {error}");
        }
    }

    /// Whether the host looks other than when it was last looked at. Preparing it makes messages too, which
    /// must not lead to preparing it again.
    fn is_other_host(&mut self) -> bool {
        let networks: Vec<_> = self.world.inventory.host_ports.keys().map(String::as_str).collect();
        let known = |now: Inventory| now == *self.world.inventory;
        !self.tools.ground.inventory(&networks).is_ok_and(known)
    }

    /// The same document on what the host is now.
    fn look_again(&mut self) {
        let desired = Arc::clone(&self.world.desired);
        let followed = self.place(&desired, Look::Again, Refusals::Noted).and_then(|placed| {
            self.put(&placed.compiled.tables)?;
            Ok(placed)
        });
        match followed {
            Ok(placed) => self.take(Desired::clone(&desired), placed),
            Err(error) => tracing::error!("a change of the host could not be followed: {error}"),
        }
    }

    fn revisions(&self) -> Result<Vec<Revision>, ApiError> {
        Ok(self.tools.store.history(HISTORY)?.iter().map(summary::revision).collect())
    }

    fn note(&self, result: &Result<Written, ApiError>, query: WriteQuery, start: Instant) {
        let outcome = match result {
            Ok(_) => ApplyOutcome::Applied,
            Err(e) if matches!(e.code, Code::DatapathFailed | Code::HostFailed | Code::StoreFailed) => {
                ApplyOutcome::Failed
            }
            Err(_) => ApplyOutcome::Refused,
        };
        if !query.dry_run {
            self.tools.observer.metrics.applied(outcome, start.elapsed());
        }
    }
}

/// Whether the host is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Again,
    /// It is followed, so it is as it was; nothing of it is concerned.
    AsKnown,
}

/// What a device that refuses a program means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusals {
    /// The edit cannot be made.
    Fatal,
    /// The port shows it; all others work.
    Noted,
}
