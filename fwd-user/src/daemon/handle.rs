//! The daemon as the server sees it: writes become jobs of the writer, reads look at its last picture and at
//! the maps.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use fwd_common::{id::RuleId, settings, sweep::Command};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Options,
    bundle::Write,
    facts,
    failure::{of_query, of_read},
    implicit,
    observed::{self, Sight, not_found},
    summary, trace,
    world::World,
    writer::Job,
};
use crate::{
    api::{
        answer::{DaemonStatus, Revision, RevisionState, Written},
        diagnosis::{Doctor, ForwardTest},
        error::{ApiError, Code},
        event::{DropEvent, FlowEvent},
        object::Noun,
        policy_test::{PolicyTestRow, PolicyTests},
        query::{BenchQuery, DropQuery, FlowQuery},
        request::{Author, HistoryQuery, RollbackQuery, WriteQuery},
        server::{Answer, Service},
        spec::{API, Document},
        status::{Bench, Check, DropReasonRow, DropRow, FlowCount, FlowRow, LeaseRow},
        trace::{Trace, TraceQuery},
        version::{COMMIT, VERSION},
    },
    datapath::Tracer,
    observe::{
        Observer, QueryError, View, Watched,
        bench::Sample,
        devices::{self, DeviceCounters},
        drops,
        flows::{self, Which},
        ledger,
        metrics::Format,
        rules::RuleCount,
    },
    state::Edit,
};

/// Cheap to clone: one for each connection.
#[derive(Clone)]
pub struct Handle {
    pub jobs: mpsc::UnboundedSender<Job>,
    pub world: watch::Receiver<Arc<World>>,
    pub observer: Arc<Observer>,
    pub fixed: Arc<Fixed>,
}

/// What does not change while the daemon runs.
pub struct Fixed {
    pub options: Options,
    pub started: SystemTime,
    /// Where devices' counters are asked for; none where there are no devices.
    pub links: Option<rtnetlink::Handle>,
    /// Traces packets; none where there is no kernel's datapath.
    pub tracer: Option<Tracer>,
}

impl Handle {
    pub(super) fn world(&self) -> Arc<World> {
        self.world.borrow().clone()
    }

    async fn job<T>(&self, job: impl FnOnce(oneshot::Sender<Answer<T>>) -> Job) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// Looks at the maps, which may take a while, aside from the server's own thread.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&World, &View<'_>) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let (world, observer) = (self.world(), Arc::clone(&self.observer));
        aside(move || observer.view(|view| look(&world, view))).await?.map_err(|e| of_read(&e))?
    }

    async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&View<'_>) -> Result<T, QueryError> + Send + 'static,
    ) -> Answer<T> {
        self.look(|_, view| ask(view).map_err(|e| of_query(&e))).await
    }

    /// What rules did, where rules are asked about.
    async fn rules(&self, noun: Noun) -> Answer<HashMap<RuleId, RuleCount>> {
        if noun != Noun::Policy {
            return Ok(HashMap::new());
        }
        let observer = Arc::clone(&self.observer);
        aside(move || observer.rules()).await?.map_err(|e| of_read(&e))
    }

    /// Whether the datapath tells starts and ends of flows.
    fn check_flows_are_told(&self) -> Answer<()> {
        if self.world().compiled.tables.settings.flags & settings::flag::FLOW_EVENTS == 0 {
            let message = "Starts and ends of flows are not told: setting flow_log is off.";
            return Err(ApiError::new(Code::FlowsUntold, message));
        }
        Ok(())
    }

    async fn devices(&self) -> HashMap<u32, DeviceCounters> {
        match &self.fixed.links {
            // Without the devices' own counters only `egress_lost` is not known.
            Some(links) => devices::read(links).await.unwrap_or_default(),
            None => HashMap::new(),
        }
    }
}

/// Has the writer end flows; for a thread that may wait.
fn end(
    jobs: &mpsc::UnboundedSender<Job>,
    commands: Vec<Command>,
    query: &FlowQuery,
    author: Author,
) -> Answer<u64> {
    let (reply, answer) = oneshot::channel();
    jobs.send(Job::EndFlows { commands, query: query.clone(), author, reply }).map_err(|_| ending())?;
    answer.blocking_recv().map_err(|_| ending())?
}

