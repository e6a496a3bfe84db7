//! Which rules say anything of a packet, in the order in which they win: what `fwd trace` tells beside the verdict
//! that the loaded rows give.

use std::collections::BTreeSet;

use fwd_common::{id::RuleId, policy::Direction, proto::IpProto};

use super::{
    classes::Classes,
    identities::Identities,
    rules::{EndId, Rules, Side},
};
use crate::{
    api::text::End,
    compile::{Party, World},
    host::inventory::Inventory,
    state::Desired,
};

/// A packet as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub from: Party,
    pub to: Party,
    pub proto: IpProto,
    /// The L4 port; of ICMP type and code, the type first.
    pub service: u16,
}

/// A rule that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub rule: RuleId,
    /// It is told only, and decides nothing.
    pub is_staged: bool,
}

/// The enabled rules that apply to a packet where it is asked for: at its sender (egress) or at its receiver.
pub fn about(
    desired: &Desired,
    inventory: &Inventory,
    question: &Question,
    direction: Direction,
) -> Vec<Applied> {
    let world = World::new(desired, inventory);
    let rules = Rules::of(&world);
    let classes = Classes::of(&world, &rules);
    let identities = Identities::of(&world, &rules, &classes);
    let asked = if direction == Direction::Egress { question.from } else { question.to };
    if !matches!(asked, Party::Vm(_)) {
        return Vec::new();
    }
    let ends = |party: Party| ends(&rules, &classes, &identities, party);
    let (from, to) = (ends(question.from), ends(question.to));
    let names = |side: &Side, party: &BTreeSet<EndId>| match side {
        Side::Anyone => true,
        Side::Named(ends) => !ends.is_disjoint(party),
    };
    let applies = rules.ranked().map(|(_, rule)| rule).filter(|rule| {
        let serves = rule.matches.iter().any(|one| {
            one.proto.is_none_or(|proto| proto == question.proto)
                && (one.low..=one.high).contains(&question.service)
        });
        serves && names(&rule.from, &from) && names(&rule.to, &to)
    });
    applies.map(|rule| Applied { rule: rule.verdict.rule, is_staged: rule.is_staged }).collect()
}

fn ends(rules: &Rules, classes: &Classes, identities: &Identities, party: Party) -> BTreeSet<EndId> {
    let (addr, location) = match party {
        Party::Vm(id) => return identities.ports.get(&id).cloned().unwrap_or_default(),
        Party::Outside(addr) => (addr, End::Outside),
        Party::Host(addr) => (addr, End::Host),
    };
    let location = rules.ends().filter(|(_, end)| **end == location).map(|(id, _)| id);
    classes.ends(addr.to_std()).into_iter().chain(location).collect()
}
