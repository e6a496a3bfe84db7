//! All targets, by the series that they compare.

use super::target::{ANY, Series, Target, below, most, ratio, series};
use crate::result::{
    Arrangement::{self, SameCpu, Split},
    At, Family,
};

const V4: At = At { family: Some(Family::V4), ..ANY };

const fn walk(flows: u64) -> At {
    At { flows: Some(flows), ..V4 }
}

const fn traffic(arrangement: Arrangement, flows: u64) -> At {
    At { arrangement: Some(arrangement), family: Some(Family::V4), flows: Some(flows), size: Some(64) }
}

const fn forward(element: &'static str, arrangement: Arrangement, flows: u64) -> Series {
    series("forward", element, "", traffic(arrangement, flows))
}

/// 1k flows of a scenario of packets.
const fn packets(scenario: &'static str, element: &'static str, arrangement: Arrangement) -> Series {
    series(scenario, element, "", traffic(arrangement, K))
}

/// Where each packet opens a flow.
const fn opened(scenario: &'static str, element: &'static str, arrangement: Arrangement) -> Series {
    series(scenario, element, "", At { flows: None, ..traffic(arrangement, 1) })
}

const fn sockets(scenario: &'static str, element: &'static str) -> Series {
    series(scenario, element, "", ANY)
}

const fn flooded(quantity: &'static str) -> Series {
    series("syn-flood", "fwd-xdp", quantity, traffic(SameCpu, 10 * K))
}

const fn edited(element: &'static str, quantity: &'static str) -> Series {
    series("edits", element, quantity, traffic(SameCpu, 10 * K))
}

/// As `traffic/mix` sends them.
const SMALL: At = At { arrangement: None, ..traffic(SameCpu, K) };

const fn mixed(element: &'static str, quantity: &'static str, at: At) -> Series {
    series("uplink-mix", element, quantity, at)
}

const fn hit(element: &'static str, flows: u64) -> Series {
    series("hit", element, "forward in", walk(flows))
}

const K: u64 = 1_000;
const M: u64 = 1_000_000;

