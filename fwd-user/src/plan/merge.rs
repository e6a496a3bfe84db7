//! Two sorted tables side by side: what differs between them, in one pass over both.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    iter::Peekable,
};

/// A key whose rows are not the same, with the row in each table.
pub(super) type Difference<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

/// All differences, by key.
pub(super) fn differences<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = Difference<'a, K, V>> {
    Merge { old: old.iter().peekable(), new: new.iter().peekable() }.filter(|(_, a, b)| a != b)
}

struct Merge<'a, K, V> {
    old: Peekable<btree_map::Iter<'a, K, V>>,
    new: Peekable<btree_map::Iter<'a, K, V>>,
}

impl<'a, K: Ord, V> Iterator for Merge<'a, K, V> {
    type Item = Difference<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.old.peek(), self.new.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let old = if order == Ordering::Greater { None } else { self.old.next() };
        let new = if order == Ordering::Less { None } else { self.new.next() };
        let (key, _) = old.or(new)?;
        Some((key, old.map(|(_, row)| row), new.map(|(_, row)| row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Invariant: exactly the keys whose rows differ, each once and in order.
        #[test]
        fn every_difference_is_found_once(
            old in proptest::collection::btree_map(0u8..20, 0u8..3, 0..20),
            new in proptest::collection::btree_map(0u8..20, 0u8..3, 0..20),
        ) {
            let found: Vec<_> = differences(&old, &new).collect();
            let wanted = (0u8..20).filter(|key| old.get(key) != new.get(key));
            prop_assert_eq!(found.iter().map(|(key, ..)| **key).collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
            for (key, a, b) in found {
                prop_assert_eq!((a, b), (old.get(key), new.get(key)));
            }
        }
    }
}
