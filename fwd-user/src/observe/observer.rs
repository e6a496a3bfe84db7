//! What the daemon holds to see its datapath: the maps, the names of the document in force, the last walk of
//! the flow tables, the events.

use std::{
    collections::HashMap,
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use aya::maps::{MapData, RingBuf};
use fwd_common::id::RuleId;

use crate::api::{
    event::{DropEvent, FlowEvent},
    query::{DropQuery, FlowQuery},
    status::FlowCount,
};

use super::{
    Events, FlowLog, Keep, Maps, Moment, Names, QueryError, ReadError, View,
    cuts::Cuts,
    drops,
    events::{self, Record, Watched},
    flows,
    metrics::{Facts, Format, Metrics},
    rule_log::RuleLog,
    rules::{self, RuleCount},
    usage::{self, UsageCache},
};

/// Sees a datapath.
pub struct Observer {
    maps: Box<dyn Maps>,
    names: RwLock<Arc<Names>>,
    usage: UsageCache,
    cuts: Mutex<Cuts>,
    rule_log: RuleLog,
    flow_log: Option<FlowLog>,
    pub events: Events,
    pub metrics: Metrics,
}

impl Observer {
    /// `flow_log`: none where there are no flows to log.
    pub fn new(maps: Box<dyn Maps>, flow_log: Option<FlowLog>) -> Self {
        Self {
            maps,
            names: RwLock::default(),
            usage: UsageCache::default(),
            cuts: Mutex::default(),
            rule_log: RuleLog::default(),
            flow_log,
            events: Events::default(),
            metrics: Metrics::default(),
        }
    }

    /// Tells by these names from now on, and by the old ones of what is no more: called for each accepted
    /// document.
    pub fn rename(&self, mut names: Names) {
        let mut held = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.remember(&held);
        *held = Arc::new(names);
    }

    /// How much of the flow log is kept from now on; none: flows are not logged.
    pub fn keep_flows(&self, keep: Option<Keep>) {
        if let Some(log) = &self.flow_log {
            log.set_keep(keep);
        }
    }

    /// Waits until the flow log is on the disk.
    pub fn flush(&self) {
        if let Some(log) = &self.flow_log {
            log.flush();
        }
    }

    /// Events that were told by the datapath and lost here, by whom they were for.
    pub fn shed(&self) -> Vec<(&'static str, u64)> {
        let log = self.flow_log.as_ref().map_or(0, FlowLog::shed);
        vec![("watch", self.events.shed()), ("flow_log", log)]
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

    /// Notes that revisions are about to bind: what is cut from now on is cut by them.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn binds(&self, revisions: RangeInclusive<u64>) -> Result<(), ReadError> {
        let counters = self.maps.flow_counters()?;
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).binds(
            revisions,
            &counters,
            Moment::now().boot_ns,
        );
        Ok(())
    }

    /// Counts matching flows, and with `cut_by` those that a revision cut.
    ///
    /// # Errors
    /// [`QueryError`]: a name or a revision that does not exist, or a map.
    pub fn count_flows(&self, query: &FlowQuery) -> Result<FlowCount, QueryError> {
        let mut count = self.view(|view| flows::count(view, query))??;
        count.cut = query.cut_by.map(|revision| self.cut_by(revision)).transpose()?;
        Ok(count)
    }

    /// Flows that a revision has cut.
    ///
    /// # Errors
    /// [`QueryError`]: this daemon did not make it, or a map cannot be read.
    pub fn cut_by(&self, revision: u64) -> Result<u64, QueryError> {
        let counters = self.maps.flow_counters()?;
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.of(revision, &counters).ok_or(QueryError::Revision(revision))
    }

    /// Flows that a revision has cut, as they ended: of those whose ends are still kept.
    ///
    /// # Errors
    /// [`QueryError`]: this daemon did not make the revision, or the query names what does not exist.
    pub fn cut_flows(&self, revision: u64, query: &FlowQuery) -> Result<Vec<FlowEvent>, QueryError> {
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let time = cuts.time_of(revision).ok_or(QueryError::Revision(revision))?;
        let names = self.names();
        let wanted = flows::wanted(&names, query)?;
        let mut cut = self.events.cut_flows((&names, Moment::now()), &(time.start..=time.end - 1), &wanted);
        cut.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(cut)
    }

    /// Drops, from when the query says.
    ///
    /// # Errors
    /// [`QueryError`]: the query names what does not exist.
    pub fn watch_drops(&self, query: &DropQuery) -> Result<Watched<DropEvent>, QueryError> {
        let names = self.names();
        let wanted = drops::wanted(&names, query)?;
        Ok(self.events.drops((&names, Moment::now()), query.times(), wanted))
    }

    /// Starts and ends of flows, from when the query says.
    ///
    /// # Errors
    /// [`QueryError`]: the query names what does not exist.
    pub fn watch_flows(&self, query: &FlowQuery) -> Result<Watched<FlowEvent>, QueryError> {
        let names = self.names();
        let wanted = flows::wanted(&names, query)?;
        Ok(self.events.flows((&names, Moment::now()), query.times(), wanted))
    }

    /// What each rule did.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn rules(&self) -> Result<HashMap<RuleId, RuleCount>, ReadError> {
        self.view(|view| rules::counts(view, &view.maps.drops()?, self.usage.get(view)?.as_deref()))?
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
    pub async fn read_events(&self, ring: RingBuf<MapData>, mut learnt: impl FnMut()) -> io::Result<()> {
        events::read(ring, |record| {
            let (names, now) = (self.names(), Moment::now());
            match record {
                Record::Learnt(_) => learnt(),
                Record::Drop(drop) => self.events.tell_drop(&names, now, drop),
                Record::Flow(flow) => {
                    let log = self.flow_log.as_ref().filter(|log| log.is_on());
                    self.events.tell_flow(&names, now, flow, log.map(|log| |row: &_| log.add(row)));
                }
            }
            self.rule_log.note(&names, now, record);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{forwarded, maps, names};

    #[test]
    fn counting_tells_what_a_revision_cut() {
        let mut maps = maps();
        maps.add_flow(forwarded());
        let observer = Observer::new(Box::new(maps), None);
        observer.rename(names());
        let query = FlowQuery { cut_by: Some(3), ..FlowQuery::default() };
        let unknown = observer.count_flows(&query).expect_err("it was not made here");
        assert_eq!(unknown.to_string(), "revision 3 was not made by this daemon");
        observer.binds(3..=3).expect("memory can be read");
        assert_eq!(observer.count_flows(&query).expect("it was made here").cut, Some(0));
    }
}
