//! Where the entry of a key is: an index of one cache line a bucket over the flow table's rows.
//!
//! A look-up takes two memory accesses that wait for each other, the bucket and the row that a word of it names. A
//! key's words lie in its first bucket, or where that had no room in its second one; which these are, nobody who does
//! not know [`HashKey`] can foresee. Rows do not move, so that whoever has found one may go on using it.
//!
//! Guarantees, whatever many CPUs do at once: no key is in twice, because who inserts holds the lock of the key's
//! first bucket; a word is emptied only by whom its row belongs to.

use crate::{addr::Address, flow::FlowKey, table::Refused};

/// Words of a bucket that name rows.
pub const WAYS: usize = 15;
/// Entries for each bucket when the table is full: at 4 of 15, of a million buckets some ten overflow.
pub const ENTRIES_PER_BUCKET: u32 = 4;
/// Rows that words can name: those of 2^23 flows.
pub const MOST_ROWS: u32 = 1 << ROW_BITS;

const ROW_BITS: u32 = 24;
/// A word that names a row: neither is empty.
const USED: u32 = 1 << 31;
/// Bits of the first word: somebody inserts; a key of this bucket is in its second one.
const LOCKED: u32 = 1;
const OVERFLOWED: u32 = 2;

/// A row of `INDEX4` and `INDEX6`: the bits above, and words, each a row's number below a part of its key's hash.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(pub [u32; 1 + WAYS]);

/// The row of `HASH_KEY`: what the hash depends on beside the key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey {
    /// One for each half of a key's words.
    pub addends: [u32; 10],
    /// Odd.
    pub multiplier: u64,
    /// Buckets less one, a power of two.
    pub mask: u32,
    pub _pad: u32,
}

/// Where a key's words may be, and what they have of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub first: u32,
    pub second: u32,
    tag: u32,
}

/// A bucket that other CPUs change at the same time.
pub trait Line {
    fn load(&self, at: usize) -> u32;
    /// Puts `new` in the place of `old`, if that is there; whether it was. A full barrier.
    fn replace(&self, at: usize, old: u32, new: u32) -> bool;
}

impl HashKey {
    /// Makes a key of random bytes, for tables of so many rows.
    #[must_use]
    pub fn new(random: [u8; 48], rows: u32) -> Self {
        let (words, _) = random.as_chunks::<4>();
        let mut key = Self::default().for_rows(rows);
        for (addend, word) in key.addends.iter_mut().zip(words) {
            *addend = u32::from_ne_bytes(*word);
        }
        let low_and_high = [words[10], words[11]].map(|word| u64::from(u32::from_ne_bytes(word)));
        key.multiplier = low_and_high[0] | low_and_high[1] << 32 | 1;
        key
    }

    /// The same numbers for tables of so many rows.
    #[must_use]
    pub const fn for_rows(self, rows: u32) -> Self {
        Self { mask: buckets(rows) - 1, ..self }
    }

    /// The place of a flow's key. NH (UMAC, RFC 4418, 5.2.2), of which two keys have the same 64 bits with a chance of
    /// 2^-32 whoever chose them, and multiply-shift. Both are linear in one address or L4 port: without the fold between
    /// them, of keys that count up too many would meet in one bucket by one random number in forty.
    #[inline(always)]
    pub fn place<A: Address>(&self, key: &FlowKey<A>) -> Place {
        let mut sum = 0_u64;
        for n in 0..FlowKey::<A>::WORDS {
            let word = key.word(n);
            let low = (word as u32).wrapping_add(self.addends[2 * n]);
            let high = ((word >> 32) as u32).wrapping_add(self.addends[2 * n + 1]);
            sum = sum.wrapping_add((low as u64).wrapping_mul(high as u64));
        }
        let hash = (sum ^ sum >> 32).wrapping_mul(self.multiplier);
        Place {
            first: (hash >> 40) as u32 & self.mask,
            second: (hash >> 18) as u32 & self.mask,
            tag: (hash >> 8) as u32 & !(MOST_ROWS - 1) | USED,
        }
    }
}

/// Buckets of a table of so many rows.
pub const fn buckets(rows: u32) -> u32 {
    let buckets = rows.div_ceil(ENTRIES_PER_BUCKET).next_power_of_two();
    if buckets == 0 { 1 } else { buckets }
}

impl Place {
    /// What names a row.
    #[inline(always)]
    const fn word(&self, row: u32) -> u32 {
        self.tag | row
    }
}

/// What `take` makes of the first row of this bucket that it takes for the key's.
#[inline(always)]
pub fn find<T>(line: &impl Line, place: &Place, mut take: impl FnMut(u32) -> Option<T>) -> Option<T> {
    for at in 1..=WAYS {
        // Of a word with another tag, more than a row's number.
        let row = line.load(at) ^ place.tag;
        if row < MOST_ROWS
            && let Some(found) = take(row)
        {
            return Some(found);
        }
    }
    None
}

