//! What is measured side by side: fwd and what one would use instead, each set up in a rig as its own
//! documentation recommends for the job.

mod conntrack;
mod edited;
mod fwd;
mod haproxy;
mod iptables;
mod linux;
mod nft;
mod ovs;
mod program;

use std::any::Any;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use fwd_tests::frame::Mac;
use fwd_tests::lab::Instance;
use fwd_tests::netns::Netns;

pub use edited::{Edit, line};
pub use fwd::{Fwd, Guard, Hooks, Job, Machine, Rules};
pub use haproxy::haproxy;
pub use iptables::iptables;
pub use linux::{bridge, filtered_bridge, route};
pub use nft::{Filter, nft_flowtable, nft_forward, nft_masquerade, nft_source_nat};
pub use ovs::{SCHEMA as OVS_SCHEMA, ovs_forward, ovs_segment};
pub use program::{copied, discard, minimal, redirect, redirect_both_ways, redirect_skb};

use crate::traffic::rig::{GATEWAY_MAC, Rig};
use crate::traffic::trip::Trip;

/// An element that stands in a rig. Dropped before it.
pub struct Standing {
    pub trip: Trip,
    /// Where the inside machine sends what leaves its segment.
    pub gateway: Mac,
    /// Where the element has a short way for packets of known flows: how many took the long one, ever.
    pub long_way: Option<fn(&Rig) -> Result<u64>>,
    kept: Box<dyn Any>,
}

impl Standing {
    /// `kept` is what must live as long.
    fn new(trip: Trip, kept: impl Any) -> Self {
        Self { trip, gateway: GATEWAY_MAC, long_way: None, kept: Box::new(kept) }
    }

    /// With more that must live as long; fwd is not told apart any more.
    fn beside(self, more: impl Any) -> Self {
        Self { kept: Box::new((self.kept, more)), ..self }
    }

    /// fwd, where it is that.
    #[must_use]
    pub fn fwd(&self) -> Option<&Instance> {
        self.kept.downcast_ref()
    }
}

/// Sets an element up in a rig, with room for so many flows.
pub type Build = fn(&Rig, u32) -> Result<Standing>;

/// Runs a command inside with a text as its input.
fn feed(netns: &Netns, program: &str, arguments: &[&str], text: &str) -> Result<()> {
    let mut child = netns
        .command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    child.stdin.take().context("its input is a pipe")?.write_all(text.as_bytes())?;
    let ended = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let said: String = said.lines().take(3).collect::<Vec<_>>().join("; ");
    ensure!(ended.status.success(), "{program} ended with {}: {said}", ended.status);
    Ok(())
}
