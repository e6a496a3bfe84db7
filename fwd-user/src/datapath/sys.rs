//! bpf(2) where aya stops: links by ifindex with their state, batched look-ups, program runs by descriptor.
//!
//! Guarantees: what comes back is owned or plain data; every descriptor closes on drop. Deliberately not
//! here: loading programs and creating maps, which aya does.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{
    BPF_F_AFTER, BPF_F_BEFORE, XDP_FLAGS_DRV_MODE,
    bpf_attach_type::{BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_XDP},
    bpf_cmd::{self, *},
    bpf_link_type::{BPF_LINK_TYPE_TCX, BPF_LINK_TYPE_XDP},
};

/// Where on a device a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// XDP, in the driver.
    Xdp,
    /// TCX, towards the host.
    Ingress,
    /// TCX, out of the host.
    Egress,
    /// The same of a device whose packets have no Ethernet header.
    TunnelIngress,
    TunnelEgress,
}

impl Point {
    pub const ALL: [Self; 5] =
        [Self::Xdp, Self::Ingress, Self::Egress, Self::TunnelIngress, Self::TunnelEgress];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::TunnelIngress => "tunnel-ingress",
            Self::TunnelEgress => "tunnel-egress",
        }
    }

    /// The point of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }

    /// Whether it is what the host sends that is met here.
    pub const fn is_egress(self) -> bool {
        matches!(self, Self::Egress | Self::TunnelEgress)
    }

    const fn attach_type(self) -> u32 {
        match self {
            Self::Xdp => BPF_XDP as u32,
            Self::Ingress | Self::TunnelIngress => BPF_TCX_INGRESS as u32,
            Self::Egress | Self::TunnelEgress => BPF_TCX_EGRESS as u32,
        }
    }

    const fn link_type(self) -> u32 {
        match self {
            Self::Xdp => BPF_LINK_TYPE_XDP as u32,
            _ => BPF_LINK_TYPE_TCX as u32,
        }
    }

    /// Before the programs of others on the way in, after them on the way out; XDP in the driver only.
    const fn flags(self) -> u32 {
        match self {
            Self::Xdp => XDP_FLAGS_DRV_MODE,
            Self::Ingress | Self::TunnelIngress => BPF_F_BEFORE,
            Self::Egress | Self::TunnelEgress => BPF_F_AFTER,
        }
    }
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub program: u32,
    /// 0: its device is gone.
    pub ifindex: u32,
    /// `None`: a link of another kind than its pin's name says.
    pub point: Option<Point>,
}

/// # Safety
/// `attr` is the `repr(C)` prefix of `union bpf_attr` that `command` reads; all addresses in it are valid for
/// what the command reads and writes there.
unsafe fn bpf<T>(command: bpf_cmd, attr: &mut T) -> io::Result<i32> {
    // SAFETY: promised by the caller; the kernel reads size_of::<T>() bytes and takes the rest for zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// # Safety
/// As [`bpf`]; the command returns a descriptor.
unsafe fn bpf_fd<T>(command: bpf_cmd, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: promised by the caller.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

#[repr(C)]
struct PinAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

fn path_text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Opens what is pinned at a path.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = path_text(path)?;
    let mut attr = PinAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: BPF_OBJ_GET reads the path, a C string that outlives the call.
    unsafe { bpf_fd(BPF_OBJ_GET, &mut attr) }
}

/// Pins an object at a path.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_text(path)?;
    let mut attr = PinAttr { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 };
    // SAFETY: BPF_OBJ_PIN reads the path, a C string that outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

#[repr(C)]
struct LinkCreateAttr {
    program_fd: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    _pad: u32,
    expected_revision: u64,
}

/// Attaches a program to a device; it stays as long as the descriptor or a pin does.
pub fn create_link(program: BorrowedFd<'_>, ifindex: u32, point: Point) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr {
        program_fd: raw(program),
        ifindex,
        attach_type: point.attach_type(),
        flags: point.flags(),
        relative_fd: 0,
        _pad: 0,
        expected_revision: 0,
    };
    // SAFETY: BPF_LINK_CREATE reads numbers only.
    unsafe { bpf_fd(BPF_LINK_CREATE, &mut attr) }
}

#[repr(C)]
struct LinkUpdateAttr {
    link_fd: u32,
    program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

/// Replaces a link's program at once: each packet meets the old one or the new one.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        LinkUpdateAttr { link_fd: raw(link), program_fd: raw(program), flags: 0, old_program_fd: 0 };
    // SAFETY: BPF_LINK_UPDATE reads numbers only.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes a link off its device, whoever else holds it.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = raw(link);
    // SAFETY: BPF_LINK_DETACH reads one number.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _pad: u32,
    /// Of XDP and of TCX links alike.
    ifindex: u32,
    attach_type: u32,
}

