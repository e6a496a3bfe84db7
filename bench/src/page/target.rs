//! The targets, and how a run met them.
//!
//! A target is a ratio of two series of one run, or the value of one. It names series as scenarios do; where a
//! run has none of that name, the target was not measured, and the page says so.

use crate::result::{Arrangement, At, Family, Measurement, Results};
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

const fn series(scenario: &'static str, element: &'static str, quantity: &'static str, at: At) -> Series {
    Series { scenario, element, quantity, at }
}

const ANY: At = At { arrangement: None, family: None, flows: None, size: None };
const V4: At = At { family: Some(Family::V4), ..ANY };

const fn walk(flows: u64) -> At {
    At { flows: Some(flows), ..V4 }
}

const fn traffic(arrangement: Arrangement, flows: u64) -> At {
    At { arrangement: Some(arrangement), family: Some(Family::V4), flows: Some(flows), size: Some(64) }
}

const fn forward(element: &'static str, arrangement: Arrangement, flows: u64) -> Series {
    series("forward", element, "", traffic(arrangement, flows))
}

/// 1k flows of a scenario of packets.
const fn packets(scenario: &'static str, element: &'static str, arrangement: Arrangement) -> Series {
    series(scenario, element, "", traffic(arrangement, K))
}

/// Where each packet opens a flow.
const fn opened(scenario: &'static str, element: &'static str, arrangement: Arrangement) -> Series {
    series(scenario, element, "", At { flows: None, ..traffic(arrangement, 1) })
}

const fn sockets(scenario: &'static str, element: &'static str) -> Series {
    series(scenario, element, "", ANY)
}

const fn flooded(quantity: &'static str) -> Series {
    series("syn-flood", "fwd-xdp", quantity, traffic(SameCpu, 10 * K))
}

const fn ratio(what: &'static str, ours: Series, least: f64, theirs: Series) -> Target {
    Target { what, ours, goal: Goal::AtLeast(least, theirs) }
}

const fn most(what: &'static str, ours: Series, most: f64, theirs: Series) -> Target {
    Target { what, ours, goal: Goal::AtMost(most, theirs) }
}

const fn below(what: &'static str, ours: Series, most: f64) -> Target {
    Target { what, ours, goal: Goal::Below(most) }
}

const fn hit(element: &'static str, flows: u64) -> Series {
    series("hit", element, "forward in", walk(flows))
}

use Arrangement::{SameCpu, Split};

const K: u64 = 1_000;
const M: u64 = 1_000_000;

