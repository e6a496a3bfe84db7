//! The kernel's maps, programs and links: made, adopted, checked, and taken away.

use std::{fs, path::PathBuf, process::Command};

use fwd_common::{
    addr::{Address, Ip, Mac, V4},
    conntrack::TimeoutClass,
    counter::TableUse,
    fdb::{self, FdbEntry, FdbKey},
    flow::{self, FlowEntry, FlowKey},
    forward::{Forward, ForwardKey},
    id::{ClassId, ForwardId, Identity, NetworkId, PolicyId, PortId, RowId, RuleId, Zone},
    layout::ABI_VERSION,
    map,
    neighbor::{self, Neighbor, NetworkAddress, SourceKey},
    network::{MemberKey, Mode, Network},
    policy::{ClassKey, Direction, PolicyKey, RowKey, RowVerdict},
    port::{Port, PortKind, View},
    proto::IpProto,
    settings::Settings,
    sweep::{Command as Sweep, Op},
};
use fwd_tests::{lab::Instance, link::VnetHeader, need, netns::Netns, skip};
use fwd_user::{
    datapath::{
        Datapath, Error, Kernel, Memory, OBJECT, Options, Point, Sizes, Swept, Table, Target, Tc, tear_down,
    },
    plan::{MapOp, Row, RowKeyOf},
};

const SIZES: Sizes = Sizes { flows: 1024 };

/// A namespace with a veth and a tap, and a bpffs of its own.
struct World {
    netns: Netns,
    peer: Netns,
    // Unmounts its bpffs when dropped.
    folder: Instance,
}

impl World {
    fn new() -> Self {
        let (netns, peer) = (Netns::new("datapath"), Netns::new("peer"));
        netns.veth("veth0", &peer, "eth0");
        netns.tap("tap0", VnetHeader::Off);
        Self { netns, peer, folder: Instance::new() }
    }

    fn bpffs(&self) -> PathBuf {
        self.folder.bpffs()
    }

    fn open_with(&self, sizes: Sizes, object: &[u8]) -> Result<Kernel, Error> {
        let bpffs = self.bpffs();
        self.netns.inside(|| Kernel::open(&Options { bpffs: &bpffs, object, sizes }))
    }

    #[track_caller]
    fn open(&self) -> Kernel {
        self.open_with(SIZES, OBJECT).unwrap_or_else(|error| panic!("{error}"))
    }

    fn target(&self, name: &str) -> Target {
        Target { ifindex: self.netns.ifindex(name), name: name.to_owned() }
    }

    /// Attaches from inside the namespace, where ifindexes mean something.
    fn attach(&self, kernel: &mut Kernel, device: &str, point: Point) -> Result<(), Error> {
        let target = self.target(device);
        self.netns.inside(|| kernel.attach(&target, point))
    }

    fn pin(&self, path: &str) -> PathBuf {
        self.bpffs().join(format!("v{ABI_VERSION}")).join(path)
    }

    /// The id of the XDP program on a device, as `ip` sees it.
    fn xdp_of(&self, device: &str) -> Option<u64> {
        let text = self.netns.run(&format!("ip -j -d link show dev {device}"));
        let links: serde_json::Value = serde_json::from_str(&text).expect("ip prints JSON");
        links[0]["xdp"]["prog"]["id"].as_u64()
    }
}

fn address(text: &str) -> Ip {
    text.parse::<std::net::IpAddr>().expect("an address").into()
}

