//! What a flow takes of the kernel's memory, at capacity, and what conntrack takes for the same job.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fwd_common::map;
use fwd_tests::netns::Netns;

use super::world::World;
use crate::result::{At, Family, Reading, Unit};
use crate::scenario::{Effort, Element, Scenario, Seat};

/// A power of two: tables of other sizes have the next one's buckets.
const FLOWS: u32 = 1 << 18;
/// Below what a machine's conntrack takes by default.
const TRACKED: u64 = 200_000;
/// L4 ports that one socket sends to.
const L4_PORTS: u64 = 50_000;
/// For the kernel to give a namespace's flows up.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Memory;

impl Scenario for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "Kernel memory of one translated flow, both directions, in a full table: fwd by what its flow maps account \
         for, conntrack by the objects that its flows add to the kernel's slabs, and its buckets."
    }

    fn prepare(&self, _: Effort) -> Result<Vec<Seat>> {
        let world = World::new(FLOWS, 0);
        Ok(vec![Seat::of("fwd", world.map(Own)), Seat::of("nf_conntrack", Ok(Tracked))])
    }
}

struct Own(World);

impl Element for Own {
    fn name(&self) -> &str {
        "fwd"
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        [
            (Family::V4, [map::FLOWS4, map::INDEX4, map::FREE4]),
            (Family::V6, [map::FLOWS6, map::INDEX6, map::FREE6]),
        ]
        .into_iter()
        .map(|(family, maps)| {
            let bytes = maps.into_iter().map(|name| self.0.memory_of(name)).sum::<Result<u64>>()?;
            Ok(per_flow(bytes as f64 / f64::from(FLOWS), family))
        })
        .collect()
    }
}

fn per_flow(bytes: f64, family: Family) -> Reading {
    Reading::new(bytes, Unit::Bytes).of("one flow").at(At { family: Some(family), ..At::default() })
}

/// The kernel's own: a router that translates destinations, and one UDP packet of each flow through it.
struct Tracked;

impl Element for Tracked {
    fn name(&self) -> &str {
        "nf_conntrack"
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let (client, router, server) = (Netns::new("client"), Netns::new("router"), Netns::new("server"));
        router.veth("in", &client, "eth0");
        router.veth("out", &server, "eth0");
        router.address("in", "10.9.1.1/24");
        router.address("out", "10.9.2.1/24");
        client.address("eth0", "10.9.1.2/24");
        router.sysctl("net.ipv4.ip_forward", "1");
        // The server has no address, so it answers nothing.
        let mac = server.mac_of("eth0");
        router.try_run(&format!("ip neigh replace 10.9.2.2 lladdr {mac} dev out nud permanent"))?;
        router.try_run("nft add table ip bench")?;
        nft(&router, "add chain ip bench pre { type nat hook prerouting priority dstnat; }")?;
        nft(&router, "add rule ip bench pre iifname in dnat to 10.9.2.2")?;
        nft(&router, "add chain ip bench post { type nat hook postrouting priority srcnat; }")?;
        nft(&router, "add rule ip bench post oifname out masquerade")?;
        let before = slabs()?;
        client.inside(|| -> Result<()> {
            for socket in 0..TRACKED / L4_PORTS {
                let socket = UdpSocket::bind(("10.9.1.2", 4000 + socket as u16))?;
                for l4_port in 0..L4_PORTS {
                    socket.send_to(b"x", ("10.9.1.1", 1024 + l4_port as u16))?;
                }
            }
            Ok(())
        })?;
        let tracked: u64 = router.read_sysctl("net.netfilter.nf_conntrack_count").parse()?;
        let after = slabs()?;
        ensure!(tracked > TRACKED * 9 / 10, "only {tracked} of {TRACKED} flows are tracked");
        drop((client, router, server));
        given_back(&before)?;
        // Two tuples a flow, one bucket of a pointer each where the table is as large as the kernel recommends.
        let buckets: f64 =
            fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_buckets")?.trim().parse()?;
        let max: f64 = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max")?.trim().parse()?;
        let pointers = buckets * size_of::<usize>() as f64 / max;
        Ok(vec![per_flow(grown(&before, &after, tracked) / tracked as f64 + pointers, Family::V4)])
    }

