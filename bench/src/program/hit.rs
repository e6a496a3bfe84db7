//! What a packet of an established flow costs.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use aya::maps::{DevMap, HashMap, MapData};
use aya::programs::{ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use fwd_tests::frame::Mac;
use fwd_tests::lab::Hook;

use super::path::{BRIDGE, BRIDGE_BACK, FORWARD_IN, FORWARD_OUT, NAT_IN, NAT_OUT, Path};
use super::walker::{Cost, Course};
use super::world::{VM1, World};
use crate::result::{At, Family, Reading, Unit};
use crate::scenario::{Effort, Element, Scenario, Seat};

/// Runs of one sample, at least.
const REPEAT: u32 = 1 << 15;
/// Of how many samples in a row the least counts.
pub const TRIES: usize = 3;
/// Odd, and far from any power of two (2^32 divided by the golden ratio).
const JUMPING: u32 = 0x9e37_79b1;
/// Established flows of the paths that are not walked through a large table.
const FEW: u32 = 1 << 10;

pub type Shared = Rc<RefCell<World>>;

pub struct Hit;

impl Hit {
    const fn flows(effort: Effort) -> &'static [u32] {
        if effort.quick { &[1, 1 << 10, 1 << 16] } else { &[1, 1 << 10, 1 << 17, 1 << 20] }
    }
}

impl Scenario for Hit {
    fn name(&self) -> &'static str {
        "hit"
    }

    fn about(&self) -> &'static str {
        "A packet of an established flow in one program: forwards and NAT both ways, policy on, and a bridge; walks \
         through 1 to 1M flows of one table, two entries each. Net of a program that does nothing."
    }

    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let flows = Self::flows(effort);
        let most = *flows.last().context("flows")?;
        let mut world = World::new(most + 4 * FEW, 0)?;
        for family in [Family::V4, Family::V6] {
            let many = if family == Family::V4 { most } else { FEW };
            world.establish(Hook::Xdp, (&FORWARD_IN.of(family), &FORWARD_OUT.of(family)), many)?;
            world.establish(Hook::Xdp, (&NAT_OUT.of(family), &NAT_IN.of(family)), FEW)?;
        }
        let minimal = Minimal::new(&world, most);
        let world = Rc::new(RefCell::new(world));
        let own = |name, hook| Own::new(name, hook, &world, flows);
        Ok(vec![
            Seat::of("floor", Ok(Floor(Rc::clone(&world)))),
            Seat::of("fwd-xdp", own("fwd-xdp", Hook::Xdp)),
            Seat::of("fwd-tcx", own("fwd-tcx", Hook::Tcx)),
            Seat::of("minimal", minimal.map(|program| Peer { world: Rc::clone(&world), program, flows })),
        ])
    }
}

/// The least of a few samples, net of what the walk costs.
pub fn net(mut sample: impl FnMut(bool) -> Result<Cost>) -> Result<f64> {
    let mut least = [f64::MAX; 2];
    for _ in 0..TRIES {
        for (least, is_floor) in least.iter_mut().zip([false, true]) {
            *least = least.min(sample(is_floor)?.ns);
        }
    }
    Ok(least[0] - least[1])
}

/// Runs of a walk: at least once through all its flows.
const fn repeat(course: &Course) -> u32 {
    if course.flows > REPEAT { course.flows } else { REPEAT }
}

fn reading(ns: f64, path: &Path, course: &Course) -> Reading {
    let quantity = match course.stride {
        1 => path.name.to_owned(),
        _ => format!("{}, jumping", path.name),
    };
    let at = At { family: Some(path.family), flows: Some(course.flows.into()), ..At::default() };
    Reading::new(ns, Unit::Nanoseconds).of(&quantity).at(at)
}

/// What a walk costs by itself.
struct Floor(Shared);

impl Element for Floor {
    fn name(&self) -> &str {
        "floor"
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut world = self.0.borrow_mut();
        let course = world.course(&FORWARD_IN, 1)?;
        [(Hook::Xdp, "XDP"), (Hook::Tcx, "TCX")]
            .into_iter()
            .map(|(hook, name)| {
                let cost = world.run_other(hook, None, &course, REPEAT)?;
                Ok(Reading::new(cost.ns, Unit::Nanoseconds).of(name))
            })
            .collect()
    }

    fn note(&self) -> Option<String> {
        Some(
            "What every run costs before the measured program does anything; subtracted from the others."
                .into(),
        )
    }
}

/// fwd at one hook.
struct Own {
    name: &'static str,
    hook: Hook,
    world: Shared,
    courses: Vec<(Path, Course)>,
}

