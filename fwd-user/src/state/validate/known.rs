//! The names that a document has, for what refers to many of them: a search for each would take as long as the
//! product of both.

use std::collections::HashSet;

use crate::api::{
    object::{Named, Noun},
    spec::{Document, Group, Network, Port, Set},
};

/// Names by kind, of the kinds that others refer to.
pub(super) struct Known<'a> {
    networks: HashSet<&'a str>,
    ports: HashSet<&'a str>,
    groups: HashSet<&'a str>,
    sets: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    pub fn of(document: &'a Document) -> Self {
        Self {
            networks: names::<Network>(document),
            ports: names::<Port>(document),
            groups: names::<Group>(document),
            sets: names::<Set>(document),
        }
    }

    /// Whether there is such an object; no of kinds that nothing refers to.
    pub fn has(&self, noun: Noun, name: &str) -> bool {
        match noun {
            Noun::Network => self.networks.contains(name),
            Noun::Port => self.ports.contains(name),
            Noun::Group => self.groups.contains(name),
            Noun::Set => self.sets.contains(name),
            Noun::Uplink | Noun::Forward | Noun::Nat | Noun::Policy => false,
        }
    }
}

fn names<'a, T: Named + 'a>(document: &'a Document) -> HashSet<&'a str> {
    T::list(document).map(Named::name).collect()
}
