//! What the packets cost that are no hits: first ones, and those that are dropped or copied.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Result;
use fwd_tests::lab::Hook;

use super::hit::{Minimal, Shared, TRIES, net, run_minimal};
use super::path::{DENIED, FLOOD, FORWARD_IN, Path, SPOOFED};
use super::world::World;
use crate::result::{At, Family, Reading, Unit};
use crate::scenario::{Effort, Element, Scenario, Seat};

/// New flows of one sample.
const BATCH: u32 = 1 << 13;
/// As many as any run walks through.
const COURSE: u32 = 1 << 24;
/// Drops, or floods, of one sample.
const REPEAT: u32 = 1 << 14;
const RULES: usize = 10_000;

pub struct Slow;

impl Scenario for Slow {
    fn name(&self) -> &'static str {
        "slow-path"
    }

    fn about(&self) -> &'static str {
        "A packet that is no hit: the first of a flow (admitted into a table with room for all of the run), one that policy or the \
         source guard drops, a broadcast copied to three ports whose cables are down. Net of a program that does nothing."
    }

    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        // Of each family: what both hooks admit.
        let admitted = BATCH * u32::try_from(TRIES * effort.rounds)?;
        let capacity = (2 * admitted).next_power_of_two();
        let world = World::new(capacity, 0)?;
        let minimal = Minimal::new(&world, capacity);
        let world = Rc::new(RefCell::new(world));
        let ruled = World::new(capacity / 2, RULES).map(|world| Rc::new(RefCell::new(world)));
        let own = |name, hook, first, world: &Shared| {
            Ok(Own { name, hook, world: Rc::clone(world), next: [first; 2] })
        };
        Ok(vec![
            Seat::of("fwd-xdp", own("fwd-xdp", Hook::Xdp, 0, &world)),
            Seat::of("fwd-tcx", own("fwd-tcx", Hook::Tcx, capacity / 2, &world)),
            Seat::of(
                "fwd-xdp-10k-rules",
                ruled.and_then(|ruled| own("fwd-xdp-10k-rules", Hook::Xdp, 0, &ruled)),
            ),
            Seat::of("minimal", minimal.map(|minimal| Peer { world, minimal, next: 0 })),
        ])
    }
}

/// fwd at one hook; each new flow is one that was never seen.
struct Own {
    name: &'static str,
    hook: Hook,
    world: Shared,
    /// The next new flow's number, by family.
    next: [u32; 2],
}

impl Own {
    fn new_flows(&mut self, family: Family) -> Result<Reading> {
        let path = FORWARD_IN.of(family);
        let mut world = self.world.borrow_mut();
        let course = world.course(&path, COURSE)?;
        let next = &mut self.next[(family == Family::V6) as usize];
        let hook = self.hook;
        let ns = net(|is_floor| {
            if is_floor {
                return world.run_other(hook, None, &course, REPEAT);
            }
            let cost = world.run(hook, &path, &course.starting(*next), BATCH);
            *next += BATCH;
            cost
        })?;
        Ok(reading(ns, "new flow", family))
    }

    fn refused(&mut self, path: &Path) -> Result<Reading> {
        let mut world = self.world.borrow_mut();
        let course = world.course(path, 1)?;
        let hook = self.hook;
        let ns = net(|is_floor| match is_floor {
            true => world.run_other(hook, None, &course, REPEAT),
            false => world.run(hook, path, &course, REPEAT),
        })?;
        Ok(reading(ns, path.name, path.family))
    }
}

fn reading(ns: f64, quantity: &str, family: Family) -> Reading {
    let at = At { family: Some(family), ..At::default() };
    Reading::new(ns, Unit::Nanoseconds).of(quantity).at(at)
}

impl Element for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut readings = vec![self.new_flows(Family::V4)?, self.new_flows(Family::V6)?];
        for path in [DENIED, SPOOFED] {
            readings.push(self.refused(&path)?);
        }
        // XDP passes floods up.
        if self.hook == Hook::Tcx {
            readings.push(self.refused(&FLOOD)?);
        }
        Ok(readings)
    }
}

/// The minimal forward admits flows too.
struct Peer {
    world: Shared,
    minimal: Minimal,
    next: u32,
}

impl Element for Peer {
    fn name(&self) -> &str {
        "minimal"
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut world = self.world.borrow_mut();
        let course = world.course(&FORWARD_IN, COURSE)?;
        let ns = net(|is_floor| {
            if is_floor {
                return world.run_other(Hook::Xdp, None, &course, REPEAT);
            }
            let cost = run_minimal(&mut world, &self.minimal, &course.starting(self.next), BATCH);
            self.next += BATCH;
            cost
        })?;
        Ok(vec![reading(ns, "new flow", Family::V4)])
    }
}
