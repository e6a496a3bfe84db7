//! Rows: written, read back, deleted, and made to hold together.

use fwd_common::{
    addr::{Ip, Mac},
    fdb::{self, FdbEntry, FdbKey},
    forward::{ClientKey, Forward, ForwardKey},
    id::{ClassId, ForwardId, Identity, NetworkId, PolicyId, PortId, RowId, RuleId},
    map,
    nat::ExemptionKey,
    neighbor::{self, Neighbor, NetworkAddress, SourceKey},
    network::{MemberKey, Mode, Network},
    policy::{ClassKey, Direction, PolicyKey, RowCopies, RowKey, RowVerdict},
    port::{Port, PortKind, View},
    prefix::{Prefix, PrefixKey},
    proto::IpProto,
    settings::Settings,
};
use fwd_tests::{need, skip};
use fwd_user::{
    datapath::{Datapath, Kernel, Memory, Table},
    plan::{MapOp, Row, RowKeyOf},
};

use super::World;

fn address(text: &str) -> Ip {
    text.parse::<std::net::IpAddr>().expect("an address").into()
}

/// One row of every kind.
fn rows() -> Vec<Row> {
    let (port, network) = (PortId(7), NetworkId(3));
    let key = NetworkAddress { addr: address("10.0.0.5"), network, _pad: 0 };
    let forward =
        Forward { id: ForwardId(1), port, l4_offset: 9, to: address("10.0.0.5"), ..Forward::default() };
    vec![
        Row::Settings(Settings { flow_limit: 512, mark: 1 << 20, ..Settings::default() }),
        Row::Port(port, Port { ifindex: 2, kind: PortKind::Vm as u8, network, mtu: 1500, ..Port::default() }),
        Row::PortOfDevice(2, port),
        Row::PortOfDevice(70_000, port),
        Row::Network(network, Network { mode: Mode::Nat as u8, members: 1, ..Network::default() }),
        Row::Member(MemberKey { network, index: 0 }, port),
        Row::Neighbor(key, Neighbor { port, mac: Mac([2, 0, 0, 0, 0, 5]), ..Neighbor::default() }),
        Row::AllowedSource(SourceKey { port, _pad: 0, addr: key.addr }, SourceKey::prefix(128), 1),
        Row::HostAddress(key, 1),
        Row::Forward(
            ForwardKey::new(IpProto::TCP, key.addr, 80_u16.to_be()),
            ForwardKey::prefix(16),
            forward,
        ),
        Row::ForwardClient(ClientKey { forward: ForwardId(1), addr: key.addr }, ClientKey::prefix(128), 1),
        Row::NatExemption(ExemptionKey { network, _pad: 0, addr: key.addr }, ExemptionKey::prefix(128), 1),
        Row::NatPrefix(
            PrefixKey { network, _pad: 0, addr: address("fd00:10::") },
            PrefixKey::prefix(64),
            Prefix::new((address("fd00:10::"), address("2001:db8::")), 64, network),
        ),
        Row::Policy(PolicyKey::new(PolicyId(1), Direction::Egress, Identity::ANY), RowId(4)),
        Row::PolicyRow(
            RowKey::new(RowId(4), IpProto::TCP, 0),
            RowKey::PROTO,
            RowVerdict::new(RuleId(2), RowVerdict::PERMIT),
        ),
        Row::Fdb(
            FdbKey { network, mac: Mac([2, 0, 0, 0, 0, 5]) },
            FdbEntry { port, flags: fdb::flag::STATIC, ..FdbEntry::default() },
        ),
    ]
}

