//! Rules as compiling sees them: in the order in which they win, with their ends as numbers.

use std::{collections::HashMap, sync::Arc};

use fwd_common::{
    id::RuleId,
    nat::L4Range,
    policy::{Direction, RowVerdict},
    proto::IpProto,
};
use imbl::{OrdMap, OrdSet};

use crate::{
    api::{
        spec::{Action, Policy, Tier},
        text::{End, Match, Service, parse_l4_range},
    },
    state::Desired,
};

/// Stands for an end that rules name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EndId(u32);

impl EndId {
    /// `any`, or no end given.
    pub const ANYONE: Self = Self(0);
}

/// The ends that name somebody, in order; without [`EndId::ANYONE`], which everybody is.
pub(super) type Ends = Arc<[EndId]>;

/// What decides between rules that match: the lower one wins. The operator's come first, then the higher priority; at
/// equal priority what is no permission, then the lower number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank {
    is_tenants: bool,
    late: u16,
    permits: bool,
    id: RuleId,
}

impl Rank {
    const FIRST: Self = Self { is_tenants: false, late: 0, permits: false, id: RuleId(0) };
    const LAST: Self = Self { is_tenants: true, late: u16::MAX, permits: true, id: RuleId(u32::MAX) };

    fn of(id: RuleId, policy: &Policy) -> Self {
        Self {
            is_tenants: policy.tier == Tier::Tenant,
            late: u16::MAX - policy.priority,
            permits: policy.action == Action::Allow,
            id,
        }
    }
}

/// One side of a rule: any of these, in order.
pub(super) type Side = Box<[EndId]>;

/// An enabled rule. It speaks for both of its ends: for what `from` sends, and for what `to` receives.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub verdict: RowVerdict,
    pub from: Side,
    pub to: Side,
    pub matches: Box<[Match]>,
    /// Source L4 ports; empty: every.
    pub sources: Box<[L4Range]>,
    pub is_staged: bool,
    is_logged: bool,
}

impl Rule {
    /// The side for which it speaks in a direction.
    pub fn own(&self, direction: Direction) -> &Side {
        if direction == Direction::Egress { &self.from } else { &self.to }
    }

    /// The other one.
    pub fn peer(&self, direction: Direction) -> &Side {
        if direction == Direction::Egress { &self.to } else { &self.from }
    }
}

/// Whether a side means whom these ends name.
pub(super) fn is_meant(side: &Side, ends: &Ends) -> bool {
    side[0] == EndId::ANYONE || side.iter().any(|end| ends.binary_search(end).is_ok())
}

/// An end, and how many sides of rules name it now.
#[derive(Clone, Debug)]
struct Named {
    end: Arc<End>,
    sides: u32,
}

/// Ends by their texts, of which many rules may have the same; none: everybody.
type Texts<'a> = HashMap<&'a str, Option<EndId>>;

/// All enabled rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    rules: OrdMap<Rank, Arc<Rule>>,
    ranks: OrdMap<RuleId, Rank>,
    /// Each end that was named since all was compiled.
    ids: OrdMap<Arc<End>, EndId>,
    ends: OrdMap<EndId, Named>,
    senders: OrdSet<(EndId, Rank)>,
    receivers: OrdSet<(EndId, Rank)>,
    last_end: u32,
    logged: usize,
}

impl Rules {
    pub fn of(desired: &Desired) -> Self {
        let mut rules = Self::default();
        let mut known = Texts::new();
        for policy in desired.document.policies.iter().filter(|policy| policy.enabled) {
            if let Some(id) = desired.numbers.rules.get(&policy.name) {
                rules.add(*id, policy, &mut known);
            }
        }
        rules
    }

    /// Adds a rule that is not there.
    pub fn put(&mut self, id: RuleId, policy: &Policy) -> Arc<Rule> {
        self.add(id, policy, &mut Texts::new())
    }

