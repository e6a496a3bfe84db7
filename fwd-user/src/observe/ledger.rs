//! The ledgers of each port, and the proof that every packet is accounted for.
//!
//! At rest, per port and hook: received = forwarded + host + answered + dropped + passed up. Between the
//! hooks: what XDP passed up and TCX never saw, the kernel dropped. Across maps: a port's `dropped` is the
//! sum of its rows in `DROPS`, and all ports' is the sum of `DROPS_BY_REASON`. While traffic runs a row may
//! be read between two counts, so a check under load shows the packets in flight.

use std::collections::{BTreeMap, HashMap};

use fwd_common::{
    counter::{Count, FlowCounter, HookLedger, Ledger},
    id::PortId,
    port::{self, MAX_PORTS},
};

use crate::api::status::{Check, HookCounters, PortCheck, PortCounters, Traffic};

use super::{ReadError, View, devices::DeviceCounters, drops::reason_name};

/// A port's counters. `device` are its device's own, where they are known.
///
/// # Errors
/// [`ReadError`] names the map.
pub fn counters(
    view: &View<'_>,
    id: PortId,
    device: Option<DeviceCounters>,
) -> Result<PortCounters, ReadError> {
    let ledger = view.maps.ledger(id)?;
    let in_use = view.maps.port_use(id)?;
    let runs_xdp = view.port(id).has(port::flag::XDP);
    Ok(PortCounters {
        xdp: hook(&ledger.xdp),
        skb: hook(&ledger.skb),
        copies: traffic(ledger.copies),
        lost_between_hooks: if runs_xdp { lost_between_hooks(&ledger) } else { 0 },
        egress_lost: device.map_or(0, |d| d.tx_dropped),
        unaccounted: ledger.xdp.unaccounted() + ledger.skb.unaccounted(),
        flows: in_use.flows,
        half_open: in_use.half_open,
    })
}

/// Packets that XDP passed up and TCX did not receive. A port that ran without XDP before has received
/// more at TCX than was ever passed up: then it is not known, and 0.
const fn lost_between_hooks(ledger: &Ledger) -> u64 {
    ledger.xdp.passed_up.packets.saturating_sub(ledger.skb.received.packets)
}

const fn traffic(count: Count) -> Traffic {
    Traffic { packets: count.packets, bytes: count.bytes }
}

fn hook(ledger: &HookLedger) -> HookCounters {
    HookCounters {
        received: traffic(ledger.received),
        forwarded: traffic(ledger.forwarded),
        host: traffic(ledger.host),
        answered: traffic(ledger.answered),
        dropped: traffic(ledger.dropped),
        passed_up: traffic(ledger.passed_up),
    }
}

/// Holds the ledgers against each other and against the drops. `devices` by ifindex.
///
/// # Errors
/// [`ReadError`] names the map.
pub fn check(view: &View<'_>, devices: &HashMap<u32, DeviceCounters>) -> Result<Check, ReadError> {
    let mut drops = drops_by_port(view)?;
    let unattributed = view.maps.flow_counters()?[FlowCounter::DropsUnattributed as usize];
    let mut check = Check { exact: true, ..Check::default() };
    for (id, port) in view.names.ports() {
        let counters = counters(view, id, devices.get(&view.port(id).ifindex).copied())?;
        let drops = drops.remove(&id).unwrap_or_default();
        if counters.unaccounted != 0 {
            check.findings.push(format!(
                "Port {}: {} packets came in and left no trace.",
                port.name, counters.unaccounted
            ));
        }
        let dropped = counters.xdp.dropped.packets + counters.skb.dropped.packets;
        let by_reason: u64 = drops.values().sum();
        if dropped.abs_diff(by_reason) > unattributed {
            check.findings.push(format!(
                "Port {}: its ledgers have {dropped} drops, its rows by reason {by_reason}.",
                port.name
            ));
        }
        check.residue += counters.unaccounted;
        check.ports.push(PortCheck { port: port.name.clone(), counters, drops });
    }
    check.findings.extend(totals_finding(view)?);
    check.exact = check.findings.is_empty();
    Ok(check)
}

/// Drops of each port by reason.
fn drops_by_port(view: &View<'_>) -> Result<HashMap<PortId, BTreeMap<String, u64>>, ReadError> {
    let mut ports = HashMap::<_, BTreeMap<_, _>>::new();
    for (key, drop) in view.maps.drops()? {
        *ports.entry(key.port).or_default().entry(reason_name(key.reason)).or_default() += drop.count.packets;
    }
    Ok(ports)
}

