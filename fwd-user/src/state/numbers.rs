//! Names to the numbers by which the datapath knows objects.
//!
//! Guarantees: a number is never given twice while its object lives, and is kept across restarts; a
//! deleted object's number comes back only when all others were used, so that what the kernel still holds
//! of it (flows, counters) is not taken for another's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fwd_common::{
    id::{ForwardId, NetworkId, PortId, RuleId},
    network::MAX_NETWORKS,
    port::FIRST_BY_PATTERN,
};

use imbl::OrdMap;

use crate::api::spec::Document;

/// Ports that a document has numbers for.
pub(super) const MOST_PORTS: u32 = FIRST_BY_PATTERN.0 as u32 - 1;

/// Names to numbers, and the last number that each kind gave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// VM ports by name.
    pub ports: BTreeMap<String, PortId>,
    /// Uplinks by device.
    pub uplinks: BTreeMap<String, PortId>,
    /// Networks' host ports by the network's name.
    pub host_ports: BTreeMap<String, PortId>,
    pub networks: BTreeMap<String, NetworkId>,
    pub forwards: BTreeMap<String, ForwardId>,
    /// One address for one port is a forward of all that comes to it: of the same numbers.
    pub nats: BTreeMap<String, ForwardId>,
    pub rules: OrdMap<String, RuleId>,
    pub last: Last,
}

/// The last number that each kind gave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    pub port: u32,
    pub network: u32,
    pub forward: u32,
    pub rule: u32,
}

impl Numbers {
    /// Gives every object of the document its number: those that have one keep it.
    ///
    /// # Panics
    /// If the document has more objects than there are numbers; validation has refused that before.
    pub(super) fn follow(&mut self, document: &Document) {
        let names = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
        let ports = names(document.ports.iter().map(|p| &p.name).collect());
        let uplinks = names(document.uplinks.iter().map(|u| &u.device).collect());
        let with_host = document.networks.iter().filter(|n| n.has_host_port());
        let host_ports = names(with_host.map(|n| &n.name).collect());
        for (map, wanted) in
            [(&mut self.ports, &ports), (&mut self.uplinks, &uplinks), (&mut self.host_ports, &host_ports)]
        {
            map.retain(|name, _| wanted.contains(name));
        }
        let held = [&self.ports, &self.uplinks, &self.host_ports];
        let mut used: BTreeSet<u32> = held.iter().flat_map(|m| m.values()).map(|id| id.0.into()).collect();
        for (map, wanted) in
            [(&mut self.ports, ports), (&mut self.uplinks, uplinks), (&mut self.host_ports, host_ports)]
        {
            let mut next = || PortId(take(&mut used, &mut self.last.port, MOST_PORTS) as u16);
            fill(map, wanted, &mut next);
        }
        let wanted = names(document.networks.iter().map(|n| &n.name).collect());
        self.networks.retain(|name, _| wanted.contains(name));
        let mut used: BTreeSet<u32> = self.networks.values().map(|id| id.0.into()).collect();
        let mut next = || NetworkId(take(&mut used, &mut self.last.network, MAX_NETWORKS - 1) as u16);
        fill(&mut self.networks, wanted, &mut next);
        let wanted = names(document.forwards.iter().map(|f| &f.name).collect());
        let nats = names(document.nats.iter().map(|n| &n.name).collect());
        self.forwards.retain(|name, _| wanted.contains(name));
        self.nats.retain(|name, _| nats.contains(name));
        let held = self.forwards.values().chain(self.nats.values());
        let mut used: BTreeSet<u32> = held.map(|id| id.0).collect();
        for (map, wanted) in [(&mut self.forwards, wanted), (&mut self.nats, nats)] {
            let mut next = || ForwardId(take(&mut used, &mut self.last.forward, u32::MAX));
            fill(map, wanted, &mut next);
        }
        self.follow_rules(document);
    }

    /// Rules are the many: only those that came or went cost anything here.
    fn follow_rules(&mut self, document: &Document) {
        let wanted: HashSet<&str> = document.policies.iter().map(|p| p.name.as_str()).collect();
        let gone = self.rules.keys().filter(|name| !wanted.contains(name.as_str()));
        let gone: Vec<String> = gone.cloned().collect();
        gone.iter().for_each(|name| _ = self.rules.remove(name));
        let new: BTreeSet<&str> = wanted.into_iter().filter(|name| !self.rules.contains_key(*name)).collect();
        let mut used: BTreeSet<u32> = match new.is_empty() {
            true => BTreeSet::new(),
            false => self.rules.values().map(|id| id.0).collect(),
        };
        for name in new {
            let number = take(&mut used, &mut self.last.rule, u32::MAX);
            self.rules.insert(name.to_owned(), RuleId(number));
        }
    }
}

impl Numbers {
    /// As [`Self::follow`], of one rule that came, stayed or went.
    pub(super) fn follow_rule(&mut self, name: &str, exists: bool) {
        if !exists {
            self.rules.remove(name);
        } else if !self.rules.contains_key(name) {
            let number = free(self.last.rule, u32::MAX, |n| !self.rules.values().any(|id| id.0 == n));
            self.last.rule = number;
            self.rules.insert(name.to_owned(), RuleId(number));
        }
    }

    /// Whether every object of a document has its number, and nothing else has one.
    pub fn fit(&self, document: &Document) -> bool {
        let mut followed = self.clone();
        followed.follow(document);
        followed == *self
    }

