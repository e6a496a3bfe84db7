//! The sweep program: run by hand, on flows written by hand.

use fwd_common::{
    addr::{Address, V4},
    conntrack::TimeoutClass,
    counter::TableUse,
    flow::{self, FlowEntry, FlowKey, Half},
    id::{PortId, Zone},
    map,
    port::{Port, PortKind},
    proto::IpProto,
    settings::Settings,
    sweep::{Command as Sweep, Op},
};
use fwd_tests::{need, skip};
use fwd_user::{
    datapath::{Datapath, FlowTable, Swept, Table},
    plan::{MapOp, Row},
};

use super::World;

#[test]
fn a_sweep_ends_flows_and_says_what_it_did() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let port = |number| {
        let zone = Zone(number);
        MapOp::Put(Row::Port(PortId(number), Port { kind: PortKind::Vm as u8, zone, ..Port::default() }))
    };
    let settings = Settings { timeouts: [u32::MAX; TimeoutClass::COUNT], ..Settings::default() };
    kernel.apply(&[MapOp::Put(Row::Settings(settings)), port(1), port(2)]).expect("the rows fit");
    let flows = FlowTable::<V4>::open(|name| kernel.pins().open_map(name)).expect("pinned");
    let used: Table<u32, TableUse> = Table::open(kernel.pins(), map::TABLE_USE).expect("pinned");
    // One-way UDP from port 1 to port 2, and its reply's entry, three times.
    let rows = [0_u16, 1, 2].map(|number| {
        let key = |src, dst, sport, dport, zone| FlowKey {
            src: V4(src),
            dst: V4(dst),
            sport,
            dport,
            zone: Zone(zone),
            proto: IpProto::UDP,
            kind: 0,
        };
        let original = key(1, 2, number, 53, 1);
        let there = FlowEntry { egress: PortId(2), flags: flow::flag::ORIGINAL, ..entry(&original) };
        let reply = key(2, 1, 53, number, 2);
        let back = FlowEntry { egress: PortId(1), ..entry(&reply) };
        [(original, there), (reply, back)].map(|(key, entry)| Half { key, entry, ..Half::default() })
    });
    flows.refill(&rows).expect("they fit");
    used.put(&0, &TableUse { fresh_slots: 3, flows: 3, half_open: 3, _pad: 0 }).expect("it fits");
    let left = || flows.flows().expect("readable").len();

    let swept = kernel.sweep_all(Op::Reclaim).expect("the program runs");
    assert_eq!((swept, left()), (Swept { inspected: 3, ..Swept::default() }, 3), "nothing is expired yet");
    let delete = Sweep {
        op: Op::Delete as u32,
        src: V4(1).ip(),
        dst: V4(2).ip(),
        dport: 53,
        zone: Zone(1),
        proto: IpProto::UDP,
        ..Sweep::default()
    };
    assert_eq!(kernel.sweep(delete).expect("the program runs").cut, 1);
    assert_eq!(kernel.sweep(delete).expect("the program runs").cut, 0);
    assert_eq!(left(), 2);
    kernel.apply(&[MapOp::Put(Row::Settings(Settings::default()))]).expect("the row fits");
    let swept = kernel.sweep_all(Op::Reclaim).expect("the program runs");
    assert_eq!((swept.expired, left()), (2, 0));
    let unknown = Sweep { family: 7, ..Sweep::default() };
    assert!(kernel.sweep(unknown).expect_err("there is no such family").to_string().contains("know"));
}

/// An entry that changes nothing of its packets.
fn entry(key: &FlowKey<V4>) -> FlowEntry<V4> {
    FlowEntry { src: key.src, dst: key.dst, sport: key.sport, dport: key.dport, ..FlowEntry::default() }
}
