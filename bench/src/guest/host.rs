//! A guest that is the host of a run: this same program measures in it, with its scenarios' namespaces and peers.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use fwd_tests::frame::Mac;
use fwd_tests::guest::{self, Offloads, Spec};
use fwd_tests::lab::binary;
use fwd_tests::link::VnetHeader;
use fwd_tests::netns::Netns;
use fwd_tests::skip;

use crate::peer::OVS_SCHEMA;
use crate::result::{Results, Skipped};
use crate::scenario::{Effort, caught};

/// What the elements are set up and measured with. A peer's tools may be missing here: the peer says so then.
const TOOLS: [&str; 13] = [
    "ip",
    "tc",
    "ss",
    "ethtool",
    "bpftool",
    "iperf3",
    "nft",
    "ovsdb-tool",
    "ovsdb-server",
    "ovs-vswitchd",
    "ovs-vsctl",
    "ovs-ofctl",
    "ovs-dpctl",
];

/// For a scenario: the CPU is emulated, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(900);

/// Nothing in the guest loads a module by itself.
const MODULES: [&str; 9] = [
    "nf_tables",
    "nft_ct",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_objref",
    "nft_flow_offload",
    "nf_flow_table_inet",
    "openvswitch",
];

/// The guest of a run, booted for its first scenario; or why there is none.
#[derive(Default)]
pub struct Guest(Option<Result<Host, String>>);

impl Guest {
    /// Has a scenario measured in it, and adds its results.
    pub fn run(&mut self, scenario: &str, effort: Effort, results: &mut Results) {
        let begun = Instant::now();
        eprint!("{scenario:<28} ");
        let host = self.0.get_or_insert_with(|| caught(Host::boot).map_err(|reason| format!("{reason:#}")));
        let part = host
            .as_mut()
            .map_err(|reason| anyhow!("{reason}"))
            .and_then(|host| host.measure(scenario, effort));
        match part {
            Ok(part) => {
                for Skipped { element, reason, .. } in &part.skipped {
                    eprint!("[{element}: {reason}] ");
                }
                results.setting.guest_kernel = Some(part.setting.kernel.clone());
                results.join(part);
            }
            Err(reason) => {
                eprint!("[all: {reason:#}] ");
                results.skip(scenario, "all", format!("{reason:#}"));
            }
        }
        eprintln!("{:.1} s", begun.elapsed().as_secs_f64());
    }
}

struct Host {
    guest: guest::Guest,
    _outer: Netns,
}

impl Host {
    /// Boots it, with this program and with fwd.
    ///
    /// # Errors
    /// If there is no QEMU or no kernel for it.
    fn boot() -> Result<Self> {
        skip::qemu().map_err(|reason| anyhow!(reason))?;
        let outer = Netns::new("guest");
        outer.tap("tap0", VnetHeader::Off);
        let mut tools: Vec<PathBuf> = TOOLS.iter().filter_map(|tool| installed(tool)).collect();
        tools.extend([binary()?, env::current_exe()?]);
        let spec = Spec {
            name: "host",
            tap: "tap0",
            mac: Mac([0x52, 0x54, 0, 2, 0, 1]),
            offloads: Offloads::NoHeader,
            addresses: &[],
            gateways: &[],
            tools: &tools,
            modules: &MODULES,
        };
        let mut guest = guest::Guest::boot(&outer, &spec)?;
        // Where tools and the kernel's documentation expect them.
        guest.exec("mkdir -p /var /usr/share/openvswitch && ln -s /run /var/run")?;
        if let Ok(schema) = std::fs::read(OVS_SCHEMA) {
            guest.put(OVS_SCHEMA, &schema)?;
        }
        Ok(Self { guest, _outer: outer })
    }

    /// Has a scenario of the tier measured in it.
    ///
    /// # Errors
    /// If the run in the guest ends with an error: with what it said.
    fn measure(&mut self, scenario: &str, effort: Effort) -> Result<Results> {
        let Effort { quick, rounds } = effort;
        let quick = if quick { "--quick" } else { "" };
        let measure = format!(
            "cd /tmp && PATH=/tools:/bin FWD_BIN=/tools/fwd \\
             /tools/fwd-bench --in-guest {quick} --only {scenario} --rounds {rounds} --output /tmp/run.json"
        );
        self.guest.exec_within(&measure, PATIENCE)?;
        let text = self.guest.get("/tmp/run.json")?;
        serde_json::from_slice(&text).context("the guest's results are no run")
    }
}

fn installed(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(tool))
        .find(|file| file.exists())
}
