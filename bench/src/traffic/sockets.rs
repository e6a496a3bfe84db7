//! An element between real sockets: bulk TCP, connections, round trips, datagrams.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fwd_tests::netns::Netns;
use serde_json::Value;

use super::echo::{self, Echo};
use super::rig::{Carries, ETH, IN, INSIDE, OUTSIDE, Rig};
use super::trip::SERVED;
use crate::peer::{Build, Standing};
use crate::process::Process;
use crate::result::{Reading, Unit};
use crate::scenario::Element;
use crate::statistics::percentile;

/// What is asked of iperf3's UDP, in bits a second: well below what any element can do, so that a loss is the
/// element's.
const DATAGRAM_RATE: f64 = 300e6;
const DATAGRAM_LEN: u32 = 1200;
/// About what the fastest element does, in bits a second: it takes the scenario's time for its bytes.
const BULK_RATE: f64 = 16e9;

/// What the sockets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    Bulk,
    Connections,
    RoundTrips,
    Datagrams,
}

/// Who opens, and how large its frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Outside,
    /// Its frames are cut to size before they are sent, as they come from a real wire.
    OutsideOnAWire,
    Inside,
}

/// An element with a client on one end and a server on the other.
pub struct Sockets {
    name: String,
    talk: Talk,
    client: Client,
    slice: Duration,
    to: SocketAddr,
    /// Ends when it is dropped.
    _server: Box<dyn Any>,
    _standing: Standing,
    rig: Rig,
}

impl Sockets {
    /// # Errors
    /// If the element or the server cannot be had here.
    pub fn new(name: &str, build: Build, talk: Talk, client: Client, slice: Duration) -> Result<Self> {
        const FLOWS: u32 = 1 << 16;
        let rig = Rig::new(Carries::Sockets)?;
        if client == Client::OutsideOnAWire {
            rig.outside.send_to_xdp(ETH);
            rig.outside.receive_from_xdp(ETH);
            // As a NIC's driver does it by default.
            rig.host.receive_from_xdp(IN);
        }
        let standing = build(&rig, FLOWS)?;
        let (netns, address, to) = if client == Client::Inside {
            (&rig.outside, OUTSIDE.0, (OUTSIDE.0, SERVED))
        } else {
            let (address, l4_port) = standing.trip.target();
            (&rig.inside, INSIDE.0, (address.0, l4_port))
        };
        let at = SocketAddr::new(IpAddr::V4(address), SERVED);
        let server: Box<dyn Any> = match talk {
            Talk::Bulk | Talk::Datagrams => {
                let arguments = ["-s", "-p", &SERVED.to_string(), "-B", &address.to_string()];
                Box::new(Process::listening(netns, "iperf3", &arguments, SERVED)?)
            }
            Talk::Connections | Talk::RoundTrips => Box::new(Echo::start(netns, at)?),
        };
        Ok(Self {
            name: name.to_owned(),
            talk,
            client,
            slice,
            to: SocketAddr::from(to),
            _server: server,
            _standing: standing,
            rig,
        })
    }

    fn client(&self) -> &Netns {
        if self.client == Client::Inside { &self.rig.inside } else { &self.rig.outside }
    }

    /// What iperf3 says at its end, when it has sent what goes at this rate in the scenario's time.
    fn iperf(&self, rate: f64, options: &str) -> Result<Value> {
        let bytes = (rate / 8.0 * self.slice.as_secs_f64()) as u64;
        let (address, l4_port) = (self.to.ip(), self.to.port());
        let line = format!("iperf3 -J -c {address} -p {l4_port} -n {bytes} {options}");
        let mut said: Value = serde_json::from_str(&self.client().try_run(&line)?)?;
        Ok(said["end"].take())
    }
}

impl Element for Sockets {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        match self.talk {
            Talk::Bulk => {
                let end = self.iperf(BULK_RATE, "")?;
                let bits = number(&end["sum_received"]["bits_per_second"])?;
                Ok(vec![Reading::new(bits / 1e9, Unit::Gbps)])
            }
            Talk::Connections => {
                let rate = echo::connections(self.client(), self.to, self.slice)?;
                Ok(vec![Reading::new(rate, Unit::PerSecond)])
            }
            Talk::RoundTrips => {
                let times = self.client().inside(|| echo::round_trips(self.to, self.slice))?;
                [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
                    .into_iter()
                    .map(|(name, share)| {
                        let time = percentile(&times, share).context("no request was answered")?;
                        Ok(Reading::new(time, Unit::Microseconds).of(name))
                    })
                    .collect()
            }
            Talk::Datagrams => {
                let end = self.iperf(DATAGRAM_RATE, &format!("-u -b {DATAGRAM_RATE} -l {DATAGRAM_LEN}"))?;
                let lost = number(&end["sum"]["lost_percent"])?;
                let jitter = number(&end["sum"]["jitter_ms"])? * 1e3;
                Ok(vec![
                    Reading::new(lost, Unit::Percent).of("lost"),
                    Reading::new(jitter, Unit::Microseconds).of("jitter"),
                ])
            }
        }
    }
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("iperf3 said {value} where a number was expected"))
}
