//! An element under the generator's packets: how many of them it delivers.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fwd_tests::lab::Instance;

use super::generator::{self, Generator, Pace, Sent};
use super::rig::{Carries, ETH, Rig};
use super::sink::Sink;
use super::stream::{Arrived, Expected, IMIX, L4_PORTS};
use super::trip::{Load, Trip};
use crate::peer::{Build, Standing};
use crate::result::{Arrangement, At, Family, Reading, Unit};
use crate::scenario::Element;

/// Frames under way when the generator ends have arrived when nothing came for this long.
const SETTLE: Duration = Duration::from_millis(4);
/// Establishing stops when a part of the flows is refused again and again.
const TRIES: u32 = 5;
/// Packets that no queue on the way is too short for.
const BURST: u32 = 64;
/// How many times as many flows are opened where the generator has a CPU of its own: it sends faster than the
/// element takes, which needs a while to get going, and most are lost before it.
const LOST: u32 = 4;
/// Of an element's short way: at most one packet of so many may take the long one.
const FEW: u64 = 10;
/// Room for flows that every element has.
const LEAST_ROOM: u32 = 1 << 16;

/// One measurement of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub arrangement: Arrangement,
    pub load: Load,
}

impl Case {
    /// Flows that a sample opens, where each packet opens one.
    #[must_use]
    pub const fn opened(self) -> u32 {
        match self.arrangement {
            Arrangement::SameCpu => self.load.flows,
            Arrangement::Split => self.load.flows * LOST,
        }
    }

    fn at(self, kind: Flows) -> At {
        let at = self.load.at(Some(self.arrangement));
        At {
            flows: at.flows.filter(|_| kind != Flows::New),
            size: at.size.filter(|_| self.load.length != IMIX),
            ..at
        }
    }
}

/// Which flows the generator's packets belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// Those that both sides have talked in.
    Established,
    /// Each packet opens one.
    New,
    /// None: what the element does with the packets is to drop them.
    Refused,
    /// The element knows no flows.
    Unknown,
}

/// An element in a rig with generators and sinks on both ends.
pub struct Packets {
    name: String,
    flows: Flows,
    slice: Duration,
    cases: Vec<(Case, Pace)>,
    turn: usize,
    /// IPv4 and IPv6 flows that were established.
    established: [u32; 2],
    /// Flows that were opened by [`Flows::New`].
    opened: u32,
    forth: Generator,
    back: Generator,
    arrived: Sink,
    returned: Sink,
    standing: Standing,
    rig: Rig,
}

/// What became of the packets of one slice.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub sent: Sent,
    /// By the element's device.
    pub received: u64,
    pub arrived: Arrived,
}

/// How many of the packets that were sent arrived, in a second and of all; the element's device may have received
/// others beside them.
#[must_use]
pub fn arrivals((sent, arrived): (Sent, Arrived), quantity: &str, at: At) -> Reading {
    let (packets, arrived) = (sent.packets as f64, arrived.sound() as f64);
    let rate = arrived / sent.time.as_secs_f64() / 1e6;
    Reading::new(rate, Unit::Mpps).of(quantity).at(at).delivered(arrived / packets)
}

impl Packets {
    /// Sets the element up, with room for so many flows.
    ///
    /// # Errors
    /// If it cannot be had here.
    pub fn new(name: &str, build: Build, flows: Flows, room: u32) -> Result<Self> {
        let rig = Rig::new(Carries::Frames)?;
        let standing = build(&rig, room.max(LEAST_ROOM))?;
        Ok(Self {
            name: name.to_owned(),
            flows,
            slice: Duration::ZERO,
            cases: vec![],
            turn: 0,
            established: [0; 2],
            opened: 0,
            arrived: Sink::new(&rig.inside, ETH)?,
            returned: Sink::new(&rig.outside, ETH)?,
            forth: Generator::new(&rig.outside, ETH)?,
            back: Generator::new(&rig.inside, ETH)?,
            standing,
            rig,
        })
    }

    /// Of what its rounds consist.
    pub fn measures(&mut self, cases: Vec<Case>, slice: Duration) {
        (self.cases, self.slice) = (cases.into_iter().map(|case| (case, None)).collect(), slice);
    }

    #[must_use]
    pub const fn rig(&self) -> &Rig {
        &self.rig
    }

    /// fwd, where the element is it.
    #[must_use]
    pub fn fwd(&self) -> Option<&Instance> {
        self.standing.fwd()
    }

    #[must_use]
    pub const fn trip(&self) -> Trip {
        self.standing.trip
    }

    /// Where what was delivered arrives.
    pub const fn sink(&mut self) -> &mut Sink {
        &mut self.arrived
    }

    /// Makes all ready for a measurement: flows, where the element knows them, and CPUs.
    ///
    /// # Errors
    /// As [`Packets::establish`].
    pub fn ready(&mut self, case: Case) -> Result<()> {
        if self.flows == Flows::Established {
            self.establish(case.load)?;
        }
        self.rig.arrange(case.arrangement)
    }

    /// Sends each flow's first packet and its answer, where that was not done yet.
    ///
    /// # Errors
    /// If one of them does not arrive, or not whole.
    pub fn establish(&mut self, load: Load) -> Result<()> {
        let known = usize::from(load.family == Family::V6);
        if self.established[known] >= load.flows {
            return Ok(());
        }
        self.rig.arrange(Arrangement::SameCpu)?;
        self.check(load).context("not all flows could be opened")?;
        self.answer(load).context("not all flows could be answered")?;
        self.established[known] = load.flows;
        Ok(())
    }

