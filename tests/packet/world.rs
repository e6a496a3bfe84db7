//! The standard world of packet tests: one configuration, real devices, and the real object loaded.
//!
//! ```text
//!   outside ── eth0 [ host ] eth1 ── lan      red1 red2 red3   network red, nat, 10.10.0.0/24, fd00:10::/64
//!   203.0.113.10, 2001:db8:113::10            blue1 blue2      network blue, the same addresses, private
//!                                             lan1 lan2        network lan, bridge with eth1
//!                                             den1 den2        network den, host-only, ports isolated
//! ```
//! `red3` has neither MAC nor address configured, `red4` is trusted, `late` has no device. Nothing is attached:
//! frames reach the programs by test runs only, with the device by which they come in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{SchedClassifier, Xdp};
use aya_obj::programs::XdpAttachType;
use fwd_common::addr::{Mac, V4, V6};
use fwd_common::counter::{DropCount, DropKey};
use fwd_common::dhcp;
use fwd_common::fdb::{FdbEntry, FdbKey, flag};
use fwd_common::id::PortId;
use fwd_common::layout::ABI_VERSION;
use fwd_common::map;
use fwd_common::neighbor::{self, Neighbor, NetworkAddress};
use fwd_common::port::LOOPBACK;
use fwd_common::settings::Settings;
use fwd_common::sweep::{Command, MAX_SLOTS, Op};
use fwd_tests::frame::Packet;
use fwd_tests::lab::{Hook, Instance};
use fwd_tests::netns::Netns;
use fwd_user::api::spec::Document;
use fwd_user::compile::{Tables, compile};
use fwd_user::datapath::{Datapath as _, Kernel, LogLevel, OBJECT, Options, Sizes, Swept, Table};
use fwd_user::host::Lease;
use fwd_user::observe::{Maps as _, PinnedMaps};
use fwd_user::plan::{MapOp, diff};
use fwd_user::state::{Desired, Edit, accept};
use serde_json::{Value, json};

use crate::count::{Counts, Events};
use crate::devices::{host_port, ifindex, inventory, make_devices};
use crate::run::{run, skb_context, xdp_context};
use crate::sent::Sent;

pub const RED1: &str = "52:54:00:00:00:11";
pub const RED2: &str = "52:54:00:00:00:12";
pub const RED4: &str = "52:54:00:00:00:14";
pub const BLUE1: &str = "52:54:00:00:01:11";
pub const LAN1: &str = "52:54:00:00:02:21";
pub const LAN2: &str = "52:54:00:00:02:22";
/// eth0's own, and its next hop's.
pub const ETH0: &str = "02:00:00:00:00:0a";
/// Of frames on `lo`.
pub const NO_MAC: &str = "00:00:00:00:00:00";
/// The bridged uplink's own.
pub const ETH1: &str = "02:00:00:00:00:0b";
pub const ROUTER: &str = "02:00:5e:00:00:01";
pub const FLOWS: u32 = 1024;

/// A namespace with the object loaded; what is configured in it changes from test to test.
pub struct World {
    pub hook: Hook,
    pub(crate) maps: PinnedMaps,
    pub(crate) events: Events,
    desired: Desired,
    tables: Tables,
    kernel: Kernel,
    xdp: Xdp,
    ingress: SchedClassifier,
    egress: SchedClassifier,
    // Unmounts its bpffs when dropped.
    _folder: Instance,
    netns: Arc<Netns>,
}

/// Loading takes seconds, so worlds are used again by the next test; one whose test failed is not.
static POOL: Mutex<Vec<World>> = Mutex::new(Vec::new());

/// Runs a test in the standard world, once on each hook.
pub fn on_both_hooks(test: impl Fn(&mut World) + Sync) {
    for hook in Hook::BOTH {
        on(hook, &test);
    }
}

/// Runs a test in the standard world on one hook.
pub fn on(hook: Hook, test: impl Fn(&mut World) + Sync) {
    let pooled = POOL.lock().expect("no test panics while it holds the pool").pop();
    let mut world = pooled.unwrap_or_else(World::new);
    world.hook = hook;
    let netns = Arc::clone(&world.netns);
    netns.inside(|| {
        world.configure(document());
        test(&mut world);
        world.clean();
    });
    POOL.lock().expect("no test panics while it holds the pool").push(world);
}

