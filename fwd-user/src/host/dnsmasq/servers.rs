//! All servers of an instance: kept as they are wanted, watched, and read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

use super::{
    Service,
    config::{self, Files, Place, file},
    leases,
    process::{self, Process},
};
use crate::host::{
    error::{Error, Result},
    hostport::host_end,
    inventory::{Lease, Served},
    namespace::Namespace,
};

const FOLDER: &str = "services";
/// A server that lived so long may be started again at once.
const GOOD_LIFE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The servers, by network.
#[derive(Debug)]
pub(in crate::host) struct Servers {
    folder: PathBuf,
    servers: BTreeMap<String, Server>,
    leases: BTreeMap<String, Vec<Lease>>,
    watch: Watch,
}

/// One network's server.
#[derive(Debug, Default)]
struct Server {
    process: Option<Process>,
    problem: Option<String>,
    /// Starts in a row after which it did not live long.
    failures: u32,
    started: Option<Instant>,
}

/// Tells that leases changed, or that a server ended.
#[derive(Clone, Debug)]
struct Watch {
    news: mpsc::UnboundedSender<()>,
}

impl Servers {
    /// Servers whose files are in a state directory; `news` is told of them. Nothing is started yet.
    pub fn open(state_dir: &Path, news: mpsc::UnboundedSender<()>) -> Self {
        let folder = state_dir.join(FOLDER);
        Self { folder, servers: BTreeMap::new(), leases: BTreeMap::new(), watch: Watch { news } }
    }

    /// What each network's server does, and the leases that hold.
    pub fn look(&mut self) -> BTreeMap<String, Served> {
        let now_secs = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        for network in folders(&self.folder) {
            let found = leases::read(&self.folder.join(&network).join(file::LEASES), now_secs);
            let known = self.leases.entry(network).or_default();
            *known = leases::merge(known, found, now_secs);
        }
        // Leases outlive servers: before any server is adopted, they are here.
        let networks: BTreeSet<&String> = self.servers.keys().chain(self.leases.keys()).collect();
        let served = |network: &String| {
            let server = self.servers.get(network);
            Served {
                runs: server.and_then(|s| s.process.as_ref()).is_some_and(Process::runs),
                problem: server.and_then(|s| s.problem.clone()),
                leases: self.leases.get(network).cloned().unwrap_or_default(),
            }
        };
        networks.into_iter().map(|network| (network.clone(), served(network))).collect()
    }

    /// Brings the servers to what is wanted. What fails is noted as the server's problem.
    pub fn prepare(&mut self, wanted: &[Service]) {
        for network in folders(&self.folder) {
            if !wanted.iter().any(|service| service.network == network) {
                let folder = self.folder.join(&network);
                end(&folder);
                // What is left of it is a folder that nobody reads.
                _ = fs::remove_dir_all(&folder);
                self.leases.remove(&network);
            }
        }
        self.servers.retain(|network, _| wanted.iter().any(|service| service.network == *network));
        for service in wanted {
            let mut server = self.servers.remove(&service.network).unwrap_or_default();
            server.problem = self.ensure(service, &mut server).err();
            self.servers.insert(service.network.clone(), server);
        }
    }

    fn ensure(&self, service: &Service, server: &mut Server) -> std::result::Result<(), String> {
        let network = &service.network;
        let program = process::program().ok_or_else(|| {
            format!(
                "Network {network} has no DHCP and no DNS: dnsmasq is not installed. \
                 Install it: apt-get install dnsmasq-base."
            )
        })?;
        let fail = |what: String| format!("Network {network} has no DHCP and no DNS: dnsmasq: {what}.");
        let user = process::user().ok_or_else(|| fail("the system has no user nobody".to_owned()))?;
        let home =
            service.namespace.as_deref().map(Namespace::open).transpose().map_err(|e| fail(e.to_string()))?;
        let ifindex = inside(home.as_ref(), || ifindex(network)).map_err(|e| fail(e.to_string()))?;
        let folder = self.folder.join(network);
        let place = Place { folder: &folder, device: (&host_end(network), ifindex), user };
        let files = config::files(service, place);
        let is_told = write_lists(&folder, &files).map_err(|e| fail(e.to_string()))?;
        let is_current = fs::read_to_string(folder.join(file::CONFIG)).is_ok_and(|text| text == files.config);
        if let Some(running) = process::find(&folder).filter(|_| is_current) {
            if is_told {
                running.read_again().map_err(|e| fail(e.to_string()))?;
            }
            if server.process.is_none() {
                self.watch.begin(&folder, &running).map_err(|e| fail(e.to_string()))?;
            }
            server.process = Some(running);
            return Ok(());
        }
        self.pause(server).map_err(fail)?;
        replace_config(&program, &folder, &files.config).map_err(fail)?;
        end(&folder);
        server.started = Some(Instant::now());
        let started = inside(home.as_ref(), || Ok(process::start(&program, &folder)))
            .map_err(|e| e.to_string())
            .and_then(|started| started);
        let running = started.map_err(|what| {
            server.failures += 1;
            self.watch.tell_after(pause_after(server.failures));
            fail(what)
        })?;
        self.watch.begin(&folder, &running).map_err(|e| fail(e.to_string()))?;
        server.process = Some(running);
        Ok(())
    }

