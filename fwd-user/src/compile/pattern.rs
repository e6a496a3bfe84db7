//! Ports whose device is a pattern: each tap and veth that matches is a port of its own, called `NAME.DEVICE`, for
//! as long as it is there.
//!
//! A device that the document names is never taken, nor one on which this host has an address: a pattern that is
//! wider than was meant does not cut the host off.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
};

use fwd_common::{
    id::PortId,
    network::MAX_MEMBERS,
    port::{FIRST_BY_PATTERN, LOOPBACK},
};
use wildmatch::WildMatch;

use super::{Tables, tap::device_name};
use crate::{
    api::{
        spec::{Document, Port},
        text::parse_pattern,
    },
    host::inventory::{Device, DeviceKind, Inventory},
    state::Desired,
};

/// What was accepted, and a port for each device that one of its patterns matches. A device keeps the number that
/// it has in `previous`.
pub fn with_patterns<'a>(desired: &'a Desired, inventory: &Inventory, previous: &Tables) -> Cow<'a, Desired> {
    let patterns = patterns(&desired.document);
    if patterns.is_empty() {
        return Cow::Borrowed(desired);
    }
    let named = named(&desired.document, inventory);
    let mut all = desired.clone();
    let mut taken: BTreeSet<PortId> = previous.port_of_device.values().copied().collect();
    for (name, device) in &inventory.devices {
        if named.contains(name.as_str()) || !is_guests(device) {
            continue;
        }
        let Some((_, pattern)) = patterns.iter().find(|(pattern, _)| pattern.matches(name)) else { continue };
        if !has_room(&all.document, &pattern.network) {
            continue;
        }
        let kept = previous.port_of_device.get(&device.ifindex).filter(|id| **id >= FIRST_BY_PATTERN);
        let Some(id) = kept.copied().or_else(|| free(device.ifindex, &taken)) else { break };
        taken.insert(id);
        let port = Port { name: pattern.name_of(name), device: name.clone(), ..(*pattern).clone() };
        all.numbers.ports.insert(port.name.clone(), id);
        all.document.ports.push(port);
    }
    Cow::Owned(all)
}

/// The ones that say most first: of several that match a device, that one has it.
fn patterns(document: &Document) -> Vec<(WildMatch, &Port)> {
    let ports = document.ports.iter().filter(|port| port.is_pattern());
    let mut patterns: Vec<_> =
        ports.filter_map(|port| Some((parse_pattern(&port.device).ok()?, port))).collect();
    let literals = |port: &Port| port.device.chars().filter(|c| !matches!(c, '*' | '?')).count();
    patterns.sort_by_key(|(_, port)| (Reverse(literals(port)), &port.name));
    patterns
}

/// Devices that the document names.
fn named<'a>(document: &'a Document, inventory: &'a Inventory) -> HashSet<&'a str> {
    let uplinks = document.uplinks.iter().map(|uplink| uplink.device.as_str());
    let ports = document.ports.iter().filter_map(|port| device_name(inventory, port));
    uplinks.chain(ports).collect()
}

/// Whether an interface is a guest's, as far as can be seen.
fn is_guests(device: &Device) -> bool {
    let is_guest_kind = matches!(device.kind, DeviceKind::Tap { .. } | DeviceKind::Veth);
    is_guest_kind && !device.is_own && !device.has_outside_address()
}

/// Whether a network takes another port.
pub(super) fn has_room(document: &Document, network: &str) -> bool {
    let members = document.ports.iter().filter(|port| port.network == network && !port.is_pattern());
    members.count() < usize::from(MAX_MEMBERS)
}

