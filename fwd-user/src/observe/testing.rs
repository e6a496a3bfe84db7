//! A small world with exact numbers: network `left` (nat) with web1, db1 and its host port, network `right`
//! (nat, the same addresses) with web2, the uplink eth0; rules web2db (allow) and no-ssh (deny); forward
//! web-http. XDP runs on eth0 and web1.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use fwd_common::{
    addr::{Address, Ip, V4},
    conntrack::{Life, Stage, TimeoutClass, Way},
    counter::{Count, DropCount, DropKey, HookLedger},
    drop::DropReason,
    event::{End, Event, EventKind, FlowEvent},
    flow::{FlowEntry, FlowKey, Tick, flag},
    id::{ForwardId, Identity, NetworkId, PolicyId, PortId, RuleId, Zone},
    nat::L4Range,
    policy::Direction,
    port::{self, Port, PortKind, View as PortView},
    proto::IpProto,
    settings::Settings,
};

use crate::{
    api::spec::{self, Action, Document, Mode},
    state::{Desired, Numbers},
};

use super::{MemoryMaps, Moment, Names, View};

pub const WEB1: PortId = PortId(1);
pub const DB1: PortId = PortId(2);
pub const WEB2: PortId = PortId(3);
pub const ETH0: PortId = PortId(10);
pub const HOST: PortId = PortId(11);
pub const WEB2DB: RuleId = RuleId(1);
pub const NO_SSH: RuleId = RuleId(2);
pub const WEB_HTTP: ForwardId = ForwardId(1);

/// 1,000 seconds after boot, and 2023-11-14T22:13:20Z.
pub fn now() -> Moment {
    Moment { boot_ns: 1_000_000_000_000, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) }
}

/// The tick so many seconds ago.
pub fn ago(secs: u32) -> Tick {
    Tick(now().tick().0 - Tick::ticks_from_secs(secs))
}

pub fn names() -> Names {
    without(&[], &[], &[])
}

/// The names after an edit that deleted ports, rules, forwards.
pub fn without(ports: &[&str], rules: &[&str], forwards: &[&str]) -> Names {
    let mut desired = desired();
    desired.document.ports.retain(|port| !ports.contains(&port.name.as_str()));
    desired.document.policies.retain(|rule| !rules.contains(&rule.name.as_str()));
    desired.numbers.ports.retain(|name, _| !ports.contains(&name.as_str()));
    desired.numbers.forwards.retain(|name, _| !forwards.contains(&name.as_str()));
    for rule in rules {
        desired.numbers.rules.remove(*rule);
    }
    Names::new(&desired)
}

fn desired() -> Desired {
    let numbers = |pairs: &[(&str, u16)]| -> Vec<(String, u16)> {
        pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
    };
    let ports = |pairs: &[(&str, u16)]| numbers(pairs).into_iter().map(|(s, n)| (s, PortId(n))).collect();
    Desired {
        revision: 7,
        document: document(),
        numbers: Numbers {
            ports: ports(&[("web1", 1), ("db1", 2), ("web2", 3)]),
            uplinks: ports(&[("eth0", 10)]),
            host_ports: ports(&[("left", 11)]),
            networks: numbers(&[("left", 1), ("right", 2)])
                .into_iter()
                .map(|(s, n)| (s, NetworkId(n)))
                .collect(),
            forwards: [("web-http".to_owned(), WEB_HTTP)].into(),
            rules: [("web2db".to_owned(), WEB2DB), ("no-ssh".to_owned(), NO_SSH)].into_iter().collect(),
            ..Numbers::default()
        },
    }
}

fn document() -> Document {
    let network = |name: &str| {
        serde_json::from_value(serde_json::json!({"name": name, "mode": Mode::Nat, "uplink": "eth0"}))
            .expect("a network")
    };
    let group = |name: &str, members: &[&str], selector: Option<&str>| {
        let selector = selector.map(str::to_owned);
        spec::Group {
            name: name.to_owned(),
            members: members.iter().map(|m| (*m).to_owned()).collect(),
            selector,
        }
    };
    let port = |name: &str, network: &str| {
        serde_json::from_value::<spec::Port>(
            serde_json::json!({"name": name, "device": name, "network": network}),
        )
        .expect("a port")
    };
    let rule = |name: &str, action: Action| {
        serde_json::from_value::<spec::Policy>(serde_json::json!({"name": name, "action": action}))
            .expect("a rule")
    };
    Document {
        networks: vec![network("left"), network("right")],
        ports: vec![
            port("web1", "left"),
            port("db1", "left"),
            spec::Port { labels: [("role".to_owned(), "web".to_owned())].into(), ..port("web2", "right") },
        ],
        groups: vec![group("web", &["web1"], Some("role=web")), group("db", &["db1"], None)],
        policies: [rule("web2db", Action::Allow), rule("no-ssh", Action::Deny)].into(),
        ..Document::default()
    }
}

