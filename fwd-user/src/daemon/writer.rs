//! The one writer: every request, every change of the host and every timer becomes a job; jobs are done one
//! after the other, each whole or not at all.
//!
//! An edit goes state → host → compile → plan → datapath → store, and is answered when it is durable. The
//! store comes last, so that a revision that is kept is one that works: should the machine die in between,
//! nobody was told, and the next start brings the rows back to the document that was kept. If any step
//! refuses, host, programs and rows are brought back to the old document. Edits that wait at the same time
//! go this way together (`bundle`).

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use fwd_common::sweep::Command;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    admission,
    audit::{Audit, Happened},
    bundle::{self, Bundle, Write},
    existing,
    failure::{of_query, of_read},
    ground::Ground,
    keep::{MANY, locked, release_memory_soon},
    place::{Look, Placed, Refusals},
    rollback::{self, Start},
    summary,
    trial::{Keeping, Trial, Trials},
    world::World,
};
use crate::{
    api::{
        answer::{PlanSummary, Revision, Written},
        error::{ApiError, Code},
        policy_test::{PolicyTestRow, PolicyTests},
        query::FlowQuery,
        request::{Author, HistoryQuery, RollbackQuery, WriteQuery},
        spec::API,
        text::ServiceNames,
    },
    compile::{Compiled, compile, with_patterns},
    datapath,
    host::{Changes, Wanted},
    observe::{Names, Observer, impact::impact, metrics::ApplyOutcome},
    plan::{MapOp, diff},
    state::{self, Accepted, Change, Edit},
    store::{Sqlite, Store},
};

/// Edits that the history shows.
const HISTORY: u32 = 1000;

/// What is to be done.
#[derive(Debug)]
pub enum Job {
    Write(Write),
    /// Ends flows by their keys, and answers how many there were.
    EndFlows {
        commands: Vec<Command>,
        query: FlowQuery,
        author: Author,
        reply: Reply<u64>,
    },
    Revisions {
        query: HistoryQuery,
        reply: Reply<Vec<Revision>>,
    },
    TestPolicy {
        asked: Box<PolicyTests>,
        reply: Reply<Vec<PolicyTestRow>>,
    },
    Confirm {
        author: Author,
        reply: Reply<Written>,
    },
    RollBack {
        query: RollbackQuery,
        author: Author,
        reply: Reply<Written>,
    },
    /// The time of a trial is over.
    Expired(u64),
    /// Interfaces, addresses, routes or neighbors changed.
    Host(Changes),
    /// The datapath saw a MAC or an address for the first time.
    Learnt,
    /// A lease was given or ended, or a server of a network did; or a domain of libvirt started, stopped or changed.
    Guests,
    /// The last one.
    Down {
        keep_datapath: bool,
        author: Author,
        reply: Reply<()>,
    },
}

/// Where an answer goes. Whoever asked may have gone: the job is done all the same.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What the writer works on and with.
pub struct Tools {
    pub ground: Box<dyn Ground>,
    /// Shared with the thread that writes what an edit of very many objects came to.
    pub store: Arc<Mutex<Sqlite>>,
    pub audit: Audit,
    pub observer: Arc<Observer>,
    pub services: ServiceNames,
    /// Keeps the namespaces of several daemons apart.
    pub instance: String,
    pub trials: Trials,
}

/// The writer's own.
pub struct Writer {
    pub(super) tools: Tools,
    pub(super) world: World,
    /// What the host was last prepared for.
    pub(super) wanted: Wanted,
    pub(super) readers: watch::Sender<Arc<World>>,
    pub(super) trial: Option<Trial>,
}

impl Writer {
    /// Brings host and datapath to the last confirmed document, by the difference only.
    ///
    /// # Errors
    /// The store or the datapath cannot be read, or the document cannot be brought about.
    pub fn new(mut tools: Tools) -> Result<(Self, watch::Receiver<Arc<World>>), ApiError> {
        let Start { desired, confirmed, undone } = rollback::start(&mut tools.store(), &tools.services)?;
        tools.audit.catch_up(&locked(&tools.store), &desired, false);
        undone.into_iter().for_each(|undone| tools.audit.note(None, undone));
        let tables = tools.ground.tables()?;
        let (readers, seen) = watch::channel(Arc::default());
        let compiled = Compiled { tables, ..Compiled::default() };
        let world = World { compiled: Arc::new(compiled), confirmed, ..World::default() };
        let mut writer = Self { tools, world, wanted: Wanted::default(), readers, trial: None };
        let placed = writer.place(&desired, Look::Again, Refusals::Noted)?;
        writer.put(&placed.compiled.tables)?;
        writer.take(Arc::new(desired), placed);
        datapath::release_free_memory();
        Ok((writer, seen))
    }

