//! Scenarios of the generator's packets.

use std::time::Duration;

use anyhow::Result;

use super::{
    FWD_DENIED, FWD_EDITED_TCX, FWD_EDITED_XDP, FWD_MOST_RULES, FWD_RULES, FWD_SEGMENT_TCX, FWD_SEGMENT_XDP,
    FWD_SPOOFED, FWD_STORM_TCX, FWD_STORM_XDP, FWD_TCX, FWD_XDP, NFT, NFT_EDITED, NFT_LARGEST_MAP,
    NFT_LINEAR, NFT_MAP, seat,
};
use crate::peer::{self, Build};
use crate::result::{Arrangement, Family};
use crate::scenario::{Effort, Scenario, Seat};
use crate::traffic::edits::Edits;
use crate::traffic::flood::Flood;
use crate::traffic::foreign::Foreign;
use crate::traffic::packets::{Case, Flows, Packets};
use crate::traffic::storm::Storm;
use crate::traffic::stream::{IMIX, L4_PORTS};
use crate::traffic::trip::Load;

/// One scenario: all loads in the first arrangement, then in the next.
pub struct Table {
    pub name: &'static str,
    pub about: &'static str,
    pub arrangements: &'static [Arrangement],
    pub loads: fn(Effort) -> Vec<Load>,
    pub elements: &'static [(&'static str, Build, Flows)],
}

pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let mut all: Vec<Box<dyn Scenario>> =
        TABLES.iter().map(|table| Box::new(table) as Box<dyn Scenario>).collect();
    all.push(Box::new(SynFlood));
    all.push(Box::new(DropStorm));
    all.push(Box::new(UnderEdits));
    all.push(Box::new(OtherGenerator));
    all
}

const BOTH: &[Arrangement] = &[Arrangement::SameCpu, Arrangement::Split];

