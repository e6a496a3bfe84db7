//! What the daemon holds to see its datapath: the maps, the names of the document in force, the last walk of
//! the flow tables, the events.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use aya::maps::{MapData, RingBuf};
use fwd_common::event::{Event, EventKind};

use super::{
    Events, Maps, Moment, Names, ReadError, View, events,
    metrics::{Facts, Format, Metrics},
    usage::{self, UsageCache},
};

/// Sees a datapath.
pub struct Observer {
    maps: Box<dyn Maps>,
    names: RwLock<Arc<Names>>,
    usage: UsageCache,
    pub events: Events,
    pub metrics: Metrics,
}

impl Observer {
    pub fn new(maps: Box<dyn Maps>) -> Self {
        Self {
            maps,
            names: RwLock::default(),
            usage: UsageCache::default(),
            events: Events::default(),
            metrics: Metrics::default(),
        }
    }

    /// Tells by these names from now on: called for each accepted document.
    pub fn rename(&self, names: Names) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
    }

    /// The names in force.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the datapath as it is now.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn view<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> Result<T, ReadError> {
        let names = self.names();
        Ok(look(&View::new(&*self.maps, &names, Moment::now())?))
    }

    /// The text of one scrape. Blocks for as long as reading the counters takes, which does not grow with
    /// the number of flows beyond [`usage::SMALL`].
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn scrape(&self, facts: &Facts, format: Format) -> Result<String, ReadError> {
        self.view(|view| {
            let usage = self.usage.get(view)?;
            self.metrics.text(view, facts, usage.as_deref(), format)
        })?
    }

    /// Reads the ring buffer for ever: tells events to those who watch, and what was learnt to `learnt`.
    ///
    /// # Errors
    /// When the ring cannot be waited for.
    pub async fn read_events(
        &self,
        ring: RingBuf<MapData>,
        mut learnt: impl FnMut(&Event),
    ) -> io::Result<()> {
        events::read(ring, |event| {
            if event.kind == EventKind::Learnt as u8 {
                learnt(event);
            }
            self.events.tell(&self.names(), Moment::now(), event);
        })
        .await
    }

    /// Keeps the sums over large flow tables fresh, for ever: for a thread of its own. A walk that fails is
    /// tried again; the scrape that meets the same failure tells it.
    pub fn walk_for_ever(&self) -> ! {
        loop {
            let start = Instant::now();
            let _failed = self.view(|view| {
                if UsageCache::is_small(view)? { Ok(()) } else { self.usage.refresh(view).map(drop) }
            });
            std::thread::sleep(usage::pause(start.elapsed()));
        }
    }
}
