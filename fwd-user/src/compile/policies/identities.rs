//! Identities: whom rules can tell apart. A VM port's is the exact set of ends that name it, a peer's
//! outside, or the host's, its location with the class of its address.

use std::collections::{BTreeMap, BTreeSet};

use fwd_common::id::{Identity, PortId};

use super::{
    classes::Classes,
    number::Numbering,
    rules::{EndId, Rules},
};
use crate::{
    api::{
        spec::{Group, Port},
        text::{End, parse_selector},
    },
    compile::{World, world::VmPort},
};

/// Everybody that a packet may come from or go to.
pub(super) struct Identities {
    /// The ends that name each VM port.
    pub ports: BTreeMap<PortId, BTreeSet<EndId>>,
    vms: BTreeMap<BTreeSet<EndId>, Identity>,
    /// Each identity that some end names, with its ends.
    pub peers: Vec<Peer>,
}

/// An identity with the ends that name it.
pub(super) struct Peer {
    pub identity: Identity,
    pub ends: BTreeSet<EndId>,
    pub is_host: bool,
}

impl Identities {
    pub fn of(world: &World<'_>, rules: &Rules, classes: &Classes) -> Self {
        let ports = ends_of_ports(world, rules, classes);
        let mut numbering = Numbering::default();
        // Whom no end names is like any other.
        let mut vms = BTreeMap::from([(BTreeSet::new(), Identity::ANY)]);
        for ends in ports.values() {
            let texts = ends.iter().map(|end| rules.end(*end).to_string());
            vms.entry(ends.clone()).or_insert_with(|| Identity::vm(numbering.number(texts)));
        }
        let peers = peers(rules, classes, &vms);
        Self { ports, vms, peers }
    }

    /// A VM port's identity.
    pub fn of_port(&self, id: PortId) -> Identity {
        self.ports.get(&id).and_then(|ends| self.vms.get(ends)).copied().unwrap_or(Identity::ANY)
    }
}

fn ends_of_ports(world: &World<'_>, rules: &Rules, classes: &Classes) -> BTreeMap<PortId, BTreeSet<EndId>> {
    let groups: Vec<(EndId, Members<'_>)> = rules
        .ends()
        .filter_map(|(id, end)| match end {
            End::Group(name) => Some((id, Members::of(world.document.find::<Group>(name)?))),
            _ => None,
        })
        .collect();
    let by_name: BTreeMap<&End, EndId> = rules.ends().map(|(id, end)| (end, id)).collect();
    let mut all = BTreeMap::new();
    for VmPort { id, port, .. } in &world.ports {
        let mut ends = BTreeSet::new();
        for end in [End::Port(port.name.clone()), End::Network(port.network.clone())] {
            ends.extend(by_name.get(&end));
        }
        ends.extend(groups.iter().filter(|(_, members)| members.has(port)).map(|(id, _)| *id));
        for addr in world.addresses(*id, port) {
            ends.extend(classes.ends(*addr));
        }
        all.insert(*id, ends);
    }
    all
}

/// A group's members: by name, or by their labels.
struct Members<'a> {
    names: BTreeSet<&'a str>,
    selector: Option<BTreeMap<String, String>>,
}

impl<'a> Members<'a> {
    fn of(group: &'a Group) -> Self {
        let names = group.members.iter().map(String::as_str).collect();
        Self { names, selector: group.selector.as_deref().and_then(|text| parse_selector(text).ok()) }
    }

    fn has(&self, port: &Port) -> bool {
        let matches = |selector: &BTreeMap<String, String>| {
            selector.iter().all(|(key, value)| port.labels.get(key) == Some(value))
        };
        self.names.contains(port.name.as_str()) || self.selector.as_ref().is_some_and(matches)
    }
}

fn peers(rules: &Rules, classes: &Classes, vms: &BTreeMap<BTreeSet<EndId>, Identity>) -> Vec<Peer> {
    let end = |wanted: &End| rules.ends().find(|(_, end)| *end == wanted).map(|(id, _)| id);
    let (outside, host) = (end(&End::Outside), end(&End::Host));
    let mut peers: Vec<Peer> = Vec::new();
    for (ends, identity) in vms.iter().filter(|(ends, _)| !ends.is_empty()) {
        peers.push(Peer { identity: *identity, ends: ends.clone(), is_host: false });
    }
    for (class, of_class) in classes.all() {
        let with = |location: Option<EndId>| of_class.iter().copied().chain(location).collect();
        peers.push(Peer { identity: Identity::outside(class), ends: with(outside), is_host: false });
        peers.push(Peer { identity: Identity::host(class), ends: with(host), is_host: true });
    }
    peers
}
