//! Scenarios and their elements, and the turns that elements take.
//!
//! A tier registers scenarios. A scenario sets up all its elements, then each of them is measured once a round, all
//! in turn, so that a machine that slows down slows all of them; dropping an element takes it away.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::result::{Reading, Results, Skipped, Tier};

/// How much time a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    pub quick: bool,
    pub rounds: usize,
}

impl Effort {
    /// The numbers of flows that are worth a run.
    #[must_use]
    pub const fn flows(self) -> &'static [u64] {
        if self.quick { &[1_000, 100_000] } else { &[1, 1_000, 100_000, 1_000_000] }
    }
}

/// Where a scenario's elements live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Here,
    /// In a guest with a kernel of its own, where this program runs too.
    Guest,
}

/// One thing that is measured, with all that it is compared with.
pub trait Scenario {
    /// As `--only` takes it: one word, hyphens.
    fn name(&self) -> &'static str;

    /// One sentence for the page: what is measured, and how.
    fn about(&self) -> &'static str;

    fn place(&self) -> Place {
        Place::Here
    }

    /// How many measurements of each element make a round. Elements take turns after each, so what is compared
    /// is measured close together.
    fn turns(&self, _: Effort) -> usize {
        1
    }

    /// Makes the elements, in the order of their turns.
    ///
    /// # Errors
    /// If the scenario as a whole cannot run here. One element that cannot be had is a [`Seat::Empty`].
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>>;
}

/// An element, or why it is missing.
pub enum Seat {
    Taken(Box<dyn Element>),
    /// Name and reason.
    Empty(String, String),
}

impl Seat {
    /// An element that could be made, or the reason why not.
    pub fn of<E: Element + 'static>(name: &str, made: Result<E>) -> Self {
        match made {
            Ok(element) => Self::Taken(Box::new(element)),
            Err(reason) => Self::Empty(name.to_owned(), format!("{reason:#}")),
        }
    }
}

/// Does what may panic in the kit.
///
/// # Errors
/// If it fails or panics.
pub fn caught<T>(task: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map_or("a step panicked", String::as_str);
        Err(anyhow!("{said}"))
    })
}

/// What is measured in turn with others.
pub trait Element {
    fn name(&self) -> &str;

    /// Measures once: the same readings in every round, turn by turn.
    ///
    /// # Errors
    /// If what should be measured did not happen, such as packets that did not arrive: the element is out of the
    /// run then, with this as its reason.
    fn measure(&mut self) -> Result<Vec<Reading>>;

    /// What a reader has to know of the figures.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Runs one scenario and adds what it measured.
pub fn run(tier: Tier, scenario: &dyn Scenario, effort: Effort, results: &mut Results) {
    let begun = Instant::now();
    eprint!("{:<28} ", scenario.name());
    let mut skip = |element: &str, reason: String| {
        eprint!("[{element}: {reason}] ");
        let (scenario, element) = (scenario.name().to_owned(), element.to_owned());
        results.skipped.push(Skipped { scenario, element, reason });
    };
    let mut elements = Vec::new();
    match scenario.prepare(effort) {
        Err(reason) => skip("all", format!("{reason:#}")),
        Ok(seats) => {
            for seat in seats {
                match seat {
                    Seat::Taken(element) => elements.push(element),
                    Seat::Empty(element, reason) => skip(&element, reason),
                }
            }
        }
    }
    for _ in 0..effort.rounds * scenario.turns(effort) {
        elements.retain_mut(|element| match element.measure() {
            Ok(readings) => {
                for reading in readings {
                    results.add(tier, scenario.name(), element.name(), reading);
                }
                true
            }
            Err(reason) => {
                let reason = format!("{reason:#}");
                eprint!("[{}: {reason}] ", element.name());
                results.drop_element(scenario.name(), element.name(), reason);
                false
            }
        });
    }
    for element in &elements {
        if let Some(note) = element.note() {
            results.note(scenario.name(), element.name(), &note);
        }
    }
    eprintln!("{:.1} s", begun.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Unit;
    use anyhow::bail;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Turns(Rc<RefCell<Vec<&'static str>>>);
    struct Turn(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Scenario for Turns {
        fn name(&self) -> &'static str {
            "turns"
        }
        fn about(&self) -> &'static str {
            "Who takes turns with whom."
        }
        fn prepare(&self, _: Effort) -> Result<Vec<Seat>> {
            let turn = |name| Seat::of(name, Ok(Turn(name, Rc::clone(&self.0))));
            Ok(vec![
                turn("a"),
                turn("breaks"),
                turn("b"),
                Seat::of::<Turn>("absent", Err(anyhow::anyhow!("none"))),
            ])
        }
    }

    impl Element for Turn {
        fn name(&self) -> &str {
            self.0
        }
        fn measure(&mut self) -> Result<Vec<Reading>> {
            self.1.borrow_mut().push(self.0);
            if self.0 == "breaks" && self.1.borrow().len() > 3 {
                bail!("it broke");
            }
            Ok(vec![Reading::new(1.0, Unit::Mpps)])
        }
    }

    #[test]
    fn elements_take_turns_and_a_broken_one_leaves_nothing_behind() {
        let turns = Rc::new(RefCell::new(Vec::new()));
        let mut results = Results::default();
        let effort = Effort { quick: true, rounds: 3 };
        run(Tier::Traffic, &Turns(Rc::clone(&turns)), effort, &mut results);
        assert_eq!(*turns.borrow(), ["a", "breaks", "b", "a", "breaks", "b", "a", "b"]);
        let measured: Vec<_> =
            results.measurements.iter().map(|m| (m.element.as_str(), m.samples.len())).collect();
        assert_eq!(measured, [("a", 3), ("b", 3)]);
        let skipped: Vec<_> =
            results.skipped.iter().map(|s| (s.element.as_str(), s.reason.as_str())).collect();
        assert_eq!(skipped, [("absent", "none"), ("breaks", "it broke")]);
    }
}
