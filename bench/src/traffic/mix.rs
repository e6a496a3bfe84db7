//! Small packets and a bulk TCP connection in one run, by the same uplink: the packets' generator, element and sink have
//! one CPU, both ends of the connection and its element the other, each CPU with a queue of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use fwd_tests::netns::Netns;

use super::bulk::Bulk;
use super::generator::{self, Generator, Pace};
use super::packets::arrivals;
use super::rig::{BESIDE, Beside, Carries, ETH, IN, INSIDE, Rig};
use super::sink::Sink;
use super::stream::{Arrived, Expected, Stream, end};
use super::trip::{Load, SERVED, Trip};
use crate::peer::{Build, Standing};
use crate::result::{Family, Reading, Unit};
use crate::scenario::Element;

const SMALL: Load = Load { family: Family::V4, flows: 1_000, length: 64 };
/// The connection's.
const BULK_CPU: usize = 1;
/// A connection is past its start after this.
const WARM: Duration = Duration::from_millis(150);
/// Frames under way have arrived after this.
const SETTLE: Duration = Duration::from_millis(10);

pub struct Mix {
    name: String,
    slice: Duration,
    small: Generator,
    to: [Target; 2],
    standing: Standing,
    rig: Rig,
}

/// A VM to which small packets go.
struct Target {
    beside: Beside,
    port: &'static str,
    sink: Sink,
    /// Its cable lasts as long.
    _machine: Arc<Netns>,
    /// Without the connection, and beside it.
    paces: [Pace; 2],
}

impl Mix {
    /// # Errors
    /// If the element cannot be had here.
    pub fn new(name: &str, build: Build, slice: Duration) -> Result<Self> {
        const FLOWS: u32 = 1 << 16;
        let rig = Rig::new(Carries::Sockets)?;
        rig.outside.send_to_xdp(ETH);
        rig.outside.receive_from_xdp(ETH);
        // As a NIC's driver does it by default.
        rig.host.receive_from_xdp(IN);
        let target = |(beside, port): (Beside, _)| -> Result<Target> {
            let machine = rig.plug(&beside)?;
            Ok(Target { sink: Sink::new(&machine, ETH)?, _machine: machine, beside, port, paces: [None; 2] })
        };
        let [whole, offloaded] = BESIDE;
        let to = [target((whole, "an XDP port"))?, target((offloaded, "a port with offloads"))?];
        let standing = build(&rig, FLOWS)?;
        rig.part_queues()?;
        let small = Generator::new(&rig.outside, ETH)?;
        Ok(Self { name: name.to_owned(), slice, small, to, standing, rig })
    }

    fn connect(&self) -> Result<Bulk> {
        let (address, l4_port) = self.standing.trip.target();
        let at = SocketAddr::new(IpAddr::V4(INSIDE.0), SERVED);
        let to = SocketAddr::new(IpAddr::V4(address.0), l4_port);
        let bulk = Bulk::start((&self.rig.inside, at), (&self.rig.outside, to), BULK_CPU)?;
        thread::sleep(WARM);
        Ok(bulk)
    }

    /// Small packets to one of the VMs, without the connection (0) or beside it (1).
    fn small(&mut self, vm: usize, beside: usize) -> Result<Reading> {
        let Target { beside: machine, port, sink, paces, .. } = &mut self.to[vm];
        let stream = Stream { dport: machine.published, ..Trip::Forward.forth(SMALL) };
        let address = machine.address.to_bits();
        sink.expect(Expected { address, l4_port: SERVED, end: end::DESTINATION, is_strict: 0 })?;
        self.small.set(stream)?;
        let before = sink.arrived()?;
        let sent = self.small.send_for(generator::CPU, self.slice, &mut paces[beside])?;
        thread::sleep(SETTLE);
        let arrived: Arrived = sink.arrived()?.since(before);
        ensure!(arrived.sound() > 0, "none of {} packets was delivered: {arrived:?}", sent.packets);
        let quantity = ["packets to {}, alone", "packets to {}, beside bulk"][beside].replace("{}", port);
        Ok(arrivals((sent, arrived), &quantity, SMALL.at(None)))
    }
}

impl Element for Mix {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut readings = vec![self.small(0, 0)?, self.small(1, 0)?];
        let bulk = self.connect()?;
        let mut last = bulk.mark();
        thread::sleep(self.slice);
        let mut carried = |quantity: &str| -> Result<Reading> {
            let now = bulk.mark();
            let rate = now.rate_since(last) / 1e9;
            last = now;
            ensure!(rate > 0.0, "bulk TCP stands still");
            Ok(Reading::new(rate, Unit::Gbps).of(quantity))
        };
        readings.push(carried("bulk, alone")?);
        for vm in 0..BESIDE.len() {
            readings.push(self.small(vm, 1)?);
            readings.push(carried(&format!("bulk, beside packets to {}", self.to[vm].port))?);
        }
        Ok(readings)
    }
}