    /// Sends an answer in each flow. That of a flow which is no longer there would be another flow's first packet, and
    /// come from another L4 port.
    ///
    /// # Errors
    /// If one of them does not arrive, or not whole.
    pub fn answer(&mut self, load: Load) -> Result<()> {
        self.back.set(self.trip().back(load, self.standing.gateway))?;
        self.returned.expect(self.trip().returning(load.family))?;
        send_all(&mut self.back, &mut self.returned, load.flows)
    }

    /// Sends a packet of each flow.
    ///
    /// # Errors
    /// If one of them does not arrive, or not whole.
    pub fn check(&mut self, load: Load) -> Result<()> {
        self.forth.set(self.trip().forth(load))?;
        self.arrived.expect(self.trip().arriving(load.family))?;
        send_all(&mut self.forth, &mut self.arrived, load.flows)
    }

    /// Sends packets for a time; or, where each opens a flow, one of each flow of the load.
    ///
    /// # Errors
    /// If nothing comes to the element.
    pub fn sample(&mut self, load: Load, slice: Duration, pace: &mut Pace) -> Result<Sample> {
        let expected = self.trip().arriving(load.family);
        self.arrived.expect(Expected { is_strict: 0, ..expected })?;
        let mut stream = self.trip().forth(load);
        if self.flows == Flows::New {
            let [.., source] = &mut stream.src;
            *source += self.opened.div_ceil(L4_PORTS);
            stream.flows = u32::MAX;
            self.opened += load.flows.next_multiple_of(L4_PORTS);
        }
        self.forth.set(stream)?;
        let (received, before, long_way) = (self.rig.received(), self.arrived.arrived()?, self.long_way()?);
        let sent = match self.flows {
            Flows::New => self.forth.send(load.flows)?,
            _ => self.forth.send_for(generator::CPU, slice, pace)?,
        };
        let arrived = settled(&mut self.arrived, SETTLE)?.since(before);
        let received = self.rig.received() - received;
        ensure!(received > 0, "none of {} packets came to the element", sent.packets);
        let long_way = self.long_way()? - long_way;
        ensure!(long_way < received / FEW, "{long_way} of {received} packets did not go by its short way");
        Ok(Sample { sent, received, arrived })
    }

    /// How many packets, ever, went by the element's long way, where it has a short one too.
    fn long_way(&self) -> Result<u64> {
        self.standing.long_way.map_or(Ok(0), |count| count(&self.rig))
    }

    fn reading(&self, case: Case, sample: &Sample) -> Result<Reading> {
        let Sample { sent, received, arrived } = *sample;
        let done = if self.flows == Flows::Refused {
            ensure!(arrived.packets == 0, "{} of {received} packets came through", arrived.packets);
            received
        } else {
            ensure!(arrived.sound() > 0, "none of {received} packets was delivered: {arrived:?}");
            arrived.sound()
        };
        let rate = done as f64 / sent.time.as_secs_f64() / 1e6;
        let share = (done as f64 / received as f64).min(1.0);
        let reading = Reading::new(rate, Unit::Mpps).at(case.at(self.flows)).delivered(share);
        Ok(if case.load.length == IMIX { reading.of("mix of sizes") } else { reading })
    }
}

impl Element for Packets {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let turn = self.turn % self.cases.len();
        let (case, mut pace) = self.cases[turn];
        self.turn += 1;
        self.ready(case)?;
        let load =
            if self.flows == Flows::New { Load { flows: case.opened(), ..case.load } } else { case.load };
        let sample = self.sample(load, self.slice, &mut pace)?;
        self.cases[turn].1 = pace;
        Ok(vec![self.reading(case, &sample)?])
    }
}

/// Sends one packet of each flow; where some got lost on the way, once more, fewer at once and with longer waits: an
/// emulated CPU, or one that asks user space about each flow, takes its time.
fn send_all(generator: &mut Generator, sink: &mut Sink, flows: u32) -> Result<()> {
    let mut arrived = Arrived::default();
    for attempt in 0..TRIES {
        let (most, pause) = ((flows >> (2 * attempt)).max(BURST), SETTLE * (1 << attempt));
        let before = sink.arrived()?;
        let mut left = flows;
        while left > 0 {
            let burst = left.min(most);
            generator.send(burst)?;
            settled(sink, pause)?;
            left -= burst;
        }
        arrived = sink.arrived()?.since(before);
        ensure!(arrived.corrupt == 0, "{} of {flows} packets arrived with a wrong checksum", arrived.corrupt);
        if arrived.sound() == u64::from(flows) {
            return Ok(());
        }
    }
    bail!("of {flows} packets came {arrived:?}")
}

/// What has arrived when no more comes for a time.
fn settled(sink: &mut Sink, pause: Duration) -> Result<Arrived> {
    let begun = Instant::now();
    let mut last = sink.arrived()?;
    loop {
        thread::sleep(pause);
        let now = sink.arrived()?;
        if now == last || begun.elapsed() > Duration::from_secs(1) {
            return Ok(now);
        }
        last = now;
    }
}
