//! Ids for lists of services: the same list has the id that it had before, and no id that was in use before
//! means something else now. So what stands under an id never changes, and an edit writes only new rows.

use fwd_common::{
    id::RowId,
    policy::{RowKey, RowVerdict},
};
use imbl::{OrdMap, OrdSet};

use super::rows::Content;

/// Rows of `ROWS`, by list.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    pub rows: OrdMap<(RowKey, u32), RowVerdict>,
    /// By a hash of the list.
    known: OrdSet<(u64, RowId)>,
    /// How many entries of policies, and rows of other lists, name it.
    users: OrdMap<RowId, u32>,
    /// Those that may have none since the last [`Self::settle`].
    idle: Vec<RowId>,
}

impl Lists {
    /// Knows lists that were in use before.
    pub fn after(rows: &OrdMap<(RowKey, u32), RowVerdict>) -> Self {
        let mut lists = Self { rows: rows.clone(), ..Self::default() };
        let mut of_one: Option<(RowId, Content)> = None;
        for ((key, bits), verdict) in rows {
            if of_one.as_ref().is_none_or(|(id, _)| *id != key.row) {
                of_one.replace((key.row, Content::new())).into_iter().for_each(|(id, c)| lists.know(id, &c));
            }
            let plain = (RowKey { row: RowId(0), ..*key }, *bits);
            of_one.iter_mut().for_each(|(_, content)| _ = content.insert(plain, *verdict));
        }
        of_one.into_iter().for_each(|(id, content)| lists.know(id, &content));
        lists
    }

    /// A list that nobody names yet; it names those in which the source L4 port decides.
    fn know(&mut self, id: RowId, content: &Content) {
        self.known.insert((hash(content), id));
        self.users.entry(id).or_default();
        self.idle.push(id);
        named_by(content).for_each(|row| self.hold(row));
    }

    /// The id of a list; ids count from 1. It stays if it is held before the next [`Self::settle`].
    pub fn id(&mut self, content: &Content) -> RowId {
        let hash = hash(content);
        let alike = self.known.range((hash, RowId(0))..=(hash, RowId(u32::MAX)));
        if let Some((_, id)) = alike.copied().find(|(_, id)| self.is(*id, content)) {
            return id;
        }
        let id = self.free();
        for ((key, bits), verdict) in content {
            self.rows.insert((RowKey { row: id, ..*key }, *bits), *verdict);
        }
        self.know(id, content);
        id
    }

    /// One more entry names it.
    pub fn hold(&mut self, id: RowId) {
        *self.users.entry(id).or_default() += 1;
    }

    /// One less.
    pub fn release(&mut self, id: RowId) {
        let users = self.users.entry(id).or_default();
        *users -= 1;
        if *users == 0 {
            self.idle.push(id);
        }
    }

    /// Forgets what no entry names.
    pub fn settle(&mut self) {
        // Of a list that goes, those that it named may be idle now.
        while let Some(id) = self.idle.pop() {
            if self.users.get(&id) != Some(&0) {
                continue;
            }
            let content: Content = self.list(id).collect();
            for (key, bits) in content.keys() {
                self.rows.remove(&(RowKey { row: id, ..*key }, *bits));
            }
            self.known.remove(&(hash(&content), id));
            self.users.remove(&id);
            named_by(&content).for_each(|row| self.release(row));
        }
    }

    fn is(&self, id: RowId, content: &Content) -> bool {
        self.list(id).eq(content.iter().map(|(key, verdict)| (*key, *verdict)))
    }

    fn list(&self, id: RowId) -> impl Iterator<Item = ((RowKey, u32), RowVerdict)> {
        let first = (RowKey { row: id, ..RowKey::default() }, 0);
        let own = self.rows.range(first..).take_while(move |((key, _), _)| key.row == id);
        own.map(|((key, bits), verdict)| ((RowKey { row: RowId(0), ..*key }, *bits), *verdict))
    }

    /// The id after the highest one, or after all the first that is free.
    fn free(&self) -> RowId {
        let highest = self.users.get_max().map_or(0, |(id, _)| id.0);
        let next = highest.checked_add(1);
        let next = next.or_else(|| (1..=u32::MAX).find(|id| !self.users.contains_key(&RowId(*id))));
        RowId(next.expect("tables hold fewer lists than there are ids"))
    }
}

/// The lists that a list names, each as often as it does.
fn named_by(content: &Content) -> impl Iterator<Item = RowId> {
    content.values().filter_map(|verdict| verdict.by_source())
}

/// FNV-1a over words instead of bytes: lists that differ may be alike, and are compared then.
fn hash(content: &Content) -> u64 {
    let words = content.iter().flat_map(|((key, bits), verdict)| {
        let place = u32::from_le_bytes([key.proto.0, key.l4_port[0], key.l4_port[1], 0]);
        let actions = u32::from(verdict.action) << 16 | u32::from(verdict.staged_action);
        [place, *bits, verdict.rule.0, verdict.staged.0, actions]
    });
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use fwd_common::{id::RuleId, proto::IpProto};

    use super::*;

    fn list(rule: u32) -> Content {
        let verdict = RowVerdict::new(RuleId(rule), RowVerdict::PERMIT);
        let tcp = (RowKey::new(RowId(0), IpProto::TCP, 0), RowKey::PROTO);
        Content::from([((RowKey::default(), RowKey::ANY), verdict), (tcp, verdict)])
    }

    fn held(lists: &mut Lists, rules: &[u32]) -> Vec<u32> {
        let ids: Vec<RowId> = rules.iter().map(|rule| lists.id(&list(*rule))).collect();
        ids.iter().for_each(|id| lists.hold(*id));
        lists.settle();
        ids.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn a_list_keeps_its_id_and_an_id_its_list() {
        let mut first = Lists::default();
        assert_eq!(held(&mut first, &[7, 8, 7]), [1, 2, 1]);
        let mut second = Lists::after(&first.rows);
        assert_eq!(held(&mut second, &[9, 8]), [3, 2]);
        let rows: Vec<u32> = second.rows.keys().map(|(key, _)| key.row.0).collect();
        assert_eq!(rows, [2, 2, 3, 3]);
    }

    #[test]
    fn what_nobody_holds_any_more_goes_and_its_id_is_not_given_at_once() {
        let mut lists = Lists::default();
        held(&mut lists, &[7, 8, 8]);
        for id in [1, 2] {
            lists.release(RowId(id));
        }
        assert_eq!(lists.id(&list(9)), RowId(3));
        lists.hold(RowId(3));
        lists.settle();
        let rows: Vec<u32> = lists.rows.keys().map(|(key, _)| key.row.0).collect();
        assert_eq!(rows, [2, 2, 3, 3]);
    }

    #[test]
    fn after_the_last_id_the_free_ones_come() {
        let last = (RowKey { row: RowId(u32::MAX), ..RowKey::default() }, RowKey::ANY);
        let first = (RowKey { row: RowId(1), ..RowKey::default() }, RowKey::ANY);
        let verdict = RowVerdict::default();
        let mut lists = Lists::after(&OrdMap::from_iter([(first, verdict), (last, verdict)]));
        assert_eq!(lists.id(&list(5)), RowId(2));
    }
}
