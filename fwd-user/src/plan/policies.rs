//! Which policies decide otherwise about somebody: a row is what it was for as long as its id is, so flows that are
//! decided by the same rows as before need not be decided anew.
//!
//! A policy names outsiders by the class of their address. Where an edit is the first to name a CIDR, or the last, that
//! is a class which comes or goes, and each policy that tells outside from VMs has an entry for it that comes or goes:
//! nothing changes for anybody by that alone.

use std::collections::BTreeSet;

use fwd_common::{
    addr::Ip,
    id::{ClassId, Identity, PolicyId},
    policy::{Direction, PolicyKey},
};

use super::{concerned::changed, merge::Sorted as _};
use crate::compile::Tables;

/// Of more address ranges than these it is not asked whom they concern: all policies are concerned.
const FEW: usize = 64;

/// Policies by which somebody's packets are decided by another row.
pub(super) fn concerned(old: &Tables, new: &Tables) -> BTreeSet<PolicyId> {
    let mut policies = BTreeSet::new();
    let mut about_classes = Vec::new();
    for (key, ..) in changed(&old.policies, &new.policies) {
        match key.peer.class() {
            Some(class) => about_classes.push((*key, class)),
            None => _ = policies.insert(key.policy),
        }
    }
    let ranges: Vec<(Ip, u32)> = old
        .classes
        .differences(&new.classes)
        .map(|((key, bits), ..)| (key.addr, *bits))
        .take(FEW + 1)
        .collect();
    about_classes.retain(|(key, _)| !policies.contains(&key.policy));
    if ranges.is_empty() {
        policies.extend(about_classes.iter().map(|(key, _)| key.policy));
        return policies;
    }
    let asked = new.views.values().map(|view| view.policy).filter(|policy| *policy != PolicyId::OPEN);
    let asked: BTreeSet<PolicyId> = asked.collect();
    if ranges.len() > FEW {
        policies.extend(asked);
        return policies;
    }
    let classes: BTreeSet<ClassId> = about_classes.iter().map(|(_, class)| *class).collect();
    let [before, after] = [old, new].map(|tables| in_use(tables, &classes));
    let has_moved = |(key, class): &(PolicyKey, ClassId)| {
        before.contains(class) && after.contains(class) && old.row_for(*key) != new.row_for(*key)
    };
    policies.extend(about_classes.iter().filter(|entry| has_moved(entry)).map(|(key, _)| key.policy));
    let moves: BTreeSet<[ClassId; 2]> =
        ranges.iter().map(|range| [old, new].map(|tables| tables.class_of_range(*range))).collect();
    let decides_otherwise =
        |policy: &PolicyId| moves.iter().any(|classes| is_otherwise([old, new], *policy, *classes));
    policies.extend(asked.into_iter().filter(decides_otherwise));
    policies
}

/// Those of the classes that an address may have.
fn in_use(tables: &Tables, classes: &BTreeSet<ClassId>) -> BTreeSet<ClassId> {
    let named = tables.classes.values().filter(|class| classes.contains(class)).copied();
    // The class of what no CIDR is about.
    named.chain([ClassId(0)]).collect()
}

/// Whether a policy decides about a class in the first tables by another row than about one in the second.
fn is_otherwise(tables: [&Tables; 2], policy: PolicyId, classes: [ClassId; 2]) -> bool {
    let row = |n: usize, direction, peer: fn(ClassId) -> Identity| {
        tables[n].row_for(PolicyKey::new(policy, direction, peer(classes[n])))
    };
    Direction::ALL.into_iter().any(|direction| {
        let peers: [fn(ClassId) -> Identity; 2] = [Identity::outside, Identity::host];
        peers.into_iter().any(|peer| row(0, direction, peer) != row(1, direction, peer))
    })
}