    /// Refuses to start again too soon.
    fn pause(&self, server: &mut Server) -> std::result::Result<(), String> {
        let Some(started) = server.started else { return Ok(()) };
        let has_ended = server.process.as_ref().is_some_and(|process| !process.runs());
        if has_ended {
            let was_good = started.elapsed() >= GOOD_LIFE;
            server.failures = if was_good { 0 } else { server.failures + 1 };
            server.process = None;
        }
        let left = pause_after(server.failures).saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        self.watch.tell_after(left);
        Err(format!("it ended {} times; it is started again in {} s", server.failures, left.as_secs() + 1))
    }
}

/// Ends every server of a state directory; its leases stay.
pub(in crate::host) fn end_all(state_dir: &Path) {
    let folder = state_dir.join(FOLDER);
    for network in folders(&folder) {
        end(&folder.join(network));
    }
}

fn end(folder: &Path) {
    if let Some(process) = process::find(folder) {
        process.end();
    }
}

fn pause_after(failures: u32) -> Duration {
    if failures == 0 { Duration::ZERO } else { Duration::from_secs(1 << failures.min(6)).min(LONGEST_PAUSE) }
}

/// The networks that have a folder.
fn folders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn inside<T: Send>(home: Option<&Namespace>, task: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match home {
        Some(namespace) => namespace.inside(task),
        None => task(),
    }
}

fn ifindex(network: &str) -> Result<u32> {
    let device = host_end(network);
    nix::net::if_::if_nametoindex(device.as_str()).map_err(|e| Error::Device {
        device,
        action: "finding it",
        source: e.into(),
    })
}

/// Writes the files that a server reads again when told to; whether one of them changed.
fn write_lists(folder: &Path, files: &Files) -> io::Result<bool> {
    fs::create_dir_all(folder)?;
    let mut is_changed = false;
    for (name, text) in [(file::HOSTS, &files.hosts), (file::BINDINGS, &files.bindings)] {
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            // Replaced whole: the server may be reading it.
            let new = path.with_extension("new");
            fs::write(&new, text)?;
            fs::rename(new, path)?;
            is_changed = true;
        }
    }
    Ok(is_changed)
}

/// Puts a configuration in place, if the program itself has nothing against it.
fn replace_config(program: &Path, folder: &Path, text: &str) -> std::result::Result<(), String> {
    let new = folder.join("dnsmasq.conf.new");
    fs::write(&new, text).map_err(|e| e.to_string())?;
    process::check(program, &new)?;
    fs::rename(new, folder.join(file::CONFIG)).map_err(|e| e.to_string())
}

impl Watch {
    /// Watches a server's leases and its end, until then.
    fn begin(&self, folder: &Path, process: &Process) -> io::Result<()> {
        let files = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        match files.add_watch(&folder.join(file::LEASES), AddWatchFlags::IN_MODIFY) {
            // Without DHCP there are none.
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let (watch, process) = (self.clone(), process.handle()?);
        thread::spawn(move || watch.follow(&files, &process));
        Ok(())
    }

    fn follow(&self, files: &Inotify, process: &OwnedFd) {
        loop {
            let mut ready = [PollFd::new(process, PollFlags::IN), PollFd::new(files, PollFlags::IN)];
            if poll(&mut ready, None).is_err_and(|e| e != rustix::io::Errno::INTR) {
                return;
            }
            let has_ended = !ready[0].revents().is_empty();
            while files.read_events().is_ok() {}
            // Whoever listened may have gone: then nothing is left to be done.
            if self.news.send(()).is_err() || has_ended {
                return;
            }
        }
    }

    fn tell_after(&self, pause: Duration) {
        let news = self.news.clone();
        thread::spawn(move || {
            thread::sleep(pause);
            _ = news.send(());
        });
    }
}
