//! Entries of policies: for each direction and peer the row of the rules that apply.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fwd_common::{
    id::{DefaultOf, Identity, PolicyId, RowId},
    policy::{Direction, PolicyKey},
};

use super::{
    Policies, Subject, implicit_services,
    rows::{self, Entry, by_default},
    rules::{EndId, Ends, Rank, is_meant},
};
use crate::api::text::{Match, Service};

/// What a row is made of: rules in order, the implicit services behind them or not, and the default.
type RowSource = (Vec<Rank>, bool, bool);

/// Writes entries.
pub(super) struct Compiler {
    pub policies: Policies,
    implicit: Vec<Match>,
    known: HashMap<RowSource, RowId>,
}

impl Compiler {
    pub fn new(policies: Policies) -> Self {
        let implicit = implicit_services().into_iter().flat_map(Service::matches).collect();
        Self { policies, implicit, known: HashMap::new() }
    }

    /// All entries of one direction: for any peer, and for those to whom other rules apply.
    pub fn direction(&mut self, id: PolicyId, direction: Direction) {
        let Policies { rules, peers, subjects, .. } = &self.policies;
        let Subject { ends, default } = subjects.all[&id].clone();
        let mut for_all = Vec::new();
        let mut for_peer: BTreeMap<Identity, Vec<Rank>> = BTreeMap::new();
        for rank in rules.for_own(direction, &ends) {
            let side = rules.rule(rank).peer(direction);
            if side[0] == EndId::ANYONE {
                for_all.push(rank);
                continue;
            }
            for peer in side.iter().flat_map(|end| peers.named_by(*end)) {
                for_peer.entry(peer).or_default().push(rank);
            }
        }
        in_order(&mut for_all);
        if has_implicit(default, direction) {
            peers.hosts().for_each(|peer| _ = for_peer.entry(peer).or_default());
        }
        let key = |peer| PolicyKey::new(id, direction, peer);
        let mut gone = self.peers_of(id, direction);
        let any = self.row((for_all.clone(), false, default == DefaultOf::Open));
        self.set(key(Identity::ANY), Some(any));
        gone.remove(&Identity::ANY);
        for (peer, mut ranks) in for_peer {
            ranks.extend(&for_all);
            in_order(&mut ranks);
            let row = self.peers_row(ranks, (default, direction), peer);
            if row != any {
                self.set(key(peer), Some(row));
                gone.remove(&peer);
            }
        }
        gone.into_iter().for_each(|peer| self.set(key(peer), None));
    }

    /// The entry of one peer.
    pub fn peer(&mut self, id: PolicyId, direction: Direction, peer: Identity) {
        let Policies { rules, peers, subjects, entries, .. } = &self.policies;
        let Subject { ends, default } = subjects.all[&id].clone();
        let of_peer = Ends::clone(peers.ends(peer));
        let any = entries[&PolicyKey::new(id, direction, Identity::ANY)];
        let met = of_fewer(rules.for_own(direction, &ends), rules.for_peer(direction, &of_peer));
        let applies = |rank: &Rank| {
            let rule = rules.rule(*rank);
            is_meant(rule.own(direction), &ends) && is_meant(rule.peer(direction), &of_peer)
        };
        let ranks: BTreeSet<Rank> = met.into_iter().filter(applies).collect();
        let row = self.peers_row(ranks.into_iter().collect(), (default, direction), peer);
        self.set(PolicyKey::new(id, direction, peer), (row != any).then_some(row));
    }

    /// Nothing is asked any more.
    pub fn open(&mut self, id: PolicyId) {
        for direction in Direction::ALL {
            for peer in self.peers_of(id, direction) {
                self.set(PolicyKey::new(id, direction, peer), None);
            }
        }
    }

    /// Writes an entry, or takes it out.
    pub fn set(&mut self, key: PolicyKey, row: Option<RowId>) {
        let Policies { entries, lists, .. } = &mut self.policies;
        if entries.get(&key).copied() == row {
            return;
        }
        let old = match row {
            Some(row) => {
                lists.hold(row);
                entries.insert(key, row)
            }
            None => entries.remove(&key),
        };
        old.into_iter().for_each(|row| lists.release(row));
    }

    /// What it came to.
    pub fn finish(mut self) -> Policies {
        self.policies.lists.settle();
        self.policies.see();
        self.policies
    }

    fn peers_of(&self, id: PolicyId, direction: Direction) -> BTreeSet<Identity> {
        let own = self.policies.entries.range(PolicyKey { policy: id, ..PolicyKey::default() }..);
        let own = own.map(|(key, _)| key).take_while(|key| key.policy == id);
        own.filter(|key| key.direction == direction as u8).map(|key| key.peer).collect()
    }

    fn peers_row(
        &mut self,
        ranks: Vec<Rank>,
        (default, direction): (DefaultOf, Direction),
        peer: Identity,
    ) -> RowId {
        let has_implicit = has_implicit(default, direction) && peer.is_host();
        self.row((ranks, has_implicit, default == DefaultOf::Open))
    }

    fn row(&mut self, source: RowSource) -> RowId {
        if let Some(id) = self.known.get(&source) {
            return *id;
        }
        let (ranks, has_implicit, is_open) = &source;
        let rules = ranks.iter().map(|rank| self.policies.rules.rule(*rank));
        let mut list: Vec<Entry<'_>> = rules
            .map(|rule| Entry {
                verdict: rule.verdict,
                matches: &rule.matches,
                sources: &rule.sources,
                is_staged: rule.is_staged,
            })
            .collect();
        if *has_implicit {
            let verdict = by_default(true);
            list.push(Entry { verdict, matches: &self.implicit, sources: &[], is_staged: false });
        }
        let lists = &mut self.policies.lists;
        let content = rows::compile(&list, by_default(*is_open), &mut |by_source| lists.id(by_source));
        let id = lists.id(&content);
        self.known.insert(source, id);
        id
    }
}

/// The one that wins first, each once: one rule may name somebody by several ends.
fn in_order(ranks: &mut Vec<Rank>) {
    ranks.sort_unstable();
    ranks.dedup();
}

/// Whether the implicit services are there to be reached.
pub(super) fn has_implicit(default: DefaultOf, direction: Direction) -> bool {
    default == DefaultOf::ClosedWithGateway && direction == Direction::Egress
}

/// All of what has fewer: both hold what is in both.
fn of_fewer(mut a: impl Iterator<Item = Rank>, mut b: impl Iterator<Item = Rank>) -> Vec<Rank> {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    loop {
        match (a.next(), b.next()) {
            (Some(rank), other) => {
                of_a.push(rank);
                let Some(other) = other else { return of_b };
                of_b.push(other);
            }
            (None, _) => return of_a,
        }
    }
}
