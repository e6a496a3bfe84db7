//! Inserting and deleting the two entries of a flow, safe against another CPU that does the same.
//!
//! The steps run over a [`PairTable`], so the order that the kernel uses is the order that the tests
//! interleave. Guarantees, whatever the interleaving: two live flows never share a key; an entry that
//! stays has its partner; what a loser inserted is gone again.

/// Why a table refused an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key is there.
    Exists,
    /// No room.
    Full,
}

/// One direction of the flow to be inserted.
pub trait PairTable {
    type Key: Copy + Ord;
    type Entry;

    /// Inserts where the key is not there yet.
    fn insert(&mut self, key: &Self::Key, entry: &Self::Entry) -> Result<(), Refused>;
    /// Whether the entry at `key` has `partner` as its partner's key.
    fn names(&self, key: &Self::Key, partner: &Self::Key) -> bool;
    fn delete(&mut self, key: &Self::Key);
    /// Marks the entry at `key` dead, if it is alive: `true` for exactly one caller.
    fn kill(&mut self, key: &Self::Key) -> bool;
}

/// What became of [`insert_pair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Both entries are in.
    Won,
    /// Another CPU is inserting, or deleting, this very pair: the caller's decision holds for its packet.
    Adopted,
    /// Another CPU admitted this flow with another translation: use its entry.
    Lost,
    /// The reply's tuple belongs to another flow.
    Taken,
    Full,
}

/// Inserts both directions. Of a translated flow the reply goes in first, for that is the reservation of
/// its L4 port; else the smaller key does, for each CPU's reply may be the other's original.
#[inline(always)]
pub fn insert_pair<T: PairTable>(
    table: &mut T,
    original: (&T::Key, &T::Entry),
    reply: (&T::Key, &T::Entry),
    translated: bool,
) -> Inserted {
    if translated || *reply.0 < *original.0 {
        insert_ordered(table, reply, original, translated)
    } else {
        insert_ordered(table, original, reply, translated)
    }
}

#[inline(always)]
fn insert_ordered<T: PairTable>(
    table: &mut T,
    first: (&T::Key, &T::Entry),
    second: (&T::Key, &T::Entry),
    translated: bool,
) -> Inserted {
    match table.insert(first.0, first.1) {
        Ok(()) => {}
        Err(Refused::Full) => return Inserted::Full,
        Err(Refused::Exists) if table.names(first.0, second.0) => return Inserted::Adopted,
        Err(Refused::Exists) => return Inserted::Taken,
    }
    let refused = match table.insert(second.0, second.1) {
        Ok(()) => return Inserted::Won,
        Err(refused) => refused,
    };
    let inserted = match refused {
        Refused::Full => Inserted::Full,
        // It is being deleted: what went in first had gone already.
        Refused::Exists if table.names(second.0, first.0) => Inserted::Adopted,
        Refused::Exists if translated => Inserted::Lost,
        Refused::Exists => Inserted::Taken,
    };
    table.delete(first.0);
    inserted
}

