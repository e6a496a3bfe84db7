//! Identities: whom rules can tell apart. A VM port's is the exact set of ends that name it, a peer's
//! outside, or the host's, its location with the class of its address.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fwd_common::id::{Identity, PortId};

use super::{
    classes::Classes,
    number::Numbering,
    rules::{EndId, Rules},
};
use crate::{
    api::{
        spec::Port,
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
    let groups = Groups::of(world, rules);
    let mut all = BTreeMap::new();
    for VmPort { id, port, .. } in &world.ports {
        let mut ends = groups.ends_of(port);
        for end in [End::Port(port.name.clone()), End::Network(port.network.clone())] {
            ends.extend(rules.id(&end));
        }
        for addr in world.addresses(*id, port) {
            ends.extend(classes.ends(*addr));
        }
        all.insert(*id, ends);
    }
    all
}

/// The groups that rules name: members by name, and selectors.
struct Groups<'a> {
    by_member: HashMap<&'a str, Vec<EndId>>,
    selectors: Vec<(BTreeMap<String, String>, EndId)>,
}

impl<'a> Groups<'a> {
    fn of(world: &World<'a>, rules: &Rules) -> Self {
        let mut groups = Self { by_member: HashMap::new(), selectors: Vec::new() };
        for group in &world.document.groups {
            let Some(id) = rules.id(&End::Group(group.name.clone())) else { continue };
            for member in &group.members {
                groups.by_member.entry(member).or_default().push(id);
            }
            let selector = group.selector.as_deref().and_then(|text| parse_selector(text).ok());
            groups.selectors.extend(selector.map(|selector| (selector, id)));
        }
        groups
    }

    fn ends_of(&self, port: &Port) -> BTreeSet<EndId> {
        let is_selected = |selector: &BTreeMap<String, String>| {
            selector.iter().all(|(key, value)| port.labels.get(key) == Some(value))
        };
        let selected = self.selectors.iter().filter(|(selector, _)| is_selected(selector)).map(|(_, id)| *id);
        let named = self.by_member.get(port.name.as_str()).into_iter().flatten().copied();
        named.chain(selected).collect()
    }
}

fn peers(rules: &Rules, classes: &Classes, vms: &BTreeMap<BTreeSet<EndId>, Identity>) -> Vec<Peer> {
    let (outside, host) = (rules.id(&End::Outside), rules.id(&End::Host));
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
