//! Established flows beside a storm of drops: what it costs them and the daemon, and how much of it is told.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::generator::{Generator, Pace};
use super::packets::{Flows, Packets, Sample, arrivals};
use super::rig::ETH;
use super::stream::Stream;
use super::trip::Load;
use crate::peer::Build;
use crate::process::cpu_of;
use crate::result::{Arrangement, Family, Reading, Unit};
use crate::scenario::Element;

const ESTABLISHED: Load = Load { family: Family::V4, flows: 1_000, length: 64 };
/// Flows that are refused, again and again.
const REFUSED: u32 = 1_000;
const TCP: u8 = 6;
const SYN: u8 = 2;
/// The other CPU.
const STORMING_CPU: usize = 1;
/// A storm is so many times as long as what is measured beside it: the daemon reads on.
const LONGER: u32 = 4;

pub struct Storm {
    slice: Duration,
    /// Of the established flows, undisturbed and in the storm; and of the storm.
    paces: [Pace; 3],
    syns: Generator,
    packets: Packets,
}

/// What was counted up to a moment.
struct Counted {
    drops: u64,
    shed: u64,
    cpu: Duration,
}

impl Storm {
    /// # Errors
    /// If the element cannot be had here.
    pub fn new(name: &str, build: Build, slice: Duration) -> Result<Self> {
        let packets = Packets::new(name, build, Flows::Established, ESTABLISHED.flows)?;
        let syns = Generator::new(&packets.rig().outside, ETH)?;
        Ok(Self { slice, paces: [None; 3], syns, packets })
    }

    fn counted(&self) -> Result<Counted> {
        let fwd = self.packets.fwd().context("the element is fwd")?;
        let text = fwd.run(&self.packets.rig().host, &["metrics"]).into_result()?;
        let metric = |name: &str| -> Result<u64> {
            let value =
                text.lines().find_map(|line| line.strip_prefix(name)).context("a metric is missing")?;
            Ok(value.trim().parse()?)
        };
        Ok(Counted {
            drops: metric("fwd_drops_total{reason=\"policy_denied\"}")?,
            shed: metric("fwd_events_lost_total{consumer=\"kernel\"}")?,
            cpu: cpu_of(fwd.pid().context("the daemon runs")?)?,
        })
    }
}

impl Element for Storm {
    fn name(&self) -> &str {
        self.packets.name()
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        self.packets.establish(ESTABLISHED)?;
        self.packets.rig().arrange(Arrangement::SameCpu)?;
        let undisturbed = self.packets.sample(ESTABLISHED, self.slice, &mut self.paces[0])?;
        let refused = Load { flows: REFUSED, ..ESTABLISHED };
        self.syns.set(Stream { proto: TCP, tcp_flags: SYN, ..self.packets.trip().forth(refused) })?;
        let before = self.counted()?;
        let [_, stormy, storming] = &mut self.paces;
        let (packets, syns, slice) = (&mut self.packets, &mut self.syns, self.slice);
        let begun = Instant::now();
        let (beside, storm) = thread::scope(|scope| {
            let storm = scope.spawn(|| syns.send_for(STORMING_CPU, slice * LONGER, storming));
            let beside = packets.sample(ESTABLISHED, slice, stormy);
            (beside, storm.join())
        });
        let storm = storm.map_err(|_| anyhow!("the storm panicked"))??;
        let (beside, took) = (beside?, begun.elapsed());
        let after = self.counted()?;
        self.packets.check(ESTABLISHED).context("an established flow was lost in the storm")?;
        let (drops, shed) = (after.drops - before.drops, after.shed - before.shed);
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / took.as_secs_f64();
        let a_second = |events: u64| events as f64 / took.as_secs_f64();
        Ok(vec![
            reading(&undisturbed, "undisturbed"),
            reading(&beside, "in the storm"),
            Reading::new(drops as f64 / storm.time.as_secs_f64() / 1e6, Unit::Mpps).of("drops"),
            Reading::new(100.0 * cpu, Unit::Percent).of("the daemon's CPU"),
            Reading::new(a_second(drops.saturating_sub(shed)), Unit::PerSecond).of("drops told"),
            Reading::new(a_second(shed), Unit::PerSecond).of("drops not told, counted"),
        ])
    }
}

fn reading(sample: &Sample, quantity: &str) -> Reading {
    arrivals((sample.sent, sample.arrived), quantity, ESTABLISHED.at(Some(Arrangement::SameCpu)))
}
