//! Established flows beside a SYN flood: what a flood on one CPU costs those that another CPU forwards.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::generator::{Generator, Pace};
use super::packets::{Flows, Packets, Sample, arrivals};
use super::rig::ETH;
use super::stream::Stream;
use super::trip::{FLOODED, Load};
use crate::peer::Build;
use crate::result::{Arrangement, Family, Reading};
use crate::scenario::Element;

const ESTABLISHED: Load = Load { family: Family::V4, flows: 10_000, length: 64 };
/// Room for them, and for the default share of flows that nobody has answered.
const ROOM: u32 = 100_000;
const TCP: u8 = 6;
const SYN: u8 = 2;
/// The other CPU.
const FLOODING_CPU: usize = 1;

pub struct Flood {
    slice: Duration,
    /// Of the established flows, undisturbed and in the flood; and of the flood.
    paces: [Pace; 3],
    syns: Generator,
    packets: Packets,
}

impl Flood {
    /// # Errors
    /// If the element cannot be had here.
    pub fn new(name: &str, build: Build, slice: Duration) -> Result<Self> {
        let packets = Packets::new(name, build, Flows::Established, ROOM)?;
        let syns = Generator::new(&packets.rig().outside, ETH)?;
        Ok(Self { slice, paces: [None; 3], syns, packets })
    }
}

impl Element for Flood {
    fn name(&self) -> &str {
        self.packets.name()
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        self.packets.establish(ESTABLISHED)?;
        self.packets.rig().arrange(Arrangement::SameCpu)?;
        let [calm, stormy, flooding] = &mut self.paces;
        let undisturbed = self.packets.sample(ESTABLISHED, self.slice, calm)?;
        let syn = Stream {
            dport: FLOODED,
            proto: TCP,
            tcp_flags: SYN,
            flows: u32::MAX,
            ..self.packets.trip().forth(ESTABLISHED)
        };
        self.syns.set(syn)?;
        let (packets, syns, slice) = (&mut self.packets, &mut self.syns, self.slice);
        let (flooded, flood) = thread::scope(|scope| {
            // Longer than what is measured beside it.
            let flood = scope.spawn(|| syns.send_for(FLOODING_CPU, slice * 2, flooding));
            let flooded = packets.sample(ESTABLISHED, slice, stormy);
            (flooded, flood.join())
        });
        flood.map_err(|_| anyhow!("the flood panicked"))??;
        let flooded = flooded?;
        self.packets.check(ESTABLISHED).context("an established flow was lost in the flood")?;
        Ok(vec![reading(&undisturbed, "undisturbed"), reading(&flooded, "under a flood")])
    }
}

fn reading(sample: &Sample, quantity: &str) -> Reading {
    arrivals((sample.sent, sample.arrived), quantity, ESTABLISHED.at(Some(Arrangement::SameCpu)))
}
