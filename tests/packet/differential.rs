//! Random rules and random frames: what the loaded programs do, against what the rules say as they are written.
//! `FWD_DIFFERENTIAL=1000000` asks for so many pairs of rule set and frame instead of a few thousand.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, Packet, SYN, ip};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};
use fwd_user::observe::Maps as _;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::sent::{Column, code_of};
use crate::world::{BLUE1, ETH0, RED1, RED2, ROUTER, World, on_both_hooks};
use crate::written::{End, Fate, GROUPS, Party, Rule, SETS, Seen, Service, Written};

const FRAMES: usize = 100;
const RULES: usize = 8;
/// The number of the first frame under some rules.
const FIRST: u16 = 20_000;

const ENDS: [End; 16] = [
    End::Any,
    End::Outside,
    End::Host,
    End::Port("red1"),
    End::Port("red2"),
    End::Port("blue1"),
    End::Group("first"),
    End::Group("all"),
    End::Network("red"),
    End::Network("blue"),
    End::Set("far"),
    End::Set("near"),
    End::Cidr("0.0.0.0", 0),
    End::Cidr("198.51.100.7", 32),
    End::Cidr("10.10.0.0", 28),
    End::Cidr("2001:db8::", 32),
];

const SERVICES: [Service; 18] = [
    Service::Any,
    Service::Proto(6),
    Service::Proto(17),
    Service::L4(6, 80, 80),
    Service::L4(6, 50, 90),
    Service::L4(6, 443, u16::MAX),
    Service::L4(17, 53, 53),
    Service::L4(17, 1, 100),
    Service::L4(6, 1, 53),
    Service::Icmp,
    Service::EchoRequest,
    Service::Message(1, 8, None),
    Service::Message(58, 128, Some(0)),
    Service::Message(1, 13, None),
    Service::Message(1, 42, Some(50)),
    Service::Message(1, 139, None),
    Service::Message(58, 139, None),
    Service::Message(58, 13, None),
];

/// Types in each family that are neither echoes nor errors.
const MESSAGES: [[u8; 2]; 3] = [[13, 139], [42, 200], [139, 139]];

const CLIENTS: [[&str; 2]; 4] = [
    ["198.51.100.7", "2001:db8:99::7"],
    ["198.51.100.200", "2001:db8:99:8000::1"],
    ["192.0.2.7", "2001:db8:200::9"],
    ["192.0.2.200", "2600::1"],
];
const HOST: [&str; 2] = ["10.10.0.1", "fd00:10::1"];
const VMS: [(&str, &str, &str, [&str; 2]); 4] = [
    ("red1", "red", RED1, ["10.10.0.11", "fd00:10::11"]),
    ("red2", "red", RED2, ["10.10.0.12", "fd00:10::12"]),
    ("blue1", "blue", BLUE1, ["10.10.0.11", "fd00:10::11"]),
    ("blue2", "blue", "52:54:00:00:01:12", ["10.10.0.12", "fd00:10::12"]),
];

/// Where a frame comes from and goes to.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Between two VMs of one network, by their places in [`VMS`].
    Within(usize, usize),
    Out(usize, usize),
    /// By a forward to red1, from a client.
    In(usize),
    ToHost(usize),
}

#[derive(Clone, Copy, Debug)]
enum L4 {
    Tcp(u16),
    Udp(u16),
    Echo,
    /// By its place in [`MESSAGES`].
    Message(usize),
}

type Frame = (Way, L4, usize);

