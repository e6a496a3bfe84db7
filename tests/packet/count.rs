//! All that the datapath counts and tells, by name, and what moved between two moments.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::Path;

use aya::maps::{MapData, RingBuf};
use fwd_common::addr::{V4, V6};
use fwd_common::counter::{Count, DropKey, FlowCounter, HookLedger};
use fwd_common::drop::DropReason;
use fwd_common::event::{Event, EventKind};
use fwd_common::flow::{FlowEntry, FlowKey, flag};
use fwd_common::policy::Direction;
use fwd_user::observe::{Family, Maps as _, open_events};

use crate::world::World;

/// What moved, by name; nothing that stood still.
pub type Moved = BTreeMap<String, i64>;

const FLOW_COUNTERS: [(FlowCounter, &str); 14] = [
    (FlowCounter::Admitted, "admitted"),
    (FlowCounter::RefusedTableFull, "refused table_full"),
    (FlowCounter::RefusedPortLimit, "refused port_limit"),
    (FlowCounter::RefusedHalfOpen, "refused half_open"),
    (FlowCounter::RefusedNatExhausted, "refused nat_exhausted"),
    (FlowCounter::Expired, "expired"),
    (FlowCounter::Reopened, "reopened"),
    (FlowCounter::CutByPolicy, "cut policy"),
    (FlowCounter::CutByRoute, "cut route"),
    (FlowCounter::CutByDelete, "cut delete"),
    (FlowCounter::CutByHostSocket, "cut host_socket"),
    (FlowCounter::Rechecked, "rechecked"),
    (FlowCounter::EventsLost, "events lost"),
    (FlowCounter::DropsUnattributed, "drops unattributed"),
];

/// All counters at one moment.
pub struct Counts {
    values: Moved,
    /// Packets of each flow entry, and the port by which it leaves.
    entries: BTreeMap<String, (String, i64)>,
}

impl Counts {
    pub fn take(world: &mut World) -> Self {
        let mut values = Moved::new();
        let mut add = |name: String, value: u64| {
            *values.entry(name).or_default() += i64::try_from(value).expect("tests count little");
        };
        world.events.drain();
        for (name, id) in world.ports() {
            let ledger = world.maps.ledger(id).expect("the map is readable");
            for (hook, row) in [("xdp", ledger.xdp), ("skb", ledger.skb)] {
                for (column, count) in columns(&row) {
                    add(format!("{hook} {name} {column}"), count.packets);
                    add(format!("{hook} {name} {column} bytes"), count.bytes);
                }
            }
            add(format!("{name} copies"), ledger.copies.packets);
            let held = world.maps.port_use(id).expect("the map is readable");
            let held = [held.flows, held.half_open, held.macs, held.addresses];
            for (what, value) in ["flows", "half_open", "macs", "addresses"].into_iter().zip(held) {
                add(format!("{name} holds {what}"), value.into());
            }
        }
        for (key, row) in world.maps.drops().expect("the map is readable") {
            let port = world.ports().find(|(_, id)| *id == key.port).map_or("?", |(name, _)| name);
            let reason = DropReason::from_number(key.reason).map_or("?", DropReason::name);
            let direction = Direction::ALL.into_iter().find(|d| *d as u8 == key.direction);
            let cause = cause(world, &key);
            let direction = direction.map_or("?", Direction::name);
            add(format!("drop {port} {reason} {cause} {direction}"), row.count.packets);
        }
        for (number, count) in world.maps.drops_by_reason().expect("the map is readable").iter().enumerate() {
            let number = u8::try_from(number).expect("reasons are bytes");
            let name = DropReason::from_number(number).map_or("?", DropReason::name);
            add(format!("reason {name}"), count.packets);
        }
        let counters = world.maps.flow_counters().expect("the map is readable");
        for (counter, name) in FLOW_COUNTERS {
            add(name.to_owned(), counters[counter as usize]);
        }
        for (family, held) in ["4", "6"].into_iter().zip(world.maps.table_use().expect("the map is readable"))
        {
            add(format!("table{family} flows"), held.flows.into());
            add(format!("table{family} half_open"), held.half_open.into());
        }
        for (id, totals) in world.maps.rule_totals().expect("the map is readable") {
            let name = world.rule_name(id.0).unwrap_or("?");
            add(format!("rule {name} flows"), totals.flows);
            add(format!("rule {name} cut"), totals.cut);
        }
        for (id, totals) in world.maps.forward_totals().expect("the map is readable") {
            let name = world.forward_name(id.0).unwrap_or_else(|| "?".to_owned());
            add(format!("forward {name} flows"), totals.flows);
            add(format!("forward {name} cut"), totals.cut);
        }
        for (name, value) in &world.events.seen {
            add(name.clone(), *value);
        }
        Self { values, entries: entries(world) }
    }