const TABLES: [Table; 8] = [
    Table {
        name: "forward",
        about: "Packets of established flows from outside to a published service, translated, policy on; 64 bytes.",
        arrangements: BOTH,
        loads: |effort| {
            let flows = effort.flows().iter();
            flows.map(|flows| v4(u32::try_from(*flows).unwrap_or(u32::MAX), 64)).collect()
        },
        elements: &[
            ("xdp-redirect", peer::redirect, Flows::Unknown),
            ("minimal", peer::minimal, Flows::Established),
            ("fwd-xdp", FWD_XDP, Flows::Established),
            ("fwd-tcx", FWD_TCX, Flows::Established),
            ("tc-redirect", peer::redirect_skb, Flows::Unknown),
            ("linux-route", peer::route, Flows::Unknown),
            ("nft-dnat", NFT, Flows::Established),
            ("iptables-dnat", peer::iptables, Flows::Established),
        ],
    },
    Table {
        name: "forward-sizes",
        about: "The same with larger packets, and the usual mix of sizes (7 of 64, 4 of 576, 1 of 1500 bytes).",
        arrangements: BOTH,
        loads: |effort| {
            let sizes: &[u16] = if effort.quick { &[IMIX] } else { &[512, 1500, IMIX] };
            sizes.iter().map(|length| v4(1_000, *length)).collect()
        },
        elements: &[
            ("xdp-redirect", peer::redirect, Flows::Unknown),
            ("minimal", peer::minimal, Flows::Established),
            ("fwd-xdp", FWD_XDP, Flows::Established),
            ("fwd-tcx", FWD_TCX, Flows::Established),
            ("nft-dnat", NFT, Flows::Established),
            // Its answers would go to the host: a masqueraded flow stays one-way here.
            ("nft-masquerade", peer::nft_masquerade, Flows::Unknown),
        ],
    },
    Table {
        name: "forward-ipv6",
        about: "The same over IPv6.",
        arrangements: BOTH,
        loads: |_| vec![Load { family: Family::V6, flows: 1_000, length: 64 }],
        elements: &[
            ("xdp-redirect", peer::redirect, Flows::Unknown),
            ("fwd-xdp", FWD_XDP, Flows::Established),
            ("fwd-tcx", FWD_TCX, Flows::Established),
            ("linux-route", peer::route, Flows::Unknown),
            ("nft-dnat", NFT, Flows::Established),
        ],
    },
    Table {
        name: "new-flows",
        about: "Each packet opens a flow to a published service.",
        arrangements: BOTH,
        loads: |effort| vec![v4(if effort.quick { 30_000 } else { 100_000 }, 64)],
        elements: &[
            ("minimal", peer::minimal, Flows::New),
            ("fwd-xdp", FWD_XDP, Flows::New),
            ("fwd-tcx", FWD_TCX, Flows::New),
            ("nft-dnat", NFT, Flows::New),
        ],
    },
    Table {
        name: "rules",
        about: "Established flows among many rules. nft holds each packet against them, as it takes for a rule to \
                bind running connections: 1000 in a chain, or 10,000 and 100,000 in a verdict map.",
        arrangements: BOTH,
        loads: |_| vec![v4(1_000, 64)],
        elements: &[
            ("fwd-xdp", FWD_XDP, Flows::Established),
            ("fwd-xdp-10k-rules", FWD_RULES, Flows::Established),
            ("fwd-xdp-100k-rules", FWD_MOST_RULES, Flows::Established),
            ("nft-1k-linear", NFT_LINEAR, Flows::Established),
            ("nft-10k-map", NFT_MAP, Flows::Established),
            ("nft-100k-map", NFT_LARGEST_MAP, Flows::Established),
        ],
    },
    Table {
        name: "rules-new-flows",
        about: "New flows among many rules.",
        arrangements: BOTH,
        loads: |effort| vec![v4(if effort.quick { 20_000 } else { 50_000 }, 64)],
        elements: &[
            ("fwd-xdp", FWD_XDP, Flows::New),
            ("fwd-xdp-10k-rules", FWD_RULES, Flows::New),
            ("fwd-xdp-100k-rules", FWD_MOST_RULES, Flows::New),
            ("nft-1k-linear", NFT_LINEAR, Flows::New),
            ("nft-10k-map", NFT_MAP, Flows::New),
            ("nft-100k-map", NFT_LARGEST_MAP, Flows::New),
        ],
    },
    Table {
        name: "segment",
        about: "Packets from one VM to another of the same network.",
        arrangements: BOTH,
        loads: |effort| if effort.quick { vec![v4(1_000, 64)] } else { vec![v4(1, 64), v4(1_000, 64)] },
        elements: &[
            ("xdp-redirect", peer::redirect, Flows::Unknown),
            ("fwd-xdp", FWD_SEGMENT_XDP, Flows::Established),
            ("fwd-tcx", FWD_SEGMENT_TCX, Flows::Established),
            ("linux-bridge", peer::bridge, Flows::Unknown),
            ("linux-bridge-nft", peer::filtered_bridge, Flows::Unknown),
        ],
    },
    Table {
        name: "drop",
        about: "Packets that are dropped: all of them, those that a rule denies, those with a source that is not \
                the VM's.",
        arrangements: BOTH,
        loads: |_| vec![v4(1_000, 64)],
        elements: &[
            ("xdp-drop", peer::discard, Flows::Refused),
            ("fwd-denied", FWD_DENIED, Flows::Refused),
            ("fwd-spoofed", FWD_SPOOFED, Flows::Refused),
        ],
    },
];

/// UDP over IPv4.
#[must_use]
pub const fn v4(flows: u32, length: u16) -> Load {
    Load { family: Family::V4, flows, length }
}

fn slice(effort: Effort) -> Duration {
    Duration::from_millis(if effort.quick { 60 } else { 250 })
}

impl Table {
    fn cases(&self, effort: Effort) -> Vec<Case> {
        let loads = (self.loads)(effort);
        let of = |arrangement| loads.iter().map(move |load| Case { arrangement, load: *load });
        self.arrangements.iter().copied().flat_map(of).collect()
    }
}

impl Scenario for &Table {
    fn name(&self) -> &'static str {
        self.name
    }
    fn about(&self) -> &'static str {
        self.about
    }
    fn turns(&self, effort: Effort) -> usize {
        self.cases(effort).len()
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let cases = self.cases(effort);
        let seats = self.elements.iter().map(|(name, build, flows)| {
            let most: u32 = cases.iter().map(|case| case.load.flows).max().unwrap_or(1);
            let room = match flows {
                Flows::New => {
                    let a_round: u32 =
                        cases.iter().map(|case| case.opened().next_multiple_of(L4_PORTS)).sum();
                    a_round * u32::try_from(effort.rounds).unwrap_or(u32::MAX)
                }
                _ => most,
            };
            let cases = cases.clone();
            seat(name, || {
                let mut element = Packets::new(name, *build, *flows, room)?;
                element.measures(cases, slice(effort));
                Ok(element)
            })
        });
        Ok(seats.collect())
    }
}

