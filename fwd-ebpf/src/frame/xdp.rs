//! A frame at XDP: bytes as they came from the wire, before the kernel made an skb of them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_redirect_map, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
};
use fwd_common::{
    drop::DropReason,
    id::PortId,
    port::{self, Port},
    verdict::{Outcome, Verdict},
};

use super::{ChecksumFix, Deliver, Frame, Hook, Refused, packet_pointer};
use crate::{
    finish,
    maps::{self, Family},
    report::Ingress,
    rewrite,
};

/// A frame at XDP.
#[derive(Clone, Copy)]
pub struct Xdp(*mut xdp_md);

impl Xdp {
    #[inline(always)]
    pub fn new(ctx: *mut xdp_md) -> Self {
        Self(ctx)
    }

    #[inline(always)]
    pub fn raw(self) -> *mut xdp_md {
        self.0
    }
}

impl Frame for Xdp {
    const HOOK: Hook = Hook::Xdp;
    const PROGRAM: u32 = 0;

    #[inline(always)]
    fn data(self) -> *mut u8 {
        packet_pointer!(self.0, 0)
    }
    #[inline(always)]
    fn data_end(self) -> *mut u8 {
        packet_pointer!(self.0, 4)
    }
    #[inline(always)]
    fn len(self) -> u32 {
        (self.data_end() as usize - self.data() as usize) as u32
    }
    #[inline(always)]
    fn rest(self) -> u64 {
        // SAFETY: the context is this program's.
        unsafe { bpf_xdp_get_buff_len(self.0) - self.len() as u64 }
    }
    #[inline(always)]
    fn segments(self) -> u64 {
        1
    }
    #[inline(always)]
    fn gso_size(self) -> u32 {
        0
    }
    #[inline(always)]
    fn has_short_segments(self, _: u32) -> bool {
        false
    }
    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the context outlives the program's run.
        unsafe { (*self.0).ingress_ifindex }
    }
    #[inline(always)]
    fn has_vlan_metadata(self) -> bool {
        false
    }
    #[inline(always)]
    fn pull(self, _: usize) {}
    #[inline(always)]
    fn take_mark(self) -> bool {
        false
    }
    #[inline(always)]
    fn fix_checksum(self, fix: ChecksumFix) -> Result<(), Refused> {
        let field = self.window::<2>(fix.offset).ok_or(Refused)?;
        let difference = fix.addresses as u32 + fix.l4_ports as u32;
        field.set(0, rewrite::l4_checksum(field.get(0), difference, fix.is_udp));
        Ok(())
    }
    #[inline(always)]
    fn context(self) -> *mut c_void {
        self.0.cast()
    }
    #[inline(always)]
    unsafe fn copy(self, to: *mut u8, len: usize) -> i64 {
        // SAFETY: the context outlives the program's run, and `to` has room.
        unsafe { bpf_xdp_load_bytes(self.0, 0, to.cast(), len as u32) }
    }
}

impl Deliver for Xdp {
    const NEXT: i32 = finish::XDP_NEXT;
    const DROP: i32 = finish::XDP_DROP;

    #[inline(always)]
    fn can_reach(port: &Port) -> bool {
        port.flags & (port::flag::XDP_TARGET | port::flag::INTO) == port::flag::XDP_TARGET
    }
    #[inline(always)]
    fn redirect(self, id: PortId, _: &Port) -> i32 {
        // The flags are the action where the slot is empty: dropped, and counted as such by the kernel's
        // xdp_redirect_err tracepoint.
        let devices = (&raw const maps::DEVICES).cast_mut().cast();
        // SAFETY: the map is one of devices. Not `DevMap::redirect`, which tells codes apart that are all handed on.
        unsafe { bpf_redirect_map(devices, id.0 as u64, finish::XDP_DROP as u64) as i32 }
    }
    #[inline(always)]
    fn redirect_by_host(self, _: &Port) -> i32 {
        Self::DROP
    }
    #[inline(always)]
    fn redirect_into(self, _: &Port) -> i32 {
        Self::DROP
    }
    #[inline(always)]
    fn answer_drop<A: Family>(self, _: &Ingress, _: DropReason) -> bool {
        false
    }
    #[inline(always)]
    fn flood(self, _: &Ingress) -> Outcome<Verdict> {
        Outcome::ok(Verdict::PASS_UP)
    }
}
