//! What a flow takes of the kernel's memory, at capacity, and what conntrack takes for the same job.

use std::fs;
use std::net::UdpSocket;

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

pub struct Memory;

impl Scenario for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "Kernel memory of one translated flow, both directions, in a full table: fwd by what its flow maps account \
         for, conntrack by what its objects add to the kernel's slabs, and its buckets."
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
            (Family::V4, [map::FLOWS4, map::RING4, map::FREE4]),
            (Family::V6, [map::FLOWS6, map::RING6, map::FREE6]),
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
        let bytes = slabs()?.saturating_sub(before) as f64;
        ensure!(tracked > TRACKED * 9 / 10, "only {tracked} of {TRACKED} flows are tracked");
        // Two tuples a flow, one bucket of a pointer each where the table is as large as the kernel recommends.
        let buckets: f64 =
            fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_buckets")?.trim().parse()?;
        let max: f64 = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max")?.trim().parse()?;
        let pointers = buckets * size_of::<usize>() as f64 / max;
        Ok(vec![per_flow(bytes / tracked as f64 + pointers, Family::V4)])
    }

    fn note(&self) -> Option<String> {
        Some("DNAT and masquerade, 200k flows of UDP; what else the machine did with slabs meanwhile is in it.".into())
    }
}

fn nft(netns: &Netns, line: &str) -> Result<()> {
    fwd_tests::netns::output(netns.command("nft").arg(line)).map(drop)
}

/// Bytes of the kernel's slabs that are in use for good.
fn slabs() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("SUnreclaim:")).context("SUnreclaim")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
