//! The scenarios of the tier: for each, what is sent and which elements take turns.

mod packets;
mod sockets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};

use crate::peer::{Build, Filter, Fwd, Guard, Hooks, Job, Rules, nft_forward};
use crate::scenario::{Element, Scenario, Seat};

#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let mut all = packets::scenarios();
    all.extend(sockets::scenarios());
    all
}

/// Makes an element; a step of the kit that panics is a reason like any other.
fn seat<E: Element + 'static>(name: &str, make: impl FnOnce() -> Result<E>) -> Seat {
    let made = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map_or("the set-up panicked", String::as_str);
        Err(anyhow!("{said}"))
    });
    Seat::of(name, made)
}

/// Rules of a host with many, and of one that has as many as a chain can bear.
const MANY: u32 = 10_000;
const LINEAR: u32 = 1_000;
/// As many as are promised.
const MOST: u32 = 100_000;

/// What more than one scenario measures.
const FWD_XDP: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Permitted), flows);
const FWD_TCX: Build = |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Gateway(Rules::Permitted), flows);
const FWD_RULES: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Among(MANY)), flows);
const FWD_MOST_RULES: Build =
    |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Among(MOST)), flows);
const FWD_DENIED: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Denied), flows);
const FWD_STORM_XDP: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::DeniedTcp), flows);
const FWD_STORM_TCX: Build = |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Gateway(Rules::DeniedTcp), flows);
const FWD_UPLINK: Build =
    |rig, flows| Fwd::stand(rig, Hooks::XDP_UPLINK, Job::Gateway(Rules::Permitted), flows);
const FWD_SEGMENT_XDP: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Segment(Guard::Allows), flows);
const FWD_SEGMENT_TCX: Build = |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Segment(Guard::Allows), flows);
const FWD_SPOOFED: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Segment(Guard::Refuses), flows);
const NFT: Build = |rig, flows| nft_forward(rig, Filter::Stateful, flows);
const NFT_LINEAR: Build = |rig, flows| nft_forward(rig, Filter::Linear(LINEAR), flows);
const NFT_MAP: Build = |rig, flows| nft_forward(rig, Filter::VerdictMap(MANY), flows);
const NFT_LARGEST_MAP: Build = |rig, flows| nft_forward(rig, Filter::VerdictMap(MOST), flows);
