//! Policies: what each VM port's rules come to, by direction and peer.
//!
//! Ports that no end of a rule tells apart share a policy, and peers to whom the same rules apply share a row.
//! What no end of a rule tells apart from everybody has no entry of its own.

mod about;
mod classes;
mod identities;
mod intern;
#[cfg(test)]
mod naive;
mod number;
mod rows;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use fwd_common::{
    id::{ClassId, DefaultOf, Identity, PolicyId, PortId, RowId},
    policy::{ClassKey, Direction, PolicyKey, RowKey, RowVerdict},
    port::View,
};

use super::{Tables, World, world::VmPort};
use crate::api::{
    spec::DefaultPolicy,
    text::{Match, Service},
};
pub use about::{Applied, Question, about};
use classes::Classes;
use identities::Identities;
use intern::Interned;
use rows::{Entry, by_default};
use rules::{EndId, Rank, Rule, Rules, Side};

/// Rows of policies, and what each VM port has of them.
pub(super) struct Policies {
    pub views: BTreeMap<PortId, View>,
    pub policies: BTreeMap<PolicyKey, RowId>,
    pub rows: BTreeMap<(RowKey, u32), RowVerdict>,
    pub classes: BTreeMap<(ClassKey, u32), ClassId>,
}

/// Services of its gateway that a guest reaches in a closed network too: DHCP, DHCPv6 and DNS.
pub fn implicit_services() -> Vec<Service> {
    let texts = ["udp/67", "udp/547", "udp/53", "tcp/53"];
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn compile(world: &World<'_>, previous: &Tables) -> Policies {
    let rules = Rules::of(world);
    let classes = Classes::of(world, &rules);
    let identities = Identities::of(world, &rules, &classes);
    let mut compiler = Compiler::new(&rules, &identities, previous);
    let mut views = BTreeMap::new();
    for VmPort { id, network, .. } in &world.ports {
        let identity = identities.of_port(*id);
        let default = match (network.default_policy, network.has_gateway()) {
            (DefaultPolicy::Open, _) => DefaultOf::Open,
            (DefaultPolicy::Closed, false) => DefaultOf::Closed,
            (DefaultPolicy::Closed, true) => DefaultOf::ClosedWithGateway,
        };
        let policy = compiler.policy(&Subject { identity, ends: &identities.ports[id], default });
        views.insert(*id, View { policy, identity });
    }
    let Compiler { policies, rows, .. } = compiler;
    Policies { views, policies, rows: service_rows(rows), classes: classes.rows() }
}

fn service_rows(rows: Interned<rows::Content>) -> BTreeMap<(RowKey, u32), RowVerdict> {
    let of_one = |(content, id): (rows::Content, u32)| {
        let rows = content.into_iter();
        rows.map(move |((key, bits), verdict)| ((RowKey { row: RowId(id), ..key }, bits), verdict))
    };
    rows.into_used().flat_map(of_one).collect()
}

/// Whose policy is compiled.
struct Subject<'a> {
    identity: Identity,
    ends: &'a BTreeSet<EndId>,
    default: DefaultOf,
}

/// What a row is made of: rules in order, the implicit services behind them or not, and the default.
type RowSource = (Vec<Rank>, bool, RowVerdict);

/// Rules by the ends of one side, for which they speak in one direction.
struct Speakers {
    for_anyone: BTreeSet<Rank>,
    for_end: BTreeMap<EndId, BTreeSet<Rank>>,
}

impl Speakers {
    fn of(rules: &Rules, own: impl Fn(&Rule) -> &Side) -> Self {
        let mut speakers = Self { for_anyone: BTreeSet::new(), for_end: BTreeMap::new() };
        for (rank, rule) in rules.ranked() {
            match own(rule) {
                Side::Anyone => _ = speakers.for_anyone.insert(rank),
                Side::Named(ends) => {
                    for end in ends {
                        speakers.for_end.entry(*end).or_default().insert(rank);
                    }
                }
            }
        }
        speakers
    }

    /// Rules that speak for whom these ends name, the one that wins first.
    fn rules_for(&self, ends: &BTreeSet<EndId>) -> Vec<Rank> {
        let by_end = ends.iter().filter_map(|end| self.for_end.get(end)).flatten();
        let ranks: BTreeSet<Rank> = self.for_anyone.iter().chain(by_end).copied().collect();
        ranks.into_iter().collect()
    }
}

