//! Reads a hash map by whole buckets (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya does not offer: a table
//! of a million entries in a few dozen calls instead of two million, and without starting over when an
//! entry that the walk stands on is deleted.

use std::{
    io,
    ops::ControlFlow,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya::Pod;

/// Entries read by one call.
const ENTRIES: u32 = 16 * 1024;
const LOOKUP_BATCH: libc::c_long = 24;
/// The kernel's own errno for "this map type has no such operation"; libc does not name it.
const ENOTSUPP: i32 = 524;

/// The part of `union bpf_attr` that batch commands read (`linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// What [`walk`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Walked {
    Done,
    /// The kernel or the map type knows no batches; nothing was visited.
    Unsupported,
}

/// Visits a hash map's entries. Of a per-CPU map `V` is one CPU's value and `cpus` their number; else
/// `cpus` is 1. The visitor gets keys, and `cpus` values for each key.
///
/// # Errors
/// What the kernel says of the map.
pub fn walk<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cpus: usize,
    mut visit: impl FnMut(&[K], &[V]) -> ControlFlow<()>,
) -> io::Result<Walked> {
    debug_assert!(cpus == 1 || size_of::<V>().is_multiple_of(8), "the kernel pads per-CPU values to 8 bytes");
    let mut keys = Vec::<K>::with_capacity(ENTRIES as usize);
    let mut values = Vec::<V>::with_capacity(ENTRIES as usize * cpus);
    let (mut position, mut next) = (0_u64, 0_u64);
    let mut is_first = true;
    loop {
        let mut attr = BatchAttr {
            in_batch: if is_first { 0 } else { &raw const position as u64 },
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: ENTRIES,
            map_fd: map.as_raw_fd() as u32,
            ..Default::default()
        };
        let ended = match lookup_batch(&mut attr) {
            Ok(()) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::EINVAL | ENOTSUPP | libc::EOPNOTSUPP) if is_first => {
                    return Ok(Walked::Unsupported);
                }
                _ => return Err(error),
            },
        };
        let read = attr.count as usize;
        // SAFETY: the kernel wrote `count` keys and `count * cpus` values (at most what was asked for, which
        // both vectors have room for), and every bit pattern is a value of a `Pod`.
        unsafe {
            keys.set_len(read);
            values.set_len(read * cpus);
        }
        if (read > 0 && visit(&keys, &values).is_break()) || ended {
            return Ok(Walked::Done);
        }
        (position, is_first) = (next, false);
    }
}

fn lookup_batch(attr: &mut BatchAttr) -> io::Result<()> {
    // SAFETY: the attribute is as long as said; its pointers are to buffers of the caller that hold `count`
    // keys and values and outlive the call, and the kernel writes no more than that.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, std::ptr::from_mut(attr), size_of::<BatchAttr>())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_is_laid_out_as_the_kernel_reads_it() {
        assert_eq!(size_of::<BatchAttr>(), 56);
        assert_eq!(std::mem::offset_of!(BatchAttr, map_fd), 36);
    }

    #[test]
    fn what_is_no_map_is_an_error() {
        let file = std::fs::File::open("/dev/null").expect("it exists");
        let walked = walk::<u32, u32>(std::os::fd::AsFd::as_fd(&file), 1, |_, _| ControlFlow::Continue(()));
        assert!(!matches!(walked, Ok(Walked::Done)));
    }
}