#[test]
fn every_row_written_is_read_back_and_deleted() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let empty = kernel.tables().expect("a new datapath is readable");
    let mut plan: Vec<MapOp> = rows().into_iter().map(MapOp::Put).collect();
    let device = Row::Device(PortId(7), world.netns.ifindex("tap0"));
    plan.push(MapOp::Put(device));
    world.netns.inside(|| kernel.apply(&plan)).expect("every row fits");
    let tables = kernel.tables().expect("rows are readable");
    // The datapath in memory is the reference, and must hold something of everything.
    let mut memory = Memory::default();
    memory.apply(&plan).expect("memory takes everything");
    assert_eq!(tables, memory.tables().expect("memory is readable"));
    assert_eq!(tables.settings.flow_limit, 512);
    assert_eq!(tables.port_of_device.keys().collect::<Vec<_>>(), [&2, &70_000]);
    let rows = tables.networks.len() + tables.members.len() + tables.neighbors.len();
    let rows = rows + tables.host_addresses.len() + tables.allowed_sources.len() + tables.forwards.len();
    let rows = rows + tables.policies.len() + tables.rows.len() + tables.fdb.len() + tables.devices.len();
    let rows = rows + tables.nat_exemptions.len() + tables.nat_prefixes.len() + tables.forward_clients.len();
    assert_eq!(rows, 13);
    let deletions: Vec<MapOp> = plan.iter().filter_map(deletion).collect();
    kernel.apply(&deletions).expect("every row can be deleted");
    let after = kernel.tables().expect("rows are readable");
    assert_eq!(after, fwd_user::compile::Tables { settings: after.settings, ..empty });
}

fn deletion(op: &MapOp) -> Option<MapOp> {
    let MapOp::Put(row) = op else { return None };
    Some(MapOp::Delete(match *row {
        Row::Settings(_) => return None,
        Row::Port(id, _) => RowKeyOf::Port(id),
        Row::PortOfDevice(ifindex, _) => RowKeyOf::PortOfDevice(ifindex),
        Row::Device(id, _) => RowKeyOf::Device(id),
        Row::Network(id, _) => RowKeyOf::Network(id),
        Row::Member(key, _) => RowKeyOf::Member(key),
        Row::Neighbor(key, _) => RowKeyOf::Neighbor(key),
        Row::AllowedSource(key, bits, _) => RowKeyOf::AllowedSource(key, bits),
        Row::HostAddress(key, _) => RowKeyOf::HostAddress(key),
        Row::Forward(key, bits, _) => RowKeyOf::Forward(key, bits),
        Row::ForwardClient(key, bits, _) => RowKeyOf::ForwardClient(key, bits),
        Row::NatExemption(key, bits, _) => RowKeyOf::NatExemption(key, bits),
        Row::NatPrefix(key, bits, _) => RowKeyOf::NatPrefix(key, bits),
        Row::Policy(key, _) => RowKeyOf::Policy(key),
        Row::PolicyRow(key, bits, _) => RowKeyOf::PolicyRow(key, bits),
        Row::Fdb(key, _) => RowKeyOf::Fdb(key),
    }))
}

#[test]
fn rows_that_the_kernel_learnt_are_not_read() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let neighbor = Neighbor { port: PortId(1), flags: neighbor::flag::LEARNT, ..Neighbor::default() };
    let learnt = [
        MapOp::Put(Row::Neighbor(NetworkAddress::default(), neighbor)),
        MapOp::Put(Row::Fdb(FdbKey::default(), FdbEntry { port: PortId(1), ..FdbEntry::default() })),
    ];
    kernel.apply(&learnt).expect("the rows fit");
    let tables = kernel.tables().expect("rows are readable");
    assert!(tables.neighbors.is_empty() && tables.fdb.is_empty());
}

fn raw_port(kernel: &Kernel, port: PortId) -> Port {
    let table: Table<u32, Port> = Table::open(kernel.pins(), map::PORTS).expect("it is pinned");
    table.get(&port.0.into()).expect("it is readable").expect("arrays have all rows")
}

#[test]
fn generations_only_grow() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let port = PortId(7);
    let row = Port { kind: PortKind::Vm as u8, ..Port::default() };
    let put = MapOp::Put(Row::Port(port, row));
    let plan = [put, MapOp::Bump(port), MapOp::Bump(port), MapOp::Delete(RowKeyOf::Port(port)), put];
    kernel.apply(&plan).expect("the rows fit");
    assert_eq!(raw_port(&kernel, port).generation, 2);
    drop(kernel);
    let mut kernel = world.open();
    kernel.apply(&[put, MapOp::Bump(port)]).expect("the rows fit");
    assert_eq!(raw_port(&kernel, port).generation, 3);
}