/// One row of every kind.
fn rows() -> Vec<Row> {
    let (port, network) = (PortId(7), NetworkId(3));
    let key = NetworkAddress { addr: address("10.0.0.5"), network, _pad: 0 };
    let forward = Forward { id: ForwardId(1), port, l4_offset: 9, to: address("10.0.0.5"), expires_ns: 0 };
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
        Row::Policy(PolicyKey::new(PolicyId(1), Direction::Egress, Identity::ANY), RowId(4)),
        Row::PolicyRow(
            RowKey::new(RowId(4), IpProto::TCP, 0),
            RowKey::PROTO,
            RowVerdict { rule: RuleId(2), permit: 1 },
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
    assert_eq!(rows, 10);
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
        Row::Policy(key, _) => RowKeyOf::Policy(key),
        Row::PolicyRow(key, bits, _) => RowKeyOf::PolicyRow(key, bits),
        Row::Fdb(key, _) => RowKeyOf::Fdb(key),
    }))
}

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
    let flows: Table<FlowKey<V4>, FlowEntry<V4>> = Table::open(kernel.pins(), map::FLOWS4).expect("pinned");
    let ring: Table<u32, FlowKey<V4>> = Table::open(kernel.pins(), map::RING4).expect("pinned");
    let used: Table<u32, TableUse> = Table::open(kernel.pins(), map::TABLE_USE).expect("pinned");
    // One-way UDP from port 1 to port 2, and its reply's entry, three times.
    for slot in 0..3 {
        let key = |src, dst, sport, dport, zone| FlowKey {
            src: V4(src),
            dst: V4(dst),
            sport,
            dport,
            zone: Zone(zone),
            proto: IpProto::UDP,
            _pad: 0,
        };
        let number = slot as u16;
        let original = key(1, 2, number, 53, 1);
        let there = FlowEntry { egress: PortId(2), flags: flow::flag::ORIGINAL, slot, ..entry(&original) };
        let reply = key(2, 1, 53, number, 2);
        let back = FlowEntry { egress: PortId(1), ..entry(&reply) };
        flows.put(&original, &there).expect("it fits");
        flows.put(&reply, &back).expect("it fits");
        ring.put(&slot, &original).expect("it fits");
    }
    used.put(&0, &TableUse { fresh_slots: 3, flows: 3, half_open: 3, _pad: 0 }).expect("it fits");
    let left = || flows.rows().expect("readable").len();

    let swept = kernel.sweep_all(Op::Reclaim).expect("the program runs");
    assert_eq!((swept, left()), (Swept { inspected: 3, ..Swept::default() }, 6), "nothing is expired yet");
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
    assert_eq!(left(), 4);
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

#[test]
fn staged_views_and_classes_bind_together_at_the_commit() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let (port, view) = (PortId(7), View { policy: PolicyId(5), identity: Identity::vm(9) });
    let class = ClassKey { epoch: 0, addr: address("192.0.2.0") };
    let stage = [
        MapOp::Put(Row::Port(port, Port { kind: PortKind::Vm as u8, ..Port::default() })),
        MapOp::StageView(port, view),
        MapOp::StageClass(class, ClassKey::prefix(120), Some(ClassId(4))),
    ];
    kernel.apply(&stage).expect("the rows fit");
    let tables = kernel.tables().expect("rows are readable");
    assert_eq!(tables.views[&port], View::default(), "nothing binds before the commit");
    assert!(tables.classes.is_empty());

    // Twice: the second commit comes back to the first copy.
    for round in 0..2 {
        let plan = if round == 0 { [&stage[..], &[MapOp::Commit]].concat() } else { vec![MapOp::Commit] };
        kernel.apply(&plan).expect("the rows fit");
        let tables = kernel.tables().expect("rows are readable");
        assert_eq!(tables.views[&port], view);
        assert_eq!(tables.classes[&(class, ClassKey::prefix(120))], ClassId(4));
    }
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
        .inside(|| kernel.apply(&[MapOp::StageView(port, view), MapOp::Put(nowhere), MapOp::Commit]))
        .expect_err("no such device");
    assert!(error.to_string().starts_with("Map DEVICES: writing failed"), "{error}");
    kernel.apply(&[MapOp::Commit]).expect("an empty commit is fine");
    assert_eq!(raw_port(&kernel, port).views, [View::default(); 2]);
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

