//! Scenarios of real sockets.

use std::time::Duration;

use anyhow::Result;

use super::{
    FWD_MIX_COPIED, FWD_MIX_TCX, FWD_MIX_UPLINK, FWD_SEGMENT_TCX, FWD_TCX, FWD_TCX_COPIED, FWD_UPLINK, NFT,
    seat,
};
use crate::peer::{self, Build};
use crate::scenario::{Effort, Scenario, Seat};
use crate::traffic::mix::Mix;
use crate::traffic::sockets::{Client, Sockets, Talk};

/// One scenario.
pub struct Table {
    pub name: &'static str,
    pub about: &'static str,
    pub talk: Talk,
    pub client: Client,
    /// How long an element is measured.
    pub slice: fn(Effort) -> Duration,
    pub elements: &'static [(&'static str, Build)],
}

pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let mut all: Vec<Box<dyn Scenario>> =
        TABLES.iter().map(|table| Box::new(table) as Box<dyn Scenario>).collect();
    all.push(Box::new(UplinkMix));
    all
}

/// Small packets and bulk TCP by one uplink.
struct UplinkMix;

impl Scenario for UplinkMix {
    fn name(&self) -> &'static str {
        "uplink-mix"
    }
    fn about(&self) -> &'static str {
        "Small packets and one bulk TCP connection by the same uplink in one run, each with a CPU and a queue of its own: \
         packets to a VM whose port is XDP and to one with offloads, the connection to another with offloads, in frames of \
         wire size; by an XDP uplink, by a TCX one, and by a TCX one under an XDP program that passes all, for which a \
         veth copies each frame of the connection."
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let slice = Duration::from_millis(if effort.quick { 100 } else { 500 });
        let elements: [(&str, Build); 3] = [
            ("fwd-xdp-uplink", FWD_MIX_UPLINK),
            ("fwd-tcx", FWD_MIX_TCX),
            ("fwd-tcx-copied", FWD_MIX_COPIED),
        ];
        let seats = elements.map(|(name, build)| seat(name, || Mix::new(name, build, slice)));
        Ok(seats.into_iter().collect())
    }
}

/// To a published service.
const FORWARDERS: &[(&str, Build)] = &[
    ("fwd-tcx", FWD_TCX),
    ("linux-route", peer::route),
    ("nft-dnat", NFT),
    ("iptables-dnat", peer::iptables),
    ("haproxy", peer::haproxy),
];
/// Between two VMs.
const SWITCHES: &[(&str, Build)] = &[
    ("fwd-tcx", FWD_SEGMENT_TCX),
    ("tc-redirect", peer::redirect_both_ways),
    ("linux-bridge", peer::bridge),
    ("linux-bridge-nft", peer::filtered_bridge),
];

const SLICE: fn(Effort) -> Duration = |effort| Duration::from_millis(if effort.quick { 200 } else { 1000 });

const TABLES: [Table; 7] = [
    Table {
        name: "bulk-segment",
        about: "One bulk TCP connection between two VMs, offloads on (iperf3).",
        talk: Talk::Bulk,
        client: Client::Outside,
        slice: SLICE,
        elements: SWITCHES,
    },
    Table {
        name: "bulk-forward",
        about: "One bulk TCP connection from outside to a published service, offloads on (iperf3).",
        talk: Talk::Bulk,
        client: Client::Outside,
        slice: SLICE,
        elements: FORWARDERS,
    },
    Table {
        name: "bulk-nat",
        about: "One bulk TCP connection from a VM to outside, its source translated, offloads on (iperf3).",
        talk: Talk::Bulk,
        client: Client::Inside,
        slice: SLICE,
        elements: &[("fwd-tcx", FWD_TCX), ("nft-masquerade", peer::nft_source_nat)],
    },
    Table {
        name: "bulk-uplink",
        about: "One bulk TCP connection that arrives in frames of wire size for a VM with offloads: by an XDP uplink, \
                by a TCX one, and by a TCX one under an XDP program that passes all, for which a veth copies each frame \
                (iperf3).",
        talk: Talk::Bulk,
        client: Client::OutsideOnAWire,
        slice: SLICE,
        elements: &[
            ("fwd-xdp-uplink", FWD_UPLINK),
            ("fwd-tcx", FWD_TCX),
            ("fwd-tcx-copied", FWD_TCX_COPIED),
            ("nft-dnat", NFT),
        ],
    },
    Table {
        name: "connections",
        about: "TCP connections to a published service, opened, asked once and closed, one after the other.",
        talk: Talk::Connections,
        client: Client::Outside,
        slice: SLICE,
        elements: FORWARDERS,
    },
    Table {
        name: "round-trips",
        about: "Requests of 64 bytes over one TCP connection to a published service, each after the last answer.",
        talk: Talk::RoundTrips,
        client: Client::Outside,
        slice: SLICE,
        elements: FORWARDERS,
    },
    Table {
        name: "datagrams",
        about: "300 Mbit/s of UDP between two VMs: what is lost, and jitter (iperf3).",
        talk: Talk::Datagrams,
        client: Client::Outside,
        slice: SLICE,
        elements: SWITCHES,
    },
];

impl Scenario for &Table {
    fn name(&self) -> &'static str {
        self.name
    }
    fn about(&self) -> &'static str {
        self.about
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let slice = (self.slice)(effort);
        let seats = self
            .elements
            .iter()
            .map(|(name, build)| seat(name, || Sockets::new(name, *build, self.talk, self.client, slice)));
        Ok(seats.collect())
    }
}