fn ending() -> ApiError {
    ApiError::new(Code::NotRunning, "The daemon is ending.")
}

fn no_flow(name: &str) -> ApiError {
    ApiError::new(Code::NoSuchObject, format!("There is no flow {name}."))
        .about(format!("flow {name}"))
        .hint("It may have ended. List them: fwd flow list.")
}

/// Does what may take a while on a thread of its own.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| ApiError::new(Code::Internal, format!("A look at the datapath failed: {e}.")))
}

impl Service for Handle {
    async fn write(&self, edit: Edit, query: WriteQuery, author: Author) -> Answer<Written> {
        let (edit, author, asked) = (Box::new(edit), Some(author), Instant::now());
        self.job(|reply| Job::Write(Write { edit, query, author, asked, reply })).await
    }

    fn document(&self) -> Arc<Document> {
        Arc::new(self.world().accepted.document.clone())
    }

    async fn list(&self, noun: Noun) -> Answer<Vec<Value>> {
        let devices = self.devices().await;
        let rules = self.rules(noun).await?;
        self.look(move |world, view| {
            let sight = Sight { world, view, devices: &devices, rules: &rules };
            let objects = world.desired.document.objects();
            objects.iter().filter(|o| o.noun() == noun).map(|o| sight.show(o)).collect()
        })
        .await
    }

    fn implicit(&self) -> Vec<Value> {
        implicit::list(&self.world().desired.document)
    }