    pub fn since(&self, before: &Self) -> Moved {
        let mut moved = Moved::new();
        for (name, after) in &self.values {
            moved.insert(name.clone(), after - before.values.get(name).unwrap_or(&0));
        }
        for (key, (egress, after)) in &self.entries {
            let earlier = before.entries.get(key).map_or(0, |(_, packets)| *packets);
            // Fewer than before: another flow under the same key.
            let new = if *after >= earlier { after - earlier } else { *after };
            *moved.entry(format!("via {egress}")).or_default() += new;
        }
        moved.retain(|_, by| *by != 0);
        moved
    }
}

/// The rule or the forward that a drop was for.
fn cause(world: &World, key: &DropKey) -> String {
    match DropReason::from_number(key.reason) {
        Some(reason) if reason.is_of_forward() => {
            format!("forward {}", world.forward_name(key.rule.0).unwrap_or_else(|| "?".to_owned()))
        }
        _ => world.rule_name(key.rule.0).unwrap_or("-").to_owned(),
    }
}

fn columns(row: &HookLedger) -> [(&'static str, Count); 6] {
    [
        ("received", row.received),
        ("forwarded", row.forwarded),
        ("host", row.host),
        ("answered", row.answered),
        ("dropped", row.dropped),
        ("passed_up", row.passed_up),
    ]
}

/// Visits the entries of a flow table.
pub fn flows<A: Family>(world: &World, mut visit: impl FnMut(&FlowKey<A>, &FlowEntry<A>)) {
    let walked = A::walk(&world.maps, &mut |key, entry, reply| {
        visit(key, entry);
        if let Some(reply) = reply {
            let zone = world.maps.port(entry.egress).expect("the map is readable").zone;
            visit(&entry.partner_key(key.proto, zone), reply);
        }
        ControlFlow::Continue(())
    });
    walked.expect("the flow table is readable");
}

fn entries(world: &World) -> BTreeMap<String, (String, i64)> {
    let mut all = BTreeMap::new();
    add_entries::<V4>(world, &mut all);
    add_entries::<V6>(world, &mut all);
    all
}

fn add_entries<A: Family + Debug>(world: &World, all: &mut BTreeMap<String, (String, i64)>) {
    flows::<A>(world, |key, entry| {
        // A mapping counts who holds it.
        if entry.has(flag::MAPPING) {
            return;
        }
        let egress = world.ports().find(|(_, id)| *id == entry.egress).map_or("?", |(name, _)| name);
        let packets = i64::try_from(entry.packets).expect("tests count little");
        all.insert(format!("{key:?}"), (egress.to_owned(), packets));
    });
}

/// The ring buffer of events, counted by kind.
pub struct Events {
    ring: RingBuf<MapData>,
    seen: BTreeMap<String, u64>,
}

impl Events {
    pub fn open(maps: &Path) -> Self {
        Self { ring: open_events(maps).expect("the map is pinned"), seen: BTreeMap::new() }
    }

    /// Takes all events out of the ring.
    fn drain(&mut self) {
        const KIND: usize = std::mem::offset_of!(Event, kind);
        while let Some(event) = self.ring.next() {
            let kind = EventKind::from_number(event[KIND]).expect("a kind of event");
            *self.seen.entry(format!("event {kind:?}")).or_default() += 1;
        }
    }
}
