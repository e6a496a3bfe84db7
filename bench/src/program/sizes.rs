//! How large the programs are, what the verifier makes of them, and how long loading takes.

use std::time::Instant;

use anyhow::{Context, Result};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use fwd_common::map;
use fwd_user::datapath::{LogLevel, OBJECT, Sizes as MapSizes};

use crate::result::{Reading, Unit};
use crate::scenario::{Effort, Element, Scenario, Seat};

static LOG_OFF: u8 = LogLevel::Off as u8;

pub struct Sizes;

impl Scenario for Sizes {
    fn name(&self) -> &'static str {
        "programs"
    }

    fn about(&self) -> &'static str {
        "Each program of the object: machine code, instructions, instructions that the verifier walked, time to verify \
         and compile it. Instructions that a packet executes are not counted: that takes a CPU with counters."
    }

    fn prepare(&self, _: Effort) -> Result<Vec<Seat>> {
        Ok(map::program::ALL.into_iter().map(|name| Seat::of(name, Ok(OneProgram(name)))).collect())
    }
}

struct OneProgram(&'static str);

/// The object with maps for few flows, none of its programs loaded.
fn object() -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    // As the daemon loads it: nothing is logged.
    loader.btf(None).override_global("AYA_LOG_LEVEL", &LOG_OFF, true);
    let sizes = MapSizes::for_flows(MapSizes::LEAST_FLOWS);
    for doc in map::ALL {
        if let Some(rows) = sizes.rows(doc.name) {
            loader.map_max_entries(doc.name, rows);
        }
    }
    loader.load(OBJECT).context("the object")
}

impl Element for OneProgram {
    fn name(&self) -> &str {
        self.0
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut object = object()?;
        let program = object.program_mut(self.0).with_context(|| format!("program {}", self.0))?;
        let begun = Instant::now();
        match program {
            Program::Xdp(xdp) => xdp.load()?,
            Program::SchedClassifier(classifier) => classifier.load()?,
            _ => anyhow::bail!("program {} is of a kind that fwd does not use", self.0),
        }
        let load = begun.elapsed().as_secs_f64() * 1e3;
        let info = program.info()?;
        let instructions = |count: Option<u32>| f64::from(count.unwrap_or_default());
        Ok(vec![
            Reading::new(f64::from(info.size_jitted()), Unit::Bytes).of("machine code"),
            Reading::new(instructions(info.size_translated().map(|bytes| bytes / 8)), Unit::Instructions)
                .of("translated"),
            Reading::new(instructions(info.verified_instruction_count()), Unit::Instructions).of("verified"),
            Reading::new(load, Unit::Milliseconds).of("load"),
        ])
    }
}
