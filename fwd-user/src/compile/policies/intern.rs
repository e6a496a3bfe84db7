//! Ids for contents: the same content has the id that it had before, and no id that was in use before
//! means something else now. So what stands under an id never changes, and an edit writes only new rows.

use std::collections::{BTreeMap, BTreeSet};

/// Contents with their ids.
#[derive(Debug)]
pub(super) struct Interned<C> {
    before: BTreeMap<C, u32>,
    taken: BTreeSet<u32>,
    used: BTreeMap<C, u32>,
}

impl<C: Ord + Clone> Interned<C> {
    /// Follows what was in use before, by id.
    pub fn after(before: BTreeMap<u32, C>) -> Self {
        let taken = before.keys().copied().collect();
        // The lowest id, should one content have had several.
        let before = before.into_iter().rev().map(|(id, content)| (content, id)).collect();
        Self { before, taken, used: BTreeMap::new() }
    }

    /// The id of a content; ids count from 1.
    pub fn id(&mut self, content: C) -> u32 {
        if let Some(id) = self.used.get(&content) {
            return *id;
        }
        let id = self.before.get(&content).copied().unwrap_or_else(|| free(&self.taken));
        self.taken.insert(id);
        self.used.insert(content, id);
        id
    }

    /// What was asked for.
    pub fn into_used(self) -> impl Iterator<Item = (C, u32)> {
        self.used.into_iter()
    }
}

/// The id after the highest one, or after all the first that is free.
fn free(taken: &BTreeSet<u32>) -> u32 {
    let highest = taken.last().copied().unwrap_or(0);
    let next = highest.checked_add(1).or_else(|| (1..=u32::MAX).find(|id| !taken.contains(id)));
    next.expect("tables hold fewer contents than there are ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_keeps_its_id_and_an_id_its_content() {
        let mut first = Interned::after(BTreeMap::new());
        assert_eq!([first.id("a"), first.id("b"), first.id("a")], [1, 2, 1]);
        let before = first.into_used().map(|(content, id)| (id, content)).collect();
        let mut second = Interned::after(before);
        assert_eq!([second.id("c"), second.id("b")], [3, 2]);
        assert_eq!(second.into_used().collect::<Vec<_>>(), [("b", 2), ("c", 3)]);
    }

    #[test]
    fn after_the_last_id_the_free_ones_come() {
        let mut interned = Interned::after(BTreeMap::from([(u32::MAX, "z"), (1, "a")]));
        assert_eq!(interned.id("b"), 2);
    }
}
