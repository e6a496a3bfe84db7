//! What is told of one kind: to those who watch, and kept for those who ask later, the last so many.

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;

/// Records that are kept of a kind.
pub const KEPT: usize = 16_384;
/// Events that a watcher may be behind.
pub const BEHIND: usize = 4096;

/// Records as the kernel wrote them, and rows for those who watch.
#[derive(Debug)]
pub struct Recent<R, E> {
    records: Mutex<VecDeque<R>>,
    live: broadcast::Sender<Arc<E>>,
}

impl<R, E> Default for Recent<R, E> {
    fn default() -> Self {
        Self { records: Mutex::default(), live: broadcast::channel(BEHIND).0 }
    }
}

impl<R: Copy, E> Recent<R, E> {
    /// Keeps a record, and tells its row where somebody watches or `is_wanted`. Who watches from some moment on gets
    /// each record once: kept before it, or told after it.
    pub fn tell(&self, record: R, is_wanted: bool, row: impl FnOnce(&R) -> Option<E>) -> Option<Arc<E>> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == KEPT {
            records.pop_front();
        }
        records.push_back(record);
        if self.live.receiver_count() == 0 && !is_wanted {
            return None;
        }
        let row = Arc::new(row(&record)?);
        // An error says that nobody watches.
        let _nobody = self.live.send(Arc::clone(&row));
        Some(row)
    }

    /// Rows from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<E>> {
        self.live.subscribe()
    }

    /// The kept records of a time, by `at`, and rows from now on.
    pub fn since(
        &self,
        time: &RangeInclusive<u64>,
        at: impl Fn(&R) -> u64,
    ) -> (Vec<R>, broadcast::Receiver<Arc<E>>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = records.iter().filter(|record| time.contains(&at(record))).copied().collect();
        (kept, self.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_kept_and_the_next_ones_told() {
        let recent = Recent::<u64, u64>::default();
        for n in 0..KEPT as u64 + 10 {
            assert_eq!(recent.tell(n, false, |_| panic!("nobody asks for a row")), None);
        }
        let (all, mut live) = recent.since(&(0..=u64::MAX), |n| *n);
        assert_eq!((all.len(), all[0]), (KEPT, 10));
        let (some, _) = recent.since(&(12..=13), |n| *n);
        assert_eq!(some, [12, 13]);
        recent.tell(7, false, |n| Some(*n));
        assert_eq!(live.try_recv().map(|row| *row), Ok(7));
        assert!(live.try_recv().is_err(), "what was kept is not told");
    }
}
