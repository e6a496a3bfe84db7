//! The ledgers of each port, and the proof that every packet is accounted for.
//!
//! At rest, per port and hook: received = forwarded + host + answered + dropped + passed up. Between the
//! hooks: what XDP passed up and TCX never saw, the kernel dropped. Across maps: a port's `dropped` is the
//! sum of its rows in `DROPS`, and all ports' is the sum of `DROPS_BY_REASON`.
//!
//! Traffic goes on while maps are read. So drops are read before and after the ledgers, whose number then lies
//! between the two; and a ledger that was read between a packet's two counts is read again.

use std::{
    collections::{BTreeMap, HashMap},
    thread,
    time::Duration,
};

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
        sent: device.map(|d| Traffic { packets: d.tx_packets, bytes: d.tx_bytes }).unwrap_or_default(),
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
    let before = Drops::read(view)?;
    let mut check = Check::default();
    for (id, port) in view.names.ports() {
        let counters = settled(view, id, devices.get(&view.port(id).ifindex).copied())?;
        if counters.unaccounted != 0 {
            check.findings.push(format!(
                "Port {}: {} packets came in and left no trace.",
                port.name, counters.unaccounted
            ));
        }
        check.residue += counters.unaccounted;
        check.ports.push(PortCheck { port: port.name.clone(), counters, drops: BTreeMap::new() });
    }
    let all_dropped = dropped_everywhere(view)?;
    let after = Drops::read(view)?;
    for ((id, port), checked) in view.names.ports().zip(&mut check.ports) {
        let dropped = checked.counters.xdp.dropped.packets + checked.counters.skb.dropped.packets;
        let rows = before.of_port(id)..=after.of_port(id) + after.unattributed;
        if !rows.contains(&dropped) {
            let rows = after.of_port(id);
            check.findings.push(format!(
                "Port {}: its ledgers have {dropped} drops, its rows by reason {rows}.",
                port.name
            ));
        }
        checked.drops = after.rows.get(&id).cloned().unwrap_or_default();
    }
    if !(before.total..=after.total).contains(&all_dropped) {
        check.findings.push(format!(
            "All ports' ledgers have {all_dropped} drops, all reasons together {}.",
            after.total
        ));
    }
    check.exact = check.findings.is_empty();
    Ok(check)
}

/// A port's counters with no packet between its two counts: a hypervisor may stop a CPU just there. A packet
/// that left no trace is missing in each reading.
fn settled(view: &View<'_>, id: PortId, device: Option<DeviceCounters>) -> Result<PortCounters, ReadError> {
    const READINGS: usize = 8;
    const PAUSE: Duration = Duration::from_millis(2);
    let mut read = counters(view, id, device)?;
    for _ in 1..READINGS {
        if read.unaccounted == 0 {
            break;
        }
        thread::sleep(PAUSE);
        read = counters(view, id, device)?;
    }
    Ok(read)
}

/// All that was dropped until a moment.
struct Drops {
    /// By port and reason.
    rows: HashMap<PortId, BTreeMap<String, u64>>,
    /// For which the table of rows had no place.
    unattributed: u64,
    total: u64,
}

impl Drops {
    fn read(view: &View<'_>) -> Result<Self, ReadError> {
        let mut rows = HashMap::<_, BTreeMap<_, _>>::new();
        for (key, drop) in view.maps.drops()? {
            *rows.entry(key.port).or_default().entry(reason_name(key.reason)).or_default() +=
                drop.count.packets;
        }
        let unattributed = view.maps.flow_counters()?[FlowCounter::DropsUnattributed as usize];
        let total = view.maps.drops_by_reason()?.iter().map(|count| count.packets).sum();
        Ok(Self { rows, unattributed, total })
    }

    fn of_port(&self, id: PortId) -> u64 {
        self.rows.get(&id).map_or(0, |rows| rows.values().sum())
    }
}

/// What all ledgers have, also those of ports that are gone.
fn dropped_everywhere(view: &View<'_>) -> Result<u64, ReadError> {
    let mut dropped = 0;
    for id in 0..MAX_PORTS as u16 {
        let ledger = view.maps.ledger(PortId(id))?;
        dropped += ledger.xdp.dropped.packets + ledger.skb.dropped.packets;
    }
    Ok(dropped)
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
        let device = DeviceCounters { tx_packets: 9, tx_bytes: 900, tx_dropped: 4, tx_errors: 0 };
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