/// The ports' rows and the settings; nothing happened yet.
pub fn maps() -> MemoryMaps {
    let mut timeouts = [0; TimeoutClass::COUNT];
    timeouts[TimeoutClass::TcpEstablished as usize] = Tick::ticks_from_secs(7440);
    timeouts[TimeoutClass::TcpHalfOpen as usize] = Tick::ticks_from_secs(60);
    timeouts[TimeoutClass::UdpEstablished as usize] = Tick::ticks_from_secs(300);
    timeouts[TimeoutClass::Icmp as usize] = Tick::ticks_from_secs(60);
    let vm = |network, id: PortId| Port {
        ifindex: 100 + u32::from(id.0),
        kind: PortKind::Vm as u8,
        network: NetworkId(network),
        zone: Zone(id.0),
        mac_limit: 32,
        views: [PortView { policy: PolicyId(1), identity: Identity(1) }; 2],
        ..Port::default()
    };
    let uplink = Port {
        ifindex: 110,
        kind: PortKind::Uplink as u8,
        flags: port::flag::XDP | port::flag::XDP_TARGET,
        own4: ip("203.0.113.10"),
        ..Port::default()
    };
    let host = Port { ifindex: 111, kind: PortKind::Host as u8, network: NetworkId(1), ..Port::default() };
    let web1 = Port { flags: port::flag::XDP | port::flag::XDP_TARGET, ..vm(1, WEB1) };
    MemoryMaps {
        settings: Settings {
            epoch: 5,
            timeouts,
            flow_limit: 1024,
            nat_l4_ports: L4Range { low: 20_000, high: 32_767 },
            ..Settings::default()
        },
        ports: [(WEB1, web1), (DB1, vm(1, DB1)), (WEB2, vm(2, WEB2)), (ETH0, uplink), (HOST, host)].into(),
        ..MemoryMaps::default()
    }
}

pub fn view<'a>(maps: &'a MemoryMaps, names: &'a Names) -> View<'a> {
    View::new(maps, names, now()).expect("memory can be read")
}

pub fn ip(text: &str) -> Ip {
    text.parse::<IpAddr>().expect("an address").into()
}

fn v4(text: &str) -> V4 {
    V4::from_ip(ip(text))
}

/// `addr:l4port`.
fn end(text: &str) -> (V4, u16) {
    let (addr, l4_port) = text.split_once(':').expect("addr:l4port");
    (v4(addr), l4_port.parse::<u16>().expect("an L4 port").to_be())
}

/// A flow to be put into the table. Packets and bytes are the opener's, then the other's.
#[derive(Clone, Copy)]
pub struct Flow<'a> {
    pub proto: IpProto,
    pub ends: (&'a str, &'a str),
    /// As the opener's packets leave.
    pub leaves: (&'a str, &'a str),
    pub ports: (PortId, PortId),
    pub flags: u16,
    pub stage: Stage,
    pub rule: RuleId,
    pub forward: ForwardId,
    pub packets: (u64, u64),
    pub bytes: (u64, u64),
    pub seen: (Tick, Tick),
}

/// web1 asks a server outside, masqueraded as 203.0.113.10:40000: established, 10 packets out, 20 in.
pub fn masqueraded() -> Flow<'static> {
    Flow {
        proto: IpProto::TCP,
        ends: ("10.10.0.11:40000", "198.51.100.1:80"),
        leaves: ("203.0.113.10:40000", "198.51.100.1:80"),
        ports: (WEB1, ETH0),
        flags: flag::ROUTED | flag::TRANSLATED | flag::SOURCE_TRANSLATED,
        stage: Stage::Established,
        rule: RuleId(0),
        forward: ForwardId(0),
        packets: (10, 20),
        bytes: (1000, 20_000),
        seen: (ago(5), ago(3)),
    }
}