    async fn show(&self, noun: Noun, name: &str) -> Answer<Value> {
        let object = self.world().desired.document.object(noun, name).ok_or_else(|| not_found(noun, name))?;
        let devices = self.devices().await;
        let rules = self.rules(noun).await?;
        let sight = move |world: &World, view: &View<'_>| {
            Sight { world, view, devices: &devices, rules: &rules }.show(&object)
        };
        self.look(sight).await
    }

    async fn revisions(&self, query: HistoryQuery) -> Answer<Vec<Revision>> {
        self.job(|reply| Job::Revisions { query, reply }).await
    }

    async fn test_policy(&self, asked: PolicyTests) -> Answer<Vec<PolicyTestRow>> {
        let asked = Box::new(asked);
        self.job(|reply| Job::TestPolicy { asked, reply }).await
    }

    async fn confirm(&self, author: Author) -> Answer<Written> {
        self.job(|reply| Job::Confirm { author, reply }).await
    }

    async fn roll_back(&self, query: RollbackQuery, author: Author) -> Answer<Written> {
        self.job(|reply| Job::RollBack { query, author, reply }).await
    }

    fn leases(&self, network: &str) -> Answer<Vec<LeaseRow>> {
        observed::leases(&self.world(), network)
    }

    async fn status(&self) -> Answer<DaemonStatus> {
        let world = self.world();
        let mut objects: BTreeMap<String, u64> = Noun::ALL.iter().map(|n| (n.list().to_owned(), 0)).collect();
        for object in world.accepted.document.objects() {
            *objects.entry(object.noun().list().to_owned()).or_default() += 1;
        }
        let totals = self.query(|view| Ok(facts::totals(view)?)).await?;
        let Fixed { options, started, .. } = &*self.fixed;
        Ok(DaemonStatus {
            api: API.to_owned(),
            kind: "status".to_owned(),
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            abi: fwd_common::layout::ABI_VERSION,
            pid: std::process::id(),
            started: summary::time_text(*started),
            datapath: options.datapath.name().to_owned(),
            revision: RevisionState {
                accepted: world.desired.revision,
                applied: world.applied,
                confirmed: world.confirmed,
                confirm_until: world.confirm_until.map(summary::time_text),
            },
            options: options.shown(),
            objects,
            flows: totals.flows,
            flows_limit: totals.flows_limit,
            dropped_packets: totals.dropped,
            interfaces: facts::interfaces(&world),
            problems: facts::problems(&world),
        })
    }

    async fn doctor(&self) -> Answer<Doctor> {
        self.diagnose().await
    }

    async fn test_forward(&self, name: &str) -> Answer<ForwardTest> {
        self.test(name).await
    }

    async fn check(&self) -> Answer<Check> {
        let devices = self.devices().await;
        self.query(move |view| Ok(ledger::check(view, &devices)?)).await
    }

    async fn bench(&self, query: BenchQuery) -> Answer<Bench> {
        // The kernel times programs for as long as this is held.
        let _timing = self.query(|view| Ok(view.maps.time_programs()?)).await?;
        let (first, last) = (query.clone(), query.clone());
        let before = self.query(move |view| Sample::take(view, &first)).await?;
        tokio::time::sleep(Duration::from_secs(query.secs)).await;
        self.query(move |view| Ok(Sample::take(view, &last)?.since(&before))).await
    }

    async fn flows(&self, query: FlowQuery) -> Answer<Vec<FlowRow>> {
        self.query(move |view| flows::list(view, Which::All, &query)).await
    }

    async fn flow(&self, name: &str) -> Answer<FlowRow> {
        let query = FlowQuery { name: Some(name.to_owned()), ..FlowQuery::default() };
        self.flows(query).await?.pop().ok_or_else(|| no_flow(name))
    }

    async fn end_flows(&self, query: FlowQuery, author: Author) -> Answer<Written> {
        let jobs = self.jobs.clone();
        let name = query.name.clone();
        let end = move |view: &View<'_>| {
            let mut ended = Ok(0);
            let take = &mut |commands| match (&ended, end(&jobs, commands, &query, author)) {
                (Ok(before), Ok(now)) => {
                    ended = Ok(before + now);
                    ControlFlow::Continue(())
                }
                (_, failed) => {
                    ended = failed;
                    ControlFlow::Break(())
                }
            };
            flows::each_end(view, &query, take).map_err(|e| of_query(&e))?;
            ended
        };
        let ended = self.look(move |_, view| end(view)).await?;
        if let Some(name) = name.filter(|_| ended == 0) {
            return Err(no_flow(&name));
        }
        let revision = self.world().desired.revision;
        Ok(Written { api: API.to_owned(), revision, cut: Some(ended), ..Written::default() })
    }

    async fn translations(&self, query: FlowQuery) -> Answer<Vec<FlowRow>> {
        self.query(move |view| flows::list(view, Which::Translated, &query)).await
    }

    async fn flow_count(&self, query: FlowQuery) -> Answer<FlowCount> {
        let observer = Arc::clone(&self.observer);
        aside(move || observer.count_flows(&query)).await?.map_err(|e| of_query(&e))
    }

    async fn drops(&self, query: DropQuery) -> Answer<Vec<DropRow>> {
        self.query(move |view| drops::list(view, &query)).await
    }

    async fn drop_reasons(&self) -> Answer<Vec<DropReasonRow>> {
        self.query(|view| Ok(drops::reasons(view.maps)?)).await
    }

    async fn trace(&self, query: TraceQuery) -> Answer<Trace> {
        let tracer = self.fixed.tracer.clone().ok_or_else(|| {
            ApiError::new(
                Code::KernelLacks,
                "This daemon has no datapath in the kernel to trace a packet in.",
            )
        })?;
        self.look(move |world, view| trace::trace(world, view, &tracer, &query)).await
    }

    async fn metrics(&self, format: Format) -> Answer<String> {
        let facts = facts::of(&self.world(), &self.observer, self.devices().await);
        let observer = Arc::clone(&self.observer);
        aside(move || observer.scrape(&facts, format)).await?.map_err(|e| of_read(&e))
    }

    fn cut_flows(&self, revision: u64, query: &FlowQuery) -> Answer<Vec<FlowEvent>> {
        self.check_flows_are_told()?;
        self.observer.cut_flows(revision, query).map_err(|e| of_query(&e))
    }

    fn watch_drops(&self, query: &DropQuery) -> Answer<Watched<DropEvent>> {
        self.observer.watch_drops(query).map_err(|e| of_query(&e))
    }

    fn watch_flows(&self, query: &FlowQuery) -> Answer<Watched<FlowEvent>> {
        let watched = self.observer.watch_flows(query).map_err(|e| of_query(&e))?;
        self.check_flows_are_told()?;
        Ok(watched)
    }

    fn missed(&self, events: u64) {
        self.observer.events.missed(events);
    }

    async fn down(&self, keep_datapath: bool, author: Author) -> Answer<()> {
        self.job(|reply| Job::Down { keep_datapath, author, reply }).await
    }
}