/// All ledgers, also those of ports that are gone, against all drops by reason.
fn totals_finding(view: &View<'_>) -> Result<Option<String>, ReadError> {
    let mut dropped = 0;
    for id in 0..MAX_PORTS as u16 {
        let ledger = view.maps.ledger(PortId(id))?;
        dropped += ledger.xdp.dropped.packets + ledger.skb.dropped.packets;
    }
    let by_reason: u64 = view.maps.drops_by_reason()?.iter().map(|count| count.packets).sum();
    Ok((dropped != by_reason)
        .then(|| format!("All ports' ledgers have {dropped} drops, all reasons together {by_reason}.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{WEB1, maps, names, view};
    use fwd_common::{drop::DropReason, id::RuleId};

    const fn packets(packets: u64) -> Count {
        Count { packets, bytes: packets * 60 }
    }

    /// 100 packets at XDP: 60 forwarded, 10 dropped, 30 passed up, of which TCX got 28 and gave them to the host.
    fn xdp_port() -> Ledger {
        Ledger {
            xdp: HookLedger {
                received: packets(100),
                forwarded: packets(60),
                dropped: packets(10),
                passed_up: packets(30),
                ..HookLedger::default()
            },
            skb: HookLedger { received: packets(28), host: packets(28), ..HookLedger::default() },
            copies: packets(5),
        }
    }

    #[test]
    fn what_the_kernel_lost_between_the_hooks_is_named() {
        let (mut maps, names) = (maps(), names());
        maps.ledgers.insert(WEB1, xdp_port());
        let device = DeviceCounters { tx_dropped: 4, tx_errors: 0 };
        let counters = counters(&view(&maps, &names), WEB1, Some(device)).expect("memory can be read");
        assert_eq!((counters.lost_between_hooks, counters.egress_lost, counters.unaccounted), (2, 4, 0));
        assert_eq!(counters.xdp.passed_up, Traffic { packets: 30, bytes: 1800 });
        assert_eq!(counters.copies.packets, 5);
    }

    #[test]
    fn only_a_port_with_both_hooks_loses_between_them() {
        let (mut maps, names) = (maps(), names());
        maps.ledgers.insert(WEB1, xdp_port());
        maps.ports.get_mut(&WEB1).expect("web1").flags = 0;
        let counters = counters(&view(&maps, &names), WEB1, None).expect("memory can be read");
        assert_eq!(counters.lost_between_hooks, 0);
    }

    fn checked(change: impl FnOnce(&mut crate::observe::MemoryMaps)) -> Check {
        let (mut maps, names) = (maps(), names());
        maps.add_drops(WEB1, DropReason::RuntFrame, RuleId(0), 3);
        change(&mut maps);
        check(&view(&maps, &names), &HashMap::new()).expect("memory can be read")
    }

    #[test]
    fn ledgers_that_add_up_are_exact() {
        let check = checked(|_| {});
        assert_eq!((check.exact, check.residue, check.findings.len()), (true, 0, 0));
        let web1 = check.ports.iter().find(|p| p.port == "web1").expect("web1");
        assert_eq!(web1.drops, BTreeMap::from([("runt_frame".to_owned(), 3)]));
    }

    #[test]
    fn a_packet_without_a_trace_is_found() {
        let check = checked(|maps| maps.ledgers.get_mut(&WEB1).expect("web1").skb.received.packets += 1);
        assert_eq!((check.exact, check.residue), (false, 1));
        assert_eq!(check.findings, ["Port web1: 1 packets came in and left no trace."]);
    }

    #[test]
    fn drops_that_no_row_or_no_reason_has_are_found() {
        let check = checked(|maps| maps.drops.clear());
        assert_eq!(check.findings, ["Port web1: its ledgers have 3 drops, its rows by reason 0."]);
        let check = checked(|maps| maps.drops_by_reason.clear());
        assert_eq!(check.findings, ["All ports' ledgers have 3 drops, all reasons together 0."]);
    }

    #[test]
    fn drops_beyond_the_table_of_rows_are_excused() {
        let check = checked(|maps| {
            maps.drops.clear();
            maps.count(FlowCounter::DropsUnattributed, 3);
        });
        assert!(check.exact, "{:?}", check.findings);
    }
}
