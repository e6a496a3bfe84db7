//! What a run measured: series of samples, each with all that tells one series from another.
//!
//! A run is one JSON file. Samples stand in the order of the rounds, so that two series of one scenario can be
//! compared round by round ([`crate::statistics`]).

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Where a scenario measures.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// One program at a time, by test runs.
    Program,
    /// Live traffic through fwd and through its peers.
    Traffic,
    /// The daemon and the command line.
    Control,
    /// Live traffic in a guest, and between guests.
    Guest,
}

/// How generator, element and sink share the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    SameCpu,
    Split,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    V4,
    V6,
}

/// What a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    /// Millions of packets a second.
    Mpps,
    Gbps,
    PerSecond,
    Bytes,
    Mebibytes,
    Instructions,
    /// Of one CPU, or of what was sent.
    Percent,
}

impl Unit {
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Mpps => "Mpps",
            Self::Gbps => "Gbit/s",
            Self::PerSecond => "/s",
            Self::Bytes => "B",
            Self::Mebibytes => "MiB",
            Self::Instructions => "instructions",
            Self::Percent => "%",
        }
    }

    /// Rates are better high; times, sizes and losses are better low.
    #[must_use]
    pub const fn higher_is_better(self) -> bool {
        matches!(self, Self::Mpps | Self::Gbps | Self::PerSecond)
    }
}

/// Under what a sample was taken; `None` where it does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arrangement: Option<Arrangement>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<Family>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flows: Option<u64>,
    /// Of a frame, in bytes; none: a mix, or it does not matter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u32>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrangement = self.arrangement.map(|arrangement| match arrangement {
            Arrangement::SameCpu => "same CPU".to_owned(),
            Arrangement::Split => "split".to_owned(),
        });
        let family = self.family.map(|family| match family {
            Family::V4 => "IPv4".to_owned(),
            Family::V6 => "IPv6".to_owned(),
        });
        let flows = self.flows.map(|flows| match flows {
            1 => "1 flow".to_owned(),
            _ => format!("{} flows", count(flows)),
        });
        let size = self.size.map(|size| format!("{size} B"));
        let words: Vec<String> = [arrangement, family, flows, size].into_iter().flatten().collect();
        f.write_str(&words.join(", "))
    }
}

/// 1000000 as `1M`, 1000 as `1k`.
#[must_use]
pub fn count(number: u64) -> String {
    match number {
        n if n >= 1_000_000 && n.is_multiple_of(100_000) => format!("{}M", n as f64 / 1e6),
        n if n >= 1_000 && n.is_multiple_of(100) => format!("{}k", n as f64 / 1e3),
        n => n.to_string(),
    }
}

/// One sample, as an element gives it in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What was measured, where an element measures several things: `p99`, `RSS`. Empty: what the scenario says.
    pub quantity: String,
    pub at: At,
    pub unit: Unit,
    pub value: f64,
    /// The share of the packets sent that arrived; none: nothing was sent.
    pub delivered: Option<f64>,
}

impl Reading {
    #[must_use]
    pub fn new(value: f64, unit: Unit) -> Self {
        Self { quantity: String::new(), at: At::default(), unit, value, delivered: None }
    }

    #[must_use]
    pub fn of(mut self, quantity: &str) -> Self {
        self.quantity = quantity.to_owned();
        self
    }

    #[must_use]
    pub const fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    #[must_use]
    pub const fn delivered(mut self, share: f64) -> Self {
        self.delivered = Some(share);
        self
    }
}

/// All samples of one thing, in the order of the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    pub tier: Tier,
    pub scenario: String,
    pub element: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub quantity: String,
    #[serde(flatten)]
    pub at: At,
    pub unit: Unit,
    pub higher_is_better: bool,
    pub samples: Vec<f64>,
    /// The lowest of all rounds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delivered: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What could not be measured here, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub scenario: String,
    pub element: String,
    pub reason: String,
}

