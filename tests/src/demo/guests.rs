//! The same with QEMU guests: one that finishes its frames, one that leaves that to others.

use anyhow::Result;
use fwd_tests::frame::Mac;
use fwd_tests::guest::{Guest, Offloads, Spec};
use fwd_tests::lab::{HOST_V4, Lab, OUTSIDE_V4, RED};
use fwd_tests::link::VnetHeader;
use fwd_tests::traffic::{http_get, http_whoami};

use crate::heading;
use crate::table::{NO_ANSWER, Table};

/// Guests `bare` (no vnet header) and `full` (offloads on) in network red.
pub struct Guests {
    bare: Guest,
    full: Guest,
}

impl Guests {
    pub fn boot(lab: &Lab) -> Result<Self> {
        heading("Boot two QEMU guests on taps");
        let boot = |name: &str, number: u8, offloads: Offloads| {
            let mac = Mac([0x52, 0x54, 0, 1, 0, number]);
            let (v4, v6) = (RED.v4(number), RED.v6(number));
            lab.host.tap(name, VnetHeader::Off);
            lab.fwd(&format!(
                "port add {name} --device {name} --network red --mac {mac} --ip {v4} --ip {v6}"
            ))
            .into_result()?;
            let spec = Spec {
                name,
                tap: name,
                mac,
                offloads,
                addresses: &[format!("{v4}/24"), format!("{v6}/64")],
                gateways: &[RED.v4(1), RED.v6(1)],
                tools: &[],
                modules: &[],
            };
            Guest::boot(&lab.host, &spec)
        };
        Ok(Self { bare: boot("bare", 31, Offloads::NoHeader)?, full: boot("full", 32, Offloads::On)? })
    }

    /// Ends the guests and takes their taps away, which are the demo's own.
    pub fn unplug(self, lab: &Lab) {
        drop(self);
        for tap in ["bare", "full"] {
            lab.host.run(&format!("ip link del {tap}"));
        }
    }

    pub fn show(&mut self, lab: &Lab, table: &mut Table) -> Result<()> {
        let (bare, full) = (&mut self.bare, &mut self.full);
        full.serve_whoami(80)?;
        bare.serve_whoami(80)?;
        for (name, hook) in [("bare", "xdp"), ("full", "tcx")] {
            let got = lab.json(&format!("port show {name}"))["hook"].as_str().unwrap_or("none").to_owned();
            table.step(&format!("the hook of guest {name}'s tap"), hook, || Ok(got))?;
        }
        for (name, listen) in [("bare", 8091), ("full", 8092)] {
            lab.fwd(&format!("forward add tcp {HOST_V4}:{listen} {name}:80")).into_result()?;
            table.step(&format!("outside → :{listen} → guest {name}"), OUTSIDE_V4, || {
                http_get(&lab.outside, &format!("{HOST_V4}:{listen}"))
            })?;
        }
        let _http = http_whoami(&lab.outside, &format!("{OUTSIDE_V4}:80"));
        for (name, guest) in [("bare", &mut *bare), ("full", &mut *full)] {
            table.step(&format!("guest {name} → outside"), HOST_V4, || get(guest, OUTSIDE_V4))?;
        }
        table.step("guest bare → guest full", &RED.v4(31), || get(bare, &RED.v4(32)))?;
        lab.fwd("policy add no-web --deny --from port:bare --to port:full --service tcp/80").into_result()?;
        table.step("the same under a deny rule", NO_ANSWER, || get(bare, &RED.v4(32)))
    }
}

/// The last line that the web server there answers.
fn get(guest: &mut Guest, address: &str) -> Result<String> {
    let request = "printf 'GET / HTTP/1.0\\r\\n\\r\\n'";
    let text = guest.exec(&format!("{request} | nc -w 3 {address} 80"))?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}
