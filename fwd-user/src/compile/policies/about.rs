//! Which rules say anything of a packet, in the order in which they win: what `fwd trace` tells beside the verdict
//! that the loaded rows give.

use fwd_common::{id::RuleId, policy::Direction, proto::IpProto};

use super::{
    classes::{Classes, union},
    identities,
    rules::{Ends, Rules, is_meant},
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
    /// The source L4 port.
    pub sport: u16,
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
    let rules = Rules::of(desired);
    let classes = Classes::of(&world, &rules);
    let ports = identities::of_ports(&world, &rules, &classes);
    let asked = if direction == Direction::Egress { question.from } else { question.to };
    if !matches!(asked, Party::Vm(_)) {
        return Vec::new();
    }
    let ends = |party: Party| match party {
        Party::Vm(id) => ports.get(&id).cloned().unwrap_or_default(),
        Party::Outside(addr) => at(&rules, &End::Outside, &classes.ends(addr.to_std())),
        Party::Host(addr) => at(&rules, &End::Host, &classes.ends(addr.to_std())),
    };
    let (from, to) = (ends(question.from), ends(question.to));
    let applies = rules.ranked().filter(|rule| {
        let serves = rule.matches.iter().any(|one| {
            one.proto.is_none_or(|proto| proto == question.proto)
                && (one.low..=one.high).contains(&question.service)
        });
        let comes_so = rule.sources.is_empty()
            || rule.sources.iter().any(|range| (range.low..=range.high).contains(&question.sport));
        serves && comes_so && is_meant(&rule.from, &from) && is_meant(&rule.to, &to)
    });
    applies.map(|rule| Applied { rule: rule.verdict.rule, is_staged: rule.is_staged }).collect()
}

/// The ends that name who is at a location, with an address.
fn at(rules: &Rules, location: &End, of_address: &Ends) -> Ends {
    union(of_address, &rules.id(location).into_iter().collect())
}
