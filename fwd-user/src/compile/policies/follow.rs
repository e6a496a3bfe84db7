//! An edit of rules: what it changes is found from the rules themselves, and all else stays.

use std::{collections::BTreeSet, sync::Arc};

use fwd_common::{
    id::{Identity, PolicyId},
    policy::{Direction, PolicyKey},
};

use super::{
    Policies,
    classes::Changed,
    entries::{Compiler, has_implicit},
    rules::{EndId, Rule, Rules},
};
use crate::{api::text::End, state::EditedRules};

/// Entries to be made anew.
#[derive(Default)]
struct Concerned {
    directions: BTreeSet<(PolicyId, Direction)>,
    peers: BTreeSet<(PolicyId, Direction, Identity)>,
}

impl Policies {
    /// What rules come to after an edit of some; `None` if it tells VM ports apart otherwise than before.
    pub(in crate::compile) fn follow(&self, edited: &EditedRules<'_>) -> Option<Self> {
        let mut compiler = Compiler::new(self.clone());
        let policies = &mut compiler.policies;
        let mut touched: Vec<Arc<Rule>> = Vec::new();
        for (id, policy) in edited {
            touched.extend(policies.rules.remove(*id));
            let policy = policy.filter(|policy| policy.enabled);
            touched.extend(policy.map(|policy| policies.rules.put(*id, policy)));
        }
        let mut changed = policies.follow_ends(&self.rules, &touched)?;
        policies.classes.settle(&mut changed);
        let mut concerned = Concerned::default();
        compiler.follow_classes(&changed, &mut concerned);
        compiler.follow_rules(&touched, &mut concerned);
        for (id, direction) in &concerned.directions {
            compiler.direction(*id, *direction);
        }
        for (id, direction, peer) in &concerned.peers {
            if !concerned.directions.contains(&(*id, *direction)) && compiler.policies.is_asked(*id) {
                compiler.peer(*id, *direction, *peer);
            }
        }
        Some(compiler.finish())
    }

    /// Ends that are named for the first time, or no longer, if they are CIDRs that no VM port is in.
    fn follow_ends(&mut self, before: &Rules, touched: &[Arc<Rule>]) -> Option<Changed> {
        let named = touched.iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
        let named: BTreeSet<EndId> = named.copied().filter(|end| *end != EndId::ANYONE).collect();
        let mut changed = Changed::default();
        let mut forgotten = Vec::new();
        for id in named {
            let is_named = self.rules.is_named(id);
            if is_named == before.is_named(id) {
                forgotten.extend((!is_named).then_some(id));
                continue;
            }
            let End::Cidr(net) = **self.rules.end(id) else { return None };
            if !self.classes.takes(&net) || self.addresses.iter().any(|addr| net.contains(addr)) {
                return None;
            }
            if is_named {
                self.classes.name(&net, id, &self.rules, &mut changed);
            } else {
                self.classes.unname(&net, id, &self.rules, &mut changed);
                forgotten.push(id);
            }
        }
        forgotten.into_iter().for_each(|id| self.rules.forget(id));
        Some(changed)
    }
}

impl Compiler {
    /// Who is in a class that is gone has no entries; who is in a new one has those of the rules about them.
    fn follow_classes(&mut self, changed: &Changed, concerned: &mut Concerned) {
        let ids: Vec<PolicyId> = self.policies.subjects.all.keys().copied().collect();
        for class in &changed.gone {
            for peer in [Identity::outside(*class), Identity::host(*class)] {
                self.policies.peers.remove(peer);
                let keys = ids
                    .iter()
                    .flat_map(|id| Direction::ALL.map(|direction| PolicyKey::new(*id, direction, peer)));
                keys.for_each(|key| self.set(key, None));
            }
        }
        let Policies { rules, peers, subjects, .. } = &mut self.policies;
        for (class, ends) in &changed.new {
            for peer in peers.put_class(*class, ends, rules) {
                for direction in Direction::ALL {
                    let about = rules.for_peer(direction, peers.ends(peer));
                    let own = about.flat_map(|rank| subjects.meant(rules.rule(rank).own(direction)));
                    concerned.peers.extend(own.map(|id| (id, direction, peer)));
                }
                let all = subjects.all.iter().filter(|_| peer.is_host());
                let implicit = all.filter(|(_, s)| has_implicit(s.default, Direction::Egress));
                concerned.peers.extend(implicit.map(|(id, _)| (*id, Direction::Egress, peer)));
            }
        }
    }

    /// Whom the rules speak for has entries about whom they speak.
    fn follow_rules(&mut self, touched: &[Arc<Rule>], concerned: &mut Concerned) {
        for (rule, direction) in touched.iter().flat_map(|rule| Direction::ALL.map(|d| (rule, d))) {
            let peer = rule.peer(direction);
            for id in self.policies.subjects.meant(rule.own(direction)) {
                match (self.policies.is_asked(id), self.policies.wants_nothing(id)) {
                    (true, true) => self.open(id),
                    (false, true) => {}
                    (false, false) => concerned.directions.extend(Direction::ALL.map(|d| (id, d))),
                    (true, false) if peer[0] == EndId::ANYONE => {
                        concerned.directions.insert((id, direction));
                    }
                    (true, false) => {
                        let peers = peer.iter().flat_map(|end| self.policies.peers.named_by(*end));
                        concerned.peers.extend(peers.map(|peer| (id, direction, peer)));
                    }
                }
            }
        }
    }
}