/// The standard configuration.
fn document() -> Value {
    let port = |name: &str, network: &str, mac: &str, ips: &[&str]| json!({"name": name, "device": name, "network": network, "mac": mac, "ips": ips, "hook": "xdp"});
    json!({
        "uplinks": [{"device": "eth0", "hook": "xdp"}, {"device": "eth1", "hook": "xdp"}],
        "networks": [
            {"name": "red", "mode": "nat", "subnets": ["10.10.0.0/24", "fd00:10::/64"], "uplink": "eth0"},
            {"name": "blue", "mode": "nat", "subnets": ["10.10.0.0/24", "fd00:10::/64"], "uplink": "eth0",
             "private": true},
            {"name": "lan", "mode": "bridge", "uplink": "eth1"},
            {"name": "den", "mode": "host", "subnets": ["10.30.0.0/24"], "isolate_ports": true},
        ],
        "ports": [
            port("red1", "red", RED1, &["10.10.0.11", "fd00:10::11"]),
            port("red2", "red", RED2, &["10.10.0.12", "fd00:10::12"]),
            {"name": "red3", "device": "red3", "network": "red", "hook": "xdp"},
            {"name": "red4", "device": "red4", "network": "red", "hook": "xdp", "mac": RED4, "trust": true},
            port("blue1", "blue", BLUE1, &["10.10.0.11", "fd00:10::11"]),
            port("blue2", "blue", "52:54:00:00:01:12", &["10.10.0.12", "fd00:10::12"]),
            {"name": "lan1", "device": "lan1", "network": "lan", "hook": "xdp", "mac": LAN1},
            {"name": "lan2", "device": "lan2", "network": "lan", "hook": "xdp", "mac": LAN2},
            port("den1", "den", "52:54:00:00:03:31", &["10.30.0.31"]),
            port("den2", "den", "52:54:00:00:03:32", &["10.30.0.32"]),
            port("late", "red", "52:54:00:00:00:19", &["10.10.0.19"]),
        ],
        "forwards": [
            {"name": "web", "listen": "tcp:203.0.113.10:8080", "to": "red1:80"},
            {"name": "dns", "listen": "udp:203.0.113.10:5353", "to": "red1:53"},
            {"name": "web6", "listen": "tcp:[2001:db8:113::10]:8080", "to": "red1:80"},
            {"name": "dns6", "listen": "udp:[2001:db8:113::10]:5353", "to": "red1:53"},
        ],
    })
}

/// A port of the document. Its place in the list is nothing to rely on: what is added again comes last.
pub fn port_in<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    let ports = document["ports"].as_array_mut().expect("a list");
    ports.iter_mut().find(|port| port["name"] == name).expect("a port")
}

impl World {
    fn new() -> Self {
        let netns = Arc::new(Netns::new("packet"));
        make_devices(&netns);
        let folder = Instance::new();
        let bpffs = folder.bpffs();
        netns.inside(|| {
            let sizes = Sizes { flows: FLOWS };
            let options = Options { bpffs: &bpffs, object: OBJECT, sizes, log: LogLevel::Off };
            let kernel = Kernel::open(&options).unwrap_or_else(|error| panic!("{error}"));
            let pin = |kind: &str| bpffs.join(format!("v{ABI_VERSION}")).join(kind);
            Self {
                hook: Hook::Xdp,
                maps: PinnedMaps::open(&pin("maps")).expect("all maps are pinned"),
                events: Events::open(&pin("maps")),
                desired: Desired::default(),
                tables: kernel.tables().expect("a new datapath is readable"),
                xdp: Xdp::from_pin(pin("programs").join(map::program::XDP), XdpAttachType::Interface)
                    .expect("the program is pinned"),
                ingress: SchedClassifier::from_pin(pin("programs").join(map::program::INGRESS))
                    .expect("the program is pinned"),
                egress: SchedClassifier::from_pin(pin("programs").join(map::program::EGRESS))
                    .expect("the program is pinned"),
                kernel,
                _folder: folder,
                netns: Arc::clone(&netns),
            }
        })
    }