/// Whether a key of this bucket may be in its second one.
#[inline(always)]
pub fn has_overflowed(line: &impl Line) -> bool {
    line.load(0) & OVERFLOWED != 0
}

/// Locks the key's first bucket; whether it did.
#[inline(always)]
pub fn try_lock(first: &impl Line) -> bool {
    let head = first.load(0);
    head & LOCKED == 0 && first.replace(0, head, head | LOCKED)
}

/// Lets the next one insert.
#[inline(always)]
pub fn unlock(first: &impl Line) {
    let head = first.load(0);
    first.replace(0, head, head & !LOCKED);
}

/// Names a row, of whose key `is` knows every row, in the first bucket, which is locked, or the second one.
///
/// # Errors
/// The key is there, or there is no room in either.
#[inline(always)]
pub fn insert(
    (first, second): (&impl Line, &impl Line),
    place: &Place,
    row: u32,
    is: impl Fn(u32) -> bool,
) -> Result<(), Refused> {
    let is_there = |row| is(row).then_some(());
    if find(first, place, is_there).is_some()
        || has_overflowed(first) && find(second, place, is_there).is_some()
    {
        return Err(Refused::Exists);
    }
    let word = place.word(row);
    if fill(first, word) {
        return Ok(());
    }
    // Said before it is so: who has missed the word here looks there.
    let head = first.load(0);
    first.replace(0, head, head | OVERFLOWED);
    if fill(second, word) { Ok(()) } else { Err(Refused::Full) }
}

/// Puts a word where there is none. Others may do so too, with other keys, of which this is the second bucket.
#[inline(always)]
fn fill(line: &impl Line, word: u32) -> bool {
    for at in 1..=WAYS {
        if line.load(at) == 0 && line.replace(at, 0, word) {
            return true;
        }
    }
    false
}

/// Takes away the word that names a row, whose owner asks for it.
#[inline(always)]
pub fn remove((first, second): (&impl Line, &impl Line), place: &Place, row: u32) {
    let word = place.word(row);
    if !empty(first, word) && has_overflowed(first) {
        empty(second, word);
    }
}

