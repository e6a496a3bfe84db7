//! Policies: what each VM port's rules come to, by direction and peer.
//!
//! Ports that no end of a rule tells apart share a policy, and peers to whom the same rules apply share a row.
//! What no end of a rule tells apart from everybody has no entry of its own. What compiling came to is kept
//! with what it was made of, in maps whose copies share what is the same: an edit of rules costs what it changes
//! (`follow`).

mod about;
mod classes;
mod entries;
#[cfg(test)]
mod example_tests;
mod follow;
mod identities;
mod lists;
#[cfg(test)]
mod naive;
mod number;
mod rows;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use fwd_common::{
    id::{DefaultOf, Identity, PolicyId, PortId, RowId},
    policy::{Direction, PolicyKey},
    port::View,
};
use imbl::{OrdMap, OrdSet};

use super::{Tables, World, world::VmPort};
use crate::{
    api::{spec::DefaultPolicy, text::Service},
    state::Desired,
};
pub use about::{Applied, Question, about};
use classes::Classes;
use entries::Compiler;
use identities::Peers;
use lists::Lists;
use rules::{EndId, Ends, Rules};

/// Rows of policies, what each VM port has of them, and what they were made of.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    pub(super) views: Arc<BTreeMap<PortId, View>>,
    entries: OrdMap<PolicyKey, RowId>,
    rules: Rules,
    classes: Classes,
    peers: Peers,
    subjects: Subjects,
    lists: Lists,
    /// VM ports, each with the policy that it has unless nothing is asked of it.
    ports: Arc<BTreeMap<PortId, (Identity, PolicyId)>>,
    /// Of VM ports.
    addresses: Arc<[IpAddr]>,
}

/// Whose policies there may be.
#[derive(Clone, Debug, Default)]
struct Subjects {
    all: OrdMap<PolicyId, Subject>,
    named_by: OrdSet<(EndId, PolicyId)>,
}

/// Whose policy is compiled.
#[derive(Clone, Debug)]
struct Subject {
    ends: Ends,
    default: DefaultOf,
}

/// Services of its gateway that a guest reaches in a closed network too: DHCP, DHCPv6 and DNS.
pub fn implicit_services() -> Vec<Service> {
    let texts = ["udp/67", "udp/547", "udp/53", "tcp/53"];
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn compile(world: &World<'_>, desired: &Desired, previous: &Tables) -> Policies {
    let rules = Rules::of(desired);
    let classes = Classes::of(world, &rules);
    let ends = identities::of_ports(world, &rules, &classes);
    let vms = identities::of_vms(&ends, &rules);
    let peers = Peers::of(&rules, &classes, &vms);
    let (mut ports, mut subjects) = (BTreeMap::new(), Subjects::default());
    for VmPort { id, network, .. } in &world.ports {
        let default = match (network.default_policy, network.has_gateway()) {
            (DefaultPolicy::Open, _) => DefaultOf::Open,
            (DefaultPolicy::Closed, false) => DefaultOf::Closed,
            (DefaultPolicy::Closed, true) => DefaultOf::ClosedWithGateway,
        };
        let ends = &ends[id];
        let policy = PolicyId::of(vms[ends], default);
        ports.insert(*id, (vms[ends], policy));
        subjects.put(policy, Subject { ends: Ends::clone(ends), default });
    }
    let addresses = world.ports.iter().flat_map(|vm| world.addresses(vm.id, vm.port)).copied().collect();
    let policies = Policies {
        rules,
        classes,
        peers,
        subjects,
        lists: Lists::after(&previous.rows),
        ports: Arc::new(ports),
        addresses,
        ..Policies::default()
    };
    let ids: Vec<PolicyId> = policies.subjects.all.keys().copied().collect();
    let mut compiler = Compiler::new(policies);
    for id in ids {
        if !compiler.policies.wants_nothing(id) {
            Direction::ALL.into_iter().for_each(|direction| compiler.direction(id, direction));
        }
    }
    compiler.finish()
}

impl Policies {
    /// Rows of `POLICIES`, `ROWS` and `IDENTITIES`, and what they leave of a port's views.
    pub(super) fn fill(&self, tables: &mut Tables) {
        let view = |id: &PortId| (*id, self.views.get(id).copied().unwrap_or_default());
        tables.views = tables.ports.keys().map(view).collect();
        tables.policies = self.entries.clone();
        tables.rows = self.lists.rows.clone();
        tables.classes = self.classes.rows.clone();
    }

    /// Whether some rule is logged.
    pub(super) const fn has_logged(&self) -> bool {
        self.rules.has_logged()
    }

    /// Whether no rule speaks for whom nothing is denied by default.
    fn wants_nothing(&self, id: PolicyId) -> bool {
        let Subject { ends, default } = &self.subjects.all[&id];
        let has_rules = |direction| self.rules.for_own(direction, ends).next().is_some();
        *default == DefaultOf::Open && !Direction::ALL.into_iter().any(has_rules)
    }

    /// Whether a policy has entries: then its ports' packets are asked.
    fn is_asked(&self, id: PolicyId) -> bool {
        self.entries.contains_key(&PolicyKey::new(id, Direction::Egress, Identity::ANY))
    }

    fn see(&mut self) {
        let view = |(id, (identity, policy)): (&PortId, &(Identity, PolicyId))| {
            let policy = if self.is_asked(*policy) { *policy } else { PolicyId::OPEN };
            (*id, View { policy, identity: *identity })
        };
        self.views = Arc::new(self.ports.iter().map(view).collect());
    }
}

impl Subjects {
    fn put(&mut self, id: PolicyId, subject: Subject) {
        self.named_by.extend(subject.ends.iter().map(|end| (*end, id)));
        self.all.insert(id, subject);
    }

    /// Whom one side of a rule means.
    fn meant(&self, side: &[EndId]) -> BTreeSet<PolicyId> {
        if side[0] == EndId::ANYONE {
            return self.all.keys().copied().collect();
        }
        let of_end = |end: &EndId| self.named_by.range((*end, PolicyId(0))..=(*end, PolicyId(u32::MAX)));
        side.iter().flat_map(of_end).map(|(_, id)| *id).collect()
    }
}
