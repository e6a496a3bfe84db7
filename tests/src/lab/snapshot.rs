//! What a host looks like from outside fwd, so that "as before" can be checked line by line.
//!
//! Links with their settings, addresses, routes, qdiscs, filters, FDB entries, XDP and TCX programs, and
//! every readable sysctl under `net`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aya::programs::{SchedClassifier, TcAttachType};
use serde_json::Value;

use crate::netns::Netns;

/// The lines that describe a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Of the host once it has settled ([`Netns::settle`]).
    ///
    /// # Panics
    /// If the host cannot be looked at, or does not settle.
    #[must_use]
    #[track_caller]
    pub fn take(host: &Netns) -> Self {
        let mut lines = BTreeSet::new();
        host.settle();
        let links: Vec<Value> = serde_json::from_str(&host.run("ip -j -d link")).expect("ip prints JSON");
        for link in &links {
            lines.extend(link_lines(host, link));
        }
        for (what, line) in [
            ("address", "ip -o address"),
            ("route", "ip -4 route show table all"),
            ("route", "ip -6 route show table all"),
            ("rule", "ip rule"),
            ("rule", "ip -6 rule"),
            ("qdisc", "tc qdisc"),
            ("fdb", "bridge fdb"),
        ] {
            lines.extend(host.run(line).lines().map(|text| format!("{what} {}", text.trim())));
        }
        host.inside(|| sysctls(Path::new("/proc/sys/net"), &mut lines));
        Self(lines)
    }

    /// What only one of the two has: `-` was there, `+` is there.
    #[must_use]
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let gone = self.0.difference(&after.0).map(|line| format!("- {line}"));
        let new = after.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

fn link_lines(host: &Netns, link: &Value) -> Vec<String> {
    let name = link["ifname"].as_str().expect("every link has a name");
    let mut lines: Vec<String> =
        ["address", "mtu", "flags", "master", "xdp", "promiscuity", "allmulti", "operstate"]
            .iter()
            .map(|key| format!("link {name} {key} {}", link[key]))
            .collect();
    for kind in [TcAttachType::Ingress, TcAttachType::Egress] {
        // Fails where the kernel has no TCX, or the link has gone since it was listed.
        let programs = host
            .inside(|| SchedClassifier::query_tcx(name, kind))
            .map_or_else(|_| vec![], |(_, found)| found);
        lines.extend(
            programs.iter().map(|program| {
                format!("tcx {name} {kind:?} {}", program.name_as_str().unwrap_or("(no name)"))
            }),
        );
        let parent = if kind == TcAttachType::Ingress { "ingress" } else { "egress" };
        // Fails where there is no clsact qdisc, and then there is no filter either.
        let filters = host.try_run(&format!("tc filter show dev {name} {parent}")).unwrap_or_default();
        lines.extend(filters.lines().map(|text| format!("filter {name} {parent} {text}")));
    }
    lines
}

fn sysctls(folder: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sysctls(&path, lines);
        } else if !path.ends_with("nf_conntrack_count") // a measurement, not a setting
            && let Ok(value) = fs::read_to_string(&path)
        {
            lines.insert(format!("sysctl {} {}", path.display(), value.trim()));
        }
    }
}
