//! Two guests on taps, and what switches between them on this machine.

use std::env;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use fwd_tests::frame::Mac;
use fwd_tests::guest::{Guest, Offloads, Spec};
use fwd_tests::lab::{Hook, Instance};
use fwd_tests::link::VnetHeader;
use fwd_tests::netns::Netns;
use fwd_tests::skip;
use serde_json::Value;

use crate::peer::{Fwd, Machine};
use crate::result::{Reading, Unit};
use crate::scenario::Element;
use crate::traffic::echo::Percentiles;

/// What is between the guests' taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    FwdTcx,
    Bridge,
    FwdXdp,
    PlainBridge,
}

impl Switch {
    const fn offloads(self) -> Offloads {
        match self {
            Self::FwdTcx | Self::Bridge => Offloads::On,
            Self::FwdXdp | Self::PlainBridge => Offloads::NoHeader,
        }
    }
}

const MACHINES: [Machine; 2] = [
    Machine { device: "tap0", mac: Mac([0x52, 0x54, 0, 2, 1, 1]), address: Ipv4Addr::new(10, 10, 0, 21) },
    Machine { device: "tap1", mac: Mac([0x52, 0x54, 0, 2, 1, 2]), address: Ipv4Addr::new(10, 10, 0, 22) },
];
const BULK_PORT: u16 = 5201;
const ECHO_PORT: u16 = 7;
/// About a second's worth.
const BULK_BYTES: u64 = 100_000_000;
const ASKED_FOR: Duration = Duration::from_millis(1000);

pub struct Pair {
    name: String,
    client: Guest,
    server: Guest,
    serves: bool,
    _fwd: Option<Instance>,
    _host: Netns,
}

impl Pair {
    /// Sets up the switch and starts to boot.
    ///
    /// # Errors
    /// If there is no QEMU or no kernel for it, or fwd does not come up.
    pub fn new(name: &str, switch: Switch) -> Result<Self> {
        skip::qemu().map_err(|reason| anyhow!(reason))?;
        let host = Netns::new("switch");
        MACHINES.iter().for_each(|machine| host.tap(machine.device, VnetHeader::Off));
        let fwd = match switch {
            Switch::FwdTcx => Some(Fwd::switch(&host, Hook::Tcx, &MACHINES)?),
            Switch::FwdXdp => Some(Fwd::switch(&host, Hook::Xdp, &MACHINES)?),
            Switch::Bridge | Switch::PlainBridge => {
                host.bridge("br0");
                MACHINES.iter().for_each(|machine| host.enslave(machine.device, "br0"));
                None
            }
        };
        let [client, server] = MACHINES.each_ref().map(|machine| boot(&host, machine, switch.offloads()));
        let (client, server) = (client?, server?);
        Ok(Self { name: name.to_owned(), client, server, serves: false, _fwd: fwd, _host: host })
    }

    /// Waits for the guests, the first time, and starts the servers.
    fn serve(&mut self) -> Result<()> {
        if !self.serves {
            let address = MACHINES[1].address;
            self.server.exec(&format!(
                "/tools/iperf3 -s -D -p {BULK_PORT} && /tools/fwd-bench --echo {address}:{ECHO_PORT} > /dev/null 2>&1 &"
            ))?;
            let is_open = format!(
                "for n in $(seq 100); do nc -w 1 {address} {ECHO_PORT} < /dev/null && exit; usleep 100000; done; false"
            );
            self.client.exec(&is_open).context("the server does not answer")?;
            self.serves = true;
        }
        Ok(())
    }
}

fn boot(host: &Netns, machine: &Machine, offloads: Offloads) -> Result<Guest> {
    let tools = ["iperf3".into(), env::current_exe()?];
    let spec = Spec {
        name: machine.device,
        tap: machine.device,
        mac: machine.mac,
        offloads,
        addresses: &[format!("{}/24", machine.address)],
        gateways: &[],
        tools: &tools,
        modules: &[],
    };
    Guest::boot(host, &spec)
}

impl Element for Pair {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        self.serve()?;
        let address = MACHINES[1].address;
        let said =
            self.client.exec(&format!("/tools/iperf3 -J -c {address} -p {BULK_PORT} -n {BULK_BYTES}"))?;
        let said: Value = serde_json::from_str(&said)?;
        let bits = said["end"]["sum_received"]["bits_per_second"].as_f64();
        let bits = bits.context("iperf3 tells no rate")?;
        let asked_for = ASKED_FOR.as_millis();
        let ask = format!("/tools/fwd-bench --ask {address}:{ECHO_PORT} --milliseconds {asked_for}");
        let times: Percentiles = serde_json::from_str(&self.client.exec(&ask)?)?;
        Ok(vec![
            Reading::new(bits / 1e9, Unit::Gbps).of("bulk"),
            Reading::new(times.p50, Unit::Microseconds).of("p50"),
            Reading::new(times.p99, Unit::Microseconds).of("p99"),
        ])
    }
}