/// What the kernel says of a link that was made for a point.
pub fn link_info(link: BorrowedFd<'_>, point: Option<Point>) -> io::Result<LinkInfo> {
    let mut info = RawLinkInfo::default();
    let mut attr =
        InfoAttr { fd: raw(link), len: size_of::<RawLinkInfo>() as u32, info: (&raw mut info) as u64 };
    // SAFETY: BPF_OBJ_GET_INFO_BY_FD writes at most `len` bytes to `info`, which is that long.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let point = point.filter(|point| {
        info.kind == point.link_type() && (*point == Point::Xdp || info.attach_type == point.attach_type())
    });
    Ok(LinkInfo { program: info.program, ifindex: info.ifindex, point })
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// # Safety
/// `key` and `value` are of the map's sizes.
unsafe fn element<K, V>(
    command: bpf_cmd,
    map: BorrowedFd<'_>,
    key: *const K,
    value: *mut V,
) -> io::Result<()> {
    let mut attr = ElementAttr { map_fd: raw(map), _pad: 0, key: key as u64, value: value as u64, flags: 0 };
    // SAFETY: the command reads a key, and reads or writes a value, of the map's sizes.
    unsafe { bpf(command, &mut attr) }.map(drop)
}

/// # Safety
/// `K` and `V` are plain data of the map's key and value size.
pub unsafe fn lookup<K, V: Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<V> {
    let mut value = V::default();
    // SAFETY: the sizes are promised by the caller, and any bytes are a V.
    unsafe { element(BPF_MAP_LOOKUP_ELEM, map, key, &raw mut value) }?;
    Ok(value)
}

/// # Safety
/// `K` and `V` are plain data of the map's key and value size.
pub unsafe fn update<K, V>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    // SAFETY: the sizes are promised by the caller; an update only reads the value.
    unsafe { element(BPF_MAP_UPDATE_ELEM, map, key, (&raw const *value).cast_mut()) }
}

/// # Safety
/// `K` is plain data of the map's key size.
pub unsafe fn delete<K>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    // SAFETY: the size is promised by the caller; a deletion has no value.
    unsafe { element(BPF_MAP_DELETE_ELEM, map, key, std::ptr::null_mut::<u8>()) }
}

/// The key after `key` (`None`: the first).
///
/// # Safety
/// `K` is plain data of the map's key size.
pub unsafe fn next_key<K: Default>(map: BorrowedFd<'_>, key: Option<&K>) -> io::Result<K> {
    let mut next = K::default();
    let key = key.map_or(std::ptr::null(), |key| &raw const *key);
    // SAFETY: the size is promised by the caller; the next key is written where a value would be.
    unsafe { element(BPF_MAP_GET_NEXT_KEY, map, key, &raw mut next) }?;
    Ok(next)
}

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Where a batched walk stands. Longer than any key: the kernel keeps a bucket's number or a key there.
pub type BatchCursor = [u64; 8];

/// Reads the rows after `cursor` (`None`: from the start) into both slices, and says how many there were and
/// whether there may be more.
///
/// # Safety
/// `K` and `V` are plain data of the map's key and value size, and `K` is no longer than a [`BatchCursor`].
pub unsafe fn lookup_batch<K, V>(
    map: BorrowedFd<'_>,
    cursor: &mut Option<BatchCursor>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    let mut next = BatchCursor::default();
    let mut attr = BatchAttr {
        in_batch: cursor.as_ref().map_or(0, |c| (&raw const *c) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: keys.len().min(values.len()) as u32,
        map_fd: raw(map),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes at most `count` keys and values, and a cursor no longer than a key.
    let more = match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => true,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => false,
        Err(e) => return Err(e),
    };
    *cursor = Some(next);
    Ok((attr.count as usize, more))
}

/// Writes rows, or without values deletes them, one after the other up to the first that fails.
///
/// # Safety
/// `K` and `V` are plain data of the map's key and value size.
pub unsafe fn write_batch<K, V>(map: BorrowedFd<'_>, keys: &[K], values: Option<&[V]>) -> io::Result<()> {
    let mut attr = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.map_or(0, |values| values.as_ptr() as u64),
        count: values.map_or(keys.len(), |values| keys.len().min(values.len())) as u32,
        map_fd: raw(map),
        element_flags: 0,
        flags: 0,
    };
    let command = if values.is_some() { BPF_MAP_UPDATE_BATCH } else { BPF_MAP_DELETE_BATCH };
    // SAFETY: the kernel reads `count` keys, and as many values for an update.
    unsafe { bpf(command, &mut attr) }.map(drop)
}

#[repr(C)]
struct TestRunAttr {
    program_fd: u32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// Runs a program once on `data`, in which the kernel leaves what the program made of it; returns the
/// program's answer.
pub fn run_program(program: BorrowedFd<'_>, data: &mut [u8]) -> io::Result<u32> {
    let mut attr = TestRunAttr {
        program_fd: raw(program),
        return_value: 0,
        data_size_in: data.len() as u32,
        data_size_out: data.len() as u32,
        data_in: data.as_ptr() as u64,
        data_out: data.as_mut_ptr() as u64,
        repeat: 1,
        duration: 0,
    };
    // SAFETY: the kernel reads and then writes `data.len()` bytes of `data`.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.return_value)
}

/// Gives the memory back to the system that was needed for a while only: parsing the object and the kernel's BTF, and
/// documents of many rules, take much more than the daemon holds afterwards.
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and the allocator locks its own state.
    unsafe {
        libc::malloc_trim(0);
    }
}