/// In the order of the page.
pub const TARGETS: &[Target] = &[
    ratio(
        "established flow, 1k flows, against the minimal program, same CPU",
        forward("fwd-xdp", SameCpu, K),
        0.92,
        forward("minimal", SameCpu, K),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, K), 0.92, forward("minimal", Split, K)),
    ratio(
        "against bare XDP redirect, same CPU",
        forward("fwd-xdp", SameCpu, K),
        0.85,
        forward("xdp-redirect", SameCpu, K),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, K), 0.65, forward("xdp-redirect", Split, K)),
    ratio("against nft DNAT, same CPU", forward("fwd-xdp", SameCpu, K), 1.6, forward("nft-dnat", SameCpu, K)),
    ratio("the same, split", forward("fwd-xdp", Split, K), 3.0, forward("nft-dnat", Split, K)),
    ratio(
        "1M flows against the minimal program, same CPU",
        forward("fwd-xdp", SameCpu, M),
        0.92,
        forward("minimal", SameCpu, M),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, M), 0.92, forward("minimal", Split, M)),
    ratio(
        "1M flows against own 1 flow, same CPU",
        forward("fwd-xdp", SameCpu, M),
        0.6,
        forward("fwd-xdp", SameCpu, 1),
    ),
    ratio(
        "1M flows against nft DNAT, same CPU",
        forward("fwd-xdp", SameCpu, M),
        1.4,
        forward("nft-dnat", SameCpu, M),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, M), 2.5, forward("nft-dnat", Split, M)),
    ratio(
        "10k rules against none, established",
        packets("rules", "fwd-xdp-10k-rules", SameCpu),
        0.98,
        packets("rules", "fwd-xdp", SameCpu),
    ),
    ratio(
        "10k rules against none, new flows",
        opened("rules-new-flows", "fwd-xdp-10k-rules", SameCpu),
        0.9,
        opened("rules-new-flows", "fwd-xdp", SameCpu),
    ),
    ratio(
        "10k rules against nft with 1k linear rules",
        packets("rules", "fwd-xdp-10k-rules", SameCpu),
        15.0,
        packets("rules", "nft-1k-linear", SameCpu),
    ),
    ratio(
        "100k rules against none, established",
        packets("rules", "fwd-xdp-100k-rules", SameCpu),
        0.98,
        packets("rules", "fwd-xdp", SameCpu),
    ),
    ratio(
        "10k rules against nft with a verdict map of 10k",
        packets("rules", "fwd-xdp-10k-rules", SameCpu),
        1.6,
        packets("rules", "nft-10k-map", SameCpu),
    ),
    ratio(
        "between two VM ports by XDP against Linux bridge, same CPU",
        packets("segment", "fwd-xdp", SameCpu),
        1.5,
        packets("segment", "linux-bridge", SameCpu),
    ),
    ratio(
        "the same, split",
        packets("segment", "fwd-xdp", Split),
        3.0,
        packets("segment", "linux-bridge", Split),
    ),
    ratio(
        "bulk TCP between VM ports against Linux bridge",
        sockets("bulk-segment", "fwd-tcx"),
        1.0,
        sockets("bulk-segment", "linux-bridge"),
    ),
    ratio(
        "bulk TCP out by NAT against nft masquerade",
        sockets("bulk-nat", "fwd-tcx"),
        1.05,
        sockets("bulk-nat", "nft-masquerade"),
    ),
    ratio(
        "bulk TCP in by a forward against nft DNAT",
        sockets("bulk-forward", "fwd-tcx"),
        1.05,
        sockets("bulk-forward", "nft-dnat"),
    ),
    ratio(
        "bulk TCP in by an XDP uplink against the same by TCX",
        sockets("bulk-uplink", "fwd-xdp-uplink"),
        0.9,
        sockets("bulk-uplink", "fwd-tcx"),
    ),
    ratio(
        "bulk TCP between two guests against Linux bridge",
        series("two-guests", "fwd-tcx", "bulk", ANY),
        1.0,
        series("two-guests", "linux-bridge", "bulk", ANY),
    ),
    ratio(
        "in a guest: established flow by XDP against nft flowtable",
        packets("guest-forward", "fwd-xdp", SameCpu),
        1.0,
        packets("guest-forward", "nft-flowtable", SameCpu),
    ),
    ratio(
        "the same against OVS",
        packets("guest-forward", "fwd-xdp", SameCpu),
        1.0,
        packets("guest-forward", "ovs", SameCpu),
    ),
    ratio(
        "in a guest: between two VM ports by XDP against OVS",
        packets("guest-segment", "fwd-xdp", SameCpu),
        1.0,
        packets("guest-segment", "ovs", SameCpu),
    ),
    ratio(
        "in a guest: bulk TCP in by a forward against nft flowtable",
        sockets("guest-bulk-forward", "fwd-tcx"),
        1.0,
        sockets("guest-bulk-forward", "nft-flowtable"),
    ),
    ratio(
        "in a guest: bulk TCP between VM ports against OVS",
        sockets("guest-bulk-segment", "fwd-tcx"),
        1.0,
        sockets("guest-bulk-segment", "ovs"),
    ),
    ratio(
        "new flows against nft DNAT, same CPU",
        opened("new-flows", "fwd-xdp", SameCpu),
        1.6,
        opened("new-flows", "nft-dnat", SameCpu),
    ),
    ratio(
        "the same, split",
        opened("new-flows", "fwd-xdp", Split),
        3.0,
        opened("new-flows", "nft-dnat", Split),
    ),
    ratio(
        "denied by a rule against bare XDP drop",
        packets("drop", "fwd-denied", SameCpu),
        0.9,
        packets("drop", "xdp-drop", SameCpu),
    ),
    ratio(
        "refused by the source guard against bare XDP drop",
        packets("drop", "fwd-spoofed", SameCpu),
        0.9,
        packets("drop", "xdp-drop", SameCpu),
    ),
    ratio(
        "10k established flows under a SYN flood against undisturbed",
        flooded("under a flood"),
        0.7,
        flooded("undisturbed"),
    ),
    below(
        "a storm of denied packets: the daemon's CPU",
        series("drop-storm", "fwd-xdp", "the daemon's CPU", ANY),
        10.0,
    ),
    ratio(
        "one program: new flows with 10k rules against none",
        series("slow-path", "fwd-xdp-10k-rules", "new flow", V4),
        0.9,
        series("slow-path", "fwd-xdp", "new flow", V4),
    ),
    below("one program: hit with NAT, XDP", hit("fwd-xdp", 1), 40.0),
    below("one program: hit with NAT, TCX", hit("fwd-tcx", 1), 50.0),
    below("one program: walking 1M flows, XDP", hit("fwd-xdp", 1 << 20), 150.0),
    most("one program: 1 flow against the minimal program", hit("fwd-xdp", 1), 1.3, hit("minimal", 1)),
    most(
        "one program: walking 1M flows against the minimal program",
        hit("fwd-xdp", 1 << 20),
        1.3,
        hit("minimal", 1 << 20),
    ),
    most(
        "memory of a flow against nf_conntrack with NAT",
        series("memory", "fwd", "one flow", V4),
        0.85,
        series("memory", "nf_conntrack", "one flow", V4),
    ),
    below("an edit by the CLI, p99, until packets meet it", series("edit", "cli", "p99", ANY), 5.0),
    below("10k rules applied", series("apply", "10k-rules", "apply by CLI", ANY), 100.0),
    below("100k rules applied", series("apply", "100k-rules", "apply by CLI", ANY), 1000.0),
    ratio(
        "100k rules applied, against nft's one by one",
        series("apply", "100k-rules", "apply by CLI", ANY),
        1.0,
        series("apply", "nft-100k-linear", "apply by CLI", ANY),
    ),
    ratio(
        "100k rules applied, against nft's verdict map",
        series("apply", "100k-rules", "apply by CLI", ANY),
        1.0,
        series("apply", "nft-100k-map", "apply by CLI", ANY),
    ),
    ratio(
        "one rule more among 100k, against nft's one by one",
        series("apply", "100k-rules", "one rule more by CLI", ANY),
        1.0,
        series("apply", "nft-100k-linear", "one rule more by CLI", ANY),
    ),
    ratio(
        "one rule more among 100k, against nft's verdict map",
        series("apply", "100k-rules", "one rule more by CLI", ANY),
        1.0,
        series("apply", "nft-100k-map", "one rule more by CLI", ANY),
    ),
    below("1M flows and 10k rules, idle: RSS", series("live", FULL, "RSS", ANY), 64.0),
    below("the same: CPU of a core", series("live", FULL, "CPU at rest", ANY), 1.0),
    below("the same: a scrape", series("live", FULL, "scrape", ANY), 50.0),
];

/// The table of a whole run.
const FULL: &str = "1048576-flows-10k-rules";

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
