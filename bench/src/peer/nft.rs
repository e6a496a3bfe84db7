//! nftables, as its wiki sets up port forwarding: destination NAT, a stateful filter, verdict maps where there are
//! many rules.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::conntrack::Conntrack;
use super::{Standing, feed};
use crate::traffic::rig::{GATEWAY, HOST, IN, INSIDE, OUT, Rig};
use crate::traffic::trip::{FLOODED, FLOODED_INSIDE, PUBLISHED, SERVED, Trip};

/// The counter of what a flowtable let through to the chain.
const LONG_WAY: &str = "long_way";

/// What stands before the rule that permits the run's flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Established flows pass at the first rule.
    Stateful,
    /// They pass at the ingress of their device, by a flowtable; the chain counts what comes to it all the same.
    Flowtable,
    /// So many rules, each held against every packet: what it takes for a rule to bind running connections.
    Linear(u32),
    /// The same rules as elements of one verdict map, which every packet is looked up in.
    VerdictMap(u32),
    /// Established flows pass at the first rule; behind it is a verdict map that is edited meanwhile.
    Edited,
}

impl Filter {
    fn chain(self) -> String {
        let accept = format!(
            "iifname {IN} ip daddr {} udp dport {SERVED} accept
             iifname {IN} ip daddr {} tcp dport {{ {SERVED}, {FLOODED_INSIDE} }} accept
             iifname {IN} ip6 daddr {} udp dport {SERVED} accept
             iifname {OUT} accept\n",
            INSIDE.0, INSIDE.0, INSIDE.1
        );
        let (mut rules, mut declared) = (String::new(), String::new());
        match self {
            Self::Stateful => rules += "ct state established,related accept\n",
            Self::Flowtable => {
                declared = format!(
                    "flowtable fast {{ hook ingress priority filter; devices = {{ {IN}, {OUT} }}; }}
                     counter {LONG_WAY} {{ }}\n"
                );
                rules += &format!(
                    "counter name {LONG_WAY}
                     meta l4proto {{ tcp, udp }} ct state established flow add @fast
                     ct state established,related accept\n"
                );
            }
            Self::Linear(count) => {
                for (address, l4_port) in denied(count) {
                    let _ = writeln!(rules, "ip saddr {address} udp dport {l4_port} drop");
                }
            }
            Self::Edited => {
                declared = "map denied { type ipv4_addr . inet_service : verdict; }\n".to_owned();
                rules += "ct state established,related accept\nip saddr . udp dport vmap @denied\n";
            }
            Self::VerdictMap(count) => {
                let elements: Vec<String> =
                    denied(count).map(|(address, l4_port)| format!("{address} . {l4_port} : drop")).collect();
                declared = format!(
                    "map denied {{ type ipv4_addr . inet_service : verdict; elements = {{ {} }} }}\n",
                    elements.join(", ")
                );
                rules += "ip saddr . udp dport vmap @denied\n";
            }
        }
        format!(
            "{declared} chain forward {{ type filter hook forward priority filter; policy drop;\n{rules}{accept} }}"
        )
    }
}

/// Sources that none of the run's packets has, and L4 ports.
fn denied(count: u32) -> impl Iterator<Item = (std::net::Ipv4Addr, u32)> {
    (0..count).map(|n| (std::net::Ipv4Addr::from_bits(0xc612_0000 + n / 100), 10_000 + n % 100))
}

/// Destination NAT that keeps the client's address.
pub fn nft_forward(rig: &Rig, filter: Filter, flows: u32) -> Result<Standing> {
    set_up(rig, filter, "")?;
    Ok(Standing::new(Trip::Forward, Conntrack::hold(&rig.host, flows)?))
}

/// The same with a flowtable for established flows.
pub fn nft_flowtable(rig: &Rig, flows: u32) -> Result<Standing> {
    let standing = nft_forward(rig, Filter::Flowtable, flows)?;
    Ok(Standing { long_way: Some(chain_packets), ..standing })
}

/// Packets that came to the chain.
fn chain_packets(rig: &Rig) -> Result<u64> {
    let said = rig.host.try_run(&format!("nft list counter inet gate {LONG_WAY}"))?;
    let mut words = said.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    let count = words.next().and_then(|count| count.parse().ok());
    count.with_context(|| format!("no count of packets in {said}"))
}

/// The same, and the host's address in place of the client's.
pub fn nft_masquerade(rig: &Rig, flows: u32) -> Result<Standing> {
    set_up(rig, Filter::Stateful, &format!("oifname {OUT} masquerade"))?;
    Ok(Standing::new(Trip::Forward, Conntrack::hold(&rig.host, flows)?))
}

/// Source NAT of what the inside machine sends.
pub fn nft_source_nat(rig: &Rig, flows: u32) -> Result<Standing> {
    set_up(rig, Filter::Stateful, &format!("oifname {IN} ip saddr {}/24 masquerade", GATEWAY.0))?;
    Ok(Standing::new(Trip::Route, Conntrack::hold(&rig.host, flows)?))
}

fn set_up(rig: &Rig, filter: Filter, source_nat: &str) -> Result<()> {
    rig.route()?;
    let text = format!(
        "table inet gate {{
            chain prerouting {{ type nat hook prerouting priority dstnat;
                iifname {IN} ip daddr {v4} udp dport {PUBLISHED} dnat ip to {inside4}:{SERVED}
                iifname {IN} ip daddr {v4} tcp dport {PUBLISHED} dnat ip to {inside4}:{SERVED}
                iifname {IN} ip daddr {v4} tcp dport {FLOODED} dnat ip to {inside4}:{FLOODED_INSIDE}
                iifname {IN} ip6 daddr {v6} udp dport {PUBLISHED} dnat ip6 to [{inside6}]:{SERVED}
            }}
            chain postrouting {{ type nat hook postrouting priority srcnat; {source_nat}
            }}
            {filter}
        }}",
        v4 = HOST.0,
        v6 = HOST.1,
        inside4 = INSIDE.0,
        inside6 = INSIDE.1,
        filter = filter.chain(),
    );
    feed(&rig.host, "nft", &["-f", "-"], &text)
}
