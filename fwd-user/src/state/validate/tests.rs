//! One wrong document for each rule of validation: the place and the sentence of what is told.

use serde_json::{Value, json};

use super::problems;
use crate::api::error::Kind;

/// `PATH message` of each problem of a valid document with some fields replaced.
fn told(change: Value) -> Vec<String> {
    found(change).into_iter().map(|p| format!("{} {}", p.path, p.message)).collect()
}

fn found(change: Value) -> Vec<crate::api::error::Problem> {
    let mut document = json!({
        "uplinks": [{"device": "eth0"}, {"device": "eth1"}],
        "networks": [
            {"name": "vmnat", "mode": "nat", "subnets": ["10.10.0.0/24", "fd00:10::/64"], "uplink": "eth0"},
            {"name": "lan", "mode": "bridge", "uplink": "eth1"},
            {"name": "lab", "mode": "host", "subnets": ["10.20.0.0/24"]},
            {"name": "cell", "mode": "isolated"},
        ],
        "ports": [
            {"name": "web1", "device": "tap0", "network": "vmnat", "mac": "52:54:00:00:00:11", "ips": ["10.10.0.11"]},
            {"name": "db1", "device": "tap1", "network": "vmnat"},
            {"name": "pc", "device": "tap2", "network": "lan"},
            {"name": "box", "device": "tap3", "network": "lab"},
            {"name": "mad", "device": "tap4", "network": "cell"},
        ],
    });
    let Value::Object(change) = change else { unreachable!("an object") };
    for (key, value) in change {
        document[key] = value;
    }
    problems(&serde_json::from_value(document).expect("a document"))
}

fn ports(ports: Value) -> Vec<String> {
    told(json!({ "ports": ports }))
}

fn networks(networks: Value) -> Vec<String> {
    told(json!({ "networks": networks, "ports": [] }))
}

fn forwards(forwards: Value) -> Vec<String> {
    told(json!({ "forwards": forwards }))
}

#[test]
fn a_good_document_has_no_problems() {
    assert_eq!(told(json!({})), Vec::<String>::new());
    assert_eq!(
        forwards(json!([
            {"name": "a", "listen": "tcp:203.0.113.10:8080", "to": "web1:80"},
            {"name": "b", "listen": "udp:203.0.113.10:8080", "to": "web1:80"},
            {"name": "c", "listen": "tcp:203.0.113.11:8000-8099", "to": "db1:9000-9099"},
            {"name": "d", "listen": "tcp:443", "to": "web1:443"},
            {"name": "e", "listen": "tcp:[2001:db8::1]:443", "to": "db1:443"},
        ])),
        Vec::<String>::new()
    );
}

#[test]
fn names_are_checked_and_unique() {
    assert_eq!(
        told(
            json!({"sets": [{"name": "A", "cidrs": []}, {"name": "b", "cidrs": []}, {"name": "b", "cidrs": []}]})
        ),
        [
            "/sets/0/name Set A: the name has the character `A`.",
            "/sets/2/name Set b: number 2 of sets has the same name."
        ]
    );
}

#[test]
fn uplinks_and_ports_have_devices_of_their_own() {
    assert_eq!(
        told(
            json!({"uplinks": [{"device": "eth0"}, {"device": "eth1"}, {"device": "tap0"}, {"device": "a/b"}]})
        ),
        [
            "/uplinks/3/device Uplink a/b: `a/b` is not an interface's name.",
            "/ports/0/device Port web1: the interface tap0 is already used by uplink tap0.",
        ]
    );
    assert_eq!(
        ports(json!([
            {"name": "eth0", "device": "vnet1", "network": "lan"},
            {"name": "fwd-lan", "device": "tap0", "network": "lan"},
        ])),
        [
            "/ports/0/name Port eth0: an uplink has the same name.",
            "/ports/1/name Port fwd-lan: a network's port towards the host has the same name.",
        ]
    );
}

