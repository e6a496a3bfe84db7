//! One map with typed rows. Every error names the map.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::{Pod, maps::MapInfo};

use super::{
    error::{Error, Result},
    pins::Pins,
    sys::{self, BatchCursor},
};

/// A pinned map whose keys are `K` and whose values are `V`.
///
/// Invariant: the map's key and value size are those of `K` and `V` (checked by [`Table::open`]).
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    capacity: u32,
    rows: PhantomData<(K, V)>,
}

/// Key of a longest-prefix map: how many bits of `data` count.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefix<K> {
    pub bits: u32,
    pub data: K,
}

// SAFETY: a u32 and plain data without padding between or behind them.
unsafe impl<K: Pod> Pod for Prefix<K> {}

/// Rows read by one batched call; a hash bucket larger than this is rare, and makes the next call larger.
const BATCH: usize = 4096;

impl<K: Pod + Default, V: Pod + Default> Table<K, V> {
    /// # Errors
    /// If the map is not pinned, or its rows are not of these sizes.
    pub fn open(pins: &Pins, name: &'static str) -> Result<Self> {
        let (fd, info) = pins.open_map(name)?;
        Self::of(name, fd, &info)
    }

    /// A map by its descriptor, with what the kernel says of it.
    ///
    /// # Errors
    /// If its rows are not of these sizes.
    pub(super) fn of(name: &'static str, fd: OwnedFd, info: &MapInfo) -> Result<Self> {
        for (what, pinned, wanted) in [
            ("the key size", info.key_size(), size_of::<K>()),
            ("the value size", info.value_size(), size_of::<V>()),
        ] {
            if pinned as usize != wanted {
                let map = name.to_owned();
                return Err(Error::MapDiffers { map, what, pinned, wanted: wanted as u32 });
            }
        }
        Ok(Self { name, fd, capacity: info.max_entries(), rows: PhantomData })
    }

    /// How many rows it can hold.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The row at `key`, if there is one; of a longest-prefix map the best match.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        // SAFETY: by the type's invariant.
        match unsafe { sys::lookup(self.fd(), key) } {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(self.error("reading", source)),
        }
    }

    /// Writes a row, over the one that is there.
    pub fn put(&self, key: &K, value: &V) -> Result<()> {
        // SAFETY: by the type's invariant.
        unsafe { sys::update(self.fd(), key, value) }.map_err(|source| match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => Error::MapFull { map: self.name, capacity: self.capacity },
            _ => self.error("writing", source),
        })
    }

    /// Deletes a row; one that is not there is as good as deleted.
    pub fn delete(&self, key: &K) -> Result<()> {
        // SAFETY: by the type's invariant.
        match unsafe { sys::delete(self.fd(), key) } {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(self.error("deleting", e)),
            _ => Ok(()),
        }
    }

    /// Writes many rows by few calls.
    pub fn put_all(&self, rows: &[(K, V)]) -> Result<()> {
        for rows in rows.chunks(BATCH) {
            let (keys, values): (Vec<K>, Vec<V>) = rows.iter().copied().unzip();
            // SAFETY: by the type's invariant.
            match unsafe { sys::write_batch(self.fd(), &keys, Some(&values)) } {
                Ok(()) => {}
                // What it was is told by the row itself; and a kernel that has no such call writes them one by one.
                Err(_) => rows.iter().try_for_each(|(key, value)| self.put(key, value))?,
            }
        }
        Ok(())
    }

    /// Deletes many rows by few calls; those that are not there are as good as deleted.
    pub fn delete_all(&self, keys: &[K]) -> Result<()> {
        for keys in keys.chunks(BATCH) {
            // SAFETY: by the type's invariant.
            match unsafe { sys::write_batch::<K, V>(self.fd(), keys, None) } {
                Ok(()) => {}
                // As above.
                Err(_) => keys.iter().try_for_each(|key| self.delete(key))?,
            }
        }
        Ok(())
    }

    /// All rows; those of an array include the ones never written. Rows that change meanwhile may be missed
    /// or come twice.
    pub fn rows(&self) -> Result<Vec<(K, V)>> {
        match self.rows_by_batch() {
            Err(e) if [libc::EINVAL, libc::EOPNOTSUPP, ENOTSUPP].map(Some).contains(&e.raw_os_error()) => {
                self.rows_one_by_one().map_err(|source| self.error("reading", source))
            }
            rows => rows.map_err(|source| self.error("reading", source)),
        }
    }

    /// All keys; of a per-CPU map too.
    pub(super) fn keys(&self) -> Result<Vec<K>> {
        let mut keys = Vec::new();
        loop {
            // SAFETY: by the type's invariant.
            match unsafe { sys::next_key(self.fd(), keys.last()) } {
                Ok(key) => keys.push(key),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(keys),
                Err(source) => return Err(self.error("reading", source)),
            }
        }
    }

    fn rows_by_batch(&self) -> io::Result<Vec<(K, V)>> {
        let mut batch = BATCH.min(self.capacity as usize);
        let (mut keys, mut values) = (vec![K::default(); batch], vec![V::default(); batch]);
        let mut cursor: Option<BatchCursor> = None;
        let mut rows = Vec::new();
        loop {
            // SAFETY: by the type's invariant; no key of fwd is longer than a cursor.
            match unsafe { sys::lookup_batch(self.fd(), &mut cursor, &mut keys, &mut values) } {
                Ok((count, more)) => {
                    rows.extend(keys[..count].iter().copied().zip(values[..count].iter().copied()));
                    if !more {
                        return Ok(rows);
                    }
                }
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && batch < self.capacity as usize => {
                    batch *= 2;
                    keys.resize(batch, K::default());
                    values.resize(batch, V::default());
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn rows_one_by_one(&self) -> io::Result<Vec<(K, V)>> {
        let mut rows = Vec::new();
        let mut last: Option<K> = None;
        loop {
            // SAFETY: by the type's invariant.
            match unsafe { sys::next_key(self.fd(), last.as_ref()) } {
                Ok(key) => last = Some(key),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(rows),
                Err(e) => return Err(e),
            }
            let key = last.expect("it was set just now");
            // SAFETY: by the type's invariant.
            match unsafe { sys::lookup(self.fd(), &key) } {
                Ok(value) => rows.push((key, value)),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::Map { map: self.name, action, source }
    }
}

/// The kernel's own "not supported", which is not in libc.
const ENOTSUPP: i32 = 524;