fn rule() -> impl Strategy<Value = Rule> {
    let ends = || subsequence(ENDS.to_vec(), 0..4);
    let all = subsequence(SERVICES.to_vec(), 0..4).prop_map(|services| (services, vec![]));
    let l4 = subsequence(SERVICES[1..9].to_vec(), 1..4);
    // Half of the frames come from L4 ports of the second.
    let ranges = vec![(FIRST, FIRST + 9), (FIRST + 5, FIRST + 60), (FIRST + 40, u16::MAX), (1, FIRST + 70)];
    let services = prop_oneof![2 => all, 1 => (l4, subsequence(ranges, 1..3))];
    let priority = select(vec![10, 1000, 2000]);
    // Allows, statelessly; is enabled; is the operator's.
    let switches =
        (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.8), proptest::bool::weighted(0.3));
    (switches, ends(), ends(), services, priority).prop_map(
        |((allows, is_stateless, is_enabled, is_operators), from, to, (services, sources), priority)| Rule {
            allows,
            from,
            to,
            services,
            sources,
            is_operators,
            priority,
            is_enabled,
            is_stateless: allows && is_stateless,
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    let way = prop_oneof![
        3 => select(vec![Way::Within(0, 1), Way::Within(1, 0), Way::Within(2, 3)]),
        2 => (0usize..3, 0..CLIENTS.len()).prop_map(|(vm, client)| Way::Out(vm, client)),
        2 => (0..CLIENTS.len()).prop_map(Way::In),
        1 => (0usize..3).prop_map(Way::ToHost),
    ];
    let l4_port = || select(vec![1, 22, 50, 53, 54, 80, 81, 90, 91, 443, 8080, u16::MAX]);
    let l4 = prop_oneof![
        2 => l4_port().prop_map(L4::Tcp),
        2 => l4_port().prop_map(L4::Udp),
        1 => Just(L4::Echo),
        1 => (0..MESSAGES.len()).prop_map(L4::Message),
    ];
    // What has no L4 ports and no id is not translated.
    let sensible = |(way, l4, family)| match (way, l4) {
        (Way::Out(..), L4::Message(_)) => (way, L4::Echo, family),
        _ => (way, l4, family),
    };
    (way, l4, 0usize..2).prop_map(sensible)
}

/// The frame, the device by which it comes in, and what rules see of it. `number` makes it a flow of its own.
fn made((way, l4, family): Frame, number: u16, world: &World) -> (&'static str, Packet, Seen) {
    let party = |vm: usize| {
        let (port, network, _, addresses) = VMS[vm];
        Party::Vm { port, network, addresses: addresses.map(ip) }
    };
    let mac = |vm: usize| VMS[vm].2;
    let own = |vm: usize| VMS[vm].3[family];
    let gateway = |vm: usize| world.gateway(VMS[vm].1);
    let client = |client: usize| -> IpAddr { ip(CLIENTS[client][family]) };
    let (device, (from, to), packet) = match way {
        Way::Within(a, b) => {
            (VMS[a].0, (party(a), party(b)), packet(l4, number, (own(a), own(b))).macs(mac(a), mac(b)))
        }
        Way::Out(vm, to) => {
            let packet = packet(l4, number, (own(vm), CLIENTS[to][family])).macs(mac(vm), gateway(vm));
            (VMS[vm].0, (party(vm), Party::Outside(client(to))), packet)
        }
        Way::ToHost(vm) => {
            let packet = packet(l4, number, (own(vm), HOST[family])).macs(mac(vm), gateway(vm));
            (VMS[vm].0, (party(vm), Party::Host(ip(HOST[family]))), packet)
        }
        Way::In(from) => {
            let to = ["203.0.113.10", "2001:db8:113::10"][family];
            let l4 = if matches!(l4, L4::Tcp(_)) { L4::Tcp(8080) } else { L4::Udp(5353) };
            let packet = packet(l4, number, (CLIENTS[from][family], to)).macs(ROUTER, ETH0);
            ("eth0", (Party::Outside(client(from)), party(0)), packet)
        }
    };
    let (proto, l4_port, message) = match (way, l4) {
        (Way::In(_), L4::Tcp(_)) => (6, Some(80), None),
        (Way::In(_), _) => (17, Some(53), None),
        (_, L4::Tcp(l4_port)) => (6, Some(l4_port), None),
        (_, L4::Udp(l4_port)) => (17, Some(l4_port), None),
        (_, L4::Echo) => ([1, 58][family], None, Some(([8, 128][family], 0))),
        (_, L4::Message(kind)) => ([1, 58][family], None, Some((MESSAGES[kind][family], code(number)))),
    };
    (device, packet, Seen { from, to, proto, l4_port, source: number, message })
}

fn packet(l4: L4, number: u16, (from, to): (&str, &str)) -> Packet {
    match l4 {
        L4::Tcp(l4_port) => Packet::tcp((from, number), (to, l4_port)).flags(SYN),
        L4::Udp(l4_port) => Packet::udp((from, number), (to, l4_port)),
        L4::Echo => Packet::echo_request(from, to, number, 1),
        L4::Message(kind) => {
            let kind = MESSAGES[kind][usize::from(from.contains(':'))];
            Packet::icmp(from, to, kind, code(number), [0; 4])
        }
    }
}

/// The answer to a frame, and the device by which it comes in; `out` is the frame as it left. None of messages that nothing
/// answers, and none from the host, whose device is TCX's alone.
fn answer(
    (way, l4, family): Frame,
    number: u16,
    out: &[u8],
    world: &World,
) -> Option<(&'static str, Packet)> {
    let own = |vm: usize| (VMS[vm].2, VMS[vm].3[family]);
    // What NAT made of the source L4 port, or of an echo's id.
    let l4_at = if family == 0 { 34 } else { 54 } + if matches!(l4, L4::Echo) { 4 } else { 0 };
    let left_by = u16::from_be_bytes([out[l4_at], out[l4_at + 1]]);
    let public = ["203.0.113.10", "2001:db8:113::10"][family];
    Some(match way {
        Way::Within(a, b) => {
            let ((from_mac, from), (to_mac, to)) = (own(b), own(a));
            (VMS[b].0, answering(l4, number, (from, to))?.macs(from_mac, to_mac))
        }
        Way::Out(_, to) => {
            ("eth0", answering(l4, left_by, (CLIENTS[to][family], public))?.macs(ROUTER, ETH0))
        }
        Way::In(client) => {
            let l4 = if matches!(l4, L4::Tcp(_)) { L4::Tcp(80) } else { L4::Udp(53) };
            let (mac, vm) = own(0);
            let packet = answering(l4, number, (vm, CLIENTS[client][family]))?;
            (VMS[0].0, packet.macs(mac, world.gateway("red")))
        }
        Way::ToHost(_) => return None,
    })
}

fn answering(l4: L4, number: u16, (from, to): (&str, &str)) -> Option<Packet> {
    Some(match l4 {
        L4::Tcp(l4_port) => Packet::tcp((from, l4_port), (to, number)).flags(SYN | ACK),
        L4::Udp(l4_port) => Packet::udp((from, l4_port), (to, number)),
        L4::Echo => Packet::echo_reply(from, to, number, 1),
        L4::Message(kind) => {
            let answered = match MESSAGES[kind][usize::from(from.contains(':'))] {
                13 if !from.contains(':') => 14,
                139 if from.contains(':') => 140,
                _ => return None,
            };
            Packet::icmp(from, to, answered, code(number), [0; 4])
        }
    })
}

/// Of a message that has no id: it makes it a flow of its own.
const fn code(number: u16) -> u8 {
    (number - FIRST) as u8
}

/// What the programs have counted, by what became of packets.
fn counted(world: &World) -> BTreeMap<Fate, u64> {
    let mut all = BTreeMap::new();
    let number = |id| world.rule_name(id).map(|name| name[1..].parse().expect("rules are numbered"));
    for (key, row) in world.maps.drops().expect("the map is readable") {
        let rule = number(key.rule.0);
        let fate = match DropReason::from_number(key.reason) {
            Some(DropReason::PolicyDenied | DropReason::PolicyDefaultDeny) => {
                let is_egress = key.direction == Direction::Egress as u8;
                if is_egress { Fate::DeniedOnEgress(rule) } else { Fate::DeniedOnIngress(rule) }
            }
            _ => Fate::Otherwise(key.reason),
        };
        *all.entry(fate).or_default() += row.count.packets;
    }
    for (id, totals) in world.maps.rule_totals().expect("the map is readable") {
        *all.entry(Fate::Passes(number(id.0))).or_default() += totals.flows;
    }
    all
}

fn documented(document: &mut Value, rules: &[Rule], closed: &[&'static str]) {
    for network in document["networks"].as_array_mut().expect("a list") {
        let is_closed = closed.iter().any(|name| network["name"] == *name);
        network["default_policy"] = if is_closed { "closed" } else { "open" }.into();
    }
    let cidr = |(first, bits): &(&str, u8)| format!("{first}/{bits}");
    document["groups"] =
        GROUPS.iter().map(|(name, members)| json!({"name": name, "members": members})).collect();
    document["sets"] = SETS
        .iter()
        .map(|(name, cidrs)| json!({"name": name, "cidrs": cidrs.iter().map(cidr).collect::<Vec<_>>()}))
        .collect();
    let numbered = rules.iter().enumerate();
    document["policies"] = numbered.map(|(number, rule)| rule.document(&format!("r{number}"))).collect();
}

/// Sends frames under some rules, and holds what each came to against what is written.
fn hold(
    world: &mut World,
    rules: &[Rule],
    closed: &[&'static str],
    frames: &[Frame],
) -> Result<(), TestCaseError> {
    world.end_flows();
    world.edit(|document| documented(document, rules, closed));
    let written = Written { rules, closed };
    let mut before = counted(world);
    for (number, frame) in frames.iter().enumerate() {
        let number = FIRST + u16::try_from(number).expect("frames are few");
        let (device, packet, seen) = made(*frame, number, world);
        let fate = written.fate(&seen);
        let (code, out) = world.run_whole(device, &packet.frame());
        let passes = code != code_of(world.hook, Column::Dropped);
        let after = counted(world);
        // What passes without a rule is counted for none, and what XDP leaves to TCX is counted there.
        let silent = match fate {
            Fate::Passes(rule) => {
                rule.is_none() || (world.hook == Hook::Xdp && matches!(seen.to, Party::Host(_)))
            }
            _ => false,
        };
        let mut wanted = if silent { vec![] } else { vec![fate] };
        let back = seen.answer();
        let fate_of_answer = if passes { written.fate_of_answer(&seen, &back) } else { None };
        // Another rule that permits the answers counts the flow too, when it is admitted.
        let is_admitted = world.hook == Hook::Tcx || !matches!(seen.to, Party::Host(_));
        let is_counted = |by: &Fate| is_admitted && matches!(by, Fate::Passes(Some(_))) && *by != fate;
        wanted.extend(fate_of_answer.filter(is_counted));
        prop_assert_eq!(moved(&before, &after), counts(&wanted), "{:?}: {:?}", frame, fate);
        prop_assert_eq!(passes, matches!(fate, Fate::Passes(_)), "{:?}: {:?}", frame, fate);
        before = after;
        if !passes {
            continue;
        }
        let Some((device, answer)) = answer(*frame, number, &out, world) else { continue };
        let passes = world.run_frame(device, &answer.frame()) != code_of(world.hook, Column::Dropped);
        let after = counted(world);
        let refused = fate_of_answer.filter(|fate| !matches!(fate, Fate::Passes(_)));
        let wanted: Vec<Fate> = refused.into_iter().collect();
        prop_assert_eq!(
            moved(&before, &after),
            counts(&wanted),
            "answer of {:?}: {:?}",
            frame,
            fate_of_answer
        );
        prop_assert_eq!(passes, refused.is_none(), "answer of {:?}: {:?}", frame, fate_of_answer);
        before = after;
    }
    Ok(())
}

/// By how much counters moved.
fn moved(before: &BTreeMap<Fate, u64>, after: &BTreeMap<Fate, u64>) -> BTreeMap<Fate, u64> {
    let by = after.iter().map(|(fate, count)| (*fate, count - before.get(fate).copied().unwrap_or(0)));
    by.filter(|(_, by)| *by != 0).collect()
}

fn counts(fates: &[Fate]) -> BTreeMap<Fate, u64> {
    let mut counts = BTreeMap::new();
    fates.iter().for_each(|fate| *counts.entry(*fate).or_default() += 1);
    counts
}

#[test]
fn the_loaded_programs_do_what_random_rules_say() {
    need!(skip::bpf());
    let pairs =
        std::env::var("FWD_DIFFERENTIAL").map_or(2_000, |text| text.parse().expect("a number of pairs"));
    let config = Config {
        cases: u32::try_from(pairs / FRAMES).expect("fewer"),
        failure_persistence: None,
        ..Config::default()
    };
    on_both_hooks(|world| {
        let world = RefCell::new(world);
        let closed = subsequence(vec!["red", "blue"], 0..=2);
        let cases =
            (proptest::collection::vec(rule(), RULES), closed, proptest::collection::vec(frame(), FRAMES));
        let run = |(rules, closed, frames): (Vec<Rule>, Vec<&'static str>, Vec<Frame>)| {
            hold(&mut world.borrow_mut(), &rules, &closed, &frames)
        };
        TestRunner::new(config.clone()).run(&cases, run).unwrap_or_else(|error| panic!("{error}"));
    });
}