#[test]
fn a_pattern_is_no_one_guests() {
    let document = json!({
        "ports": [
            {"name": "web1", "device": "tap0", "network": "lan"},
            {"name": "vms", "device": "vnet*", "network": "lan", "mac": "52:54:00:00:00:11", "ips": ["10.10.0.11"]},
            {"name": "more", "device": "vnet*", "network": "lan"},
            {"name": "none", "device": "a/*", "network": "lan"},
        ],
        "forwards": [{"name": "web", "listen": "tcp:80", "to": "more:80"}],
        "nats": [{"name": "one", "one_to_one": "203.0.113.11=more"}],
    });
    let ports: Vec<_> =
        told(document).into_iter().filter(|p| p.contains("stands for") || p.contains("/device")).collect();
    assert_eq!(
        ports,
        [
            "/ports/1/mac Port vms: it stands for all that match vnet*, and this is one guest's.",
            "/ports/1/ips Port vms: it stands for all that match vnet*, and this is one guest's.",
            "/ports/2/device Port more: the interface vnet* is already used by port vms.",
            "/ports/3/device Port none: `a/` is not an interface's name.",
            "/forwards/0/to Forward web: port more stands for all that match vnet*.",
            "/nats/0/one_to_one Nat one: port more stands for all that match vnet*.",
        ]
    );
}

#[test]
fn a_networks_parts_fit_its_mode() {
    assert_eq!(
        networks(json!([
            {"name": "a", "mode": "routed", "subnets": ["10.1.0.0/24"], "private": true},
            {"name": "b", "mode": "nat"},
            {"name": "c", "mode": "bridge", "private": true},
            {"name": "d", "mode": "isolated", "uplink": "eth0", "gateways": ["10.1.0.1"]},
            {"name": "e", "mode": "host", "subnets": ["10.3.0.0/24"], "mtu": 100},
            {"name": "f", "mode": "nat", "subnets": ["10.4.0.0/24"], "uplink": "eth7"},
            {"name": "g", "mode": "host", "subnets": ["10.5.0.0/24"], "nat66": true},
            {"name": "h", "mode": "nat", "subnets": ["10.6.0.0/24"], "nat66": false, "private": true},
            {"name": "i", "mode": "nat", "subnets": ["10.7.0.0/24"], "ntp": ["10.7.0.1", "2001:db8::123"]},
            {"name": "k", "mode": "nat", "subnets": ["10.9.0.0/24"], "dhcp": "snoop"},
            {"name": "j", "mode": "nat", "subnets": ["10.8.0.0/24"], "ntp": ["10.8.0.1"], "dhcp": "off"},
        ])),
        [
            "/networks/0/private Network a: addresses that are routed cannot repeat elsewhere.",
            "/networks/1/subnets Network b: it has no subnet, so its gateway has no address.",
            "/networks/2/private Network c: a bridge network shares the addresses of its uplink and cannot be private.",
            "/networks/2/uplink Network c: a bridge network needs an uplink to be bridged to.",
            "/networks/3/gateways Network d: in an isolated network this host is no gateway.",
            "/networks/3/uplink Network d: a network of this mode has no way outside.",
            "/networks/4/mtu Network e: an MTU of 100 is not possible.",
            "/networks/5/uplink Network f: there is no uplink eth7.",
            "/networks/6/nat66 Network g: only a nat network translates.",
            "/networks/7/nat66 Network h: addresses that are routed cannot repeat elsewhere.",
            "/networks/8/ntp/1 Network i: it has no DHCP of IPv6 that could tell the time server 2001:db8::123.",
            "/networks/9/dhcp Network k: only guests of a bridge get their addresses from DHCP outside.",
            "/networks/10/ntp/0 Network j: it has no DHCP of IPv4 that could tell the time server 10.8.0.1.",
        ]
    );
}

#[test]
fn gateways_are_one_for_each_subnet() {
    assert_eq!(
        networks(json!([{"name": "a", "mode": "nat", "subnets": ["10.1.0.0/24"],
            "gateways": ["10.1.0.9", "10.2.0.1", "10.1.0.255"]}])),
        [
            "/networks/0/gateways/1 Network a: the gateway 10.2.0.1 is in none of its subnets.",
            "/networks/0/gateways/2 Network a: the gateway 10.1.0.255 is the first or last address of 10.1.0.0/24.",
            "/networks/0/gateways/2 Network a: the subnet 10.1.0.0/24 has two gateways.",
        ]
    );
}

