//! The scenarios of the tier.

use std::time::Duration;

use anyhow::Result;

use super::pair::{Pair, Switch};
use crate::peer;
use crate::result::Arrangement;
use crate::scenario::{Effort, Place, Scenario, Seat};
use crate::traffic::packets::Flows;
use crate::traffic::scenarios::{
    self as traffic, FWD_SEGMENT_TCX, FWD_SEGMENT_XDP, FWD_TCX, FWD_XDP, NFT, seat,
};
use crate::traffic::sockets::{Client, Talk};

#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let mut all: Vec<Box<dyn Scenario>> = vec![];
    all.extend(PACKETS.iter().map(|table| Box::new(InGuest(table)) as Box<dyn Scenario>));
    all.extend(SOCKETS.iter().map(|table| Box::new(InGuest(table)) as Box<dyn Scenario>));
    all.extend(BETWEEN.iter().map(|table| Box::new(table) as Box<dyn Scenario>));
    all
}

/// A scenario of the traffic tier's kind that is run in a guest.
struct InGuest<S>(S);

impl<S: Scenario> Scenario for InGuest<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn about(&self) -> &'static str {
        self.0.about()
    }
    fn place(&self) -> Place {
        Place::Guest
    }
    fn turns(&self, effort: Effort) -> usize {
        self.0.turns(effort)
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        self.0.prepare(effort)
    }
}

/// A guest's one CPU makes, forwards and counts.
const ONE_CPU: &[Arrangement] = &[Arrangement::SameCpu];

const PACKETS: [traffic::Packets; 2] = [
    traffic::Packets {
        name: "guest-forward",
        about: "In a guest: packets of 1000 established flows from outside to a published service, translated; 64 bytes.",
        arrangements: ONE_CPU,
        loads: |_| vec![traffic::v4(1_000, 64)],
        elements: &[
            ("fwd-xdp", FWD_XDP, Flows::Established),
            ("fwd-tcx", FWD_TCX, Flows::Established),
            ("nft-dnat", NFT, Flows::Established),
            ("nft-flowtable", peer::nft_flowtable, Flows::Established),
            ("ovs", peer::ovs_forward, Flows::Established),
        ],
    },
    traffic::Packets {
        name: "guest-segment",
        about: "In a guest: packets of 1000 flows from one VM to another of the same network; 64 bytes.",
        arrangements: ONE_CPU,
        loads: |_| vec![traffic::v4(1_000, 64)],
        elements: &[
            ("fwd-xdp", FWD_SEGMENT_XDP, Flows::Established),
            ("fwd-tcx", FWD_SEGMENT_TCX, Flows::Established),
            ("linux-bridge", peer::bridge, Flows::Unknown),
            ("ovs", peer::ovs_segment, Flows::Established),
        ],
    },
];

/// Of bulk TCP: as many bytes as the fastest element of a whole machine takes in this time.
const BULK: fn(Effort) -> Duration = |_| Duration::from_millis(30);

const SOCKETS: [traffic::Sockets; 2] = [
    traffic::Sockets {
        name: "guest-bulk-forward",
        about: "In a guest: one bulk TCP connection from outside to a published service, offloads on (iperf3).",
        talk: Talk::Bulk,
        client: Client::Outside,
        slice: BULK,
        elements: &[
            ("fwd-tcx", FWD_TCX),
            ("nft-dnat", NFT),
            ("nft-flowtable", peer::nft_flowtable),
            ("ovs", peer::ovs_forward),
        ],
    },
    traffic::Sockets {
        name: "guest-bulk-segment",
        about: "In a guest: one bulk TCP connection between two VMs, offloads on (iperf3).",
        talk: Talk::Bulk,
        client: Client::Outside,
        slice: BULK,
        elements: &[("fwd-tcx", FWD_SEGMENT_TCX), ("linux-bridge", peer::bridge), ("ovs", peer::ovs_segment)],
    },
];

/// A scenario between two guests.
struct Between {
    name: &'static str,
    about: &'static str,
    elements: &'static [(&'static str, Switch)],
}

const BETWEEN: [Between; 2] = [
    Between {
        name: "two-guests",
        about: "Between two guests on taps, their offloads on: one bulk TCP connection (iperf3), and requests of 64 bytes \
                over one connection, each after the last answer. The guests' devices are on this machine's kernel.",
        elements: &[("fwd-tcx", Switch::FwdTcx), ("linux-bridge", Switch::Bridge)],
    },
    Between {
        name: "two-plain-guests",
        about: "The same between guests whose taps have no vnet header, so that their frames are whole and XDP may \
                forward them.",
        elements: &[("fwd-xdp", Switch::FwdXdp), ("linux-bridge", Switch::PlainBridge)],
    },
];

impl Scenario for &Between {
    fn name(&self) -> &'static str {
        self.name
    }
    fn about(&self) -> &'static str {
        self.about
    }
    fn prepare(&self, _: Effort) -> Result<Vec<Seat>> {
        // Each boots its guests and goes on: they come up side by side, and are waited for in their first turn.
        Ok(self.elements.iter().map(|(name, switch)| seat(name, || Pair::new(name, *switch))).collect())
    }
}
