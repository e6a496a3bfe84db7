//! Which edit cut how many flows (`flow count --cut-by`). The datapath counts cuts, not their cause; an edit's
//! are those between its binding and the next one's; edits that were made together share theirs. Kept by the daemon that made the edit, while it lives.

use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
};

use fwd_common::counter::FlowCounter;

use super::FlowCounters;

/// Edits that are remembered.
const KEPT: usize = 1000;

/// Cuts counted so far when edits bound, by the last revision of those that bound together.
#[derive(Debug, Default)]
pub struct Cuts {
    at: BTreeMap<u64, Bound>,
}

#[derive(Debug)]
struct Bound {
    first: u64,
    cuts: u64,
    /// Nanoseconds since boot.
    at_ns: u64,
}

impl Cuts {
    /// Notes that revisions are about to bind.
    pub fn binds(&mut self, revisions: RangeInclusive<u64>, counters: &FlowCounters, at_ns: u64) {
        let (first, last) = revisions.into_inner();
        self.at.insert(last, Bound { first, cuts: total(counters), at_ns });
        if self.at.len() > KEPT {
            self.at.pop_first();
        }
    }

    /// Flows that a revision has cut, with those that bound together with it; none if this daemon did not
    /// make it.
    pub fn of(&self, revision: u64, counters: &FlowCounters) -> Option<u64> {
        let (start, next) = self.bounds(revision)?;
        let end = next.map_or_else(|| total(counters), |bound| bound.cuts);
        Some(end - start.cuts)
    }

    /// When what a revision cuts is cut, in nanoseconds since boot; none as for [`of`](Self::of).
    pub fn time_of(&self, revision: u64) -> Option<Range<u64>> {
        let (start, next) = self.bounds(revision)?;
        Some(start.at_ns..next.map_or(u64::MAX, |bound| bound.at_ns))
    }

    /// A revision's binding, and the next one.
    fn bounds(&self, revision: u64) -> Option<(&Bound, Option<&Bound>)> {
        let (last, start) = self.at.range(revision..).next().filter(|(_, bound)| bound.first <= revision)?;
        Some((start, self.at.range(last + 1..).next().map(|(_, bound)| bound)))
    }
}

/// Cuts that an edit can cause.
fn total(counters: &FlowCounters) -> u64 {
    [FlowCounter::CutByPolicy, FlowCounter::CutByRoute].iter().map(|c| counters[*c as usize]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(policy: u64, route: u64) -> FlowCounters {
        let mut counters = FlowCounters::default();
        counters[FlowCounter::CutByPolicy as usize] = policy;
        counters[FlowCounter::CutByRoute as usize] = route;
        counters
    }

    #[test]
    fn an_edits_cuts_are_those_until_the_next_one() {
        let mut cuts = Cuts::default();
        cuts.binds(7..=7, &counters(10, 1), 70);
        assert_eq!(cuts.time_of(7), Some(70..u64::MAX));
        assert_eq!(cuts.of(7, &counters(12, 2)), Some(3));
        cuts.binds(8..=10, &counters(13, 2), 80);
        assert_eq!((cuts.time_of(7), cuts.time_of(9)), (Some(70..80), Some(80..u64::MAX)));
        assert_eq!(cuts.of(7, &counters(99, 99)), Some(4));
        assert_eq!([8, 9, 10].map(|r| cuts.of(r, &counters(13, 5))), [Some(3); 3]);
        assert_eq!(cuts.of(11, &counters(13, 5)), None);
        assert_eq!(cuts.of(6, &counters(13, 5)), None);
    }

    #[test]
    fn old_edits_are_forgotten() {
        let mut cuts = Cuts::default();
        (0..=KEPT as u64).for_each(|revision| cuts.binds(revision..=revision, &counters(revision, 0), 0));
        assert_eq!(cuts.of(0, &counters(2000, 0)), None);
        assert_eq!(cuts.of(1, &counters(2000, 0)), Some(1));
    }
}