struct Compiler<'a> {
    rules: &'a Rules,
    identities: &'a Identities,
    senders: Speakers,
    receivers: Speakers,
    /// Indices of the peers that an end names.
    named_by: BTreeMap<EndId, Vec<usize>>,
    implicit: Vec<Match>,
    policies: BTreeMap<PolicyKey, RowId>,
    known_policies: BTreeSet<PolicyId>,
    rows: Interned<rows::Content>,
    known_rows: BTreeMap<RowSource, RowId>,
}

impl<'a> Compiler<'a> {
    fn new(rules: &'a Rules, identities: &'a Identities, previous: &Tables) -> Self {
        let mut named_by: BTreeMap<EndId, Vec<usize>> = BTreeMap::new();
        for (index, peer) in identities.peers.iter().enumerate() {
            for end in &peer.ends {
                named_by.entry(*end).or_default().push(index);
            }
        }
        let mut rows: BTreeMap<u32, rows::Content> = BTreeMap::new();
        for ((key, bits), verdict) in &previous.rows {
            let content = rows.entry(key.row.0).or_default();
            content.insert((RowKey { row: RowId(0), ..*key }, *bits), *verdict);
        }
        Self {
            rules,
            identities,
            senders: Speakers::of(rules, |rule| &rule.from),
            receivers: Speakers::of(rules, |rule| &rule.to),
            named_by,
            implicit: implicit_services().into_iter().flat_map(Service::matches).collect(),
            policies: BTreeMap::new(),
            known_policies: BTreeSet::new(),
            rows: Interned::after(rows),
            known_rows: BTreeMap::new(),
        }
    }

    fn policy(&mut self, subject: &Subject<'_>) -> PolicyId {
        let egress = self.senders.rules_for(subject.ends);
        let ingress = self.receivers.rules_for(subject.ends);
        if egress.is_empty() && ingress.is_empty() && subject.default == DefaultOf::Open {
            return PolicyId::OPEN;
        }
        let id = PolicyId::of(subject.identity, subject.default);
        if self.known_policies.insert(id) {
            self.direction((id, subject.default), Direction::Egress, &egress);
            self.direction((id, subject.default), Direction::Ingress, &ingress);
        }
        id
    }

    /// Entries of one direction: for any peer, and for those to whom other rules apply.
    fn direction(&mut self, (id, of): (PolicyId, DefaultOf), direction: Direction, ranks: &[Rank]) {
        let mut for_all = BTreeSet::new();
        let mut for_peer: BTreeMap<usize, BTreeSet<Rank>> = BTreeMap::new();
        for rank in ranks {
            let rule = self.rules.rule(*rank);
            let side = if direction == Direction::Egress { &rule.to } else { &rule.from };
            match side {
                Side::Anyone => _ = for_all.insert(*rank),
                Side::Named(ends) => {
                    for peer in ends.iter().filter_map(|end| self.named_by.get(end)).flatten() {
                        for_peer.entry(*peer).or_default().insert(*rank);
                    }
                }
            }
        }
        let default = by_default(of == DefaultOf::Open);
        let has_implicit = of == DefaultOf::ClosedWithGateway && direction == Direction::Egress;
        let identities = self.identities;
        if has_implicit {
            let hosts = identities.peers.iter().enumerate().filter(|(_, peer)| peer.is_host);
            hosts.for_each(|(index, _)| _ = for_peer.entry(index).or_default());
        }
        let any = self.row((for_all.iter().copied().collect(), false, default));
        self.policies.insert(PolicyKey::new(id, direction, Identity::ANY), any);
        for (index, own) in for_peer {
            let peer = &identities.peers[index];
            let ranks: Vec<Rank> = for_all.union(&own).copied().collect();
            let row = self.row((ranks, has_implicit && peer.is_host, default));
            if row != any {
                self.policies.insert(PolicyKey::new(id, direction, peer.identity), row);
            }
        }
    }

    fn row(&mut self, source: RowSource) -> RowId {
        if let Some(id) = self.known_rows.get(&source) {
            return *id;
        }
        let (ranks, has_implicit, default) = &source;
        let rules = ranks.iter().map(|rank| self.rules.rule(*rank));
        let mut list: Vec<Entry<'_>> = rules
            .map(|rule| Entry { verdict: rule.verdict, matches: &rule.matches, is_staged: rule.is_staged })
            .collect();
        if *has_implicit {
            list.push(Entry { verdict: by_default(true), matches: &self.implicit, is_staged: false });
        }
        let id = RowId(self.rows.id(rows::compile(&list, *default)));
        self.known_rows.insert(source, id);
        id
    }
}
