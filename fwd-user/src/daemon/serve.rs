//! Bringing the daemon up, in the order in which each part needs the one before, and taking it down.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
};

use super::{
    DatapathKind, LogLevel, Metrics, Options,
    audit::Audit,
    expiry,
    failure::{of_datapath, of_read},
    ground::{Ground, KernelGround, MemoryGround},
    handle::{Fixed, Handle},
    lock::Lock,
    services, socket, start,
    trial::Trials,
    world::World,
    writer::{Job, Tools, Writer},
};
use crate::{
    api::{
        document::Text,
        error::{ApiError, Code},
        request::WriteQuery,
        server,
        settings::Settings,
    },
    datapath::{self, Sweeper, Tracer},
    host::News,
    observe::{EventRing, FLOW_LOG, FlowLog, MemoryMaps, Observer, PinnedMaps, follow_log, open_events},
    state::Edit,
    store::{Sqlite, Store},
};

pub(super) const STORE: &str = "fwd.sqlite";
/// Answers under way at the end get so long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Everything below the server.
struct Engine {
    writer: Writer,
    world: watch::Receiver<Arc<World>>,
    observer: Arc<Observer>,
    kernel: Option<KernelSide>,
    tracer: Option<Tracer>,
}

/// What the kernel tells by itself.
struct KernelSide {
    news: News,
    events: EventRing,
    sweeper: Sweeper,
    /// Where the programs are pinned, if they tell anything.
    log: Option<PathBuf>,
}

/// Runs until a signal or a request ends it.
pub async fn serve(options: Options, detached: bool) -> Result<(), ApiError> {
    let _lock = Lock::take(&options.state_dir)?;
    Lock::end_guard(&options.state_dir);
    let metrics = bind_metrics(options.metrics).await?;
    let open = options.clone();
    let (jobs, queue) = mpsc::unbounded_channel();
    let trials = Trials::new(&options, jobs.downgrade());
    let engine = spawn_blocking(move || Engine::open(&open, trials)).await.map_err(|e| internal(&e))??;
    let listener = socket::bind(&options.socket)?;
    let links = match engine.kernel {
        Some(side) => Some(follow(side, &engine.observer, &jobs)?),
        None => None,
    };
    let fixed = Fixed { options: options.clone(), started: SystemTime::now(), links, tracer: engine.tracer };
    let observer = Arc::clone(&engine.observer);
    let handle = Handle { jobs, world: engine.world, observer: engine.observer, fixed: Arc::new(fixed) };
    tokio::spawn(expiry::follow(handle.jobs.clone(), handle.world.clone()));
    let mut writing = spawn_blocking(|| engine.writer.run(queue));
    if let Some(listener) = metrics {
        tokio::spawn(server::serve_metrics(listener, handle.clone()));
    }
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(listener, handle, async { _ = ended.await }));
    tracing::info!("ready on {}", options.socket.display());
    if detached {
        start::report(Ok(()));
    }
    start::notify_systemd();
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| internal(&e))?;
    let result = tokio::select! {
        done = &mut writing => done.map_err(|e| internal(&e)),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // Watchers would keep their streams open for ever; all others have their answers by now.
    _ = end.send(());
    _ = tokio::time::timeout(LAST_ANSWERS, serving).await;
    _ = spawn_blocking(move || observer.flush()).await;
    _ = std::fs::remove_file(&options.socket);
    result
}

impl Engine {
    /// Blocks: the store, the kernel and the host are asked here.
    fn open(options: &Options, trials: Trials) -> Result<Self, ApiError> {
        let store = Sqlite::open(&options.state_dir.join(STORE))?;
        let kept = store.load()?;
        let audit = Audit::open(&options.state_dir, &kept)?;
        let config = options.config.as_deref().map(|path| read(path).map(|text| (path, text))).transpose()?;
        // The tables are made before the document is in force.
        let coming = config.as_ref().map_or(&kept.document, |(_, text)| &text.document);
        let flows = Settings::of(&coming.settings).flow_limit;
        let (ground, observer, kernel, tracer): (Box<dyn Ground>, _, _, _) = match options.datapath {
            DatapathKind::Memory => {
                let ground = MemoryGround::open(options.inventory.as_deref())?;
                let capacities = datapath::capacities().map_err(|e| of_datapath(&e))?;
                let maps = MemoryMaps { capacities, ..MemoryMaps::default() };
                (Box::new(ground), Observer::new(Box::new(maps), None), None, None)
            }
            DatapathKind::Kernel => {
                let (ground, news) = KernelGround::open(options, flows)?;
                let maps = ground.maps();
                let flow_log = open_flow_log(&options.state_dir)?;
                let observer = Observer::new(
                    Box::new(PinnedMaps::open(&maps).map_err(|e| of_read(&e))?),
                    Some(flow_log),
                );
                let events = open_events(&maps).map_err(|e| of_read(&e))?;
                let log = (options.datapath_log != LogLevel::Off).then(|| ground.programs());
                let kernel = KernelSide { news, events, sweeper: ground.sweeper()?, log };
                (Box::new(ground), observer, Some(kernel), Some(Tracer::new(&maps)))
            }
        };
        let observer = Arc::new(observer);
        let instance = instance(&options.state_dir);
        let services = services::read();
        let store = Arc::new(Mutex::new(store));
        let tools =
            Tools { ground, store, audit, observer: Arc::clone(&observer), services, instance, trials };
        let (mut writer, world) = Writer::new(tools)?;
        // What ended while no daemon ran is not to be shown. Apart: the borrow must end before the writer writes.
        let due = expiry::due(&world.borrow());
        if let Some(edit) = due {
            writer.write(edit, WriteQuery::default(), None)?;
        }
        if let Some((path, text)) = &config {
            apply(&mut writer, path, text)?;
        }
        Ok(Self { writer, world, observer, kernel, tracer })
    }
}

