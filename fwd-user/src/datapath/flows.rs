//! A family's flow table as user space sees it: rows, and the index by which they are found. The running datapath's
//! is read only; of the datapath's own instance for a trace it is filled, too.

use std::os::fd::OwnedFd;

use aya::{Pod, maps::MapInfo};
use fwd_common::{
    addr::Address,
    flow::{FlowEntry, FlowKey, Half},
    index::{self, Bucket, HashKey, Line},
    map,
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    error::{Error, Result},
    pins::Pins,
    table::Table,
};

/// Both directions of a flow, the original one first.
pub type Rows<A> = [Half<A>; 2];

/// The maps of a flow table.
#[derive(Debug)]
pub struct FlowTable<A> {
    halves: Table<u32, Half<A>>,
    index: Table<u32, Bucket>,
    key: HashKey,
}

/// A bucket as it was read, of which nobody else knows.
struct Copy(std::cell::RefCell<Bucket>);

impl Line for Copy {
    fn load(&self, at: usize) -> u32 {
        self.0.borrow().0[at]
    }
    fn replace(&self, at: usize, old: u32, new: u32) -> bool {
        let word = &mut self.0.borrow_mut().0[at];
        let is_there = *word == old;
        if is_there {
            *word = new;
        }
        is_there
    }
}

impl<A: Address + Pod> FlowTable<A> {
    const FLOWS: &'static str = if A::IS_V6 { map::FLOWS6 } else { map::FLOWS4 };
    const INDEX: &'static str = if A::IS_V6 { map::INDEX6 } else { map::INDEX4 };

    /// By the descriptors of its maps, each by name.
    ///
    /// # Errors
    /// If one is not there, or its rows are of another size.
    pub fn open(open: impl Fn(&'static str) -> Result<(OwnedFd, MapInfo)>) -> Result<Self> {
        let key: Table<u32, HashKey> = table(map::HASH_KEY, &open)?;
        Ok(Self {
            halves: table(Self::FLOWS, &open)?,
            index: table(Self::INDEX, &open)?,
            key: key.get(&0)?.unwrap_or_default(),
        })
    }

    /// Both directions of a flow, if this is the key of one of them.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn flow(&self, key: &FlowKey<A>) -> Result<Option<Rows<A>>> {
        let place = self.key.place(key);
        for number in [place.first, place.second] {
            let bucket = Copy(self.index.get(&number)?.unwrap_or_default().into());
            let mut rows = Vec::new();
            index::find(&bucket, &place, |row| -> Option<()> {
                rows.push(row);
                None
            });
            for row in rows {
                let original = row & !1;
                let (Some(first), Some(second)) =
                    (self.halves.get(&original)?, self.halves.get(&(original + 1))?)
                else {
                    continue;
                };
                if [first, second][(row & 1) as usize].key == *key {
                    return Ok(Some([first, second]));
                }
            }
            if !index::has_overflowed(&bucket) {
                break;
            }
        }
        Ok(None)
    }

    /// One direction.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn entry(&self, key: &FlowKey<A>) -> Result<Option<FlowEntry<A>>> {
        let flow = self.flow(key)?;
        Ok(flow.and_then(|halves| halves.into_iter().find(|half| half.key == *key)).map(|half| half.entry))
    }

    /// All flows. Only of a small table.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn flows(&self) -> Result<Vec<Rows<A>>> {
        let halves: Vec<_> = self.halves.rows()?.into_iter().map(|(_, half)| half).collect();
        let (pairs, _) = halves.as_chunks::<2>();
        Ok(pairs.iter().filter(|pair| pair[0].is_live != 0).copied().collect())
    }

    /// Makes these the flows, in the first slots. Only where no program runs meanwhile.
    ///
    /// # Errors
    /// If they do not fit, or a map cannot be written.
    pub fn refill(&self, flows: &[Rows<A>]) -> Result<()> {
        for (number, bucket) in self.index.rows()? {
            if bucket != Bucket::default() {
                self.index.put(&number, &Bucket::default())?;
            }
        }
        let mut written: Vec<Half<A>> = Vec::new();
        for half in flows.iter().flatten() {
            let row = written.len() as u32;
            let place = self.key.place(&half.key);
            let read = |number| self.index.get(number).map(|bucket| Copy(bucket.unwrap_or_default().into()));
            let (first, second) = (read(&place.first)?, read(&place.second)?);
            let is = |other| written.get(other as usize).is_some_and(|other: &Half<A>| other.key == half.key);
            index::insert((&first, &second), &place, row, is)
                .map_err(|_| Error::MapFull { map: Self::INDEX, capacity: self.index.capacity() })?;
            // The first one last: it may be the second one, too.
            self.index.put(&place.second, &second.0.into_inner())?;
            self.index.put(&place.first, &first.0.into_inner())?;
            written.push(Half { row, is_live: 1, ..*half });
        }
        let capacity = self.halves.capacity();
        for row in 0..capacity {
            let half = written.get(row as usize).copied();
            if half.is_some() || self.halves.get(&row)?.is_some_and(|half| half.is_live != 0) {
                self.halves.put(&row, &half.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

/// Writes the random numbers on which places in the indexes depend, if there are none yet.
///
/// # Errors
/// If the kernel has none, or the map cannot be written.
pub fn make_key(pins: &Pins) -> Result<()> {
    let keys: Table<u32, HashKey> = Table::open(pins, map::HASH_KEY)?;
    if keys.get(&0)?.is_some_and(|key| key.multiplier != 0) {
        return Ok(());
    }
    let mut random = [0; 48];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|e| Error::Map {
        map: map::HASH_KEY,
        action: "making it",
        source: e.into(),
    })?;
    let (_, flows) = pins.open_map(map::FLOWS4)?;
    keys.put(&0, &HashKey::new(random, flows.max_entries()))
}

fn table<K: Pod + Default, V: Pod + Default>(
    name: &'static str,
    open: impl Fn(&'static str) -> Result<(OwnedFd, MapInfo)>,
) -> Result<Table<K, V>> {
    let (fd, info) = open(name)?;
    Table::of(name, fd, &info)
}