/// In the order of the page.
pub const TARGETS: &[Target] = &[
    ratio(
        "established flow, 1k flows, against the minimal program, same CPU",
        forward("fwd-xdp", SameCpu, K),
        0.92,
        forward("minimal", SameCpu, K),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, K), 0.92, forward("minimal", Split, K)),
    ratio(
        "against bare XDP redirect, same CPU",
        forward("fwd-xdp", SameCpu, K),
        0.85,
        forward("xdp-redirect", SameCpu, K),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, K), 0.65, forward("xdp-redirect", Split, K)),
    ratio("against nft DNAT, same CPU", forward("fwd-xdp", SameCpu, K), 1.6, forward("nft-dnat", SameCpu, K)),
    ratio("the same, split", forward("fwd-xdp", Split, K), 3.0, forward("nft-dnat", Split, K)),
    ratio(
        "1M flows against the minimal program, same CPU",
        forward("fwd-xdp", SameCpu, M),
        0.92,
        forward("minimal", SameCpu, M),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, M), 0.92, forward("minimal", Split, M)),
    ratio(
        "1M flows against own 1 flow, same CPU",
        forward("fwd-xdp", SameCpu, M),
        0.6,
        forward("fwd-xdp", SameCpu, 1),
    ),
    ratio(
        "1M flows against nft DNAT, same CPU",
        forward("fwd-xdp", SameCpu, M),
        1.4,
        forward("nft-dnat", SameCpu, M),
    ),
    ratio("the same, split", forward("fwd-xdp", Split, M), 2.5, forward("nft-dnat", Split, M)),
    ratio(
        "10k rules against none, established",
        packets("rules", "fwd-xdp-10k-rules", SameCpu),
        0.98,
        packets("rules", "fwd-xdp", SameCpu),
    ),
    ratio(
        "10k rules against none, new flows",
        opened("rules-new-flows", "fwd-xdp-10k-rules", SameCpu),
        0.9,
        opened("rules-new-flows", "fwd-xdp", SameCpu),
    ),
    ratio(
        "10k rules against nft with 1k linear rules",
        packets("rules", "fwd-xdp-10k-rules", SameCpu),
        15.0,
        packets("rules", "nft-1k-linear", SameCpu),
    ),
    ratio(
        "100k rules against none, established",
        packets("rules", "fwd-xdp-100k-rules", SameCpu),
        0.98,
        packets("rules", "fwd-xdp", SameCpu),
    ),
    ratio(
        "10k rules against nft with a verdict map of 10k",
        packets("rules", "fwd-xdp-10k-rules", SameCpu),
        1.6,
        packets("rules", "nft-10k-map", SameCpu),
    ),
    ratio(
        "between two VM ports by XDP against Linux bridge, same CPU",
        packets("segment", "fwd-xdp", SameCpu),
        1.5,
        packets("segment", "linux-bridge", SameCpu),
    ),
    ratio(
        "the same, split",
        packets("segment", "fwd-xdp", Split),
        3.0,
        packets("segment", "linux-bridge", Split),
    ),
    ratio(
        "bulk TCP between VM ports against Linux bridge",
        sockets("bulk-segment", "fwd-tcx"),
        1.0,
        sockets("bulk-segment", "linux-bridge"),
    ),
    ratio(
        "bulk TCP out by NAT against nft masquerade",
        sockets("bulk-nat", "fwd-tcx"),
        1.05,
        sockets("bulk-nat", "nft-masquerade"),
    ),
    ratio(
        "bulk TCP in by a forward against nft DNAT",
        sockets("bulk-forward", "fwd-tcx"),
        1.05,
        sockets("bulk-forward", "nft-dnat"),
    ),
    ratio(
        "bulk TCP in by an XDP uplink against the same by TCX",
        sockets("bulk-uplink", "fwd-xdp-uplink"),
        0.9,
        sockets("bulk-uplink", "fwd-tcx"),
    ),
    ratio(
        "the same beside small packets to an XDP port",
        mixed("fwd-xdp-uplink", "bulk, beside packets to an XDP port", ANY),
        0.9,
        mixed("fwd-tcx", "bulk, beside packets to an XDP port", ANY),
    ),
    ratio(
        "small packets by an XDP uplink to an XDP port, beside bulk TCP to another, against alone",
        mixed("fwd-xdp-uplink", "packets to an XDP port, beside bulk", SMALL),
        0.9,
        mixed("fwd-xdp-uplink", "packets to an XDP port, alone", SMALL),
    ),
    ratio(
        "bulk TCP between two guests against Linux bridge",
        series("two-guests", "fwd-tcx", "bulk", ANY),
        1.0,
        series("two-guests", "linux-bridge", "bulk", ANY),
    ),
    ratio(
        "in a guest: established flow by XDP against nft flowtable",
        packets("guest-forward", "fwd-xdp", SameCpu),
        1.0,
        packets("guest-forward", "nft-flowtable", SameCpu),
    ),
    ratio(
        "the same against OVS",
        packets("guest-forward", "fwd-xdp", SameCpu),
        1.0,
        packets("guest-forward", "ovs", SameCpu),
    ),
    ratio(
        "in a guest: between two VM ports by XDP against OVS",
        packets("guest-segment", "fwd-xdp", SameCpu),
        1.0,
        packets("guest-segment", "ovs", SameCpu),
    ),
    ratio(
        "in a guest: bulk TCP in by a forward against nft flowtable",
        sockets("guest-bulk-forward", "fwd-tcx"),
        1.0,
        sockets("guest-bulk-forward", "nft-flowtable"),
    ),
    ratio(
        "in a guest: bulk TCP between VM ports against OVS",
        sockets("guest-bulk-segment", "fwd-tcx"),
        1.0,
        sockets("guest-bulk-segment", "ovs"),
    ),
    ratio(
        "new flows against nft DNAT, same CPU",
        opened("new-flows", "fwd-xdp", SameCpu),
        1.6,
        opened("new-flows", "nft-dnat", SameCpu),
    ),
    ratio(
        "the same, split",
        opened("new-flows", "fwd-xdp", Split),
        3.0,
        opened("new-flows", "nft-dnat", Split),
    ),
    ratio(
        "denied by a rule against bare XDP drop",
        packets("drop", "fwd-denied", SameCpu),
        0.9,
        packets("drop", "xdp-drop", SameCpu),
    ),
    ratio(
        "refused by the source guard against bare XDP drop",
        packets("drop", "fwd-spoofed", SameCpu),
        0.9,
        packets("drop", "xdp-drop", SameCpu),
    ),
    ratio(
        "10k established flows under a SYN flood against undisturbed",
        flooded("under a flood"),
        0.7,
        flooded("undisturbed"),
    ),
    ratio(
        "10k established flows, XDP, beside 1,000 edits a second of others against undisturbed",
        edited("fwd-xdp", "beside edits"),
        0.95,
        edited("fwd-xdp", "undisturbed"),
    ),
    ratio("the same, TCX", edited("fwd-tcx", "beside edits"), 0.95, edited("fwd-tcx", "undisturbed")),
    below(
        "a storm of denied packets: the daemon's CPU",
        series("drop-storm", "fwd-xdp", "the daemon's CPU", ANY),
        10.0,
    ),
    ratio(
        "one program: new flows with 10k rules against none",
        series("slow-path", "fwd-xdp-10k-rules", "new flow", V4),
        0.9,
        series("slow-path", "fwd-xdp", "new flow", V4),
    ),
    below("one program: hit with NAT, XDP", hit("fwd-xdp", 1), 40.0),
    below("one program: hit with NAT, TCX", hit("fwd-tcx", 1), 50.0),
    below("one program: walking 1M flows, XDP", hit("fwd-xdp", 1 << 20), 150.0),
    most("one program: 1 flow against the minimal program", hit("fwd-xdp", 1), 1.3, hit("minimal", 1)),
    most(
        "one program: walking 1M flows against the minimal program",
        hit("fwd-xdp", 1 << 20),
        1.3,
        hit("minimal", 1 << 20),
    ),
    most(
        "memory of a flow against nf_conntrack with NAT",
        series("memory", "fwd", "one flow", V4),
        0.85,
        series("memory", "nf_conntrack", "one flow", V4),
    ),
    below("an edit by the CLI, p99, until packets meet it", series("edit", "cli", "p99", ANY), 5.0),
    below("10k rules applied", series("apply", "10k-rules", "apply by CLI", ANY), 100.0),
    below("100k rules applied", series("apply", "100k-rules", "apply by CLI", ANY), 1000.0),
    ratio(
        "100k rules applied, against nft's one by one",
        series("apply", "100k-rules", "apply by CLI", ANY),
        1.0,
        series("apply", "nft-100k-linear", "apply by CLI", ANY),
    ),
    ratio(
        "100k rules applied, against nft's verdict map",
        series("apply", "100k-rules", "apply by CLI", ANY),
        1.0,
        series("apply", "nft-100k-map", "apply by CLI", ANY),
    ),
    ratio(
        "one rule more among 100k, against nft's one by one",
        series("apply", "100k-rules", "one rule more by CLI", ANY),
        1.0,
        series("apply", "nft-100k-linear", "one rule more by CLI", ANY),
    ),
    ratio(
        "one rule more among 100k, against nft's verdict map",
        series("apply", "100k-rules", "one rule more by CLI", ANY),
        1.0,
        series("apply", "nft-100k-map", "one rule more by CLI", ANY),
    ),
    below("1M flows and 10k rules, idle: RSS", series("live", FULL, "RSS", ANY), 64.0),
    below("the same: CPU of a core", series("live", FULL, "CPU at rest", ANY), 1.0),
    below("the same: a scrape", series("live", FULL, "scrape", ANY), 50.0),
];

/// The table of a whole run.
const FULL: &str = "1048576-flows-10k-rules";