#[inline(always)]
fn empty(line: &impl Line, word: u32) -> bool {
    for at in 1..=WAYS {
        if line.load(at) == word {
            return line.replace(at, word, 0);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{addr::V4, flow::Half, id::Zone, proto::IpProto};
    use proptest::prelude::*;
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicU32, Ordering::SeqCst},
        thread,
    };

    type Cells = [AtomicU32; 1 + WAYS];

    impl Line for Cells {
        fn load(&self, at: usize) -> u32 {
            self[at].load(SeqCst)
        }
        fn replace(&self, at: usize, old: u32, new: u32) -> bool {
            self[at].compare_exchange(old, new, SeqCst, SeqCst).is_ok()
        }
    }

    /// An index over rows of which each has one key, its number's.
    struct Table {
        hash: HashKey,
        buckets: Vec<Cells>,
        keys: Vec<FlowKey<V4>>,
    }

    fn key(n: u32) -> FlowKey<V4> {
        let (sport, dport) = (n as u16, 53_u16.to_be());
        FlowKey { src: V4(n >> 16), dst: V4(9), sport, dport, zone: Zone(1), proto: IpProto::UDP, kind: 0 }
    }

    fn random(seed: u8) -> [u8; 48] {
        let mut state = u64::from(seed);
        std::array::from_fn(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
    }

    impl Table {
        /// With so many rows and buckets, row `n` with key `key_of(n)`.
        fn new(buckets: usize, rows: u32, key_of: impl Fn(u32) -> u32) -> Self {
            let hash = HashKey { mask: buckets as u32 - 1, ..HashKey::new(random(7), rows) };
            let buckets = (0..buckets).map(|_| Cells::default()).collect();
            Self { hash, buckets, keys: (0..rows).map(|n| key(key_of(n))).collect() }
        }

        fn lines(&self, key: &FlowKey<V4>) -> (&Cells, &Cells, Place) {
            let place = self.hash.place(key);
            (&self.buckets[place.first as usize], &self.buckets[place.second as usize], place)
        }

        fn is(&self, key: FlowKey<V4>) -> impl Fn(u32) -> bool {
            move |row| self.keys[row as usize] == key
        }

        fn insert(&self, row: u32) -> Result<(), Refused> {
            let key = self.keys[row as usize];
            let (first, second, place) = self.lines(&key);
            while !try_lock(first) {}
            let inserted = insert((first, second), &place, row, self.is(key));
            unlock(first);
            inserted
        }

        fn remove(&self, row: u32) {
            let (first, second, place) = self.lines(&self.keys[row as usize]);
            remove((first, second), &place, row);
        }

        fn find(&self, key: &FlowKey<V4>) -> Option<u32> {
            let (first, second, place) = self.lines(key);
            let is = |row| self.is(*key)(row).then_some(row);
            let found = find(first, &place, is);
            if found.is_none() && has_overflowed(first) { find(second, &place, is) } else { found }
        }
    }

    proptest! {
        /// Few buckets, so that first ones overflow and second ones fill up.
        #[test]
        fn what_is_in_is_found_and_nothing_else(
            steps in proptest::collection::vec((any::<bool>(), 0..120_u32), 1..600),
        ) {
            let table = Table::new(4, 120, |row| row % 40);
            let mut model = BTreeMap::new();
            for (is_insert, row) in steps {
                let number = row % 40;
                if is_insert {
                    match table.insert(row) {
                        Ok(()) => prop_assert_eq!(model.insert(number, row), None),
                        Err(Refused::Exists) => prop_assert!(model.contains_key(&number)),
                        Err(Refused::Full) => prop_assert!(model.len() >= WAYS),
                    }
                } else if model.get(&number) == Some(&row) {
                    table.remove(row);
                    model.remove(&number);
                }
                for number in 0..40 {
                    prop_assert_eq!(table.find(&key(number)), model.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn of_equal_keys_on_two_cpus_one_goes_in() {
        // Rows n and n + 500 have one key.
        let table = Table::new(64, 1000, |row| row % 500);
        for _ in 0..20 {
            let insert = |rows: std::ops::Range<u32>| {
                let table = &table;
                move || rows.filter(|row| table.insert(*row).is_ok()).collect::<Vec<_>>()
            };
            let (mine, yours) = thread::scope(|scope| {
                let (mine, yours) = (scope.spawn(insert(0..500)), scope.spawn(insert(500..1000)));
                (mine.join().expect("no panic"), yours.join().expect("no panic"))
            });
            assert_eq!(mine.len() + yours.len(), 500);
            for row in mine.into_iter().chain(yours) {
                assert_eq!(table.find(&table.keys[row as usize]), Some(row));
                table.remove(row);
            }
            assert!(table.keys.iter().all(|key| table.find(key).is_none()));
        }
    }

    #[test]
    fn a_table_takes_as_many_entries_as_it_has_rows() {
        const ROWS: u32 = 1 << 17;
        let table = Table::new(buckets(ROWS) as usize, ROWS, |row| row);
        let refused = (0..ROWS).filter(|row| table.insert(*row).is_err()).count();
        let overflowed = table.buckets.iter().filter(|bucket| has_overflowed(*bucket)).count();
        assert_eq!((refused, overflowed), (0, 0));
    }

    /// Clients that come one after the other, and L4 ports of one: at four a bucket none of ten million has more than twenty.
    #[test]
    fn keys_that_count_up_meet_no_more_often_than_others() {
        const ROWS: u32 = 1 << 14;
        for seed in 0..=u8::MAX {
            let hash = HashKey::new(random(seed), ROWS);
            for shift in [0, 8, 16] {
                let mut loads = vec![0; buckets(ROWS) as usize];
                for n in 0..ROWS {
                    loads[hash.place(&key(n.rotate_left(shift))).first as usize] += 1;
                }
                let fullest = loads.into_iter().max().unwrap_or(0);
                assert!(fullest < 24, "seed {seed}, shift {shift}: {fullest} in one bucket");
            }
        }
    }

    #[test]
    fn keys_that_differ_little_have_different_places() {
        let hash = HashKey::new(random(3), 1 << 21);
        let one = key(0x1234_5678);
        let mut places = Vec::new();
        for bit in 0..128 {
            let mut words = [one.word(0), one.word(1)];
            words[bit / 64] ^= 1 << (bit % 64);
            // SAFETY: any sixteen bytes are a key.
            let other: FlowKey<V4> = unsafe { std::mem::transmute(words) };
            places.push(hash.place(&other).first);
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 126, "{} places", places.len());
    }

    #[test]
    fn a_rows_number_fits_into_a_word_and_an_empty_word_names_none() {
        let place = HashKey::new(random(1), MOST_ROWS).place(&key(1));
        for row in [0, 1, MOST_ROWS - 1] {
            assert_ne!(place.word(row), 0);
            assert_eq!(place.word(row) ^ place.tag, row);
        }
        let empty: Cells = Default::default();
        assert_eq!(find(&empty, &place, Some), None);
        assert_eq!(size_of::<Half<V4>>() % 32, 0, "a half lies in two cache lines");
    }
}