/// Established flows while another CPU floods.
struct SynFlood;

impl Scenario for SynFlood {
    fn name(&self) -> &'static str {
        "syn-flood"
    }
    fn about(&self) -> &'static str {
        "10,000 established flows on one CPU, undisturbed and while another CPU floods a published service with SYNs \
         from ever new sources, each CPU with a receive queue of its own."
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let elements: [(&str, Build); 3] = [("fwd-xdp", FWD_XDP), ("fwd-tcx", FWD_TCX), ("nft-dnat", NFT)];
        let seats = elements.map(|(name, build)| seat(name, || Flood::new(name, build, slice(effort))));
        Ok(seats.into_iter().collect())
    }
}

/// Established flows while packets on another CPU are dropped as fast as it can send them.
struct DropStorm;

impl Scenario for DropStorm {
    fn name(&self) -> &'static str {
        "drop-storm"
    }
    fn about(&self) -> &'static str {
        "1,000 established flows on one CPU, undisturbed and while a rule denies all that another CPU can send; what \
         the daemon takes meanwhile, and how many of the drops it is told of: the others are counted."
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let elements: [(&str, Build); 2] = [("fwd-xdp", FWD_STORM_XDP), ("fwd-tcx", FWD_STORM_TCX)];
        let seats = elements.map(|(name, build)| seat(name, || Storm::new(name, build, slice(effort))));
        Ok(seats.into_iter().collect())
    }
}

/// Established flows while other objects are edited.
struct UnderEdits;

impl Scenario for UnderEdits {
    fn name(&self) -> &'static str {
        "edits"
    }
    fn about(&self) -> &'static str {
        "10,000 established flows on one CPU, undisturbed and while objects of other VMs are edited: for fwd, rules, \
         sets, groups and forwards by its API over one connection, 1,000 a second wanted; for nft, elements of a verdict \
         map by one interactive shell. Who edits and the daemon have the other CPU. No flow may be lost, and no packet."
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let slice = Duration::from_millis(if effort.quick { 200 } else { 750 });
        let elements: [(&str, Build); 3] =
            [("fwd-xdp", FWD_EDITED_XDP), ("fwd-tcx", FWD_EDITED_TCX), ("nft-dnat", NFT_EDITED)];
        let seats = elements.map(|(name, build)| seat(name, || Edits::new(name, build, slice)));
        Ok(seats.into_iter().collect())
    }
}

/// The same by two generators.
struct OtherGenerator;

impl OtherGenerator {
    const CASES: [Case; 2] = [
        Case { arrangement: Arrangement::SameCpu, load: v4(1_000, 64) },
        Case { arrangement: Arrangement::Split, load: v4(1_000, 64) },
    ];
}

impl Scenario for OtherGenerator {
    fn name(&self) -> &'static str {
        "other-generator"
    }
    fn about(&self) -> &'static str {
        "Packets of 1000 established flows to a published service, 64 bytes, by the kernel's live frames and by trafgen \
         (netsniff-ng), one after the other: whether the order of the elements depends on who sends. trafgen takes \
         longer for a packet, and a veth copies its packets for XDP."
    }
    fn turns(&self, _: Effort) -> usize {
        Self::CASES.len()
    }
    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let elements: [(&str, Build, Flows); 6] = [
            ("xdp-redirect", peer::redirect, Flows::Unknown),
            ("fwd-xdp", FWD_XDP, Flows::Established),
            ("tc-redirect", peer::redirect_skb, Flows::Unknown),
            ("fwd-tcx", FWD_TCX, Flows::Established),
            ("linux-route", peer::route, Flows::Unknown),
            ("nft-dnat", NFT, Flows::Established),
        ];
        let seats = elements.map(|(name, build, flows)| {
            seat(name, || Foreign::new(name, build, flows, &Self::CASES, slice(effort)))
        });
        Ok(seats.into_iter().collect())
    }
}