    /// The rows in which the store keeps the numbers that an object has: a kind and the number, or none
    /// where the object is gone.
    pub fn rows_of(&self, kind: &str, name: &str) -> Vec<(&'static str, Option<u32>)> {
        let port = |map: &BTreeMap<String, PortId>| map.get(name).map(|id| u32::from(id.0));
        match kind {
            "port" => vec![(PORT, port(&self.ports))],
            "uplink" => vec![(UPLINK, port(&self.uplinks))],
            "network" => vec![
                (NETWORK, self.networks.get(name).map(|id| id.0.into())),
                (HOST_PORT, port(&self.host_ports)),
            ],
            "forward" => vec![(FORWARD, self.forwards.get(name).map(|id| id.0))],
            "nat" => vec![(NAT, self.nats.get(name).map(|id| id.0))],
            "policy" => vec![(RULE, self.rules.get(name).map(|id| id.0))],
            _ => Vec::new(),
        }
    }

    /// The inverse of [`Self::rows_of`] and [`Last::rows`], by kind and name.
    ///
    /// # Errors
    /// The kind and name of a row that cannot be one.
    pub fn from_rows(rows: &BTreeMap<(String, String), u32>) -> Result<Self, (String, String)> {
        let mut numbers = Self::default();
        for ((kind, name), number) in rows {
            let wrong = || (kind.clone(), name.clone());
            let short = || u16::try_from(*number).map_err(|_| wrong());
            let name = name.clone();
            match kind.as_str() {
                PORT => _ = numbers.ports.insert(name, PortId(short()?)),
                UPLINK => _ = numbers.uplinks.insert(name, PortId(short()?)),
                HOST_PORT => _ = numbers.host_ports.insert(name, PortId(short()?)),
                NETWORK => _ = numbers.networks.insert(name, NetworkId(short()?)),
                FORWARD => _ = numbers.forwards.insert(name, ForwardId(*number)),
                NAT => _ = numbers.nats.insert(name, ForwardId(*number)),
                RULE => _ = numbers.rules.insert(name, RuleId(*number)),
                LAST => *numbers.last.of(&name).ok_or_else(wrong)? = *number,
                _ => return Err(wrong()),
            }
        }
        Ok(numbers)
    }
}

const PORT: &str = "port";
const UPLINK: &str = "uplink";
const HOST_PORT: &str = "host_port";
const NETWORK: &str = "network";
const FORWARD: &str = "forward";
const NAT: &str = "nat";
const RULE: &str = "rule";
/// Kind of the rows of [`Last`].
pub const LAST: &str = "last";

impl Last {
    /// By the kind whose numbers they are.
    pub fn rows(&self) -> [(&'static str, u32); 4] {
        [(PORT, self.port), (NETWORK, self.network), (FORWARD, self.forward), (RULE, self.rule)]
    }

    fn of(&mut self, kind: &str) -> Option<&mut u32> {
        Some(match kind {
            PORT => &mut self.port,
            NETWORK => &mut self.network,
            FORWARD => &mut self.forward,
            RULE => &mut self.rule,
            _ => return None,
        })
    }
}

fn fill<Id>(map: &mut BTreeMap<String, Id>, wanted: BTreeSet<String>, next: &mut dyn FnMut() -> Id) {
    for name in wanted {
        map.entry(name).or_insert_with(&mut *next);
    }
}

/// The next number from 1 to `max` after the last one given that nobody has.
fn take(used: &mut BTreeSet<u32>, last: &mut u32, max: u32) -> u32 {
    let number = free(*last, max, |n| !used.contains(&n));
    used.insert(number);
    *last = number;
    number
}

fn free(last: u32, max: u32, is_free: impl Fn(u32) -> bool) -> u32 {
    let after = (last..max).map(|n| n + 1);
    let found = after.chain(1..=max).find(|n| is_free(*n));
    found.expect("validation leaves room for every object")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(ports: &[u8], networks: &[u8]) -> Document {
        let json = serde_json::json!({
            "ports": ports.iter().map(|n| serde_json::json!(
                {"name": format!("p{n}"), "device": format!("t{n}"), "network": "n"})).collect::<Vec<_>>(),
            "networks": networks.iter().map(|n| serde_json::json!(
                {"name": format!("n{n}"), "mode": "nat"})).collect::<Vec<_>>(),
        });
        serde_json::from_value(json).expect("a document")
    }

    #[test]
    fn a_deleted_objects_number_comes_back_last() {
        let mut used = BTreeSet::new();
        let mut last = 0;
        let first: Vec<_> = (0..3).map(|_| take(&mut used, &mut last, 4)).collect();
        assert_eq!(first, [1, 2, 3]);
        used.remove(&2);
        assert_eq!(take(&mut used, &mut last, 4), 4);
        assert_eq!(take(&mut used, &mut last, 4), 2);
    }

    proptest! {
        /// Invariant: port numbers are unique among ports and host ports, and kept while the object lives.
        #[test]
        fn numbers_are_unique_and_kept(
            steps in proptest::collection::vec(
                (proptest::collection::btree_set(0u8..9, 0..9), proptest::collection::btree_set(0u8..4, 0..4)),
                1..8,
            ),
        ) {
            let mut numbers = Numbers::default();
            for (ports, networks) in steps {
                let (ports, networks): (Vec<_>, Vec<_>) =
                    (ports.into_iter().collect(), networks.into_iter().collect());
                let before = numbers.clone();
                numbers.follow(&document(&ports, &networks));
                prop_assert_eq!(numbers.ports.len(), ports.len());
                prop_assert_eq!(numbers.host_ports.len(), networks.len());
                let all: BTreeSet<_> = numbers.ports.values().chain(numbers.host_ports.values()).collect();
                prop_assert_eq!(all.len(), ports.len() + networks.len());
                prop_assert!(!all.contains(&PortId(0)));
                for (name, id) in &before.ports {
                    prop_assert!(numbers.ports.get(name).is_none_or(|now| now == id));
                }
            }
        }
    }
}
