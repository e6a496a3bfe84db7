//! A lab compiled whole: what each row says of what was asked and of what the host has.

use fwd_common::{
    addr::{Ip, Mac},
    forward::{self, Forward, ForwardKey, range_prefixes},
    id::{NetworkId, PortId, Zone},
    nat::{ExemptionKey, L4Range, Source},
    neighbor::{NetworkAddress, SourceKey},
    network::Mode,
    port::{PortKind, flag},
    prefix::PrefixKey,
    proto::IpProto,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    api::spec::Document,
    host::inventory::{Device, DeviceKind, Learnt},
    state::{Edit, accept},
};

pub(super) fn desired(document: Value) -> Desired {
    let document: Document = serde_json::from_value(document).expect("a document");
    let accepted = accept(&Desired::default(), Edit::Replace(document), None, &BTreeMap::new());
    accepted.expect("a valid document").desired
}

fn lab() -> Value {
    json!({
        "uplinks": [{"device": "eth0"}, {"device": "eth1"}],
        "networks": [
            {"name": "vmnat", "mode": "nat", "subnets": ["10.10.0.0/24", "fd00:10::/64"], "uplink": "eth0"},
            {"name": "lan", "mode": "bridge", "uplink": "eth1"},
            {"name": "cell", "mode": "isolated", "isolate_ports": true},
        ],
        "ports": [
            {"name": "web1", "device": "tap0", "network": "vmnat", "mac": "52:54:00:00:00:11",
             "ips": ["10.10.0.11"], "allow_addresses": ["10.99.0.0/16"]},
            {"name": "db1", "device": "tap1", "network": "vmnat"},
            {"name": "pc", "device": "tap2", "network": "lan", "mac": "52:54:00:00:00:12"},
            {"name": "mad", "device": "tap3", "network": "cell", "trust": true},
            {"name": "late", "device": "tap4", "network": "vmnat", "ips": ["10.10.0.14"]},
        ],
        "forwards": [
            {"name": "http", "listen": "tcp:203.0.113.10:8080", "to": "web1:80"},
            {"name": "any", "listen": "tcp+udp:5000-5003", "to": "db1:6000-6003"},
            {"name": "wait", "listen": "tcp:99", "to": "late:99"},
        ],
    })
}

fn device(ifindex: u32, kind: DeviceKind, addresses: &[&str]) -> Device {
    Device {
        ifindex,
        native_xdp: matches!(kind, DeviceKind::Physical | DeviceKind::Tap { .. }),
        kind,
        mac: Mac([2, 0, 0, 0, 0, ifindex as u8]),
        mtu: 1500,
        is_up: true,
        addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
        master: None,
        is_own: false,
        xdp_refused: None,
    }
}

pub(super) fn host() -> Inventory {
    let tap = |ifindex, vnet_header| device(ifindex, DeviceKind::Tap { vnet_header }, &[]);
    let devices = [
        ("lo", device(1, DeviceKind::Other("loopback".into()), &["127.0.0.1/8", "::1/128"])),
        (
            "eth0",
            device(
                2,
                DeviceKind::Physical,
                &["fe80::2/64", "203.0.113.10/24", "203.0.113.11/24", "2001:db8::10/64"],
            ),
        ),
        ("eth1", device(3, DeviceKind::Veth, &["192.0.2.1/24"])),
        ("tap0", tap(10, false)),
        ("tap1", tap(11, true)),
        ("tap2", tap(12, true)),
        ("tap3", tap(13, true)),
        ("fwd-vmnat", device(20, DeviceKind::Veth, &["10.10.0.1/24"])),
    ];
    Inventory {
        devices: devices.into_iter().map(|(name, device)| (name.to_owned(), device)).collect(),
        host_ports: BTreeMap::from([("vmnat".to_owned(), device(21, DeviceKind::Veth, &[]))]),
        ..Inventory::default()
    }
}

fn ip(text: &str) -> Ip {
    let addr: std::net::IpAddr = text.parse().expect("an address");
    addr.into()
}

