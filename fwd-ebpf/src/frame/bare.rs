//! A packet that leaves by a device without Ethernet headers, as a frame that is only read: offsets are those of a frame,
//! and what would be before its L3 header is not there.

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use fwd_common::proto::EtherType;

use super::{ChecksumFix, Frame, Hook, Outgoing, Refused, Window, opaque};
use crate::{chain, parse::L3};

/// A packet at TCX egress of a tunnel.
#[derive(Clone, Copy)]
pub struct Bare(Outgoing);

impl Bare {
    #[inline(always)]
    pub fn new(ctx: *mut __sk_buff) -> Self {
        Self(Outgoing::new(ctx))
    }

    /// What an Ethernet header would say.
    #[inline(always)]
    pub fn ether_type(self) -> EtherType {
        self.0.protocol()
    }
}

impl Frame for Bare {
    const HOOK: Hook = Hook::Skb;
    // Programs of both are never decided on one CPU at once: none of them sends copies into a tunnel.
    const PROGRAM: u32 = Outgoing::PROGRAM;
    const IS_INGRESS: bool = false;

    #[inline(always)]
    fn data(self) -> *mut u8 {
        self.0.data()
    }
    #[inline(always)]
    fn data_end(self) -> *mut u8 {
        self.0.data_end()
    }
    #[inline(always)]
    fn len(self) -> u32 {
        self.0.len() + L3 as u32
    }
    #[inline(always)]
    fn rest(self) -> u64 {
        0
    }
    #[inline(always)]
    fn segments(self) -> u64 {
        self.0.segments()
    }
    #[inline(always)]
    fn gso_size(self) -> u32 {
        self.0.gso_size()
    }
    #[inline(always)]
    fn has_short_segments(self, ifindex: u32) -> bool {
        self.0.has_short_segments(ifindex)
    }
    #[inline(always)]
    fn ifindex(self) -> u32 {
        self.0.ifindex()
    }
    #[inline(always)]
    fn has_vlan_metadata(self) -> bool {
        false
    }
    #[inline(always)]
    fn pull(self, len: usize) {
        self.0.pull(len.saturating_sub(L3));
    }
    #[inline(always)]
    fn take_mark(self) -> bool {
        self.0.take_mark()
    }
    #[inline(always)]
    fn fix_checksum(self, _: ChecksumFix) -> Result<(), Refused> {
        Err(Refused)
    }
    #[inline(always)]
    fn context(self) -> *mut c_void {
        self.0.context()
    }
    #[inline(always)]
    unsafe fn copy(self, to: *mut u8, len: usize) -> i64 {
        // SAFETY: promised by the caller.
        unsafe { self.0.copy(to, len) }
    }
    #[inline(always)]
    fn window<const N: usize>(self, offset: usize) -> Option<Window<N>> {
        // Verifier: a packet pointer less a constant could be before the packet, and has no bounds then (6.18).
        let at = opaque(offset.wrapping_sub(L3));
        if at > chain::FARTHEST { None } else { self.0.window(at) }
    }
}
