//! Identities: whom rules can tell apart. A VM port's is the exact set of ends that name it, a peer's
//! outside, or the host's, its location with the class of its address.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fwd_common::id::{ClassId, Identity, PortId};
use imbl::{OrdMap, OrdSet};

use super::{
    classes::{Classes, union},
    number::Numbering,
    rules::{EndId, Ends, Rules},
};
use crate::{
    api::{
        spec::Port,
        text::{End, parse_selector},
    },
    compile::{World, world::VmPort},
};

/// Everybody whom some end names, and whoever is in no class.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    ends: OrdMap<Identity, Ends>,
    named_by: OrdSet<(EndId, Identity)>,
}

impl Peers {
    pub fn of(rules: &Rules, classes: &Classes, vms: &BTreeMap<Ends, Identity>) -> Self {
        let mut peers = Self::default();
        for (ends, identity) in vms.iter().filter(|(ends, _)| !ends.is_empty()) {
            peers.put(*identity, Ends::clone(ends));
        }
        for (class, ends) in classes.all() {
            peers.put_class(class, &ends, rules);
        }
        peers
    }

    /// A class of addresses, outside and of the host.
    pub fn put_class(&mut self, class: ClassId, ends: &Ends, rules: &Rules) -> [Identity; 2] {
        let identities = [Identity::outside(class), Identity::host(class)];
        for (identity, location) in identities.into_iter().zip([End::Outside, End::Host]) {
            self.put(identity, union(ends, &rules.id(&location).into_iter().collect()));
        }
        identities
    }

    fn put(&mut self, identity: Identity, ends: Ends) {
        self.named_by.extend(ends.iter().map(|end| (*end, identity)));
        self.ends.insert(identity, ends);
    }

    pub fn remove(&mut self, identity: Identity) {
        for end in self.ends.remove(&identity).iter().flat_map(|ends| ends.iter()) {
            self.named_by.remove(&(*end, identity));
        }
    }

    pub fn ends(&self, identity: Identity) -> &Ends {
        &self.ends[&identity]
    }

    /// Whom an end names.
    pub fn named_by(&self, end: EndId) -> impl Iterator<Item = Identity> {
        let all = (end, Identity(0))..=(end, Identity(u32::MAX));
        self.named_by.range(all).map(|(_, identity)| *identity)
    }

    /// The host, by all classes of its addresses.
    pub fn hosts(&self) -> impl Iterator<Item = Identity> {
        self.ends.range(Identity::host(ClassId(0))..).map(|(identity, _)| *identity)
    }
}

/// VM ports' identities by the ends that name them. Whom no end names is like any other.
pub(super) fn of_vms(ports: &BTreeMap<PortId, Ends>, rules: &Rules) -> BTreeMap<Ends, Identity> {
    let mut numbering = Numbering::default();
    let mut vms = BTreeMap::from([(Ends::default(), Identity::ANY)]);
    for ends in ports.values() {
        vms.entry(Ends::clone(ends)).or_insert_with(|| Identity::vm(numbering.number(rules, ends)));
    }
    vms
}

/// The ends that name each VM port.
pub(super) fn of_ports(world: &World<'_>, rules: &Rules, classes: &Classes) -> BTreeMap<PortId, Ends> {
    let groups = Groups::of(world, rules);
    let mut all = BTreeMap::new();
    for VmPort { id, port, .. } in &world.ports {
        let mut ends = groups.ends_of(port);
        for end in [End::Port(port.given_name().to_owned()), End::Network(port.network.clone())] {
            ends.extend(rules.id(&end));
        }
        for addr in world.addresses(*id, port) {
            ends.extend(classes.ends(*addr).iter());
        }
        all.insert(*id, ends.into_iter().collect());
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
        let named = self.by_member.get(port.given_name()).into_iter().flatten().copied();
        named.chain(selected).collect()
    }
}