/// The kernel counts interfaces upwards, so a number comes back late: what is still known of a device that went is
/// not taken for the next one's. None if all are taken.
fn free(ifindex: u32, taken: &BTreeSet<PortId>) -> Option<PortId> {
    let room = LOOPBACK.0 - FIRST_BY_PATTERN.0;
    let first = (ifindex % u32::from(room)) as u16;
    let mut numbers = (first..room).chain(0..first).map(|n| PortId(FIRST_BY_PATTERN.0 + n));
    numbers.find(|id| !taken.contains(id))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::status::ObjectState,
        compile::{
            compile,
            tests::{desired, host},
        },
    };

    fn document(patterns: &[(&str, &str)]) -> Desired {
        let port = |(name, device): &(&str, &str)| json!({"name": name, "device": device, "network": "cell"});
        let mut ports: Vec<Value> = patterns.iter().map(port).collect();
        ports.push(json!({"name": "web1", "device": "tap0", "network": "cell"}));
        desired(json!({
            "uplinks": [{"device": "eth1"}],
            "networks": [{"name": "cell", "mode": "isolated"}],
            "ports": ports,
        }))
    }

    fn of_devices(all: &Desired) -> Vec<&str> {
        all.document.ports.iter().map(|p| p.name.as_str()).filter(|name| name.contains('.')).collect()
    }

    #[test]
    fn what_the_host_and_the_document_use_is_not_taken() {
        let mut host = host();
        host.devices.get_mut("tap3").expect("a tap").is_own = true;
        let desired = document(&[("all", "*")]);
        let all = with_patterns(&desired, &host, &Tables::default());
        assert_eq!(
            of_devices(&all),
            ["all.tap1", "all.tap2"],
            "tap0 is web1's, eth1 the uplink, tap3 fwd's own"
        );
        assert_eq!(desired.document.ports.len() + 2, all.document.ports.len());
    }

    #[test]
    fn of_several_patterns_the_one_that_says_most_has_a_device() {
        let desired = document(&[("all", "*"), ("taps", "tap*"), ("last", "tap?")]);
        let all = with_patterns(&desired, &host(), &Tables::default());
        assert_eq!(of_devices(&all), ["last.tap1", "last.tap2", "last.tap3"]);
    }

    #[test]
    fn a_device_keeps_its_number_and_another_gets_another() {
        let desired = document(&[("taps", "tap*")]);
        let mut host = host();
        let numbers = |desired: &Desired| desired.numbers.ports.clone();
        let before = with_patterns(&desired, &host, &Tables::default()).into_owned();
        let tables = compile(&before, &host, &Tables::default()).tables;
        // Another one that would have the same number comes first; one goes; one comes back as another.
        let mut first = host.devices["tap1"].clone();
        first.ifindex += u32::from(LOOPBACK.0 - FIRST_BY_PATTERN.0);
        host.devices.insert("tap05".to_owned(), first);
        host.devices.remove("tap2");
        host.devices.get_mut("tap3").expect("a tap").ifindex = 99;
        let after = with_patterns(&desired, &host, &tables).into_owned();
        let (was, is) = (numbers(&before), numbers(&after));
        assert_eq!(of_devices(&after), ["taps.tap05", "taps.tap1", "taps.tap3"]);
        assert_eq!(was["taps.tap1"], is["taps.tap1"]);
        assert_ne!(was["taps.tap3"], is["taps.tap3"]);
        let by_device: BTreeSet<_> = is.values().collect();
        assert_eq!(by_device.len(), is.len(), "no number is given twice");
        assert!(of_devices(&after).iter().all(|name| is[*name] >= FIRST_BY_PATTERN));
    }

    #[test]
    fn a_network_takes_as_many_as_it_has_room_for() {
        let desired = document(&[("taps", "t*")]);
        let mut host = host();
        let one = host.devices["tap1"].clone();
        let many = (0..1500).map(|n| (format!("t{n}"), Device { ifindex: 100 + n, ..one.clone() }));
        host.devices.extend(many);
        let all = with_patterns(&desired, &host, &Tables::default());
        assert_eq!(of_devices(&all).len() + 1, usize::from(MAX_MEMBERS), "with web1");
        let compiled = compile(&all, &host, &Tables::default());
        let taps = &compiled.ports[&desired.numbers.ports["taps"]];
        let full = "Network cell is full: what else matches t* is no port.";
        assert_eq!((taps.state, taps.state_reason.as_deref()), (ObjectState::Degraded, Some(full)));
    }

    #[test]
    fn a_pattern_is_ready_with_its_first_device() {
        let desired = document(&[("taps", "tap[*"), ("web", "tap*")]);
        let all = with_patterns(&desired, &host(), &Tables::default());
        let ports = compile(&all, &host(), &Tables::default()).ports;
        let of = |name: &str| &ports[&desired.numbers.ports[name]];
        assert_eq!(of("taps").state_reason.as_deref(), Some("No tap or veth that matches tap[* exists yet."));
        assert_eq!((of("web").state_reason.as_deref(), of("web").ifindex), (None, 0));
        assert_eq!(ports[&all.numbers.ports["web.tap1"]].ifindex, 11);
    }
}
