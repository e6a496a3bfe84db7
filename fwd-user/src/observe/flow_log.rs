//! The flow log: a JSON line for each start and end of a flow, kept for so long and never larger than so much.
//!
//! Nobody waits for the disk: lines are written by a thread of their own, some at a time, and what comes while
//! too many wait for it is shed and counted. They are not synced one by one: a power cut may cost the last ones.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, SystemTime},
};

use crate::api::event::FlowEvent;

use super::{Keep, RecordFile};

/// Its name in the state directory.
pub const FLOW_LOG: &str = "flow.log";

/// Lines that may wait for the disk.
const WAITING: usize = 16_384;
/// Lines written at once.
const AT_ONCE: usize = 512;
/// The last lines get so long at the end.
const LAST_LINES: Duration = Duration::from_secs(5);

enum Line {
    Flow(Arc<FlowEvent>),
    /// All before are to be on the disk; then this is dropped.
    Flush(SyncSender<()>),
}

/// Where lines go.
#[derive(Debug)]
pub struct FlowLog {
    lines: SyncSender<Line>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// None: nothing is logged.
    keep: Mutex<Option<Keep>>,
    shed: AtomicU64,
}

impl Shared {
    fn keep(&self) -> Option<Keep> {
        *self.keep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlowLog {
    /// Logs nothing until [`set_keep`](Self::set_keep) says how much.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = RecordFile::open(path, Keep { bytes: u64::MAX, age: Duration::MAX })?;
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        thread::spawn(move || write(file, &waiting, &writer));
        Ok(Self { lines, shared })
    }

    pub fn set_keep(&self, keep: Option<Keep>) {
        *self.shared.keep.lock().unwrap_or_else(PoisonError::into_inner) = keep;
    }

    pub fn is_on(&self) -> bool {
        self.shared.keep().is_some()
    }

    pub fn add(&self, flow: &Arc<FlowEvent>) {
        if self.is_on() && self.lines.try_send(Line::Flow(Arc::clone(flow))).is_err() {
            self.shared.shed.fetch_add(1, Relaxed);
        }
    }

    /// Lines that the disk was too slow for, or refused.
    pub fn shed(&self) -> u64 {
        self.shared.shed.load(Relaxed)
    }

    /// Waits until what was added is on the disk; not for ever.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(0);
        match self.lines.try_send(Line::Flush(done)) {
            Ok(()) => _ = wait.recv_timeout(LAST_LINES),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// Writes lines for as long as there is somebody to send them.
fn write(mut file: RecordFile, waiting: &Receiver<Line>, shared: &Shared) {
    let mut has_failed = false;
    while let Ok(first) = waiting.recv() {
        let (mut lines, mut count, mut flush) = (Vec::new(), 0, None);
        let more = std::iter::from_fn(|| waiting.try_recv().ok());
        for line in std::iter::once(first).chain(more.take(AT_ONCE)) {
            match line {
                Line::Flow(flow) => {
                    serde_json::to_writer(&mut lines, &*flow).expect("events are plain data");
                    lines.push(b'\n');
                    count += 1;
                }
                Line::Flush(done) => flush = Some(done),
            }
        }
        if let Some(keep) = shared.keep() {
            file.set_keep(keep);
        }
        let written = match (lines.is_empty(), &flush) {
            (true, _) => file.sync(),
            (false, None) => file.append(&lines, SystemTime::now()),
            (false, Some(_)) => file.append(&lines, SystemTime::now()).and_then(|()| file.sync()),
        };
        if let Err(error) = &written {
            shared.shed.fetch_add(count, Relaxed);
            if !has_failed {
                tracing::error!("the flow log cannot be written, flows are missing there: {error}");
            }
        }
        has_failed = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{
        flow_event,
        testing::{ended, names, now},
    };

    const KEEP: Keep = Keep { bytes: 64 << 10, age: Duration::from_secs(86_400) };

    fn flow() -> Arc<FlowEvent> {
        Arc::new(flow_event::row(&names(), now(), &ended()).expect("a known kind"))
    }

    #[test]
    fn each_flow_is_a_line_that_reads_back() {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let path = folder.path().join(FLOW_LOG);
        let log = FlowLog::open(&path).expect("it can be made");
        log.add(&flow());
        log.set_keep(Some(KEEP));
        log.add(&flow());
        log.flush();
        let text = std::fs::read_to_string(&path).expect("it is there");
        let lines: Vec<FlowEvent> =
            text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        assert_eq!(lines, [(*flow()).clone()], "what came before it was on is not there");
        assert_eq!(log.shed(), 0);
    }

    #[test]
    fn it_never_takes_more_room_than_it_may() {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let log = FlowLog::open(&folder.path().join(FLOW_LOG)).expect("it can be made");
        log.set_keep(Some(KEEP));
        for _ in 0..20 {
            (0..20).for_each(|_| log.add(&flow()));
            log.flush();
        }
        let parts = std::fs::read_dir(folder.path()).expect("our own folder");
        let sizes: Vec<u64> =
            parts.map(|part| part.expect("an entry").metadata().expect("it is there").len()).collect();
        assert!(sizes.len() > 1 && sizes.iter().sum::<u64>() <= KEEP.bytes, "{sizes:?}");
        assert_eq!(log.shed(), 0);
    }
}
