//! A target, and how a run met it; [`targets`](super::targets) has all.
//!
//! A target is a ratio of two series of one run, or the value of one. It names series as scenarios do; where a
//! run has none of that name, the target was not measured, and the page says so.

use crate::result::{At, Measurement, Results};
use crate::statistics::{Ratio, Summary};

/// A series, by its names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Series {
    pub scenario: &'static str,
    pub element: &'static str,
    pub quantity: &'static str,
    pub at: At,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Ours is at least so many times theirs; of times and sizes, theirs so many times ours.
    AtLeast(f64, Series),
    /// Ours is at most so many times theirs.
    AtMost(f64, Series),
    /// Ours is at most this, in its unit.
    Below(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub what: &'static str,
    pub ours: Series,
    pub goal: Goal,
}

/// How a run stands to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// With its interval, or its spread.
    pub measured: String,
    pub is_met: bool,
    /// By how much it is missed; of the target.
    pub missed_by: f64,
}

impl Target {
    /// None: the run has not measured it.
    pub fn standing(&self, results: &Results) -> Option<Standing> {
        let ours = self.ours.find(results)?;
        match self.goal {
            Goal::AtLeast(least, theirs) => {
                let theirs = theirs.find(results)?;
                let ratio = Ratio::of(&ours.samples, &theirs.samples)?;
                let ratio = if ours.higher_is_better { ratio } else { ratio.inverse() };
                Some(Standing::new(ratio.to_string(), ratio.value >= least, 1.0 - ratio.value / least))
            }
            Goal::AtMost(most, theirs) => {
                let ratio = Ratio::of(&ours.samples, &theirs.find(results)?.samples)?;
                Some(Standing::new(ratio.to_string(), ratio.value <= most, ratio.value / most - 1.0))
            }
            Goal::Below(most) => {
                let Summary { median, min, max } = Summary::of(&ours.samples)?;
                let symbol = ours.unit.symbol();
                let measured = format!("{median:.1} {symbol} ({min:.1}–{max:.1})");
                Some(Standing::new(measured, median <= most, median / most - 1.0))
            }
        }
    }

    /// The target as people write it.
    pub fn wanted(&self, results: &Results) -> String {
        match self.goal {
            Goal::AtLeast(least, _) => format!("≥ {least}"),
            Goal::AtMost(most, _) => format!("≤ {most}"),
            Goal::Below(most) => {
                let unit = self.ours.find(results).map_or("", |series| series.unit.symbol());
                format!("≤ {most} {unit}").trim_end().to_owned()
            }
        }
    }
}

impl Standing {
    fn new(measured: String, is_met: bool, missed_by: f64) -> Self {
        Self { measured, is_met, missed_by }
    }
}

impl Series {
    pub fn find<'a>(&self, results: &'a Results) -> Option<&'a Measurement> {
        results.measurements.iter().find(|m| {
            m.scenario == self.scenario
                && m.element == self.element
                && m.quantity == self.quantity
                && m.at == self.at
        })
    }
}

pub(super) const fn series(
    scenario: &'static str,
    element: &'static str,
    quantity: &'static str,
    at: At,
) -> Series {
    Series { scenario, element, quantity, at }
}

pub(super) const ANY: At = At { arrangement: None, family: None, flows: None, size: None };

pub(super) const fn ratio(what: &'static str, ours: Series, least: f64, theirs: Series) -> Target {
    Target { what, ours, goal: Goal::AtLeast(least, theirs) }
}

pub(super) const fn most(what: &'static str, ours: Series, most: f64, theirs: Series) -> Target {
    Target { what, ours, goal: Goal::AtMost(most, theirs) }
}

pub(super) const fn below(what: &'static str, ours: Series, most: f64) -> Target {
    Target { what, ours, goal: Goal::Below(most) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Reading, Tier, Unit};

    fn results(ours: &[f64], theirs: &[f64], unit: Unit) -> Results {
        let mut results = Results::default();
        for (element, samples) in [("a", ours), ("b", theirs)] {
            for sample in samples {
                results.add(Tier::Program, "s", element, Reading::new(*sample, unit));
            }
        }
        results
    }

    const A: Series = series("s", "a", "", ANY);
    const B: Series = series("s", "b", "", ANY);

    #[test]
    fn more_of_a_rate_and_less_of_a_time_are_better() {
        let target = ratio("x", A, 2.0, B);
        let rates = target.standing(&results(&[4.0, 4.0], &[1.0, 1.0], Unit::Mpps)).expect("measured");
        assert!(rates.is_met && rates.measured.starts_with("4.00"), "{rates:?}");
        let times = target.standing(&results(&[4.0, 4.0], &[1.0, 1.0], Unit::Nanoseconds)).expect("measured");
        assert!(!times.is_met && times.measured.starts_with("0.25"), "{times:?}");
        assert!((times.missed_by - 0.875).abs() < 1e-9, "{times:?}");
    }

    #[test]
    fn a_limit_is_kept_or_missed() {
        let run = results(&[50.0], &[40.0], Unit::Nanoseconds);
        assert!(!most("x", A, 1.2, B).standing(&run).expect("measured").is_met);
        assert!(most("x", A, 1.3, B).standing(&run).expect("measured").is_met);
        let missed = below("x", A, 40.0).standing(&run).expect("measured");
        assert_eq!((missed.is_met, missed.missed_by), (false, 0.25));
        assert_eq!(below("x", A, 40.0).wanted(&run), "≤ 40 ns");
    }

    #[test]
    fn what_was_not_measured_has_no_standing() {
        let run = results(&[1.0, 1.0], &[1.0], Unit::Mpps);
        assert_eq!(ratio("x", A, 1.0, B).standing(&run), None, "a round is missing");
        assert_eq!(below("x", series("s", "c", "", ANY), 1.0).standing(&run), None);
    }
}
