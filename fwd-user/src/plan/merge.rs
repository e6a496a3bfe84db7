//! Two sorted tables side by side: what differs between them, in one pass over both, or over what they do not
//! share.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    iter::Peekable,
};

use imbl::{OrdMap, ordmap::DiffItem};

/// A key whose rows are not the same, with the row in each table.
pub(super) type Difference<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

/// Rows by key.
pub(super) trait Sorted {
    type Key;
    type Row;

    /// All differences from `self` to `new`, by key.
    fn differences<'a>(&'a self, new: &'a Self)
    -> impl Iterator<Item = Difference<'a, Self::Key, Self::Row>>;
}

impl<K: Ord, V: PartialEq> Sorted for BTreeMap<K, V> {
    type Key = K;
    type Row = V;

    fn differences<'a>(&'a self, new: &'a Self) -> impl Iterator<Item = Difference<'a, K, V>> {
        Merge { old: self.iter().peekable(), new: new.iter().peekable() }.filter(|(_, a, b)| a != b)
    }
}

impl<K: Ord, V: PartialEq> Sorted for OrdMap<K, V> {
    type Key = K;
    type Row = V;

    fn differences<'a>(&'a self, new: &'a Self) -> impl Iterator<Item = Difference<'a, K, V>> {
        self.diff(new).map(|item| match item {
            DiffItem::Add(key, now) => (key, None, Some(now)),
            DiffItem::Update { old: (key, before), new: (_, now) } => (key, Some(before), Some(now)),
            DiffItem::Remove(key, before) => (key, Some(before), None),
        })
    }
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
            let found: Vec<_> = old.differences(&new).collect();
            let wanted = (0u8..20).filter(|key| old.get(key) != new.get(key));
            prop_assert_eq!(found.iter().map(|(key, ..)| **key).collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
            for (key, a, b) in found {
                prop_assert_eq!((a, b), (old.get(key), new.get(key)));
            }
        }

        /// Invariant: so it is where two tables share what is the same.
        #[test]
        fn every_difference_of_tables_that_share_rows_is_found_once(
            old in proptest::collection::btree_map(0u16..2000, 0u8..3, 0..1000),
            edits in proptest::collection::vec((0u16..2000, proptest::option::of(0u8..3)), 0..30),
        ) {
            let shared: OrdMap<u16, u8> = old.clone().into_iter().collect();
            let (mut new, mut shared_new) = (old.clone(), shared.clone());
            for (key, row) in edits {
                match row {
                    Some(row) => {
                        new.insert(key, row);
                        shared_new.insert(key, row);
                    }
                    None => {
                        new.remove(&key);
                        shared_new.remove(&key);
                    }
                }
            }
            let found: Vec<_> = shared.differences(&shared_new).collect();
            prop_assert_eq!(found, old.differences(&new).collect::<Vec<_>>());
        }
    }
}