    /// Changes the document and brings the datapath to it.
    #[track_caller]
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut document = serde_json::to_value(&self.desired.document).expect("a document is plain data");
        change(&mut document);
        self.configure(document);
    }

    /// Changes the document, and returns the plan for the datapath, to be applied as the test likes, with
    /// the settings before and after.
    #[track_caller]
    pub fn plan(&mut self, change: impl FnOnce(&mut Value)) -> (Vec<MapOp>, Settings, Settings) {
        let mut document = serde_json::to_value(&self.desired.document).expect("a document is plain data");
        change(&mut document);
        let tables = self.compile(document);
        let plan = diff(&self.tables, &tables);
        let old = std::mem::replace(&mut self.tables, tables);
        (plan, old.settings, self.tables.settings)
    }

    #[track_caller]
    pub fn apply(&mut self, plan: &[MapOp]) {
        self.kernel.apply(plan).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Adds a rule: `allow|deny FROM TO SERVICE`, in the words of the command line; `-` leaves an end
    /// out.
    #[track_caller]
    pub fn rule(&mut self, name: &str, words: &str) {
        let [action, from, to, service] = words.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{words:?} is not ACTION FROM TO SERVICE");
        };
        let end = |text: &str| if text == "-" { json!([]) } else { json!([text]) };
        let (from, to) = (end(from), end(to));
        let rule = json!({"name": name, "action": action, "from": from, "to": to, "services": service});
        self.edit(|document| document["policies"].as_array_mut().expect("a list").push(rule));
    }

    /// Takes an object out of the document.
    #[track_caller]
    pub fn remove(&mut self, list: &str, name: &str) {
        self.edit(|document| {
            let objects = document[list].as_array_mut().expect("a list");
            objects.retain(|object| object["name"] != name);
        });
    }

    /// Changes a setting.
    #[track_caller]
    pub fn set(&mut self, key: &str, value: Value) {
        self.edit(|document| document["settings"][key] = value);
    }

    #[track_caller]
    fn configure(&mut self, document: Value) {
        let tables = self.compile(document);
        self.apply(&diff(&self.tables, &tables));
        self.tables = tables;
    }

    #[track_caller]
    fn compile(&mut self, document: Value) -> Tables {
        let document: Document = serde_json::from_value(document).unwrap_or_else(|error| panic!("{error}"));
        let accepted = accept(&self.desired, Edit::Replace(document), None, &BTreeMap::new());
        self.desired = accepted.unwrap_or_else(|error| panic!("{error:?}")).desired;
        compile(&self.desired, &inventory(), &self.tables).tables
    }

    /// Runs the hook's program on a frame that came in on a device.
    #[track_caller]
    pub fn send(&mut self, device: &str, packet: &Packet) -> Sent {
        self.send_frame(device, &packet.frame())
    }

    /// Like [`World::send`], with bytes.
    #[track_caller]
    pub fn send_frame(&mut self, device: &str, frame: &[u8]) -> Sent {
        self.send_gso(device, frame, 0)
    }

    /// Like [`World::send_frame`], as one skb that stands for segments of `gso_size` bytes (TCX).
    #[track_caller]
    pub fn send_gso(&mut self, device: &str, frame: &[u8], gso_size: u32) -> Sent {
        let before = Counts::take(self);
        let (code, out) = self.run_gso(device, frame, gso_size);
        let moved = Counts::take(self).since(&before);
        Sent::new((self.hook, device), code, (frame.to_vec(), out), moved)
    }

    /// Runs the program on a frame that the host sends out of an uplink; `port` is the one that stands for the
    /// host there. It is a TCX program whatever the uplink's hook.
    #[track_caller]
    pub fn send_from_host(&mut self, uplink: &str, port: &str, packet: &Packet) -> Sent {
        let (frame, before) = (packet.frame(), Counts::take(self));
        let context = skb_context(ifindex(uplink), 0);
        let (code, out) = run(&self.egress, uplink, &frame, &context);
        let moved = Counts::take(self).since(&before);
        Sent::new((Hook::Tcx, port), code, (frame, out), moved)
    }

    /// Runs the hook's program on a frame that is one of many: the code that it returns.
    #[track_caller]
    pub fn run_frame(&mut self, device: &str, frame: &[u8]) -> i32 {
        self.run_gso(device, frame, 0).0
    }

    /// The same, with the frame that came out.
    #[track_caller]
    pub fn run_whole(&mut self, device: &str, frame: &[u8]) -> (i32, Vec<u8>) {
        self.run_gso(device, frame, 0)
    }

    #[track_caller]
    fn run_gso(&mut self, device: &str, frame: &[u8], gso_size: u32) -> (i32, Vec<u8>) {
        match self.hook {
            Hook::Xdp => run(&self.xdp, device, frame, &xdp_context(ifindex(device), frame.len())),
            Hook::Tcx => run(&self.ingress, device, frame, &skb_context(ifindex(device), gso_size)),
        }
    }

    /// Runs a command on the flow tables.
    #[track_caller]
    pub fn sweep(&mut self, command: Command) -> Swept {
        self.kernel.sweep(command).unwrap_or_else(|error| panic!("{error}"))
    }

    /// VM ports, uplinks and host ports by name.
    pub fn ports(&self) -> impl Iterator<Item = (&str, PortId)> {
        let numbers = &self.desired.numbers;
        let own = numbers.ports.iter().chain(&numbers.uplinks).map(|(name, id)| (name.as_str(), *id));
        let host = numbers.host_ports.iter().map(|(name, id)| (host_port(name), *id));
        own.chain(host).chain([("lo", LOOPBACK)])
    }

    /// The gateway's MAC in a network.
    pub fn gateway(&self, network: &str) -> fwd_tests::frame::Mac {
        let Mac(bytes) = fwd_user::compile::gateway_mac(self.desired.numbers.networks[network]);
        bytes.into()
    }

    pub fn desired_port(&self, name: &str) -> PortId {
        self.desired.numbers.ports[name]
    }

    pub fn rule_id(&self, name: &str) -> fwd_common::id::RuleId {
        self.desired.numbers.rules[name]
    }

    pub fn rule_name(&self, id: u32) -> Option<&str> {
        self.desired.numbers.rules.iter().find(|(_, rule)| rule.0 == id).map(|(name, _)| name.as_str())
    }

    /// A forward's name, `nat:NAME` of a translation.
    pub fn forward_name(&self, id: u32) -> Option<String> {
        let numbers = &self.desired.numbers;
        let forwards = numbers.forwards.iter().map(|(name, id)| (name.clone(), id));
        let mut all = forwards.chain(numbers.nats.iter().map(|(name, id)| (format!("nat:{name}"), id)));
        all.find(|(_, forward)| forward.0 == id).map(|(name, _)| name)
    }

    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// What DHCP gave to a network's guests, with times since the datapath's clock began.
    pub fn leases(&self, network: &str) -> Vec<Lease> {
        let id = self.desired.numbers.networks[network];
        self.kernel.leases(0).expect("the map is readable").remove(&id).unwrap_or_default()
    }

    /// Ends all flows, and holds that they gave back what they took; then forgets what was learnt.
    fn clean(&mut self) {
        self.end_flows();
        self.forget();
    }

    /// Ends all flows, and holds that they gave back what they took.
    pub fn end_flows(&mut self) {
        let (mut flows4, mut flows6) = (Vec::new(), Vec::new());
        crate::count::flows::<V4>(self, |key, entry| flows4.push((*key, *entry)));
        crate::count::flows::<V6>(self, |key, entry| flows6.push((*key, *entry)));
        for (key, entry) in flows4 {
            if entry.has(fwd_common::flow::flag::ORIGINAL) {
                self.sweep(Command::delete(&key));
            }
        }
        for (key, entry) in flows6 {
            if entry.has(fwd_common::flow::flag::ORIGINAL) {
                self.sweep(Command::delete(&key));
            }
        }
        // Mappings that no flow holds any more.
        for family in [0, 1] {
            self.sweep(Command { op: Op::Reclaim as u32, slots: MAX_SLOTS, family, ..Command::default() });
        }
        let held = self.maps.table_use().expect("the map is readable");
        let held = held.map(|table| (table.flows, table.half_open));
        assert_eq!(held, [(0, 0); 2], "flows, and half-open flows, in the tables after all were ended");
        for (name, id) in self.ports().map(|(name, id)| (name.to_owned(), id)).collect::<Vec<_>>() {
            let held = self.maps.port_use(id).expect("the map is readable");
            assert_eq!((held.flows, held.half_open), (0, 0), "flows, and half-open flows, of port {name}");
        }
    }

    /// Makes the first rows in which drops of a key may be counted those of another one.
    pub fn crowd(&self, key: DropKey, rows: u32) {
        let drop_keys = Table::<u32, u64>::open(self.kernel.pins(), map::DROP_KEYS).expect("it is pinned");
        for n in 0..rows {
            let row = DropKey::row(key.word(), n);
            let held = drop_keys.get(&row).expect("the map is readable");
            assert_eq!(held, Some(0), "nobody has row {row} yet");
            drop_keys.put(&row, &u64::MAX).expect("the map is writable");
        }
    }

    fn forget_drops(&self) {
        let pins = self.kernel.pins();
        let drop_keys = Table::<u32, u64>::open(pins, map::DROP_KEYS).expect("it is pinned");
        let drops = MapData::from_pin(pins.map(map::DROPS)).expect("it is pinned");
        let mut drops: PerCpuArray<_, DropCount> = Map::PerCpuArray(drops).try_into().expect("it is one");
        let cpus = aya::util::nr_cpus().expect("there are some");
        for (row, key) in drop_keys.rows().expect("the map is readable") {
            if key != 0 {
                let none = PerCpuValues::try_from(vec![DropCount::default(); cpus]).expect("one for each");
                drops.set(row, none, 0).expect("the map is writable");
                drop_keys.put(&row, &0).expect("the map is writable");
            }
        }
    }

    /// Forgets what was learnt, who was refused, and how much was told and answered in this tick.
    pub fn forget(&mut self) {
        let pins = self.kernel.pins();
        let neighbors = Table::<NetworkAddress, Neighbor>::open(pins, map::NEIGHBORS).expect("it is pinned");
        for (key, row) in neighbors.rows().expect("the map is readable") {
            if row.flags & neighbor::flag::LEARNT != 0 {
                neighbors.delete(&key).expect("the map is writable");
            }
        }
        let fdb = Table::<FdbKey, FdbEntry>::open(pins, map::FDB).expect("it is pinned");
        for (key, row) in fdb.rows().expect("the map is readable") {
            if row.flags & flag::STATIC == 0 {
                fdb.delete(&key).expect("the map is writable");
            }
        }
        let leases = Table::<FdbKey, dhcp::Lease>::open(pins, map::LEASES).expect("it is pinned");
        for (key, _) in leases.rows().expect("the map is readable") {
            leases.delete(&key).expect("the map is writable");
        }
        let macs = Table::<u32, Mac>::open(pins, map::PORT_MACS).expect("it is pinned");
        let held = Table::<u32, fwd_common::port::PortUse>::open(pins, map::PORT_USE).expect("it is pinned");
        let budgets = [map::ANSWER_BUDGET, map::FLOOD_BUDGET]
            .map(|name| Table::<u32, [u32; 2]>::open(pins, name).expect("it is pinned"));
        for (_, id) in self.ports() {
            macs.put(&id.0.into(), &Mac::NONE).expect("the map is writable");
            held.put(&id.0.into(), &Default::default()).expect("the map is writable");
            for budget in &budgets {
                budget.put(&id.0.into(), &[0; 2]).expect("the map is writable");
            }
        }
        let budget = MapData::from_pin(pins.map(map::EVENT_BUDGET)).expect("it is pinned");
        let mut budget: PerCpuArray<_, [u32; 2]> = Map::PerCpuArray(budget).try_into().expect("it is one");
        let cpus = aya::util::nr_cpus().expect("there are some");
        for row in 0..fwd_common::event::Budget::COUNT {
            let none = PerCpuValues::try_from(vec![[0; 2]; cpus]).expect("one for each");
            budget.set(row, none, 0).expect("the map is writable");
        }
        self.forget_drops();
    }
}