#[test]
fn an_uplink_is_bridged_once_or_translates() {
    assert_eq!(
        networks(json!([
            {"name": "a", "mode": "nat", "subnets": ["10.1.0.0/24"], "uplink": "eth0"},
            {"name": "b", "mode": "nat", "subnets": ["10.2.0.0/24"], "uplink": "eth0"},
            {"name": "c", "mode": "bridge", "uplink": "eth0"},
            {"name": "d", "mode": "bridge", "uplink": "eth1"},
            {"name": "e", "mode": "bridge", "uplink": "eth1"},
        ])),
        [
            "/networks/2/uplink Network c: the uplink eth0 is used by network a already.",
            "/networks/4/uplink Network e: the uplink eth1 is used by network d already.",
        ]
    );
}

#[test]
fn subnets_overlap_only_where_private() {
    assert_eq!(
        networks(json!([
            {"name": "a", "mode": "nat", "subnets": ["10.1.0.0/16", "10.1.2.0/24"]},
            {"name": "b", "mode": "nat", "subnets": ["10.1.3.0/24"]},
            {"name": "c", "mode": "nat", "subnets": ["10.1.3.0/24"], "private": true},
            {"name": "d", "mode": "nat", "subnets": ["10.1.3.0/24"], "private": true},
            {"name": "e", "mode": "nat", "subnets": ["10.5.0.1/24", "10.6.0.0/31", "224.0.0.0/8"]},
        ])),
        [
            "/networks/0/subnets/1 Network a: its subnets 10.1.0.0/16 and 10.1.2.0/24 overlap.",
            "/networks/1/subnets/0 Network b: its subnet 10.1.3.0/24 overlaps 10.1.0.0/16 of network a.",
            "/networks/4/subnets/0 Network e: 10.5.0.1/24 has bits beyond its prefix.",
            "/networks/4/subnets/1 Network e: 10.6.0.0/31 has no room for a gateway and a guest.",
            "/networks/4/subnets/2 Network e: 224.0.0.0/8 is not a range for hosts.",
        ]
    );
}

#[test]
fn macs_and_addresses_are_one_ports_in_a_network() {
    assert_eq!(
        ports(json!([
            {"name": "a", "device": "t0", "network": "vmnat", "mac": "52:54:00:00:00:01", "ips": ["10.10.0.5"]},
            {"name": "b", "device": "t1", "network": "vmnat", "mac": "52:54:00:00:00:01", "ips": ["10.10.0.5"]},
            {"name": "c", "device": "t2", "network": "lan", "mac": "52:54:00:00:00:01", "ips": ["10.10.0.5"]},
            {"name": "d", "device": "t3", "network": "vmnat", "allow_addresses": ["10.10.0.5/32", "10.9.0.1/16"]},
            {"name": "e", "device": "t4", "network": "vmnat", "mac": "x", "ips": ["10.10.0.1", "10.10.0.255"]},
            {"name": "f", "device": "t5", "network": "vmnat", "ips": ["10.11.0.1", "fe80::1", "127.0.0.1"]},
            {"name": "g", "device": "t6", "network": "gone", "labels": {"a=b": "c"}},
        ])),
        [
            "/ports/1/mac Port b: the MAC 52:54:00:00:00:01 is already used by port a.",
            "/ports/1/ips/0 Port b: the address 10.10.0.5 is already used by port a.",
            "/ports/3/allow_addresses/1 Port d: 10.9.0.1/16 has bits beyond its prefix.",
            "/ports/4/mac Port e: `x` is not a MAC.",
            "/ports/4/ips/0 Port e: the address 10.10.0.1 is already used by the gateway.",
            "/ports/4/ips/1 Port e: the address 10.10.0.255 is the first or last one of 10.10.0.0/24.",
            "/ports/5/ips/0 Port f: the address 10.11.0.1 is in none of its network's subnets (10.10.0.0/24, fd00:10::/64).",
            "/ports/5/ips/2 Port f: 127.0.0.1 is not the address of a host.",
            "/ports/6/network Port g: there is no network gone.",
            "/ports/6/labels Port g: the label `a=b=c` cannot be selected.",
        ]
    );
}

