//! Established flows beside edits of other objects: what a thousand a second cost them, and how many there were.
//!
//! Generator and element have one CPU, who edits and who is told of it have the other. An edit also visits each CPU, to
//! know that programs there have ended: what others have of the generator's CPU is told apart from the rate.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::unistd::Pid;

use super::editor::{Editor, Made};
use super::generator::{Pace, pin};
use super::packets::{Flows, Packets, Sample, arrivals};
use super::trip::Load;
use crate::peer::Build;
use crate::process::cpu_of;
use crate::result::{Arrangement, Family, Reading, Unit};
use crate::scenario::Element;

const ESTABLISHED: Load = Load { family: Family::V4, flows: 10_000, length: 64 };
/// The other CPU.
const EDITING_CPU: usize = 1;
/// Edits run so long before packets are counted.
const LEAD: Duration = Duration::from_millis(30);

pub struct Edits {
    slice: Duration,
    /// Of the established flows, undisturbed and while edits run.
    paces: [Pace; 2],
    /// Edits that were made, ever.
    made: u32,
    editor: Editor,
    packets: Packets,
}

/// What fwd has counted up to a moment.
#[derive(Clone, Copy, Debug)]
struct Counted {
    revision: u64,
    admitted: u64,
    /// Packets for which a flow was decided anew.
    rechecked: u64,
    /// Of all reasons.
    dropped: u64,
    cpu: Duration,
}

impl Edits {
    /// # Errors
    /// If the element cannot be had here.
    pub fn new(name: &str, build: Build, slice: Duration) -> Result<Self> {
        let packets = Packets::new(name, build, Flows::Established, ESTABLISHED.flows)?;
        let editor = match packets.fwd() {
            Some(fwd) => Editor::Api(fwd.socket()),
            None => Editor::Nft(Arc::clone(&packets.rig().host)),
        };
        Ok(Self { slice, paces: [None; 2], made: 0, editor, packets })
    }

    /// None: it is not fwd.
    fn counted(&self) -> Result<Option<Counted>> {
        let Some(fwd) = self.packets.fwd() else { return Ok(None) };
        let text = fwd.run(&self.packets.rig().host, &["metrics"]).into_result()?;
        Ok(Some(Counted {
            revision: sum(&text, "fwd_revision{state=\"accepted\"}"),
            admitted: sum(&text, "fwd_flow_admissions_total{outcome=\"admitted\"}"),
            rechecked: sum(&text, "fwd_flow_rechecks_total"),
            dropped: sum(&text, "fwd_drops_total{"),
            cpu: cpu_of(fwd.pid().context("the daemon runs")?)?,
        }))
    }

    /// A sample while edits run, and those.
    fn beside(&mut self) -> Result<(Sample, Made)> {
        let (editor, packets, first) = (&self.editor, &mut self.packets, self.made);
        let (slice, pace, ends) = (self.slice, &mut self.paces[1], AtomicBool::new(false));
        let (sample, made) = thread::scope(|scope| {
            let edits = scope.spawn(|| editor.run(EDITING_CPU, first, &ends));
            thread::sleep(LEAD);
            let sample = packets.sample(ESTABLISHED, slice, pace);
            ends.store(true, Ordering::Relaxed);
            (sample, edits.join())
        });
        let made = made.map_err(|_| anyhow!("who edits panicked"))?.context("an edit failed")?;
        self.made += made.edits;
        Ok((sample?, made))
    }

    /// Every flow is there and answered, and every packet came.
    fn check(&mut self, samples: [&Sample; 2]) -> Result<()> {
        self.packets.answer(ESTABLISHED).context("an established flow was lost")?;
        self.packets.check(ESTABLISHED).context("an established flow leads elsewhere")?;
        for Sample { sent, arrived, .. } in samples {
            let (sent, arrived) = (sent.packets, arrived.sound());
            ensure!(arrived == sent, "{} of {sent} packets were lost", sent.abs_diff(arrived));
        }
        Ok(())
    }
}

impl Element for Edits {
    fn name(&self) -> &str {
        self.packets.name()
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        self.packets.establish(ESTABLISHED)?;
        self.packets.rig().arrange(Arrangement::SameCpu)?;
        if let Some(fwd) = self.packets.fwd() {
            pin_all(fwd.pid().context("the daemon runs")?)?;
        }
        let undisturbed = self.packets.sample(ESTABLISHED, self.slice, &mut self.paces[0])?;
        let (before, begun) = (self.counted()?, Instant::now());
        let (beside, made) = self.beside()?;
        let (after, took) = (self.counted()?, begun.elapsed());
        self.check([&undisturbed, &beside])?;
        let rate = f64::from(made.edits) / made.time.as_secs_f64();
        let mut readings = vec![
            reading(&undisturbed, "undisturbed"),
            reading(&beside, "beside edits"),
            Reading::new(rate, Unit::PerSecond).of("edits"),
            others(&undisturbed, "others on its CPU, undisturbed"),
            others(&beside, "others on its CPU, beside edits"),
        ];
        if let (Some(before), Some(after)) = (before, after) {
            let revisions = after.revision - before.revision;
            ensure!(revisions == u64::from(made.edits), "{} edits made {revisions} revisions", made.edits);
            ensure!(after.admitted == before.admitted, "flows were opened anew: {before:?}, {after:?}");
            ensure!(after.dropped == before.dropped, "packets were dropped: {before:?}, {after:?}");
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / took.as_secs_f64();
            readings.push(Reading::new(100.0 * cpu, Unit::Percent).of("the daemon's CPU"));
            let rechecked = (after.rechecked - before.rechecked) as f64 / made.time.as_secs_f64();
            readings.push(Reading::new(rechecked, Unit::PerSecond).of("flows decided anew"));
        }
        Ok(readings)
    }
}

fn reading(sample: &Sample, quantity: &str) -> Reading {
    arrivals((sample.sent, sample.arrived), quantity, ESTABLISHED.at(Some(Arrangement::SameCpu)))
}

/// What the generator's CPU did for others while it had packets to send.
fn others(sample: &Sample, quantity: &str) -> Reading {
    let (sent, others) = (sample.sent.time.as_secs_f64(), sample.sent.waited.as_secs_f64());
    Reading::new(100.0 * others / (sent + others), Unit::Percent).of(quantity)
}

/// Binds a program's threads; those that they start are bound as well. In each round: a thread of the daemon that
/// visits all CPUs goes back to those that it had before.
fn pin_all(pid: u32) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = task?.file_name().to_string_lossy().parse()?;
        pin(Pid::from_raw(thread), EDITING_CPU)?;
    }
    Ok(())
}

/// Of all series that begin so.
fn sum(metrics: &str, name: &str) -> u64 {
    let values =
        metrics.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn series_of_a_metric_are_added() {
        let text = "# TYPE a counter\na{b=\"1\"} 3\na{b=\"2\"} 4\nab 5\n";
        assert_eq!(sum(text, "a{"), 7);
        assert_eq!(sum(text, "a{b=\"2\"}"), 4);
        assert_eq!(sum(text, "c"), 0);
    }
}
