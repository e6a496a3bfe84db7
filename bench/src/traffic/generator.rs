//! The generator: live frames of `BPF_PROG_TEST_RUN`, sent into a wire from one CPU.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use aya::{TestRun as _, TestRunAttrs, TestRunOptions};
use fwd_tests::netns::Netns;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::object::Object;
use super::stream::{IMIX, LONGEST, Stream};

/// Frames that the kernel makes before it lets softirqs run: what a NIC's poll takes.
const BATCH: u32 = 64;
/// A first burst, to see how long a packet takes. A test run costs the kernel tens of milliseconds beside what it
/// sends, so there are few.
const FIRST: u32 = 8192;
/// Where it runs. What it sends is received on the same CPU, unless the receiver's NAPI is elsewhere.
pub const CPU: usize = 0;

pub struct Generator {
    netns: Arc<Netns>,
    object: Object,
    length: usize,
}

/// How long a packet took the last time, under the same conditions.
pub type Pace = Option<Duration>;

/// Bursts that come so close to the time that was asked for are not mended: another test run costs more than is left.
const NEAR: u32 = 8;

/// What was sent, and how long it took: the test runs' own time, without setting them up, and without what other
/// threads had of the CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub packets: u64,
    pub time: Duration,
    /// How long other threads had the CPU meanwhile.
    pub waited: Duration,
}

impl Generator {
    /// Sends out of a device.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn new(netns: &Arc<Netns>, device: &str) -> Result<Self> {
        let ifindex = netns.ifindex(device);
        let object = netns.inside(|| -> Result<Object> {
            let mut object = Object::load(1)?;
            object.set_device("WIRE", 0, ifindex)?;
            object.xdp("generate")?;
            Ok(object)
        })?;
        Ok(Self { netns: Arc::clone(netns), object, length: 0 })
    }

    /// From now on packets of this stream, from its first.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn set(&mut self, stream: Stream) -> Result<()> {
        self.length = usize::from(if stream.length == IMIX { LONGEST } else { stream.length });
        self.object.array("STREAM")?.set(0, stream, 0)?;
        self.object.array("POSITION")?.set(0, 0_u64, 0)?;
        Ok(())
    }

    /// Sends as many.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn send(&mut self, packets: u32) -> Result<Sent> {
        self.burst(CPU, packets)
    }

    /// Sends for a time, from a CPU; about so many packets as the pace allows.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn send_for(&mut self, cpu: usize, time: Duration, pace: &mut Pace) -> Result<Sent> {
        let mut sent = Sent::default();
        while sent.time < time - time / NEAR {
            let left = time - sent.time;
            let packets = pace.map_or(FIRST, |pace| {
                let packets = left.as_nanos() / pace.as_nanos().max(1);
                u32::try_from(packets).unwrap_or(u32::MAX).max(BATCH)
            });
            let burst = self.burst(cpu, packets)?;
            *pace = Some(burst.time / packets);
            sent = Sent {
                packets: sent.packets + burst.packets,
                time: sent.time + burst.time,
                waited: sent.waited + burst.waited,
            };
        }
        Ok(sent)
    }

    /// One test run.
    fn burst(&mut self, cpu: usize, packets: u32) -> Result<Sent> {
        let frame = vec![0; self.length];
        let program = self.object.xdp("generate")?;
        let (pace, waited) = self.netns.inside(|| {
            pin(Pid::from_raw(0), cpu)?;
            let before = waited()?;
            let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
            let options =
                TestRunOptions { data_in: Some(&frame), repeat: packets, attrs, ..TestRunOptions::new() };
            let pace = program.test_run(options).context("live frames cannot be sent")?.duration;
            Ok::<_, Error>((pace, waited()? - before))
        })?;
        Ok(Sent { packets: u64::from(packets), time: pace * packets, waited })
    }
}

/// How long the calling thread was ready to run and did not, ever.
fn waited() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let waited = text.split(' ').nth(1).context("schedstat has three numbers")?;
    Ok(Duration::from_nanos(waited.parse()?))
}

/// Binds a thread to a CPU.
///
/// # Errors
/// If there is no such CPU, or no such thread any more.
pub fn pin(thread: Pid, cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(thread, &cpus).with_context(|| format!("a thread cannot be bound to CPU {cpu}"))
}