#[test]
fn forwards_lead_to_ports_that_the_outside_reaches() {
    assert_eq!(
        forwards(json!([
            {"name": "a", "listen": "tcp:80", "to": "gone:80"},
            {"name": "b", "listen": "tcp:81", "to": "pc:80"},
            {"name": "c", "listen": "tcp:82", "to": "box:80"},
            {"name": "d", "listen": "tcp:83", "to": "mad:80"},
            {"name": "e", "listen": "tcp:84-85", "to": "web1:80"},
            {"name": "f", "listen": "tcp:[2001:db8::1]:86", "to": "web1:80"},
            {"name": "g", "listen": "tpc:86", "to": "web1"},
            {"name": "h", "listen": "tcp:87", "to": "web1:80", "from": ["198.51.100.7/24", "192.0.2.0/24"]},
            {"name": "j", "listen": "tcp:89", "to": "web1"},
            {"name": "k", "listen": "udp:203.0.113.1", "to": "web1:53"},
            {"name": "l", "listen": "icmp:203.0.113.1", "to": "web1", "force": true},
            {"name": "i", "listen": "tcp:88", "to": "web1:80", "from": "::ffff:192.0.2.0/120"},
        ])),
        [
            "/forwards/0/to Forward a: there is no port gone.",
            "/forwards/1/to Forward b: port pc is on a bridge network and is reached from outside by its own address.",
            "/forwards/2/to Forward c: port box is on a host-only network, which the outside does not reach.",
            "/forwards/3/to Forward d: port mad is on an isolated network, which the outside does not reach.",
            "/forwards/4/to Forward e: it maps 2 L4 ports onto 1.",
            "/forwards/5/listen Forward f: it listens on IPv6, and port web1 has no IPv6 address.",
            "/forwards/6/listen Forward g: `tpc` is not a protocol.",
            "/forwards/7/from/0 Forward h: 198.51.100.7/24 has bits beyond its prefix.",
            "/forwards/8/to Forward j: `web1` names no L4 port.",
            "/forwards/9/to Forward k: it listens on every L4 port, and `web1:53` names one.",
            "/forwards/10/force Forward l: a forward of every L4 port leaves those on which this host listens to the host.",
            "/forwards/11/from/0 Forward i: ::ffff:192.0.2.0/120 is IPv4 written as IPv6.",
        ]
    );
}

#[test]
fn listens_do_not_overlap() {
    assert_eq!(
        forwards(json!([
            {"name": "a", "listen": "tcp:203.0.113.1:100-200", "to": "web1:100-200"},
            {"name": "b", "listen": "tcp:203.0.113.2:150", "to": "web1:150"},
            {"name": "c", "listen": "tcp+udp:203.0.113.1:200", "to": "web1:1"},
            {"name": "d", "listen": "tcp:120", "to": "web1:1"},
            {"name": "e", "listen": "udp:203.0.113.1:120", "to": "web1:1"},
            {"name": "f", "listen": "tcp:[2001:db8::1]:150", "to": "db1:1"},
            {"name": "g", "listen": "any:203.0.113.1", "to": "web1"},
            {"name": "h", "listen": "tcp:*", "to": "web1"},
            {"name": "i", "listen": "tcp+udp:203.0.113.1", "to": "web1"},
            {"name": "j", "listen": "any:*", "to": "web1:1-65535"},
        ])),
        [
            "/forwards/2/listen Forward c: tcp+udp:203.0.113.1:200 is already taken by forward a (tcp:203.0.113.1:100-200).",
            "/forwards/3/listen Forward d: tcp:120 is already taken by forward a (tcp:203.0.113.1:100-200).",
            "/forwards/8/listen Forward i: tcp+udp:203.0.113.1 is already taken by forward h (tcp:*).",
            "/forwards/9/listen Forward j: any:* is already taken by forward g (any:203.0.113.1).",
        ]
    );
}

#[test]
fn groups_and_rules_name_what_exists() {
    assert_eq!(
        told(json!({
            "groups": [{"name": "g", "members": ["web1", "gone"], "selector": "role"}],
            "sets": [{"name": "s", "cidrs": ["10.0.0.1/8"]}],
            "policies": [
                {"name": "p", "action": "allow", "from": ["group:g", "group:x", "port:y", "wat"],
                 "to": ["set:z", "network:lan", "10.0.0.0/8"], "services": ["tcp/80", "tcp/x"]},
            ],
        })),
        [
            "/groups/0/members/1 Group g: there is no port gone.",
            "/groups/0/selector Group g: `role` is not a label.",
            "/sets/0/cidrs/0 Set s: 10.0.0.1/8 has bits beyond its prefix.",
            "/policies/0/from/1 Policy p: there is no group x.",
            "/policies/0/from/2 Policy p: there is no port y.",
            "/policies/0/from/3 Policy p: `wat` is not an end of a rule.",
            "/policies/0/to/0 Policy p: there is no set z.",
            "/policies/0/services/1 Policy p: `x` is not an L4 port.",
        ]
    );
}

