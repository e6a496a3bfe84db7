//! Runs a program many times, each time on the next packet of a walk, and tells what a run cost.
//!
//! The walking program (`bench/ebpf/src/walk.rs`) writes the packet and tail-calls the program that is measured. Time
//! is this thread's CPU time around one system call that repeats the walk, so other processes do not count; what
//! the walk itself costs is measured by the same means and subtracted by whoever asks.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nix::time::{ClockId, clock_gettime};

use super::walk::{LEN, WORDS, Walk};
use crate::result::Family;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/walk"));

/// The program whose runs are measured.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    Xdp(&'a ProgramFd),
    Skb(&'a ProgramFd),
    /// A program that does nothing, at each hook.
    XdpFloor,
    SkbFloor,
}

impl Target<'_> {
    const fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp(_) | Self::XdpFloor)
    }
}

/// Which end of the packets is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// Where packets come in, what the first one is, and how the others differ from it.
#[derive(Clone, Debug)]
pub struct Course {
    pub ifindex: u32,
    pub frame: [u8; LEN],
    pub family: Family,
    pub end: End,
    /// A power of two.
    pub flows: u32,
    /// 1: in the order of admission; a large odd number: jumping about.
    pub stride: u32,
    /// The number of the first flow, for walks that go on where the last one ended.
    pub first: u32,
}

/// What a run cost, and the last one's answer.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub ns: f64,
    pub code: u32,
}

// SAFETY: integers only, without padding.
unsafe impl aya::Pod for Walk {}

/// The walking programs, loaded.
pub struct Walker {
    ebpf: Ebpf,
}

impl Walker {
    /// # Errors
    /// If the kernel refuses the object.
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).context("the walking programs")?;
        for (name, program) in ebpf.programs_mut() {
            let loaded = match program {
                aya::programs::Program::Xdp(xdp) => xdp.load(),
                aya::programs::Program::SchedClassifier(classifier) => classifier.load(),
                _ => continue,
            };
            loaded.with_context(|| format!("program {name}"))?;
        }
        Ok(Self { ebpf })
    }

    /// Runs the target `repeat` times along a course. Only inside the namespace of the course's device.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run(&mut self, target: Target<'_>, course: &Course, repeat: u32) -> Result<Cost> {
        self.aim(target)?;
        let (address, l4_port) = course.walked();
        let mut frame = [0; WORDS];
        for (word, bytes) in frame.iter_mut().zip(course.frame.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("chunks of eight"));
        }
        let walk = Walk {
            frame,
            address,
            l4_port,
            mask: course.flows - 1,
            stride: course.stride,
            position: course.first,
            _pad: 0,
        };
        let mut row: Array<&mut MapData, Walk> =
            Array::try_from(self.ebpf.map_mut("WALK").context("map WALK")?)?;
        row.set(0, walk, 0)?;
        let name = course.program(target.is_xdp());
        let program = self.ebpf.program(&name).with_context(|| format!("program {name}"))?;
        let mut out = [0; LEN * 2];
        let context = if target.is_xdp() { xdp_context(course.ifindex) } else { skb_context(course.ifindex) };
        let options = TestRunOptions {
            data_in: Some(&course.frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::new()
        };
        let before = cpu_time()?;
        let run = if target.is_xdp() {
            <&Xdp>::try_from(program)?.test_run(options)?
        } else {
            <&SchedClassifier>::try_from(program)?.test_run(options)?
        };
        let ns = (cpu_time()? - before) / f64::from(repeat);
        ensure!(ns > 0.0, "the clock of this thread's CPU time does not move");
        Ok(Cost { ns, code: run.return_value })
    }

    /// Puts the target where the walk hands over to.
    fn aim(&mut self, target: Target<'_>) -> Result<()> {
        let own = |ebpf: &Ebpf, name: &str| -> Result<ProgramFd> {
            Ok(ebpf.program(name).with_context(|| format!("program {name}"))?.fd()?.try_clone()?)
        };
        let fd = match target {
            Target::Xdp(fd) | Target::Skb(fd) => fd.try_clone()?,
            Target::XdpFloor => own(&self.ebpf, "xdp_floor")?,
            Target::SkbFloor => own(&self.ebpf, "skb_floor")?,
        };
        let name = if target.is_xdp() { "NEXT_XDP" } else { "NEXT_SKB" };
        let mut next: ProgramArray<&mut MapData> =
            ProgramArray::try_from(self.ebpf.map_mut(name).with_context(|| format!("map {name}"))?)?;
        next.set(0, &fd, 0).context("the walk cannot hand over to this program")
    }
}

impl Course {
    /// The same, from another flow on.
    pub fn starting(&self, first: u32) -> Self {
        Self { first, ..self.clone() }
    }

    /// The walking program's name, as in `bench/ebpf/src/walk.rs`.
    fn program(&self, is_xdp: bool) -> String {
        let hook = if is_xdp { "xdp" } else { "skb" };
        let end = if self.end == End::Source { "source" } else { "destination" };
        let family = if self.family == Family::V4 { 4 } else { 6 };
        format!("{hook}_{end}{family}")
    }

    /// Last word of the walked address, and the walked L4 port, of the first flow.
    fn walked(&self) -> (u32, u32) {
        let (address, l4_port) = match (self.family, self.end) {
            (Family::V4, End::Source) => (26, 34),
            (Family::V4, End::Destination) => (30, 36),
            (Family::V6, End::Source) => (34, 54),
            (Family::V6, End::Destination) => (50, 56),
        };
        let byte = |at: usize| u32::from(self.frame[at]);
        let word = |at: usize| byte(at) << 8 | byte(at + 1);
        (word(address) << 16 | word(address + 2), word(l4_port))
    }
}

/// Nanoseconds of CPU time of this thread.
fn cpu_time() -> Result<f64> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(now.tv_sec() as f64 * 1e9 + now.tv_nsec() as f64)
}

/// `struct xdp_md`.
fn xdp_context(ifindex: u32) -> Vec<u8> {
    let (data, len, meta, queue, egress) = (0, LEN as u32, 0, 0, 0);
    [data, len, meta, ifindex, queue, egress].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// `struct __sk_buff`.
fn skb_context(ifindex: u32) -> Vec<u8> {
    const SIZE: usize = 192;
    const IFINDEX: usize = 40;
    let mut context = vec![0; SIZE];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_walks_where_the_programs_write() {
        let mut frame = [0; LEN];
        frame[30..34].copy_from_slice(&[198, 18, 0, 1]);
        frame[36..38].copy_from_slice(&1024_u16.to_be_bytes());
        let course = Course {
            ifindex: 1,
            frame,
            family: Family::V4,
            end: End::Destination,
            flows: 1,
            stride: 1,
            first: 0,
        };
        assert_eq!(course.walked(), (0xc612_0001, 1024));
        assert_eq!(course.program(true), "xdp_destination4");
        assert_eq!(Course { end: End::Source, family: Family::V6, ..course }.program(false), "skb_source6");
    }
}
