//! The scenarios of the tier: for each, what is sent and which elements take turns.

mod packets;
mod sockets;

use anyhow::Result;

use crate::peer::{Build, Filter, Fwd, Guard, Hooks, Job, Rules, copied, nft_forward};
use crate::scenario::{Element, Scenario, Seat, caught};

pub use packets::{Table as Packets, v4};
pub use sockets::Table as Sockets;

#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let mut all = packets::scenarios();
    all.extend(sockets::scenarios());
    all
}

/// Makes an element; a step of the kit that panics is a reason like any other.
pub fn seat<E: Element + 'static>(name: &str, make: impl FnOnce() -> Result<E>) -> Seat {
    Seat::of(name, caught(make))
}

/// Rules of a host with many, and of one that has as many as a chain can bear.
const MANY: u32 = 10_000;
const LINEAR: u32 = 1_000;
/// As many as are promised.
const MOST: u32 = 100_000;

/// What more than one scenario measures.
pub const FWD_XDP: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Permitted), flows);
pub const FWD_TCX: Build = |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Gateway(Rules::Permitted), flows);
const FWD_RULES: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Among(MANY)), flows);
const FWD_MOST_RULES: Build =
    |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Among(MOST)), flows);
const FWD_DENIED: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Denied), flows);
const FWD_STORM_XDP: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::DeniedTcp), flows);
const FWD_STORM_TCX: Build = |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Gateway(Rules::DeniedTcp), flows);
const FWD_EDITED_XDP: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Gateway(Rules::Edited), flows);
const FWD_EDITED_TCX: Build = |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Gateway(Rules::Edited), flows);
const FWD_UPLINK: Build =
    |rig, flows| Fwd::stand(rig, Hooks::XDP_UPLINK, Job::Gateway(Rules::Permitted), flows);
/// What a veth's copy of each frame for XDP costs a TCX uplink.
const FWD_TCX_COPIED: Build = |rig, flows| copied(rig, FWD_TCX(rig, flows)?);
const FWD_MIX_UPLINK: Build =
    |rig, flows| Fwd::stand(rig, Hooks::XDP_UPLINK, Job::Gateway(Rules::Mixed), flows);
const FWD_MIX_TCX: Build = |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Gateway(Rules::Mixed), flows);
const FWD_MIX_COPIED: Build = |rig, flows| copied(rig, FWD_MIX_TCX(rig, flows)?);
pub const FWD_SEGMENT_XDP: Build =
    |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Segment(Guard::Allows), flows);
pub const FWD_SEGMENT_TCX: Build =
    |rig, flows| Fwd::stand(rig, Hooks::TCX, Job::Segment(Guard::Allows), flows);
const FWD_SPOOFED: Build = |rig, flows| Fwd::stand(rig, Hooks::XDP, Job::Segment(Guard::Refuses), flows);
pub const NFT: Build = |rig, flows| nft_forward(rig, Filter::Stateful, flows);
const NFT_LINEAR: Build = |rig, flows| nft_forward(rig, Filter::Linear(LINEAR), flows);
const NFT_MAP: Build = |rig, flows| nft_forward(rig, Filter::VerdictMap(MANY), flows);
const NFT_EDITED: Build = |rig, flows| nft_forward(rig, Filter::Edited, flows);
const NFT_LARGEST_MAP: Build = |rig, flows| nft_forward(rig, Filter::VerdictMap(MOST), flows);