#[test]
fn what_the_tables_cannot_hold_is_refused() {
    let network = |n: usize| json!({"name": format!("n{n}"), "mode": "isolated"});
    let many: Vec<_> = (0..1024).map(network).collect();
    let problems = found(json!({"networks": many, "ports": []}));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [Kind::Capacity]);
    let port = |n: usize| json!({"name": format!("p{n}"), "device": format!("t{n}"), "network": format!("n{}", n / 1000)});
    let many: Vec<_> = (0..2047).map(port).collect();
    let networks: Vec<_> = (0..5).map(network).collect();
    let problems = found(json!({"networks": networks, "ports": many}));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [Kind::Capacity]);
    let member = |n: usize| json!({"name": format!("p{n}"), "device": format!("t{n}"), "network": "lab"});
    let problems = found(json!({"ports": (0..1025).map(member).collect::<Vec<_>>()}));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [Kind::Capacity]);
}

#[test]
fn a_translation_is_of_one_kind_and_takes_what_nobody_has() {
    let nats = |nats: Value| told(json!({ "nats": nats }));
    assert_eq!(
        nats(json!([
            {"name": "out", "network": "vmnat", "address": "203.0.113.11", "l4_ports": "20000-59999"},
            {"name": "one", "one_to_one": "203.0.113.12=web1"},
            {"name": "two", "network": "vmnat", "one_to_one": "203.0.113.13=db1"},
            {"name": "site", "exempt": "192.0.2.0/24"},
            {"name": "site6", "network": "vmnat", "exempt": "2001:db8:1::/48"},
            {"name": "open", "network": "vmnat", "endpoint_independent": true},
            {"name": "open6", "network": "vmnat", "address": "2001:db8::12", "endpoint_independent": true},
        ])),
        Vec::<String>::new()
    );
    assert_eq!(
        nats(json!([
            {"name": "out", "network": "vmnat", "address": "203.0.113.11"},
            {"name": "again", "network": "vmnat", "address": "203.0.113.12"},
            {"name": "one", "one_to_one": "203.0.113.11=web1"},
            {"name": "two", "one_to_one": "203.0.113.11=db1"},
            {"name": "three", "one_to_one": "203.0.113.14=pc"},
            {"name": "four", "one_to_one": "224.0.0.1=db1", "network": "lan"},
        ])),
        [
            "/nats/1/address Nat again: nat out has that address, network or port already.",
            "/nats/3/one_to_one Nat two: nat one has that address, network or port already.",
            "/nats/4/one_to_one Nat three: port pc is on network lan.",
            "/nats/5/network Nat four: network lan does not translate.",
            "/nats/5/one_to_one Nat four: outside cannot answer to 224.0.0.1.",
            "/nats/5/one_to_one Nat four: port db1 is on network vmnat.",
            "/nats/5/one_to_one Nat four: nat two has that address, network or port already.",
            "/nats/0/address Nat out: nat two gives that address to one port.",
        ]
    );
    assert_eq!(
        nats(json!([
            {"name": "none", "network": "vmnat"},
            {"name": "both", "network": "vmnat", "exempt": "192.0.2.0/24", "endpoint_independent": true},
            {"name": "where", "endpoint_independent": true},
            {"name": "lan", "network": "lan", "endpoint_independent": true},
        ])),
        [
            "/nats/0 Nat none: it is to be of one kind.",
            "/nats/1 Nat both: it is to be of one kind.",
            "/nats/2/network Nat where: its network is missing.",
            "/nats/3/network Nat lan: network lan does not translate.",
        ]
    );
}

#[test]
fn only_rules_that_allow_are_stateless() {
    let rule = |action: &str| json!({"name": action, "action": action, "stateless": true});
    assert_eq!(
        told(json!({"policies": [rule("allow"), rule("deny"), rule("reject")]})),
        [
            "/policies/1/stateless Policy deny: only a rule that allows is stateless: what is refused has no answers.",
            "/policies/2/stateless Policy reject: only a rule that allows is stateless: what is refused has no answers.",
        ]
    );
}