    fn note(&self) -> Option<String> {
        Some(
            "DNAT and masquerade, 200k flows of UDP; caches that grew by at least every other flow count."
                .into(),
        )
    }
}

fn nft(netns: &Netns, line: &str) -> Result<()> {
    fwd_tests::netns::output(netns.command("nft").arg(line)).map(drop)
}

/// The conntrack entries' own cache.
const ENTRIES: &str = "nf_conntrack";

/// One cache of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slab {
    /// In use.
    objects: u64,
    /// Of one object, with its share of what a page has left over.
    bytes: f64,
}

/// The kernel's caches by name. Pages that it has yet to give back are not in the objects in use.
fn slabs() -> Result<BTreeMap<String, Slab>> {
    parsed(&fs::read_to_string("/proc/slabinfo")?).context("/proc/slabinfo does not read as version 2.1")
}

fn parsed(text: &str) -> Option<BTreeMap<String, Slab>> {
    const PAGE: f64 = 4096.0;
    let lines = text.lines().skip_while(|line| line.starts_with("slabinfo") || line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            let numbers: Vec<u64> = words.take(5).map_while(|word| word.parse().ok()).collect();
            let &[objects, _, _, per_slab, pages] = &numbers[..] else { return None };
            Some((name, Slab { objects, bytes: pages as f64 * PAGE / per_slab as f64 }))
        })
        .collect()
}

/// Bytes of the objects that so many flows brought: of caches that grew by an object for at least every other flow.
fn grown(before: &BTreeMap<String, Slab>, after: &BTreeMap<String, Slab>, flows: u64) -> f64 {
    let of = |(name, slab): (&String, &Slab)| {
        let grown = slab.objects.saturating_sub(before.get(name).map_or(0, |before| before.objects));
        if grown >= flows / 2 { grown as f64 * slab.bytes } else { 0.0 }
    };
    after.iter().map(of).sum()
}

/// Waits until the flows of a namespace that is gone are gone too: the kernel takes its time.
fn given_back(before: &BTreeMap<String, Slab>) -> Result<()> {
    let entries = |slabs: &BTreeMap<String, Slab>| slabs.get(ENTRIES).map_or(0, |slab| slab.objects);
    let begun = Instant::now();
    while entries(&slabs()?) > entries(before) + TRACKED / 100 {
        ensure!(begun.elapsed() < PATIENCE, "the kernel keeps the flows of a namespace that is gone");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n";

    fn read(lines: &str) -> BTreeMap<String, Slab> {
        parsed(&format!("{HEAD}{lines}")).expect("lines of slabinfo")
    }

    #[test]
    fn what_grew_with_the_flows_counts_and_nothing_else() {
        let before = read(
            "nf_conntrack 100 208 256 16 1 : tunables 0\nkmalloc-128 5000 5000 128 32 1\nkmalloc-64 9 9 64 64 1\n",
        );
        let after = read(
            "nf_conntrack 1100 1208 256 16 1\nkmalloc-128 6010 7000 128 32 1\nkmalloc-64 400 400 64 64 1\n",
        );
        assert_eq!(grown(&before, &after, 1000), 1000.0 * 256.0 + 1010.0 * 128.0);
    }

    #[test]
    fn objects_have_their_share_of_the_pages() {
        let slabs = read("odd 3 3 1200 3 1\n");
        assert_eq!(slabs["odd"], Slab { objects: 3, bytes: 4096.0 / 3.0 });
        assert_eq!(parsed(&format!("{HEAD}short 1 2\n")), None);
    }
}