#[test]
fn programs_stay_when_the_daemon_goes_and_are_not_loaded_again() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    for (device, point) in
        [("veth0", Point::Ingress), ("veth0", Point::Egress), ("tap0", Point::Ingress), ("tap0", Point::Xdp)]
    {
        world.attach(&mut kernel, device, point).unwrap_or_else(|error| panic!("{error}"));
        world.attach(&mut kernel, device, point).expect("attaching twice is fine");
    }
    let attached = kernel.attached().expect("links are readable");
    assert_eq!(attached.len(), 4);
    let xdp = world.xdp_of("tap0");
    assert!(xdp.is_some());
    drop(kernel);
    assert_eq!(world.xdp_of("tap0"), xdp);
    let kernel = world.open();
    assert_eq!(world.xdp_of("tap0"), xdp, "the same build is left alone");
    assert_eq!(kernel.attached().expect("links are readable"), attached);
}

#[test]
fn another_build_replaces_the_programs_and_keeps_the_rows() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    kernel.apply(&[MapOp::Put(Row::PortOfDevice(5, PortId(9)))]).expect("the row fits");
    world.attach(&mut kernel, "tap0", Point::Xdp).expect("taps have native XDP");
    let old = world.xdp_of("tap0");
    drop(kernel);
    // Bytes behind an ELF file mean nothing but make it another build.
    let mut object = OBJECT.to_vec();
    object.extend([0; 8]);
    let kernel = world.open_with(SIZES, &object).expect("it is the same program");
    assert_ne!(world.xdp_of("tap0"), old);
    assert!(world.xdp_of("tap0").is_some());
    assert_eq!(kernel.tables().expect("rows are readable").port_of_device[&5], PortId(9));
}

#[test]
fn flow_tables_that_are_there_keep_their_size() {
    need!(skip::bpf());
    let world = World::new();
    assert_eq!(world.open().sizes(), SIZES);
    let kernel = world.open_with(Sizes { flows: 4096 }, OBJECT).expect("the size is no obstacle");
    assert_eq!(kernel.sizes(), SIZES);
}

#[test]
fn a_pinned_map_of_another_shape_is_refused_by_name() {
    need!(skip::bpf());
    let world = World::new();
    drop(world.open());
    for (name, shape, what) in [
        (map::PORTS, "type array key 4 value 16 entries 4096", "the value size is 16"),
        (map::FDB, "type hash key 8 value 8 entries 77", "the number of rows is 77"),
        (map::DEVICES, "type hash key 4 value 8 entries 4096", "the map type is 1"),
        (map::POLICIES, "type hash key 12 value 4 entries 262144", "the flags is 0"),
    ] {
        let (pin, aside) = (world.pin(&format!("maps/{name}")), world.pin("maps/aside"));
        fs::rename(&pin, &aside).expect("bpffs renames");
        let line = format!("map create {} {shape} name other", pin.display());
        let made = Command::new("bpftool").args(line.split(' ')).status().expect("bpftool runs");
        assert!(made.success());
        let error = world.open_with(SIZES, OBJECT).expect_err("the map is not ours");
        let text = error.to_string();
        assert!(text.starts_with(&format!("Pinned map {name}: {what}, this build needs")), "{text}");
        fs::remove_file(&pin).expect("bpffs removes");
        fs::rename(&aside, &pin).expect("bpffs renames");
    }
    drop(world.open());
}

#[test]
fn pins_of_another_abi_are_refused() {
    need!(skip::bpf());
    let world = World::new();
    drop(world.open());
    let old = world.bpffs().join("v0");
    fs::rename(world.bpffs().join(format!("v{ABI_VERSION}")), &old).expect("bpffs renames");
    let error = world.open_with(SIZES, OBJECT).expect_err("they are not ours");
    assert!(matches!(&error, Error::OtherAbi { path } if *path == old), "{error}");
    assert!(tear_down(&world.bpffs()).is_empty());
    drop(world.open());
}

#[test]
fn one_process_at_a_time_holds_the_pins() {
    need!(skip::bpf());
    let world = World::new();
    let kernel = world.open();
    let error = world.open_with(SIZES, OBJECT).expect_err("the pins are held");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(matches!(&tear_down(&world.bpffs())[..], [Error::InUse { .. }]));
    drop(kernel);
    drop(world.open());
}