/// The machine and the build of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub command: String,
    pub version: String,
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub quick: bool,
    pub rounds: usize,
    pub seconds: u64,
    /// The kernel of the guest in which scenarios were run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guest_kernel: Option<String>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub setting: Setting,
    pub measurements: Vec<Measurement>,
    pub skipped: Vec<Skipped>,
}

impl Results {
    /// # Errors
    /// If the file cannot be read or is no run.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a run's results", path.display()))
    }

    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("results are plain data")?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }

    /// Adds one sample to its series.
    pub fn add(&mut self, tier: Tier, scenario: &str, element: &str, reading: Reading) {
        let Reading { quantity, at, unit, value, delivered } = reading;
        let same = |series: &&mut Measurement| {
            series.tier == tier
                && series.scenario == scenario
                && series.element == element
                && series.quantity == quantity
                && series.at == at
                && series.unit == unit
        };
        if let Some(series) = self.measurements.iter_mut().find(same) {
            series.samples.push(value);
            series.delivered = lowest(series.delivered, delivered);
            return;
        }
        self.measurements.push(Measurement {
            tier,
            scenario: scenario.to_owned(),
            element: element.to_owned(),
            quantity,
            at,
            unit,
            higher_is_better: unit.higher_is_better(),
            samples: vec![value],
            delivered,
            note: None,
        });
    }

    /// Adds a part of the run that was measured elsewhere: other scenarios.
    pub fn join(&mut self, part: Self) {
        self.measurements.extend(part.measurements);
        self.skipped.extend(part.skipped);
    }

    /// Says that a scenario or an element of it is missing, and why.
    pub fn skip(&mut self, scenario: &str, element: &str, reason: String) {
        self.skipped.push(Skipped { scenario: scenario.to_owned(), element: element.to_owned(), reason });
    }

    /// A note on all series of an element.
    pub fn note(&mut self, scenario: &str, element: &str, note: &str) {
        for series in &mut self.measurements {
            if series.scenario == scenario && series.element == element {
                series.note = Some(note.to_owned());
            }
        }
    }

    /// Takes an element out of a scenario: what broke has no figures.
    pub fn drop_element(&mut self, scenario: &str, element: &str, reason: String) {
        self.measurements.retain(|m| m.scenario != scenario || m.element != element);
        self.skip(scenario, element, reason);
    }
}

fn lowest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(value: f64, flows: u64) -> Reading {
        Reading::new(value, Unit::Mpps).at(At { flows: Some(flows), ..At::default() })
    }

    #[test]
    fn samples_of_one_thing_are_one_series() {
        let mut results = Results::default();
        results.add(Tier::Traffic, "forward", "fwd", reading(1.0, 1).delivered(1.0));
        results.add(Tier::Traffic, "forward", "fwd", reading(2.0, 1000));
        results.add(Tier::Traffic, "forward", "fwd", reading(3.0, 1).delivered(0.5));
        let series: Vec<_> = results.measurements.iter().map(|m| (m.samples.clone(), m.delivered)).collect();
        assert_eq!(series, [(vec![1.0, 3.0], Some(0.5)), (vec![2.0], None)]);
    }

    #[test]
    fn results_come_back_from_json() {
        let mut results = Results::default();
        results.add(Tier::Program, "hit", "fwd", reading(28.5, 1_000_000).of("ns"));
        results.note("hit", "fwd", "warm");
        results.skipped.push(Skipped { scenario: "x".into(), element: "y".into(), reason: "z".into() });
        let text = serde_json::to_string(&results).expect("plain data");
        assert_eq!(serde_json::from_str::<Results>(&text).expect("what was written"), results);
    }

    #[test]
    fn conditions_read_as_words() {
        let at = At {
            arrangement: Some(Arrangement::Split),
            family: Some(Family::V4),
            flows: Some(100_000),
            size: Some(64),
        };
        assert_eq!(at.to_string(), "split, IPv4, 100k flows, 64 B");
        assert_eq!((count(1_500_000), count(1024)), ("1.5M".into(), "1024".into()));
    }
}