fn compiled(desired: &Desired, host: &Inventory) -> Compiled {
    compile(desired, host, &Tables::default())
}

#[test]
fn ports_are_what_their_kind_and_device_make_them() {
    let desired = desired(lab());
    let compiled = compiled(&desired, &host());
    let (numbers, ports) = (&desired.numbers, &compiled.tables.ports);
    let web1 = ports[&numbers.ports["web1"]];
    let vmnat = numbers.networks["vmnat"];
    assert_eq!((web1.kind, web1.ifindex, web1.mtu), (PortKind::Vm as u8, 10, 1500));
    assert_eq!(web1.zone, Zone(numbers.ports["web1"].0));
    assert_eq!(web1.flags, flag::XDP | flag::XDP_TARGET | flag::ALLOWED_SOURCES);
    assert_eq!((web1.network, web1.gateway_mac), (vmnat, gateway_mac(vmnat)));
    let db1 = ports[&numbers.ports["db1"]];
    assert_eq!(db1.flags, flag::XDP_TARGET | flag::LEARN_MAC | flag::LEARN_ADDRESSES);
    let pc = ports[&numbers.ports["pc"]];
    assert_eq!((pc.gateway_mac, pc.mac), (Mac::NONE, Mac([0x52, 0x54, 0, 0, 0, 0x12])));
    let mad = ports[&numbers.ports["mad"]];
    assert!(mad.has(flag::TRUSTED) && mad.has(flag::ISOLATED));
    let late = ports[&numbers.ports["late"]];
    assert_eq!((late.ifindex, late.flags), (0, flag::LEARN_MAC | flag::ALLOWED_SOURCES));

    let eth0 = ports[&numbers.uplinks["eth0"]];
    assert_eq!((eth0.zone, eth0.network), (Zone::OUTSIDE, NetworkId(0)));
    assert_eq!((eth0.own4, eth0.own6), (ip("203.0.113.10"), ip("2001:db8::10")));
    assert_eq!((eth0.mac, eth0.gateway_mac), (Mac([2, 0, 0, 0, 0, 2]), Mac([2, 0, 0, 0, 0, 2])));
    assert_eq!(eth0.flags, flag::XDP | flag::XDP_TARGET | flag::MARKED);
    let eth1 = ports[&numbers.uplinks["eth1"]];
    assert_eq!(eth1.zone, Zone(numbers.uplinks["eth1"].0));
    assert_eq!(eth1.flags, flag::BRIDGED | flag::MARKED);
    assert_eq!((eth1.gateway_mac, eth1.own4), (Mac::NONE, Ip::NONE));

    let host_port = ports[&numbers.host_ports["vmnat"]];
    assert_eq!((host_port.kind, host_port.ifindex, host_port.flags), (PortKind::Host as u8, 21, 0));
    assert_eq!(host_port.mac, gateway_mac(vmnat));
    let behind = ports[&numbers.host_ports["lan"]];
    assert_eq!((behind.ifindex, behind.mac, behind.flags), (3, eth1.mac, flag::INTO));
    assert!(!numbers.host_ports.contains_key("cell"));
}

#[test]
fn devices_lead_to_their_port_and_xdp_to_those_that_take_frames() {
    let desired = desired(lab());
    let Compiled { tables, .. } = compiled(&desired, &host());
    let numbers = &desired.numbers;
    assert_eq!(tables.port_of_device[&10], numbers.ports["web1"]);
    assert_eq!(tables.port_of_device[&3], numbers.uplinks["eth1"]);
    assert_eq!(tables.port_of_device[&21], numbers.host_ports["vmnat"]);
    let targets: Vec<u32> = tables.devices.values().copied().collect();
    assert_eq!(targets.iter().filter(|i| [2, 10, 11, 12, 13].contains(i)).count(), targets.len());
    assert_eq!(targets.len(), 5);
}

