//! Rules as compiling sees them: in the order in which they win, with their ends as numbers.

use std::collections::{BTreeMap, BTreeSet};

use fwd_common::{id::RuleId, policy::RowVerdict};

use crate::{
    api::{
        spec::{Action, Policy},
        text::{End, Match, Service},
    },
    compile::World,
};

/// An end that some enabled rule names, but for `any`: index into [`Rules::ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId(usize);

/// Place of a rule in [`Rules::ranked`]: the lower one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank(usize);

/// One side of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Everyone, or not given.
    Anyone,
    /// Those whom one of these ends names.
    Named(BTreeSet<EndId>),
}

/// An enabled rule. It speaks for both of its ends: for what `from` sends, and for what `to` receives.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub verdict: RowVerdict,
    pub from: Side,
    pub to: Side,
    pub matches: Vec<Match>,
    pub is_staged: bool,
}

/// All enabled rules.
pub(super) struct Rules {
    /// The higher priority wins; at equal priority deny wins over allow, then the lower number.
    ranked: Vec<Rule>,
    /// In order, each once.
    ends: Vec<End>,
}

impl Rules {
    pub fn of(world: &World<'_>) -> Self {
        let enabled = world.document.policies.iter().filter(|p| p.enabled);
        let mut policies: Vec<(RuleId, &Policy)> =
            enabled.filter_map(|p| Some((*world.numbers.rules.get(&p.name)?, p))).collect();
        policies.sort_by_key(|(id, p)| (u16::MAX - p.priority, p.action == Action::Allow, *id));
        let texts = policies.iter().flat_map(|(_, p)| p.from.iter().chain(&p.to));
        let named: BTreeSet<End> = texts.filter_map(|text| parse_end(text)).collect();
        let ends: Vec<End> = named.into_iter().collect();
        let ids: BTreeMap<&End, EndId> = ends.iter().enumerate().map(|(n, end)| (end, EndId(n))).collect();
        let ranked = policies.iter().map(|(id, policy)| rule(*id, policy, &ids)).collect();
        Self { ranked, ends }
    }

    pub fn rule(&self, rank: Rank) -> &Rule {
        &self.ranked[rank.0]
    }

    pub fn ranked(&self) -> impl Iterator<Item = (Rank, &Rule)> {
        self.ranked.iter().enumerate().map(|(n, rule)| (Rank(n), rule))
    }

    pub fn end(&self, id: EndId) -> &End {
        &self.ends[id.0]
    }

    /// The id of an end, if a rule names it.
    pub fn id(&self, end: &End) -> Option<EndId> {
        self.ends.binary_search(end).ok().map(EndId)
    }

    /// All ends that rules name.
    pub fn ends(&self) -> impl Iterator<Item = (EndId, &End)> {
        self.ends.iter().enumerate().map(|(n, end)| (EndId(n), end))
    }
}

/// `None` for `any`, which everyone is. Validation has refused what is not an end.
fn parse_end(text: &str) -> Option<End> {
    text.parse().ok().filter(|end| *end != End::Any)
}

const fn row_action(action: Action) -> u16 {
    match action {
        Action::Allow => RowVerdict::PERMIT,
        Action::Deny => RowVerdict::DENY,
        Action::Reject => RowVerdict::REJECT,
    }
}

fn rule(id: RuleId, policy: &Policy, ids: &BTreeMap<&End, EndId>) -> Rule {
    let side = |texts: &[String]| {
        let named: Option<BTreeSet<EndId>> =
            texts.iter().map(|text| ids.get(&parse_end(text)?).copied()).collect();
        named.filter(|ends| !ends.is_empty()).map_or(Side::Anyone, Side::Named)
    };
    let mut services: Vec<Service> = policy.services.iter().filter_map(|s| s.parse().ok()).collect();
    if policy.services.is_empty() {
        services.push(Service::Any);
    }
    Rule {
        verdict: RowVerdict::new(id, row_action(policy.action)),
        from: side(&policy.from),
        to: side(&policy.to),
        matches: services.into_iter().flat_map(Service::matches).collect(),
        is_staged: policy.stage,
    }
}