    fn add<'a>(&mut self, id: RuleId, policy: &'a Policy, known: &mut Texts<'a>) -> Arc<Rule> {
        let rank = Rank::of(id, policy);
        let (from, to) = (self.side(&policy.from, known), self.side(&policy.to, known));
        let rule = Arc::new(rule(id, policy, from, to));
        self.senders.extend(rule.from.iter().map(|end| (*end, rank)));
        self.receivers.extend(rule.to.iter().map(|end| (*end, rank)));
        self.ranks.insert(id, rank);
        self.rules.insert(rank, Arc::clone(&rule));
        self.logged += usize::from(rule.is_logged);
        rule
    }

    /// Takes a rule out. Its ends keep their ids until [`Self::forget`].
    pub fn remove(&mut self, id: RuleId) -> Option<Arc<Rule>> {
        let rank = self.ranks.remove(&id)?;
        let rule = self.rules.remove(&rank)?;
        for (side, speakers) in [(&rule.from, &mut self.senders), (&rule.to, &mut self.receivers)] {
            for id in side {
                speakers.remove(&(*id, rank));
                self.ends.get_mut(id).into_iter().for_each(|named| named.sides -= 1);
            }
        }
        self.logged -= usize::from(rule.is_logged);
        Some(rule)
    }

    /// In the order in which they win.
    pub fn ranked(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values().map(|rule| &**rule)
    }

    pub fn rule(&self, rank: Rank) -> &Rule {
        &self.rules[&rank]
    }

    /// Rules that speak in a direction for whom these ends name, the one that wins not always first.
    pub fn for_own<'a>(&'a self, direction: Direction, ends: &'a Ends) -> impl Iterator<Item = Rank> + 'a {
        let egress = direction == Direction::Egress;
        with_any(if egress { &self.senders } else { &self.receivers }, ends)
    }

    /// Rules that speak in a direction about whom these ends name.
    pub fn for_peer<'a>(&'a self, direction: Direction, ends: &'a Ends) -> impl Iterator<Item = Rank> + 'a {
        let egress = direction == Direction::Egress;
        with_any(if egress { &self.receivers } else { &self.senders }, ends)
    }

    pub fn end(&self, id: EndId) -> &Arc<End> {
        &self.ends[&id].end
    }

    /// The id of an end, if a rule names it.
    pub fn id(&self, end: &End) -> Option<EndId> {
        self.ids.get(end).copied().filter(|id| self.is_named(*id))
    }

    /// All ends that rules name.
    pub fn ends(&self) -> impl Iterator<Item = (EndId, &End)> {
        self.ends.iter().filter(|(_, named)| named.sides > 0).map(|(id, named)| (*id, &*named.end))
    }

    /// Whether some side of a rule names it.
    pub fn is_named(&self, id: EndId) -> bool {
        self.ends.get(&id).is_some_and(|named| named.sides > 0)
    }

    /// An end that no rule names.
    pub fn forget(&mut self, id: EndId) {
        if let Some(Named { end, .. }) = self.ends.remove(&id) {
            self.ids.remove(&end);
        }
    }

    /// Whether some rule is logged.
    pub const fn has_logged(&self) -> bool {
        self.logged > 0
    }

    fn side<'a>(&mut self, texts: &'a [String], known: &mut Texts<'a>) -> Side {
        let id_of = |text: &'a String| {
            *known.entry(text.as_str()).or_insert_with(|| parse_end(text).map(|end| self.end_id(end)))
        };
        let ids: Option<Vec<EndId>> = texts.iter().map(id_of).collect();
        let Some(mut ids) = ids.filter(|ids| !ids.is_empty()) else { return [EndId::ANYONE].into() };
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            self.ends.get_mut(id).into_iter().for_each(|named| named.sides += 1);
        }
        ids.into()
    }

    fn end_id(&mut self, end: End) -> EndId {
        if let Some(id) = self.ids.get(&end) {
            return *id;
        }
        self.last_end += 1;
        let (id, end) = (EndId(self.last_end), Arc::new(end));
        self.ids.insert(Arc::clone(&end), id);
        self.ends.insert(id, Named { end, sides: 0 });
        id
    }
}

fn with_any<'a>(speakers: &'a OrdSet<(EndId, Rank)>, ends: &'a Ends) -> impl Iterator<Item = Rank> + 'a {
    let all = [EndId::ANYONE].into_iter().chain(ends.iter().copied());
    all.flat_map(|end| speakers.range((end, Rank::FIRST)..=(end, Rank::LAST))).map(|(_, rank)| *rank)
}

/// `None` for `any`, which everyone is. Validation has refused what is not an end.
fn parse_end(text: &str) -> Option<End> {
    text.parse().ok().filter(|end| *end != End::Any)
}

const fn row_action(policy: &Policy) -> u16 {
    match policy.action {
        Action::Allow if policy.stateless => RowVerdict::PERMIT_STATELESS,
        Action::Allow => RowVerdict::PERMIT,
        Action::Deny => RowVerdict::DENY,
        Action::Reject => RowVerdict::REJECT,
    }
}

fn rule(id: RuleId, policy: &Policy, from: Side, to: Side) -> Rule {
    let services = policy.services.iter().filter_map(|text| text.parse().ok());
    let services = services.chain(policy.services.is_empty().then_some(Service::Any));
    let sources: Box<[L4Range]> =
        policy.source_l4_ports.iter().filter_map(|text| parse_l4_range(text).ok()).collect();
    // Validation has refused other protocols than those that have L4 ports.
    let is_about = |one: &Match| sources.is_empty() || one.proto.is_some_and(IpProto::has_l4_ports);
    let matches = services.flat_map(Service::matches).filter(is_about).collect();
    Rule {
        verdict: RowVerdict::new(id, row_action(policy)),
        from,
        to,
        matches,
        sources,
        is_staged: policy.stage,
        is_logged: policy.log,
    }
}