#[test]
fn networks_know_their_mode_members_and_ways_out() {
    let desired = desired(lab());
    let Compiled { tables, .. } = compiled(&desired, &host());
    let numbers = &desired.numbers;
    let vmnat = tables.networks[&numbers.networks["vmnat"]];
    assert!(vmnat.is(Mode::Nat));
    assert_eq!((vmnat.host_port, vmnat.uplink), (numbers.host_ports["vmnat"], PortId(0)));
    assert_eq!((vmnat.members, vmnat.fib_ifindex), (2, 21));
    let lan = tables.networks[&numbers.networks["lan"]];
    assert_eq!((lan.uplink, lan.host_port), (numbers.uplinks["eth1"], numbers.host_ports["lan"]));
    assert_eq!((lan.members, lan.fib_ifindex), (1, 0));
    let of_vmnat = tables.members.iter().filter(|(key, _)| key.network == numbers.networks["vmnat"]);
    let of_vmnat: Vec<_> = of_vmnat.map(|(key, port)| (key.index, *port)).collect();
    assert_eq!(of_vmnat, [(0, numbers.ports["web1"]), (1, numbers.ports["db1"])]);
}

#[test]
fn addresses_belong_to_ports_or_to_the_host() {
    let desired = desired(lab());
    let Compiled { tables, .. } = compiled(&desired, &host());
    let numbers = &desired.numbers;
    let key = |network, addr| NetworkAddress { addr: ip(addr), network, _pad: 0 };
    let vmnat = numbers.networks["vmnat"];
    let neighbors: Vec<_> = tables.neighbors.iter().collect();
    assert_eq!(neighbors.len(), 1);
    assert_eq!(*neighbors[0].0, key(vmnat, "10.10.0.11"));
    assert_eq!(neighbors[0].1.port, numbers.ports["web1"]);
    for (network, addr, is_host) in [
        (NetworkId(0), "203.0.113.11", true),
        (NetworkId(0), "10.10.0.1", true),
        (NetworkId(0), "127.0.0.1", false),
        (vmnat, "10.10.0.1", true),
        (vmnat, "fd00:10::1", true),
        (vmnat, "fe80::66:77ff:fe64:3", true),
        (vmnat, "203.0.113.10", false),
    ] {
        assert_eq!(tables.host_addresses.contains_key(&key(network, addr)), is_host, "{addr}");
    }
    let sources: Vec<_> = tables
        .allowed_sources
        .keys()
        .filter(|(k, _)| k.port != PortId(0))
        .map(|(k, bits)| (k.port, k.addr, *bits))
        .collect();
    assert!(sources.contains(&(numbers.ports["web1"], ip("10.99.0.0"), 32 + 96 + 16)));
    assert!(sources.contains(&(numbers.ports["late"], ip("10.10.0.14"), 32 + 128)));
    assert_eq!(sources.len(), 2);
}

#[test]
fn a_mac_that_was_seen_makes_configured_addresses_known() {
    let desired = desired(lab());
    let mut host = host();
    let (late, vmnat) = (desired.numbers.ports["late"], desired.numbers.networks["vmnat"]);
    let mac = Mac([0x52, 0x54, 0, 0, 0, 0x14]);
    host.learnt.push(Learnt { network: vmnat, port: late, mac, addr: None });
    let Compiled { tables, .. } = compiled(&desired, &host);
    let key = NetworkAddress { addr: ip("10.10.0.14"), network: vmnat, _pad: 0 };
    assert_eq!((tables.neighbors[&key].port, tables.neighbors[&key].mac), (late, mac));
    // The datapath keeps what it learnt itself: the row would say it was configured.
    assert_eq!(tables.ports[&late].mac, Mac::NONE);
}

#[test]
fn configured_macs_do_not_move() {
    let desired = desired(lab());
    let Compiled { tables, .. } = compiled(&desired, &host());
    let numbers = &desired.numbers;
    let at = |mac: Mac| tables.fdb.iter().find(|(key, _)| key.mac == mac).map(|(_, entry)| entry.port);
    assert_eq!(at(Mac([0x52, 0x54, 0, 0, 0, 0x12])), Some(numbers.ports["pc"]));
    assert_eq!(at(gateway_mac(numbers.networks["vmnat"])), Some(numbers.host_ports["vmnat"]));
    assert_eq!(at(Mac([2, 0, 0, 0, 0, 3])), Some(numbers.host_ports["lan"]));
    assert_eq!(at(Mac([2, 0, 0, 0, 0, 2])), None);
    assert_eq!(tables.fdb.len(), 4);
}