/// Deletes both directions; `true` for the one caller that did, which then gives back what the flow held.
/// The reply goes first: while the original stands, nobody else can take the pair for gone.
#[inline(always)]
pub fn delete_pair<T: PairTable>(table: &mut T, original: &T::Key, reply: &T::Key) -> bool {
    if !table.kill(original) {
        return false;
    }
    if table.names(reply, original) {
        table.delete(reply);
    }
    table.delete(original);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        collections::{BTreeMap, VecDeque},
        sync::{Condvar, Mutex},
        thread,
    };

    /// A direction of a flow that names its partner, and whether somebody is deleting it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Half {
        partner: u8,
        is_dead: bool,
    }

    #[derive(Default)]
    struct State {
        rows: BTreeMap<u8, Half>,
        /// Whose step is next.
        schedule: VecDeque<usize>,
        has_ended: [bool; 2],
    }

    /// One table, whose two CPUs take their steps in a given order.
    #[derive(Default)]
    struct Shared {
        state: Mutex<State>,
        turn: Condvar,
    }

    struct Cpu<'a> {
        shared: &'a Shared,
        id: usize,
    }

    impl Cpu<'_> {
        fn step<R>(&self, act: impl FnOnce(&mut BTreeMap<u8, Half>) -> R) -> R {
            let mut state = self.shared.state.lock().expect("no test panics in a step");
            while let Some(&who) = state.schedule.front()
                && who != self.id
            {
                if state.has_ended[who] {
                    state.schedule.pop_front();
                } else {
                    state = self.shared.turn.wait(state).expect("no test panics in a step");
                }
            }
            state.schedule.pop_front();
            let done = act(&mut state.rows);
            self.shared.turn.notify_all();
            done
        }
    }

    impl Drop for Cpu<'_> {
        fn drop(&mut self) {
            self.shared.state.lock().expect("no test panics in a step").has_ended[self.id] = true;
            self.shared.turn.notify_all();
        }
    }

    impl PairTable for Cpu<'_> {
        type Key = u8;
        type Entry = u8;

        fn insert(&mut self, key: &u8, partner: &u8) -> Result<(), Refused> {
            self.step(|rows| {
                if rows.contains_key(key) {
                    return Err(Refused::Exists);
                }
                rows.insert(*key, Half { partner: *partner, is_dead: false });
                Ok(())
            })
        }
        fn names(&self, key: &u8, partner: &u8) -> bool {
            self.step(|rows| rows.get(key).is_some_and(|half| half.partner == *partner))
        }
        fn delete(&mut self, key: &u8) {
            self.step(|rows| rows.remove(key));
        }
        fn kill(&mut self, key: &u8) -> bool {
            self.step(|rows| {
                rows.get_mut(key).is_some_and(|half| !std::mem::replace(&mut half.is_dead, true))
            })
        }
    }

    /// What one CPU does.
    #[derive(Clone, Copy)]
    enum Task {
        Insert { original: u8, reply: u8, translated: bool },
        Delete { original: u8, reply: u8 },
    }

    /// Runs both tasks over a table, in the order of a schedule; what they came to, and the table.
    fn run(
        rows: &[(u8, u8)],
        tasks: [Task; 2],
        schedule: &[usize],
    ) -> ([Option<Inserted>; 2], BTreeMap<u8, u8>) {
        let shared = Shared::default();
        {
            let mut state = shared.state.lock().expect("nobody else has it yet");
            state.rows = rows.iter().map(|&(key, partner)| (key, Half { partner, is_dead: false })).collect();
            state.schedule = schedule.iter().copied().collect();
        }
        let results = thread::scope(|scope| {
            let cpus = [0, 1].map(|id| {
                let mut cpu = Cpu { shared: &shared, id };
                scope.spawn(move || match tasks[id] {
                    Task::Insert { original, reply, translated } => {
                        Some(insert_pair(&mut cpu, (&original, &reply), (&reply, &original), translated))
                    }
                    Task::Delete { original, reply } => {
                        delete_pair(&mut cpu, &original, &reply);
                        None
                    }
                })
            });
            cpus.map(|cpu| cpu.join().expect("no step panics"))
        });
        let state = shared.state.into_inner().expect("no step panics");
        (results, state.rows.iter().map(|(key, half)| (*key, half.partner)).collect())
    }

    fn schedules() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(0..2_usize, 0..12)
    }

    fn is_whole(rows: &BTreeMap<u8, u8>) -> bool {
        rows.iter().all(|(key, partner)| rows.get(partner) == Some(key))
    }

    const A: u8 = 1;
    const B: u8 = 2;
    const C: u8 = 3;

    proptest! {
        #[test]
        fn one_flow_at_two_cpus_is_one_pair(schedule in schedules(), translated: bool) {
            let task = Task::Insert { original: B, reply: A, translated };
            let (results, rows) = run(&[], [task; 2], &schedule);
            prop_assert_eq!(rows, BTreeMap::from([(A, B), (B, A)]));
            prop_assert_eq!(results.iter().filter(|r| **r == Some(Inserted::Won)).count(), 1);
            prop_assert!(results.contains(&Some(Inserted::Adopted)));
        }

        #[test]
        fn both_ends_that_open_at_once_share_one_pair(schedule in schedules()) {
            let there = Task::Insert { original: A, reply: B, translated: false };
            let back = Task::Insert { original: B, reply: A, translated: false };
            let (results, rows) = run(&[], [there, back], &schedule);
            prop_assert_eq!(rows, BTreeMap::from([(A, B), (B, A)]));
            prop_assert_eq!(results.iter().filter(|r| **r == Some(Inserted::Won)).count(), 1);
        }

        #[test]
        fn a_translation_has_one_owner(schedule in schedules()) {
            let mine = Task::Insert { original: A, reply: C, translated: true };
            let yours = Task::Insert { original: B, reply: C, translated: true };
            let (results, rows) = run(&[], [mine, yours], &schedule);
            prop_assert!(is_whole(&rows) && rows.len() == 2, "{:?}", rows);
            prop_assert!(results.contains(&Some(Inserted::Won)) && results.contains(&Some(Inserted::Taken)));
        }

        #[test]
        fn a_flow_gets_one_of_two_translations(schedule in schedules()) {
            let first = Task::Insert { original: A, reply: B, translated: true };
            let second = Task::Insert { original: A, reply: C, translated: true };
            let (results, rows) = run(&[], [first, second], &schedule);
            prop_assert!(is_whole(&rows) && rows.len() == 2, "{:?}", rows);
            prop_assert!(results.contains(&Some(Inserted::Won)) && results.contains(&Some(Inserted::Lost)));
        }

        #[test]
        fn a_pair_deleted_twice_is_gone(schedule in schedules()) {
            let task = Task::Delete { original: A, reply: B };
            let (_, rows) = run(&[(A, B), (B, A)], [task; 2], &schedule);
            prop_assert_eq!(rows, BTreeMap::new());
        }

        #[test]
        fn what_is_deleted_while_it_is_inserted_leaves_no_half(schedule in schedules(), translated: bool) {
            let delete = Task::Delete { original: B, reply: A };
            let insert = Task::Insert { original: B, reply: A, translated };
            let (_, rows) = run(&[(A, B), (B, A)], [delete, insert], &schedule);
            prop_assert!(is_whole(&rows), "{:?}", rows);
        }
    }
}
