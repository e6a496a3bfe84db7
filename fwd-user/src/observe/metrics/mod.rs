//! What Prometheus scrapes: the table of metrics filled from the maps, the names, and what the daemon knows.
//!
//! A label is a name that the operator chose or a word of an enumeration, never an address of a packet;
//! words of an enumeration are there from zero. A family that cannot be read is left out, not zero.

mod datapath;
mod document;
mod facts;
mod families;
mod flows;
mod ports;
mod rules;
pub mod table;
mod text;

#[cfg(test)]
mod tests;

use std::time::Duration;

use fwd_common::{
    counter::{DropCount, DropKey},
    id::PortId,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::api::status::PortCounters;

use self::families::Families;
pub use self::{
    document::document,
    facts::{Facts, HookFacts, PortFacts, Revisions},
    families::MAX_SERIES,
    text::Format,
};
use super::{ReadError, View, reader::FlowCounters, usage::Usage};

/// How an edit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// In the datapath.
    Applied,
    /// Refused before anything was written.
    Refused,
    /// The kernel refused a write.
    Failed,
}

impl ApplyOutcome {
    const ALL: [Self; 3] = [Self::Applied, Self::Refused, Self::Failed];

    const fn labels(self) -> ApplyLabels {
        let outcome = match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        };
        ApplyLabels { outcome }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApplyLabels {
    outcome: &'static str,
}

/// Metrics that the daemon itself counts, and the exposition of all.
#[derive(Clone, Debug)]
pub struct Metrics {
    apply: Family<ApplyLabels, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let apply = Family::<ApplyLabels, Histogram>::new_with_constructor(|| Histogram::new(APPLY_BUCKETS));
        for outcome in ApplyOutcome::ALL {
            drop(apply.get_or_create(&outcome.labels()));
        }
        Self { apply }
    }
}

/// Seconds: around the five milliseconds that an edit may take.
const APPLY_BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// All that families are filled from. Everything is read once, so the families of one scrape agree.
struct Source<'a> {
    view: &'a View<'a>,
    facts: &'a Facts,
    usage: Option<&'a Usage>,
    flow_counters: FlowCounters,
    drops: Vec<(DropKey, DropCount)>,
    /// Of each named port.
    counters: Vec<(PortId, &'a str, PortCounters)>,
}

impl Metrics {
    /// Notes an edit.
    pub fn applied(&self, outcome: ApplyOutcome, took: Duration) {
        self.apply.get_or_create(&outcome.labels()).observe(took.as_secs_f64());
    }

    /// The text of one scrape. Without `usage`, families that need a walk of the flow tables are left out.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn text(
        &self,
        view: &View<'_>,
        facts: &Facts,
        usage: Option<&Usage>,
        format: Format,
    ) -> Result<String, ReadError> {
        let source = Source::read(view, facts, usage)?;
        let mut families = Families::new(facts.detail);
        datapath::fill(&mut families, &source)?;
        ports::fill(&mut families, &source)?;
        flows::fill(&mut families, &source);
        rules::fill(&mut families, &source)?;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(families.finish()));
        let (name, unit) = table::APPLY_SECONDS.family();
        let help = table::APPLY_SECONDS.help.trim_end_matches('.');
        let unit = unit.expect("the name ends with its unit");
        registry.register_with_unit(name, help, unit, self.apply.clone());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("a String takes all that is written");
        Ok(format.of_openmetrics(text))
    }
}

impl<'a> Source<'a> {
    fn read(view: &'a View<'a>, facts: &'a Facts, usage: Option<&'a Usage>) -> Result<Self, ReadError> {
        let counters = |(id, port): (PortId, &'a super::NamedPort)| {
            let device = facts.devices.get(&view.port(id).ifindex).copied();
            Ok((id, port.name.as_str(), super::ledger::counters(view, id, device)?))
        };
        Ok(Self {
            view,
            facts,
            usage,
            flow_counters: view.maps.flow_counters()?,
            drops: view.maps.drops()?,
            counters: view.names.ports().map(counters).collect::<Result<_, _>>()?,
        })
    }
}

/// Label values.
fn labels<const N: usize>(values: [&str; N]) -> Vec<String> {
    values.map(str::to_owned).to_vec()
}