/// Turns what the kernel tells into jobs and events, for as long as the daemon runs.
fn follow(
    side: KernelSide,
    observer: &Arc<Observer>,
    jobs: &mpsc::UnboundedSender<Job>,
) -> Result<rtnetlink::Handle, ApiError> {
    let KernelSide { news: News { mut follower, mut guests }, events, sweeper, log } = side;
    let (connection, links, _) = rtnetlink::new_connection().map_err(|e| internal(&e))?;
    tokio::spawn(connection);
    let (to_writer, of_guests, seen) = (jobs.clone(), jobs.clone(), jobs.clone());
    tokio::spawn(async move {
        while let Some(changes) = follower.next().await {
            if to_writer.send(Job::Host(changes)).is_err() {
                return;
            }
        }
        tracing::error!("netlink ended: changes of the host are no longer followed");
    });
    tokio::spawn(async move {
        while guests.recv().await.is_some() {
            // One look sees all that is told up to now.
            while guests.try_recv().is_ok() {}
            if of_guests.send(Job::Guests).is_err() {
                return;
            }
        }
    });
    let reader = Arc::clone(observer);
    tokio::spawn(async move {
        // The writer may have ended; then nobody needs to know.
        let learnt = || _ = seen.send(Job::Learnt);
        if let Err(error) = reader.read_events(events, learnt).await {
            tracing::error!("events are no longer read: {error}");
        }
    });
    if let Some(programs) = log {
        tokio::spawn(async move {
            if let Err(error) = follow_log(&programs).await {
                tracing::error!("the programs' log is not read: {error}");
            }
        });
    }
    std::thread::spawn(move || {
        if let Err(error) = sweeper.sweep_for_ever() {
            tracing::error!("expired flows are no longer swept: {error}");
        }
    });
    let walker = Arc::clone(observer);
    std::thread::spawn(move || walker.walk_for_ever());
    Ok(links)
}

fn open_flow_log(state_dir: &Path) -> Result<FlowLog, ApiError> {
    let path = state_dir.join(FLOW_LOG);
    FlowLog::open(&path).map_err(|e| {
        ApiError::new(Code::IoFailed, format!("Flow log {} cannot be written: {e}.", path.display()))
            .hint("Make room, or give its folder back to root.")
    })
}

fn read(path: &Path) -> Result<Text, ApiError> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        ApiError::new(Code::IoFailed, format!("Document {} cannot be read: {e}.", path.display()))
    })?;
    Ok(Text::read(&text))
}

/// Makes a document the configuration before anybody else can ask for anything.
fn apply(writer: &mut Writer, path: &Path, text: &Text) -> Result<(), ApiError> {
    let query = WriteQuery { dry_run: !text.problems.is_empty(), ..WriteQuery::default() };
    let result = writer.write(Edit::Replace(text.document.clone()), query, None);
    text.outcome(&path.display().to_string(), result).map(drop)
}

async fn bind_metrics(metrics: Metrics) -> Result<Option<TcpListener>, ApiError> {
    let Metrics::On(addr) = metrics else { return Ok(None) };
    let listener = TcpListener::bind(addr).await.map_err(|e| {
        ApiError::new(Code::HostListens, format!("Metrics cannot be served on {addr}: {e}."))
            .hint("Choose another: fwd up --metrics 127.0.0.1:9466; or none: --metrics off.")
    })?;
    Ok(Some(listener))
}

/// A short name that differs between instances, for namespaces: the default one has its own.
pub(super) fn instance(state_dir: &Path) -> String {
    if state_dir == Path::new(super::DEFAULT_STATE_DIR) {
        return "host".to_owned();
    }
    // FNV-1a: it must stay the same from build to build.
    let hash =
        state_dir.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{:08x}", hash & 0xffff_ffff)
}

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(Code::Internal, format!("The daemon failed: {error}."))
}