impl Own {
    fn new(name: &'static str, hook: Hook, world: &Shared, flows: &[u32]) -> Result<Self> {
        let mut courses = Vec::new();
        let within = world.borrow();
        let mut add = |path: Path, flows: u32, stride: u32| -> Result<()> {
            let course = Course { stride, ..within.course(&path, flows)? };
            courses.push((path, course));
            Ok(())
        };
        for &flows in flows {
            add(FORWARD_IN, flows, 1)?;
            if flows > FEW {
                add(FORWARD_IN, flows, JUMPING)?;
            }
        }
        for family in [Family::V4, Family::V6] {
            for path in [FORWARD_IN, FORWARD_OUT, NAT_OUT, NAT_IN] {
                if family == Family::V6 || path.name != FORWARD_IN.name {
                    add(path.of(family), 1, 1)?;
                    add(path.of(family), FEW, 1)?;
                }
            }
        }
        add(BRIDGE, 1, 1)?;
        add(BRIDGE, FEW, 1)?;
        drop(within);
        // Both MACs are learnt before a bridge carries flows; the first round is not the first packet.
        let mut teach = world.borrow_mut();
        for path in [BRIDGE_BACK, BRIDGE, BRIDGE_BACK] {
            let course = teach.course(&path, FEW)?;
            teach.run_any(hook, &course, FEW)?;
        }
        drop(teach);
        Ok(Self { name, hook, world: Rc::clone(world), courses })
    }
}

impl Element for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut world = self.world.borrow_mut();
        self.courses
            .iter()
            .map(|(path, course)| {
                let ns = net(|is_floor| match is_floor {
                    true => world.run_other(self.hook, None, course, REPEAT),
                    false => world.run(self.hook, path, course, repeat(course)),
                })?;
                Ok(reading(ns, path, course))
            })
            .collect()
    }
}

/// The minimal forward: one look-up, rewrite, redirect (`bench/ebpf/src/peer/dnat.rs`).
pub struct Minimal {
    ebpf: Ebpf,
}

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/traffic"));

impl Minimal {
    /// In the world's namespace, with a table for so many flows, two entries each.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn new(world: &World, flows: u32) -> Result<Self> {
        let gateway = world.gateway();
        world.inside(|| {
            let mut loader = EbpfLoader::new();
            loader.btf(None).map_max_entries("FLOWS", flows * 2);
            let mut ebpf = loader.load(OBJECT).context("the minimal forward")?;
            let xdp: &mut Xdp = ebpf.program_mut("dnat").context("program dnat")?.try_into()?;
            xdp.load()?;
            let map =
                |ebpf: &mut Ebpf, name: &str| ebpf.take_map(name).with_context(|| format!("map {name}"));
            let mut devices: DevMap<MapData> = map(&mut ebpf, "DEVICES")?.try_into()?;
            devices.set(0, 20, None, 0)?;
            devices.set(1, 10, None, 0)?;
            // As `ForwardKey` and `Forward` of the program.
            let mut key = [0; 8];
            key[..4].copy_from_slice(&[203, 0, 113, 10]);
            key[4..6].copy_from_slice(&5353_u16.to_be_bytes());
            key[6..].copy_from_slice(&17_u16.to_ne_bytes());
            let mut row = [0; 20];
            row[..4].copy_from_slice(&[10, 10, 0, 11]);
            row[4..6].copy_from_slice(&53_u16.to_be_bytes());
            row[6..12].copy_from_slice(&Mac::from(VM1).0);
            row[12..18].copy_from_slice(&gateway.0);
            let mut forwards: HashMap<MapData, [u8; 8], [u8; 20]> = map(&mut ebpf, "FORWARDS")?.try_into()?;
            forwards.insert(key, row, 0)?;
            Ok(Self { ebpf })
        })
    }

    /// # Errors
    /// If it is not loaded.
    pub fn program(&self) -> Result<&ProgramFd> {
        let xdp: &Xdp = self.ebpf.program("dnat").context("program dnat")?.try_into()?;
        Ok(xdp.fd()?)
    }
}

/// XDP_REDIRECT.
const REDIRECT: u32 = 4;

/// Runs the minimal forward on a path's packets.
///
/// # Errors
/// If it does not forward them.
pub fn run_minimal(world: &mut World, minimal: &Minimal, course: &Course, repeat: u32) -> Result<Cost> {
    let cost = world.run_other(Hook::Xdp, Some(minimal.program()?), course, repeat)?;
    ensure!(cost.code == REDIRECT, "the last packet was not forwarded: answer {}", cost.code);
    Ok(cost)
}

struct Peer {
    world: Shared,
    program: Minimal,
    flows: &'static [u32],
}

impl Element for Peer {
    fn name(&self) -> &str {
        "minimal"
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut world = self.world.borrow_mut();
        let mut readings = Vec::new();
        for &flows in self.flows {
            for stride in if flows > FEW { &[1, JUMPING][..] } else { &[1] } {
                let course = Course { stride: *stride, ..world.course(&FORWARD_IN, flows)? };
                // Its first packet admits a flow: not measured here.
                run_minimal(&mut world, &self.program, &course, flows)?;
                let ns = net(|is_floor| match is_floor {
                    true => world.run_other(Hook::Xdp, None, &course, REPEAT),
                    false => run_minimal(&mut world, &self.program, &course, repeat(&course)),
                })?;
                readings.push(reading(ns, &FORWARD_IN, &course));
            }
        }
        Ok(readings)
    }

    fn note(&self) -> Option<String> {
        Some("One look-up and a rewrite, IPv4 only: no policy, accounting or timeouts. Its table is as large as fwd's.".into())
    }
}