/// A client outside reaches db1's web server by the forward, permitted by web2db: 3 packets in, 2 out.
pub fn forwarded() -> Flow<'static> {
    Flow {
        ends: ("198.51.100.7:5555", "203.0.113.10:8080"),
        leaves: ("198.51.100.7:5555", "10.10.0.12:80"),
        ports: (ETH0, DB1),
        flags: flag::ROUTED | flag::TRANSLATED | flag::OWNED_BY_EGRESS,
        rule: WEB2DB,
        forward: WEB_HTTP,
        packets: (3, 2),
        bytes: (300, 2000),
        ..masqueraded()
    }
}

impl MemoryMaps {
    /// Puts both entries of a flow into the IPv4 table.
    pub fn add_flow(&mut self, flow: Flow<'_>) -> FlowKey<V4> {
        let zone = |id: PortId| self.ports[&id].zone;
        let (ingress, egress) = flow.ports;
        let ((src, sport), (dst, dport)) = (end(flow.ends.0), end(flow.ends.1));
        let ((out_src, out_sport), (out_dst, out_dport)) = (end(flow.leaves.0), end(flow.leaves.1));
        let key = FlowKey { src, dst, sport, dport, zone: zone(ingress), proto: flow.proto, kind: 0 };
        let life = Life::NEW.with_stage(flow.stage);
        let original = FlowEntry {
            life,
            egress,
            flags: flow.flags | flag::ORIGINAL,
            forward: flow.forward,
            rule: flow.rule,
            src: out_src,
            dst: out_dst,
            sport: out_sport,
            dport: out_dport,
            last_seen: flow.seen.0,
            packets: flow.packets.0,
            bytes: flow.bytes.0,
            ..FlowEntry::default()
        };
        let reply_key = original.partner_key(flow.proto, zone(egress));
        let reply = FlowEntry {
            life,
            egress: ingress,
            flags: flow.flags,
            src: dst,
            dst: src,
            sport: dport,
            dport: sport,
            last_seen: flow.seen.1,
            packets: flow.packets.1,
            bytes: flow.bytes.1,
            ..FlowEntry::default()
        };
        self.flows4.extend([(key, original), (reply_key, reply)]);
        self.table_use[0].flows += 1;
        key
    }

    /// Counts drops in all three places that hold them: ledger (of TCX), row, total of the reason.
    pub fn add_drops(&mut self, port: PortId, reason: DropReason, rule: RuleId, packets: u64) {
        let count = Count { packets, bytes: packets * 100 };
        let key = DropKey { rule, port, reason: reason as u8, direction: Direction::Egress as u8 };
        let row = DropCount { count, last_seen_ns: now().boot_ns - 60_000_000_000 };
        self.drops.insert(key, row);
        *self.drops_by_reason.entry(reason as u8).or_default() += count;
        let ledger: &mut HookLedger = &mut self.ledgers.entry(port).or_default().skb;
        ledger.received += count;
        ledger.dropped += count;
    }
}

/// The record of a masqueraded flow of web1 that ended: TCP, finished by both sides.
pub fn ended() -> FlowEvent {
    let closing = Life::NEW.with_stage(Stage::Closing);
    let finished = fwd_common::conntrack::step(
        closing,
        closing,
        Way::Original,
        IpProto::TCP,
        fwd_common::proto::tcp::FIN,
    )
    .1;
    FlowEvent {
        event: Event {
            at_ns: now().boot_ns,
            src: ip("10.10.0.11"),
            dst: ip("198.51.100.1"),
            rule: WEB2DB,
            sport: 40000_u16.to_be(),
            dport: 80_u16.to_be(),
            port: WEB1,
            kind: EventKind::FlowEnd as u8,
            reason: End::Expired as u8,
            proto: IpProto::TCP,
            zone: Zone(WEB1.0),
            ..Event::default()
        },
        out: Count { packets: 10, bytes: 1000 },
        back: Count { packets: 20, bytes: 20_000 },
        left_src: ip("203.0.113.10"),
        left_dst: ip("198.51.100.1"),
        left_sport: 20_001_u16.to_be(),
        left_dport: 80_u16.to_be(),
        egress: ETH0,
        flags: flag::ORIGINAL | flag::ROUTED | flag::TRANSLATED | flag::SOURCE_TRANSLATED,
        began: ago(500),
        last_seen: ago(240),
        life: finished,
        back_life: finished,
        ..FlowEvent::default()
    }
}
