//! What the daemon takes while the datapath is full of flows.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::stand::Stand;
use crate::process::cpu_of;
use crate::result::{Reading, Unit, count};
use crate::scenario::{Effort, Element, Scenario, Seat, caught};

const RULES: usize = 10_000;
/// For the first walk of all flows.
const PATIENCE: Duration = Duration::from_secs(120);
/// Room for the flows that are admitted under load.
const SPARE: u32 = 1 << 19;

pub struct Live;

impl Scenario for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn about(&self) -> &'static str {
        "The daemon beside a table full of flows and 10k rules: memory, CPU of one core at rest and while flows are \
         admitted as fast as one CPU can, a scrape of /metrics, adoption after a restart."
    }

    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let flows = if effort.quick { 1 << 17 } else { 1 << 20 };
        let name = format!("{}-flows-10k-rules", count(flows.into()));
        let full = caught(|| Full::new(name.clone(), flows, effort));
        Ok(vec![Seat::of(&name, full)])
    }
}

struct Full {
    name: String,
    stand: Stand,
    /// Admitted so far.
    admitted: u32,
    limit: u32,
    watched: Duration,
}

impl Full {
    fn new(name: String, flows: u32, effort: Effort) -> Result<Self> {
        let mut stand = Stand::new()?;
        let limit = flows + SPARE;
        let mut document = stand.document(RULES);
        for key in ["flow_limit", "flow_limit_per_port", "half_open_limit", "half_open_limit_per_port"] {
            document["settings"][key] = json!(limit);
        }
        document["settings"]["udp_one_way_timeout"] = json!("86400s");
        stand.put("/v1/config", &document)?;
        // Tables are made for the limit when the datapath is loaded.
        let host = &stand.lab.host;
        stand.lab.fwd.down(host)?;
        stand.lab.start();
        stand.admit(0, flows)?;
        let found = stand.flows()?;
        ensure!(found >= u64::from(flows), "only {found} of {flows} flows were admitted");
        let watched = if effort.quick { Duration::from_secs(1) } else { Duration::from_secs(20) };
        Ok(Self { name, stand, admitted: flows, limit, watched })
    }

    fn cpu(&self) -> Result<Duration> {
        cpu_of(self.stand.lab.fwd.pid().context("the daemon runs")?)
    }

    /// Waits until the daemon has walked all flows once since it started, for the sums that `/metrics` has of them:
    /// before that it is not at rest. The next walk comes two hundred times as long after it as it took.
    fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.stand.metrics()?.contains("\nfwd_flows{") {
            ensure!(begun.elapsed() < PATIENCE, "the flows are not walked");
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Percent of one CPU that the daemon takes while something is done.
    fn share(&self, task: impl FnOnce() -> Result<()>) -> Result<f64> {
        let (begun, before) = (Instant::now(), self.cpu()?);
        task()?;
        let used = self.cpu()?.saturating_sub(before);
        Ok(100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64())
    }

    fn resident(&self) -> Result<f64> {
        let pid = self.stand.lab.fwd.pid().context("the daemon runs")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    fn measure_all(&mut self) -> Result<Vec<Reading>> {
        let scrape = |stand: &Stand| -> Result<f64> {
            let begun = Instant::now();
            stand.metrics()?;
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        };
        self.settle()?;
        let mut readings = vec![
            Reading::new(scrape(&self.stand)?, Unit::Milliseconds).of("scrape"),
            Reading::new(self.resident()?, Unit::Mebibytes).of("RSS"),
            Reading::new(
                self.share(|| {
                    thread::sleep(self.watched);
                    Ok(())
                })?,
                Unit::Percent,
            )
            .of("CPU at rest"),
        ];
        const BATCH: u32 = 1 << 15;
        if self.admitted + BATCH <= self.limit {
            let first = self.admitted;
            let load = self.share(|| self.stand.admit(first, BATCH).map(drop))?;
            self.admitted += BATCH;
            readings.push(Reading::new(load, Unit::Percent).of("CPU, flows admitted at full speed"));
        }
        self.stand.lab.fwd.terminate();
        let (adoption, daemon) = self.stand.started()?;
        drop(daemon);
        self.stand.lab.start();
        readings.push(
            Reading::new(adoption.as_secs_f64() * 1e3, Unit::Milliseconds).of("adoption after restart"),
        );
        Ok(readings)
    }
}

impl Element for Full {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        caught(|| self.measure_all())
    }
}
