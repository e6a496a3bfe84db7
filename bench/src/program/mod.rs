//! The program tier: what one packet costs in one program, by test runs of the real object with real rows.
//!
//! [`walker`] runs programs, [`world`] is what they decide in, [`path`] is the packets; the scenarios are the rest.

mod hit;
mod memory;
mod path;
mod sizes;
mod slow;
#[allow(dead_code, reason = "each side of the row uses its own part")]
pub mod walk;
pub mod walker;
pub mod world;

use crate::scenario::Scenario;

pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    vec![Box::new(hit::Hit), Box::new(slow::Slow), Box::new(sizes::Sizes), Box::new(memory::Memory)]
}