#[test]
fn pins_of_another_namespace_are_refused_while_their_devices_live() {
    need!(skip::bpf());
    let mut world = World::new();
    let mut kernel = world.open();
    world.attach(&mut kernel, "tap0", Point::Ingress).expect("taps have TCX");
    drop(kernel);
    let home = std::mem::replace(&mut world.netns, Netns::new("elsewhere"));
    let error = world.open_with(SIZES, OBJECT).expect_err("ifindexes mean something else here");
    assert!(matches!(error, Error::OtherNamespace { .. }), "{error}");
    home.run("ip link del tap0");
    drop(world.open());
}

#[test]
fn links_of_devices_that_are_gone_are_removed() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    world.attach(&mut kernel, "tap0", Point::Xdp).expect("taps have native XDP");
    let pin = world.pin(&format!("links/{}-xdp", world.netns.ifindex("tap0")));
    assert!(pin.exists());
    world.netns.run("ip link del tap0");
    assert!(kernel.attached().expect("links are readable").is_empty());
    drop(kernel);
    drop(world.open());
    assert!(!pin.exists());
}

#[test]
fn a_foreign_xdp_program_is_named_and_left_alone() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    // Another instance's program will do.
    let other = World::new();
    drop(other.open());
    let program = other.pin("programs/fwd_xdp");
    world.netns.run(&format!("bpftool net attach xdpdrv pinned {} dev veth0", program.display()));
    let foreign = world.xdp_of("veth0").expect("it was attached");
    let error = world.attach(&mut kernel, "veth0", Point::Xdp).expect_err("somebody is there");
    let text = error.to_string();
    assert!(text.contains(&format!("XDP program {foreign} (fwd_xdp)")), "{text}");
    assert_eq!(world.xdp_of("veth0"), Some(foreign));
    world.attach(&mut kernel, "veth0", Point::Ingress).expect("TCX is free");
}

#[test]
fn a_driver_that_refuses_xdp_is_quoted() {
    need!(skip::bpf());
    let world = World::new();
    world.netns.run("ip link add br0 type bridge");
    for end in [(&world.netns, "veth0"), (&world.peer, "eth0")] {
        end.0.run(&format!("ip link set {} mtu 9000", end.1));
    }
    let mut kernel = world.open();
    for (device, reason) in [("br0", "it has no native XDP"), ("veth0", "the MTU is too large for it")] {
        let error = world.attach(&mut kernel, device, Point::Xdp).expect_err("the driver refuses");
        assert!(error.to_string().contains(reason), "{device}: {error}");
    }
    let gone = Target { ifindex: 4711, name: "gone0".to_owned() };
    let error = world.netns.inside(|| kernel.attach(&gone, Point::Xdp)).expect_err("there is none");
    assert!(matches!(error, Error::NoDevice { .. }), "{error}");
}

#[test]
fn all_devices_are_brought_to_their_programs() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let (tap, veth) = (world.target("tap0"), world.target("veth0"));
    let gone = Target { ifindex: 4711, name: "gone0".to_owned() };
    let mut bring = |wanted: &[(Target, Vec<Point>)]| {
        let errors = world.netns.inside(|| kernel.attach_all(wanted));
        let mut attached = kernel.attached().expect("links are readable");
        attached.sort();
        (attached, errors.into_iter().map(|(ifindex, _)| ifindex).collect::<Vec<_>>())
    };
    let wanted = [
        (tap.clone(), vec![Point::Xdp, Point::Ingress]),
        (veth.clone(), vec![Point::Ingress, Point::Egress]),
        (gone, vec![Point::Ingress]),
    ];
    let mut all = vec![
        (tap.ifindex, Point::Xdp),
        (tap.ifindex, Point::Ingress),
        (veth.ifindex, Point::Ingress),
        (veth.ifindex, Point::Egress),
    ];
    all.sort();
    assert_eq!(bring(&wanted), (all.clone(), vec![4711]));
    assert_eq!(bring(&wanted), (all, vec![4711]));
    let fewer = [(tap.clone(), vec![Point::Ingress])];
    assert_eq!(bring(&fewer), (vec![(tap.ifindex, Point::Ingress)], vec![]));
    assert_eq!(bring(&[]), (vec![], vec![]));
}

