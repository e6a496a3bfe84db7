//! Walks a hash map by whole buckets (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6): a table of a million entries in a
//! few dozen calls instead of two million, and without starting over when an entry that the walk stands on
//! is deleted.

use std::{io, ops::ControlFlow, os::fd::BorrowedFd};

use aya::Pod;

use crate::datapath::{BatchCursor, lookup_batch};

/// Entries read by one call.
const ENTRIES: usize = 16 * 1024;
/// The kernel's own errno for "this map type has no such operation"; libc does not name it.
const ENOTSUPP: i32 = 524;

/// What [`walk`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Walked {
    Done,
    /// The kernel or the map type knows no batches; nothing was visited.
    Unsupported,
}

/// Visits the entries of a hash or an array: the visitor gets keys, and a value for each.
///
/// # Errors
/// What the kernel says of the map.
///
/// # Safety
/// `K` and `V` have the map's key and value size; the map is not per CPU.
pub unsafe fn walk<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    mut visit: impl FnMut(&[K], &[V]) -> ControlFlow<()>,
) -> io::Result<Walked> {
    let (mut keys, mut values) = (vec![K::default(); ENTRIES], vec![V::default(); ENTRIES]);
    let mut cursor: Option<BatchCursor> = None;
    loop {
        let is_first = cursor.is_none();
        // SAFETY: promised by the caller; no key of fwd is longer than a cursor.
        let (read, more) = match unsafe { lookup_batch(map, &mut cursor, &mut keys, &mut values) } {
            Ok(read) => read,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINVAL | ENOTSUPP | libc::EOPNOTSUPP) if is_first => {
                    return Ok(Walked::Unsupported);
                }
                _ => return Err(error),
            },
        };
        if (read > 0 && visit(&keys[..read], &values[..read]).is_break()) || !more {
            return Ok(Walked::Done);
        }
    }
}