    /// Does jobs until the last one.
    pub fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut next = None;
        self.tools.audit.settle();
        while let Some(job) = next.take().or_else(|| jobs.blocking_recv()) {
            match job {
                Job::Write(first) => {
                    let writes;
                    (writes, next) = bundle::gather(first, &mut jobs);
                    self.write_all(writes);
                }
                Job::EndFlows { commands, query, author, reply } => {
                    _ = reply.send(self.end_flows(&commands, &query, author));
                }
                Job::Revisions { query, reply } => _ = reply.send(self.revisions(query)),
                Job::TestPolicy { asked, reply } => _ = reply.send(self.test_policy(*asked)),
                Job::Confirm { author, reply } => _ = reply.send(self.confirm(author)),
                Job::RollBack { query, author, reply } => _ = reply.send(self.roll_back(query, author)),
                Job::Expired(trial) => self.expire(trial),
                Job::Host(changes) => self.follow_host(&changes),
                Job::Learnt => {
                    if self.is_other_host() {
                        self.look_again();
                    }
                }
                Job::Guests => self.look_again(),
                Job::Down { keep_datapath, author, reply } => {
                    self.tools.audit.note(Some(author), Happened::Down { keep_datapath });
                    let result = if keep_datapath { Ok(()) } else { self.tear_down() };
                    _ = reply.send(result);
                    return;
                }
            }
            self.tools.audit.settle();
        }
    }

    fn write_all(&mut self, mut writes: Vec<Write>) {
        let answers = self.make(&mut writes);
        let changed = answers.iter().flatten().map(|written| written.changed.len()).sum::<usize>();
        for (write, answer) in writes.into_iter().zip(answers) {
            self.note(&answer, write.query, write.asked);
            self.note_refusal(&write, &answer);
            _ = write.reply.send(answer);
        }
        if let Err(error) = self.tools.store().tidy() {
            tracing::warn!("{}", ApiError::from(error));
        }
        if changed >= MANY {
            release_memory_soon();
        }
    }

    /// Makes edits, each with its answer. If what they come to cannot be brought about, each is made alone,
    /// so that only those are refused that cannot be made.
    fn make(&mut self, writes: &mut [Write]) -> Vec<Result<Written, ApiError>> {
        if let [write] = writes {
            return vec![self.write(write.taken(), write.query, write.author)];
        }
        let mut bundle = Bundle::new(&self.world.accepted);
        let answers =
            writes.iter().map(|w| self.judge(&mut bundle, Edit::clone(&w.edit), w.query, w.author)).collect();
        match self.accept(bundle, Keeping::Plain, WriteQuery::default()) {
            Ok(()) => answers,
            Err(_) => writes.chunks_mut(1).flat_map(|write| self.make(write)).collect(),
        }
    }

    /// Makes one edit, or tells what it would do.
    pub fn write(
        &mut self,
        edit: Edit,
        query: WriteQuery,
        author: Option<Author>,
    ) -> Result<Written, ApiError> {
        let mut bundle = Bundle::new(&self.world.accepted);
        let written = self.judge(&mut bundle, edit, query, author)?;
        let on_trial = |secs: u32| Keeping::OnTrial(Duration::from_secs(secs.into()));
        if query.dry_run {
            return self.tell(&bundle, written, query);
        }
        let is_change = !bundle.edits.is_empty();
        self.accept(bundle, query.confirm.map_or(Keeping::Plain, on_trial), query)?;
        let cut = match (query.wait, is_change) {
            (false, _) => None,
            (true, false) => Some(0),
            (true, true) => Some(self.tools.observer.cut_by(written.revision).map_err(|e| of_query(&e))?),
        };
        Ok(Written { cut, ..written })
    }

    /// What edits would do.
    pub(super) fn tell(
        &self,
        bundle: &Bundle,
        written: Written,
        query: WriteQuery,
    ) -> Result<Written, ApiError> {
        let (revision, plan) = (self.world.desired.revision, Some(self.plan(bundle, query)?));
        Ok(Written { revision, plan, ..written })
    }

    /// Whether an edit can be made after those of the bundle; then it is one of them.
    pub(super) fn judge(
        &mut self,
        bundle: &mut Bundle,
        edit: Edit,
        query: WriteQuery,
        author: Option<Author>,
    ) -> Result<Written, ApiError> {
        let services = &self.tools.services;
        let changes = if edit.noun().is_some_and(admission::has_no_say) {
            state::amend(&mut bundle.desired, edit, query.if_revision, services)?
        } else {
            let accepted = state::accept(&bundle.desired, edit, query.if_revision, services)?;
            self.admit(bundle, &accepted)?;
            bundle.desired = accepted.desired;
            accepted.changes
        };
        let revision = bundle.desired.revision;
        let changed = summary::names(&changes);
        if !changes.is_empty() {
            bundle.edits.push(summary::kept(revision, author, SystemTime::now(), changes));
        }
        Ok(Written { api: API.to_owned(), revision, changed, ..Written::default() })
    }

    /// Whether this host takes an edit. One that concerns interfaces is held against them as they are now.
    fn admit(&mut self, bundle: &mut Bundle, accepted: &Accepted) -> Result<(), ApiError> {
        let concerns = |kinds: &[&str]| accepted.changes.iter().any(|c| kinds.contains(&c.kind.as_str()));
        let inventory = match (concerns(&["uplink", "port"]), &bundle.inventory) {
            (true, Some(seen)) => Arc::clone(seen),
            (true, None) => {
                let seen = Arc::new(self.tools.ground.inventory(&[])?);
                Arc::clone(bundle.inventory.insert(seen))
            }
            (false, _) => Arc::clone(&self.world.inventory),
        };
        let sockets = match concerns(&["forward"]) {
            true => &**bundle.sockets.get_or_insert_with(|| self.tools.ground.sockets()),
            false => &[],
        };
        match admission::problems(accepted, &inventory, sockets) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(ApiError::from_problems(problems)),
        }
    }

    /// What edits would do to objects and maps.
    fn plan(&self, bundle: &Bundle, query: WriteQuery) -> Result<PlanSummary, ApiError> {
        let tables = &self.world.compiled.tables;
        let live = with_patterns(&bundle.desired, &self.world.inventory, tables);
        let compiled = compile(&live, &self.world.inventory, tables);
        self.check_room(&compiled.tables)?;
        let capacities = self.tools.observer.view(|view| view.maps.capacities().to_vec());
        let room = summary::Room {
            before: tables.rows_by_map(),
            entries: compiled.tables.rows_by_map(),
            capacities: capacities.map_err(|e| of_read(&e))?,
        };
        let plan = diff(tables, &compiled.tables);
        let names = Names::new(&live);
        let mut summary = summary::plan(bundle.changes(), &plan, &names, &room);
        if query.against_flows {
            let looked = self.tools.observer.view(|view| impact(view, &compiled.tables, &names));
            summary.flows = Some(looked.map_err(|e| of_read(&e))?.map_err(|e| of_query(&e))?);
        }
        Ok(summary)
    }

    /// Brings about what edits came to, and keeps them; all or none.
    pub(super) fn accept(
        &mut self,
        bundle: Bundle,
        keeping: Keeping,
        query: WriteQuery,
    ) -> Result<(), ApiError> {
        if bundle.edits.is_empty() {
            return Ok(());
        }
        let trial = match keeping {
            Keeping::OnTrial(after) => Some(self.tools.trials.begin(after)?),
            Keeping::Plain | Keeping::Back => None,
        };
        let is_on_trial = trial.is_some() || (self.trial.is_some() && keeping != Keeping::Back);
        let confirmed = if is_on_trial { self.world.confirmed } else { bundle.desired.revision };
        match self.keep(&bundle, keeping, confirmed, query) {
            Ok(placed) => {
                let Tools { audit, store, .. } = &mut self.tools;
                audit.accepted(&bundle.edits, &locked(store), &bundle.desired, is_on_trial);
                if trial.is_some() || !is_on_trial {
                    self.begin_trial(trial, confirmed);
                }
                self.take(Arc::new(bundle.desired), placed);
                Ok(())
            }
            Err(error) => {
                if let Some(trial) = trial {
                    trial.dismiss();
                }
                self.undo();
                Err(error)
            }
        }
    }

    pub(super) fn bring_about(
        &mut self,
        bundle: &Bundle,
        keeping: Keeping,
        query: WriteQuery,
    ) -> Result<Placed, ApiError> {
        let concerns_host = |c: &Change| matches!(c.kind.as_str(), "uplink" | "network" | "port");
        let rules = bundle.edited_rules(&self.world.desired.numbers);
        let look = match &rules {
            Some(rules) => Look::AtRules(rules),
            None if bundle.changes().any(concerns_host) => Look::Again,
            None => Look::AsKnown,
        };
        // A device that refuses a program does not keep what was confirmed from coming back.
        let refusals = if keeping == Keeping::Back { Refusals::Noted } else { Refusals::Fatal };
        let placed = self.place(&bundle.desired, look, refusals)?;
        if existing::settles_first(query) {
            self.tools.ground.apply(&[MapOp::Recheck])?;
        }
        let (first, last) = (bundle.edits.first().map_or(0, |e| e.revision), bundle.desired.revision);
        // What the edit cuts is told while it binds, by names that it may bring.
        self.tools.observer.rename(placed.names.clone());
        self.tools.observer.binds(first..=last).map_err(|e| of_read(&e))?;
        self.apply(&existing::plan(&self.world, &placed.compiled.tables, bundle.changes(), query))?;
        Ok(placed)
    }

    fn revisions(&self, query: HistoryQuery) -> Result<Vec<Revision>, ApiError> {
        let limit = query.limit.unwrap_or(HISTORY);
        Ok(self.tools.store().history(limit)?.iter().map(summary::revision).collect())
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
