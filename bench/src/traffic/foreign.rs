//! An element under another generator's packets too: whether what is measured depends on who sends.
//!
//! trafgen (netsniff-ng) sends by a packet socket from the generator's place. Each of its packets is an skb, which costs
//! it more than a live frame costs the kernel, and which a veth copies for XDP.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fwd_tests::frame::Mac;

use super::generator::Pace;
use super::packets::{Case, Flows, Packets};
use super::rig::ETH;
use super::stream::{Expected, Stream};
use super::trip::Load;
use crate::peer::Build;
use crate::process::Process;
use crate::result::{Reading, Unit};
use crate::scenario::Element;

/// Until its first packet arrives, and a while more.
const PATIENCE: Duration = Duration::from_secs(10);
const RUN_UP: Duration = Duration::from_millis(50);
/// With a rate trafgen sends each packet by a call of its own. By its ring, nothing more is sent once the ring was used up
/// where a veth copies packets for XDP.
const UNREACHED: &str = "10000000pps";
/// Ethernet, IPv4 and UDP.
const HEADERS: u16 = 42;

pub struct Foreign {
    slice: Duration,
    cases: Vec<(Case, Pace)>,
    turn: usize,
    packets: Packets,
}

impl Foreign {
    /// # Errors
    /// If the element cannot be had here.
    pub fn new(name: &str, build: Build, flows: Flows, cases: &[Case], slice: Duration) -> Result<Self> {
        let room = cases.iter().map(|case| case.load.flows).max().unwrap_or(1);
        let packets = Packets::new(name, build, flows, room)?;
        Ok(Self { slice, cases: cases.iter().map(|case| (*case, None)).collect(), turn: 0, packets })
    }

    /// Packets a second that arrive, whole and where they should, while trafgen sends.
    fn sample(&mut self, load: Load) -> Result<f64> {
        let trip = self.packets.trip();
        let frames = config(trip.forth(load));
        let outside = self.packets.rig().outside.clone();
        let sink = self.packets.sink();
        sink.expect(Expected { is_strict: 0, ..trip.arriving(load.family) })?;
        let before = sink.arrived()?;
        // It would move interrupts and grow the sockets' memory of the whole machine.
        let arguments = [
            "--dev",
            ETH,
            "--cpus",
            "1",
            "--rate",
            UNREACHED,
            "--no-sock-mem",
            "--notouch-irq",
            "--no-cpu-stats",
            &frames,
        ];
        let _sending = Process::start(&outside, "trafgen", &arguments)?;
        let begun = Instant::now();
        while sink.arrived()?.since(before).sound() == 0 {
            ensure!(begun.elapsed() < PATIENCE, "nothing of what trafgen sends is delivered");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(RUN_UP);
        let (before, begun) = (sink.arrived()?, Instant::now());
        thread::sleep(self.slice);
        let (arrived, took) = (sink.arrived()?.since(before), begun.elapsed());
        ensure!(arrived.sound() > 0, "what trafgen sends is no longer delivered: {arrived:?}");
        Ok(arrived.sound() as f64 / took.as_secs_f64())
    }
}

impl Element for Foreign {
    fn name(&self) -> &str {
        self.packets.name()
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let turn = self.turn % self.cases.len();
        let (case, mut pace) = self.cases[turn];
        self.turn += 1;
        self.packets.ready(case)?;
        let own = self.packets.sample(case.load, self.slice, &mut pace)?;
        self.cases[turn].1 = pace;
        let own = own.arrived.sound() as f64 / own.sent.time.as_secs_f64();
        let other = self.sample(case.load)?;
        let at = case.load.at(Some(case.arrangement));
        let reading = |rate: f64, sender| Reading::new(rate / 1e6, Unit::Mpps).of(sender).at(at);
        Ok(vec![reading(own, "live frames"), reading(other, "trafgen")])
    }
}

/// The stream in trafgen's words: IPv4, and as many flows as one address has L4 ports for.
fn config(stream: Stream) -> String {
    let Stream { src: [.., src], dst: [.., dst], sport, dport, flows, length, .. } = stream;
    let [src, dst] = [src, dst].map(Ipv4Addr::from_bits);
    let [frame_dst, frame_src] = [stream.frame_dst, stream.frame_src].map(Mac);
    let last = u32::from(sport) + flows - 1;
    format!(
        "{{ eth(da={frame_dst}, sa={frame_src}, type=0x800), ipv4(sa={src}, da={dst}, proto=17, ttl=64), \
         udp(sp=dinc({sport}, {last}, 1), dp={dport}), fill(0, {}) }}",
        length - HEADERS
    )
}

#[cfg(test)]
mod tests {
    use super::config;
    use crate::result::Family;
    use crate::traffic::trip::{Load, Trip};

    #[test]
    fn trafgen_is_told_the_stream() {
        let load = Load { family: Family::V4, flows: 1000, length: 64 };
        let text = "{ eth(da=52:54:00:00:00:10, sa=52:54:00:00:00:02, type=0x800), \
                    ipv4(sa=198.18.0.0, da=203.0.113.10, proto=17, ttl=64), \
                    udp(sp=dinc(1024, 2023, 1), dp=8080), fill(0, 22) }";
        assert_eq!(config(Trip::Forward.forth(load)), text);
    }
}