#[test]
fn a_forward_is_a_few_prefixes_on_each_address() {
    let desired = desired(lab());
    let mut host = host();
    let numbers = &desired.numbers;
    let web1 = numbers.ports["web1"];
    let before = compiled(&desired, &host);
    let http = ForwardKey::new(IpProto::TCP, ip("203.0.113.10"), 8080_u16.to_be());
    let row = before.tables.forwards[&(http, ForwardKey::prefix(16))];
    assert_eq!((row.port, row.to), (web1, ip("10.10.0.11")));
    assert_eq!(8080_u16.wrapping_add(row.l4_offset), 80);
    assert_eq!(before.forwards["http"].state, ObjectState::Ready);
    let pending = ForwardState {
        state: ObjectState::Pending,
        reason: Some("The address of port db1 is not known yet.".to_owned()),
    };
    assert_eq!(before.forwards["any"], pending);
    assert_eq!(before.forwards["wait"].state, ObjectState::Pending);

    let mac = Mac([0x52, 0x54, 0, 0, 0, 0x22]);
    for addr in ["fe80::1", "10.10.0.120"] {
        let learnt = Learnt {
            network: numbers.networks["vmnat"],
            port: numbers.ports["db1"],
            mac,
            addr: Some(addr.parse().expect("an address")),
        };
        host.learnt.push(learnt);
    }
    let after = compiled(&desired, &host);
    assert_eq!(after.forwards["any"].state, ObjectState::Ready);
    let id = numbers.forwards["any"];
    let rows: Vec<_> = after.tables.forwards.iter().filter(|(_, row)| row.id == id).collect();
    // Both IPv4 addresses of eth0 and loopback's, both protocols; nothing in IPv6, where db1 has no address.
    assert_eq!(rows.len(), 3 * 2 * range_prefixes(5000, 5003).count());
    for ((key, _), row) in &rows {
        assert_eq!(row.has(forward::flag::LOOPBACK), key.addr == ip("127.0.0.1"), "{key:?}");
    }
    assert!(rows.iter().all(|(_, row)| row.to == ip("10.10.0.120") && row.l4_offset == 1000));
}

#[test]
fn clients_of_a_forward_are_those_it_names() {
    let mut document = lab();
    document["forwards"][0]["from"] = json!(["::/0", "198.51.100.0/24"]);
    let desired = desired(document);
    let tables = compiled(&desired, &host()).tables;
    let limited = tables.forward_of(IpProto::TCP, ip("203.0.113.10"), 8080_u16.to_be()).expect("a forward");
    for (client, is_client) in [
        ("198.51.100.255", true),
        ("198.51.101.0", false),
        ("203.0.113.10", false),
        ("2001:db8::1", true),
        ("::1", true),
    ] {
        assert_eq!(tables.is_for(&limited, ip(client)), is_client, "{client}");
    }
    let free = Forward { flags: 0, ..limited };
    assert!(tables.is_for(&free, ip("198.51.101.0")));
}

