//! Bare redirects: frames leave as they came. No forwarder of the hook can be faster.

use aya_ebpf::{
    helpers::bpf_redirect,
    macros::map,
    maps::{Array, DevMap},
};

/// One row: the device of the XDP redirect.
#[map]
static OUT: DevMap = DevMap::with_max_entries(1, 0);
/// One row: the interface index of the TC redirect.
#[map]
static OUT_INDEX: Array<u32> = Array::with_max_entries(1, 0);

#[inline(always)]
pub fn by_devmap() -> u32 {
    OUT.redirect(0, 0).unwrap_or_else(|action| action)
}

#[inline(always)]
pub fn by_ifindex() -> Option<i32> {
    let ifindex = *OUT_INDEX.get(0)?;
    // SAFETY: the helper takes any index.
    Some(unsafe { bpf_redirect(ifindex, 0) } as i32)
}