fn policy(peer: Identity) -> PolicyKey {
    PolicyKey::new(PolicyId(5), Direction::Egress, peer)
}

#[test]
fn what_is_staged_binds_together_at_the_commit() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let (port, view) = (PortId(7), View { policy: PolicyId(5), identity: Identity::vm(9) });
    let class = ClassKey { epoch: 0, addr: address("192.0.2.0") };
    let stage = [
        MapOp::Put(Row::Port(port, Port { kind: PortKind::Vm as u8, ..Port::default() })),
        MapOp::StageView(port, view),
        MapOp::StageClass(class, ClassKey::prefix(120), Some(ClassId(4))),
        MapOp::StagePolicy(policy(Identity::vm(1)), Some(RowId(8))),
        MapOp::StagePolicy(policy(Identity::vm(2)), None),
        MapOp::StagePolicy(policy(Identity::vm(3)), Some(RowId(9))),
    ];
    let before = [1, 2].map(|n| MapOp::Put(Row::Policy(policy(Identity::vm(n)), RowId(7))));
    kernel.apply(&before).expect("the rows fit");
    kernel.apply(&stage).expect("the rows fit");
    let tables = kernel.tables().expect("rows are readable");
    assert_eq!(tables.views[&port], View::default(), "nothing binds before the commit");
    assert!(tables.classes.is_empty());
    let row = |n| (policy(Identity::vm(n)), RowId(7));
    assert_eq!(tables.policies, [row(1), row(2)].into_iter().collect());

    // Twice: the second commit comes back to the first copy.
    for round in 0..2 {
        let plan = if round == 0 { [&stage[..], &[MapOp::Commit]].concat() } else { vec![MapOp::Commit] };
        kernel.apply(&plan).expect("the rows fit");
        let tables = kernel.tables().expect("rows are readable");
        assert_eq!(tables.views[&port], view);
        assert_eq!(tables.classes[&(class, ClassKey::prefix(120))], ClassId(4));
        let row = |n, row| (policy(Identity::vm(n)), RowId(row));
        assert_eq!(tables.policies, [row(1, 8), row(3, 9)].into_iter().collect());
    }
    let policies: Table<PolicyKey, RowCopies> =
        Table::open(kernel.pins(), map::POLICIES).expect("it is pinned");
    assert_eq!(policies.rows().expect("rows are readable").len(), 2, "what neither copy has is gone");
    assert_eq!(raw_port(&kernel, port).views, [view; 2]);
}

#[test]
fn what_a_failed_plan_staged_never_binds() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let (port, view) = (PortId(7), View { policy: PolicyId(5), identity: Identity::vm(9) });
    let nowhere = Row::Device(port, 0xffff);
    let error = world
        .netns
        .inside(|| {
            kernel.apply(&[
                MapOp::StageView(port, view),
                MapOp::StagePolicy(policy(Identity::ANY), Some(RowId(8))),
                MapOp::Put(nowhere),
                MapOp::Commit,
            ])
        })
        .expect_err("no such device");
    assert!(error.to_string().starts_with("Map DEVICES: writing failed"), "{error}");
    kernel.apply(&[MapOp::Commit]).expect("an empty commit is fine");
    assert_eq!(raw_port(&kernel, port).views, [View::default(); 2]);
    assert!(kernel.tables().expect("rows are readable").policies.is_empty());
}

#[test]
fn a_full_map_is_named_with_its_capacity() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let forwards: Table<u32, PortId> =
        Table::open(kernel.pins(), map::PORT_OF_HIGH_DEVICE).expect("it is pinned");
    let plan: Vec<MapOp> =
        (0..=forwards.capacity()).map(|n| MapOp::Put(Row::PortOfDevice(100_000 + n, PortId(1)))).collect();
    let error = kernel.apply(&plan).expect_err("one row too many");
    assert_eq!(
        error.to_string(),
        format!("Map PORT_OF_HIGH_DEVICE is full: it holds {} rows.", forwards.capacity())
    );
}