#[test]
fn a_port_says_what_it_waits_for() {
    let desired = desired(lab());
    let mut host = host();
    host.devices.get_mut("tap1").expect("a tap").master = Some("br0".to_owned());
    host.devices.insert("br0".to_owned(), device(30, DeviceKind::Bridge { vlan_filtering: false }, &[]));
    host.devices.get_mut("tap2").expect("a tap").is_up = false;
    let compiled = compiled(&desired, &host);
    let of = |name: &str| &compiled.ports[&desired.numbers.ports[name]];
    assert_eq!((of("web1").state, of("web1").hook), (ObjectState::Ready, Some(crate::api::spec::Hook::Xdp)));
    assert_eq!((of("late").state, of("late").ifindex), (ObjectState::Pending, 0));
    assert_eq!((of("db1").state, of("db1").ifindex), (ObjectState::Conflict, 0));
    let reason = of("db1").state_reason.as_deref();
    assert_eq!(
        reason,
        Some(
            "The interface tap1 belongs to br0. Take it with --take-over, and fwd gives it back; or release it: ip link set tap1 nomaster; or use br0 itself as the uplink."
        )
    );
    assert_eq!(of("db1").programs, Programs::default());
    assert_eq!((of("pc").state, of("pc").ifindex), (ObjectState::Pending, 12));
    let eth0 = &compiled.ports[&desired.numbers.uplinks["eth0"]];
    assert_eq!(eth0.programs, Programs { xdp: true, ingress: true, egress: true, tunnel: false });
    let behind = &compiled.ports[&desired.numbers.host_ports["lan"]];
    assert_eq!((behind.name.as_str(), behind.device.as_str()), ("fwd-lan", "eth1"));
    assert_eq!(behind.programs, Programs::default());
    assert!(!compiled.tables.port_of_device.contains_key(&11));
}

#[test]
fn settings_reach_their_rows() {
    let mut document = lab();
    document["settings"] = json!({"flow_limit_per_port": 100, "udp_timeout": "10s", "midstream_tcp": "deny"});
    let desired = desired(document);
    let Compiled { tables, .. } = compiled(&desired, &host());
    assert_eq!(tables.ports[&desired.numbers.ports["web1"]].flow_limit, 100);
    let ticks = fwd_common::flow::Tick::ticks_from_secs(10);
    let class = fwd_common::conntrack::TimeoutClass::UdpEstablished;
    assert_eq!(tables.settings.timeouts[class as usize], ticks);
    assert_eq!(tables.settings.flags, fwd_common::settings::flag::FLOW_EVENTS);
}

#[test]
fn a_device_that_is_too_narrow_for_its_network_is_named() {
    let mut document = lab();
    for network in [0, 1] {
        document["networks"][network]["mtu"] = json!(9000);
    }
    let desired = desired(document);
    let numbers = &desired.numbers;
    let reason = |name: &str, network: &str| {
        format!(
            "The interface {name} carries 1500 bytes, and network {network} promises 9000. Raise it: ip link set {name} \
             mtu 9000; or lower the network's: fwd network set {network} --mtu 1500."
        )
    };
    let compiled = compiled(&desired, &host());
    let of = |id| (compiled.ports[id].state, compiled.ports[id].state_reason.clone());
    let narrow = |name, network| (ObjectState::Degraded, Some(reason(name, network)));
    assert_eq!(of(&numbers.ports["web1"]), narrow("tap0", "vmnat"));
    assert_eq!(of(&numbers.uplinks["eth1"]), narrow("eth1", "lan"));
    // What it routes there for a network it answers with its own.
    assert_eq!(of(&numbers.uplinks["eth0"]), (ObjectState::Ready, None));
}

#[test]
fn all_of_ipv6_is_nothing_of_ipv4() {
    let mut document = lab();
    document["nats"] = json!([{"name": "site", "network": "vmnat", "exempt": "::/0"}]);
    document["ports"][0]["allow_addresses"] = json!(["::/0"]);
    let desired = desired(document);
    let tables = compiled(&desired, &host()).tables;
    let (network, port) = (desired.numbers.networks["vmnat"], desired.numbers.ports["web1"]);
    let v4 = ip("0.0.0.0");
    let exempt =
        |addr, bits: u32| tables.nat_exemptions[&(ExemptionKey { network, _pad: 0, addr }, 32 + bits)];
    let allowed = |addr, bits: u32| tables.allowed_sources[&(SourceKey { port, _pad: 0, addr }, 32 + bits)];
    assert_eq!((exempt(Ip::NONE, 0), exempt(v4, 96)), (1, 0));
    assert_eq!((allowed(Ip::NONE, 0), allowed(v4, 96)), (1, 0));
}

