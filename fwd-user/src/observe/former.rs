//! Names of objects that were deleted, for what is still told of them: the flows that they permitted, the drops that
//! are kept. The last so many of a kind.

use imbl::{OrdMap, Vector};

/// Deleted objects of a kind whose names are kept.
const KEPT: usize = 4096;

/// Copies share what is the same: there is one for each edit.
#[derive(Clone, Debug)]
pub struct Former<K: Ord, V> {
    names: OrdMap<K, V>,
    /// The longest deleted first.
    order: Vector<K>,
}

impl<K: Ord, V> Default for Former<K, V> {
    fn default() -> Self {
        Self { names: OrdMap::new(), order: Vector::new() }
    }
}

impl<K: Ord + Copy, V: Clone> Former<K, V> {
    /// Keeps the name of an object that is no more.
    pub fn remember(&mut self, id: K, name: V) {
        if self.names.insert(id, name).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }

    pub fn get(&self, id: K) -> Option<&V> {
        self.names.get(&id)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.names.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept() {
        let mut former = Former::default();
        (0..=KEPT).for_each(|n| former.remember(n, n.to_string()));
        assert_eq!(former.get(0), None);
        assert_eq!(former.get(1).map(String::as_str), Some("1"));
        former.remember(1, "again".to_owned());
        assert_eq!(former.get(1).map(String::as_str), Some("again"));
        assert_eq!(former.values().count(), KEPT);
    }
}