#[test]
fn a_kernel_without_tcx_gets_filters_that_outlive_the_daemon() {
    need!(skip::bpf());
    let world = World::new();
    let bpffs = world.bpffs();
    let before = ["tap0", "veth0"].map(|device| world.netns.run(&format!("tc qdisc show dev {device}")));
    // Somebody else's qdisc, which must stay.
    world.netns.run("tc qdisc add dev veth0 clsact");
    let open = |object: &[u8]| {
        let options = Options { bpffs: &bpffs, object, sizes: SIZES };
        let kernel = world.netns.inside(|| Kernel::open_with(&options, Tc::Clsact));
        kernel.unwrap_or_else(|error| panic!("{error}"))
    };
    let filters = |device: &str, way: &str| {
        let text = world.netns.run(&format!("tc filter show dev {device} {way}"));
        text.lines().filter(|line| line.contains("fwd_")).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut kernel = open(OBJECT);
    for (device, point) in [("tap0", Point::Ingress), ("tap0", Point::Egress), ("veth0", Point::Ingress)] {
        world.attach(&mut kernel, device, point).unwrap_or_else(|error| panic!("{error}"));
        world.attach(&mut kernel, device, point).expect("attaching twice is fine");
    }
    assert_eq!(kernel.attached().expect("notes are readable").len(), 3);
    drop(kernel);
    let old = filters("tap0", "ingress");
    assert!(old.len() == 1 && old[0].contains("fwd_ingress") && old[0].contains("direct-action"), "{old:?}");
    assert!(filters("tap0", "egress")[0].contains("fwd_egress"));
    // Another build takes their place.
    let mut object = OBJECT.to_vec();
    object.extend([0; 8]);
    let mut kernel = open(&object);
    let new = filters("tap0", "ingress");
    assert!(new.len() == 1 && new != old, "{new:?}");
    // Only fwd's own filter goes.
    let target = world.target("veth0");
    world.netns.inside(|| kernel.detach(target.ifindex, Point::Ingress)).unwrap_or_else(|e| panic!("{e}"));
    assert!(filters("veth0", "ingress").is_empty());
    assert!(world.netns.run("tc qdisc show dev veth0").contains("clsact"), "it was there before");
    drop(kernel);
    let errors = world.netns.inside(|| tear_down(&bpffs));
    assert!(errors.is_empty(), "{errors:?}");
    world.netns.run("tc qdisc del dev veth0 clsact");
    let after = ["tap0", "veth0"].map(|device| world.netns.run(&format!("tc qdisc show dev {device}")));
    assert_eq!(after, before);
}

#[test]
fn tear_down_leaves_nothing() {
    need!(skip::bpf());
    let world = World::new();
    let before = world.netns.run("ip -d link show");
    let mut kernel = world.open();
    for point in Point::ALL {
        world.attach(&mut kernel, "tap0", point).unwrap_or_else(|error| panic!("{error}"));
    }
    drop(kernel);
    let errors = tear_down(&world.bpffs());
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!world.bpffs().exists());
    assert_eq!(world.netns.run("ip -d link show"), before);
    let attached = world.netns.run("bpftool net show");
    assert!(!attached.contains("fwd_"), "{attached}");
    assert!(tear_down(&world.bpffs()).is_empty(), "nothing is as good as torn down");
}

#[test]
fn a_missing_bpffs_is_mounted_and_unmounted() {
    need!(skip::bpf());
    let world = World::new();
    let bpffs = world.folder.folder().join("elsewhere");
    let kernel =
        world.netns.inside(|| Kernel::open(&Options { bpffs: &bpffs, object: OBJECT, sizes: SIZES }));
    drop(kernel.unwrap_or_else(|error| panic!("{error}")));
    assert!(bpffs.join(format!("v{ABI_VERSION}/maps/PORTS")).exists());
    let errors = tear_down(&bpffs);
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!bpffs.exists());
}