#[test]
fn prefixes_have_a_row_each_way() {
    let mut document = lab();
    document["networks"][0]["subnets"] = json!(["10.10.0.0/24", "fd01:203:405:1::/64"]);
    document["nats"] =
        json!([{"name": "site", "network": "vmnat", "prefix": "fd01:203:405::/48=2001:db8:1::/48"}]);
    let desired = desired(document);
    let Compiled { tables, nats, .. } = compiled(&desired, &host());
    let network = desired.numbers.networks["vmnat"];
    let row = |network, addr| {
        let key = PrefixKey { network, _pad: 0, addr: ip(addr) };
        tables.nat_prefixes[&(key, PrefixKey::prefix(48))]
    };
    let out = row(network, "fd01:203:405::").translate(ip("fd01:203:405:1::1234"));
    assert_eq!(out, ip("2001:db8:1:d550::1234"));
    let back = row(NetworkId(0), "2001:db8:1::");
    assert_eq!((back.translate(out), back.network), (ip("fd01:203:405:1::1234"), network));
    assert_eq!((tables.nat_prefixes.len(), nats["site"].state), (2, ObjectState::Ready));
}

#[test]
fn translations_reach_the_rows_of_ports_forwards_and_exemptions() {
    let mut document = lab();
    document["nats"] = json!([
        {"name": "out", "network": "vmnat", "address": "203.0.113.99", "l4_ports": "40000-40999"},
        {"name": "one", "one_to_one": "198.51.100.99=web1"},
        {"name": "site", "exempt": "192.0.2.0/24"},
        {"name": "open", "network": "vmnat", "endpoint_independent": true},
    ]);
    let desired = desired(document);
    let numbers = &desired.numbers;
    let Compiled { tables, nats, .. } = compiled(&desired, &host());
    let sources = |name: &str| tables.ports[&numbers.ports[name]].sources.map(|s| (s.addr, s.l4_ports));
    let range = L4Range { low: 40_000, high: 40_999 };
    let none = (Ip::NONE, L4Range::default());
    assert_eq!(sources("web1"), [(ip("198.51.100.99"), Source::OWN), none]);
    assert_eq!(sources("db1"), [(ip("203.0.113.99"), range), none]);
    let rows: Vec<_> = tables.forwards.iter().filter(|(_, row)| row.id == numbers.nats["one"]).collect();
    assert_eq!(rows.len(), 4, "TCP, UDP, SCTP and ICMP");
    assert!(rows.iter().all(|((key, bits), row)| {
        (key.addr, *bits, row.to) == (ip("198.51.100.99"), ForwardKey::prefix(0), ip("10.10.0.11"))
    }));
    let vmnat = numbers.networks["vmnat"];
    let exempt: Vec<_> = tables.nat_exemptions.keys().copied().collect();
    let key = ExemptionKey { network: vmnat, _pad: 0, addr: ip("192.0.2.0") };
    assert!(exempt.contains(&(key, ExemptionKey::prefix(96 + 24))), "{exempt:?}");
    for (id, row) in &tables.networks {
        let is_exempting = row.flags & fwd_common::network::flag::EXEMPTIONS != 0;
        assert_eq!(is_exempting, exempt.iter().any(|(key, _)| key.network == *id));
        let is_mapping = row.flags & fwd_common::network::flag::ENDPOINT_INDEPENDENT != 0;
        assert_eq!(is_mapping, *id == vmnat);
    }
    assert_ne!(tables.settings.flags & fwd_common::settings::flag::MAPPINGS, 0);
    assert_eq!((nats["site"].state, nats["one"].state), (ObjectState::Ready, ObjectState::Ready));
    let reason = "The interface eth0 does not have 203.0.113.99, so nobody outside finds it. Add it: ip address add 203.0.113.99 dev eth0.";
    assert_eq!(nats["out"], ForwardState { state: ObjectState::Pending, reason: Some(reason.to_owned()) });
}
