//! A frame at TCX or clsact: an skb, which may stand for many frames (GSO) and owe its checksum (partial).

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::{
        bpf_check_mtu, bpf_clone_redirect, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh,
        bpf_skb_adjust_room, bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data,
    },
};
use fwd_common::{
    addr::{V4, V6},
    drop::DropReason,
    id::PortId,
    port::{self, Port},
    proto::{EtherType, IpProto},
    verdict::{Outcome, Verdict},
};

use super::{ChecksumFix, Deliver, Frame, Hook, Refused, opaque, packet_pointer};
use crate::{
    finish,
    global::Global,
    maps::{self, Family},
    parse,
    report::Ingress,
    rewrite,
    stage::{answer, flood},
    trace,
};

/// `BPF_MTU_CHK_SEGS`: each segment, not the frame.
const BPF_MTU_CHK_SEGS: u64 = 1;
/// `BPF_ADJ_ROOM_MAC`: room behind the Ethernet header.
const BPF_ADJ_ROOM_MAC: u32 = 1;

/// A frame at TCX. Each program has scratch of its own, by number.
#[derive(Clone, Copy)]
pub struct Skb<const PROGRAM: u32>(*mut __sk_buff);

pub type Incoming = Skb<1>;
pub type Outgoing = Skb<2>;
pub type Swept = Skb<3>;

impl<const PROGRAM: u32> Skb<PROGRAM> {
    #[inline(always)]
    pub fn new(ctx: *mut __sk_buff) -> Self {
        Self(ctx)
    }

    #[inline(always)]
    pub fn raw(self) -> *mut __sk_buff {
        self.0
    }

    /// Sends a copy out of a device.
    #[inline(always)]
    pub fn clone_to(self, ifindex: u32) -> Result<(), Refused> {
        // SAFETY: the context outlives the program's run.
        let code = unsafe { bpf_clone_redirect(self.0, ifindex, trace::no_copy()) };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }

    /// Sets fwd's mark on the frame and on copies made of it from now on.
    #[inline(always)]
    pub fn set_mark(self) {
        if let Ok(settings) = maps::settings() {
            // SAFETY: the context outlives the program's run; the verifier lets programs write `mark`.
            unsafe { (*self.0).mark |= settings.mark }
        }
    }

    /// Cuts the frame, or adds zeros to it. A GSO frame is none any more.
    #[inline(always)]
    pub fn resize(self, len: usize) -> Result<(), Refused> {
        // SAFETY: the context outlives the program's run.
        let code = unsafe { bpf_skb_change_tail(self.0, len as u32, 0) };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }

    /// Makes room behind the Ethernet header.
    #[inline(always)]
    pub fn make_room(self, len: usize) -> Result<(), Refused> {
        // SAFETY: the context outlives the program's run.
        let code = unsafe { bpf_skb_adjust_room(self.0, len as i32, BPF_ADJ_ROOM_MAC, 0) };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }

    /// What the kernel takes the packet for, whatever stands before it.
    #[inline(always)]
    pub fn protocol(self) -> EtherType {
        // SAFETY: the context outlives the program's run.
        EtherType(u16::from_be(unsafe { (*self.0).protocol } as u16))
    }

    /// Makes room before the frame, filled with zeros; what the kernel has noted of L3 and L4 stays. It passes the
    /// packet on to the host's stack from there, without the room.
    #[inline(always)]
    pub fn push(self, len: usize) -> Result<(), Refused> {
        // SAFETY: the context outlives the program's run.
        let code = unsafe { bpf_skb_change_head(self.0, len as u32, 0) };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }

    /// Copies bytes of the frame, eight or more.
    #[inline(always)]
    pub fn load<const N: usize>(self, offset: usize, to: *mut [u8; N], len: usize) -> Result<(), Refused> {
        // Verifier: the length needs both bounds ("invalid zero-sized read", 6.18); LLVM would make one
        // comparison of the two, of another number, or none.
        let len = opaque(len);
        if len > N {
            return Err(Refused);
        }
        let len = opaque(len);
        if len < 8 {
            return Err(Refused);
        }
        // SAFETY: the context outlives the program's run, and `to` has room.
        let code = unsafe { bpf_skb_load_bytes(self.0.cast(), offset as u32, to.cast(), len as u32) };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }

    /// Whether the kernel has yet to compute the checksum at an offset (partial): then a change that is not of
    /// the pseudo-header leaves the field alone.
    #[inline(always)]
    pub fn owes_checksum(self, offset: usize) -> bool
    where
        Self: Frame,
    {
        let Some(field) = self.window::<2>(offset) else { return false };
        let old: u16 = field.get(0);
        // SAFETY: the context outlives the program's run.
        if unsafe { bpf_l4_csum_replace(self.0, offset as u32, 0, 1, 0) } != 0 {
            return false;
        }
        let Some(field) = self.window::<2>(offset) else { return false };
        let is_owed = field.get::<u16>(0) == old;
        field.set(0, old);
        is_owed
    }

    #[inline(always)]
    fn mark_for(self, port: &Port) {
        if port.has(port::flag::MARKED) {
            self.set_mark();
        }
    }
}

/// Bytes before the payload of a GSO frame: TCP without IPv4 options or IPv6 extension headers, else UDP. Of a
/// frame whose headers are not at hand, the least that they can be.
#[inline(never)]
fn header_len<const PROGRAM: u32>(frame: Skb<PROGRAM>) -> u32 {
    const UDP: u32 = 8;
    let Some(w) = frame.window::<48>(0) else { return parse::l4::<V4>() as u32 + UDP };
    let (l4, proto, words) = if EtherType(u16::from_be(w.get(12))) == EtherType::IPV6 {
        let Some(w) = frame.window::<68>(0) else { return parse::l4::<V6>() as u32 + UDP };
        (parse::l4::<V6>(), w.get(20), w.get::<u8>(66) >> 4)
    } else {
        (parse::l4::<V4>(), w.get(23), w.get::<u8>(46) >> 4)
    };
    l4 as u32 + if IpProto::TCP == proto { words as u32 * 4 } else { UDP }
}

impl<const PROGRAM: u32> Frame for Skb<PROGRAM> {
    const HOOK: Hook = Hook::Skb;
    const PROGRAM: u32 = PROGRAM;
    const IS_INGRESS: bool = PROGRAM != 2;

    #[inline(always)]
    fn data(self) -> *mut u8 {
        packet_pointer!(self.0, 76)
    }
    #[inline(always)]
    fn data_end(self) -> *mut u8 {
        packet_pointer!(self.0, 80)
    }
    #[inline(always)]
    fn len(self) -> u32 {
        // SAFETY: the context outlives the program's run.
        unsafe { (*self.0).len }
    }
    #[inline(always)]
    fn rest(self) -> u64 {
        0
    }
    #[inline(always)]
    fn segments(self) -> u64 {
        // SAFETY: the context outlives the program's run.
        let (segments, size) = unsafe { ((*self.0).gso_segs, (*self.0).gso_size) };
        match (segments, size) {
            (0, 0) => 1,
            // A guest's own GSO frames come without a count.
            (0, size) => (self.len().saturating_sub(header_len(self)) as u64).div_ceil(size as u64),
            (n, _) => n as u64,
        }
    }
    #[inline(always)]
    fn gso_size(self) -> u32 {
        // SAFETY: the context outlives the program's run.
        unsafe { (*self.0).gso_size }
    }
    #[inline(always)]
    fn has_short_segments(self, ifindex: u32) -> bool {
        // 0: of the frame itself.
        let mut len = 0;
        // SAFETY: the context outlives the program's run, and `len` is where the MTU is written.
        let code = unsafe { bpf_check_mtu(self.0.cast(), ifindex, &mut len, 0, BPF_MTU_CHK_SEGS) };
        code == 0
    }
    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the context outlives the program's run.
        unsafe { (*self.0).ifindex }
    }
    #[inline(always)]
    fn has_vlan_metadata(self) -> bool {
        // SAFETY: the context outlives the program's run.
        unsafe { (*self.0).vlan_present != 0 }
    }
    #[inline(always)]
    fn pull(self, len: usize) {
        if self.data().wrapping_add(len) > self.data_end() {
            // Too short a frame stays as it is, and the window that is asked for next does not exist.
            // SAFETY: the context outlives the program's run.
            let _ = unsafe { bpf_skb_pull_data(self.0, len as u32) };
        }
    }
    #[inline(always)]
    fn take_mark(self) -> bool {
        // SAFETY: the context outlives the program's run.
        let old = unsafe { (*self.0).mark };
        // Most frames carry nobody's mark.
        let own = if old == 0 { 0 } else { maps::settings().map_or(0, |settings| settings.mark) };
        if old & own == 0 {
            return false;
        }
        // SAFETY: as above; programs may write `mark`.
        unsafe { (*self.0).mark = old & !own };
        true
    }
    #[inline(always)]
    fn fix_checksum(self, fix: ChecksumFix) -> Result<(), Refused> {
        let ChecksumFix { offset, addresses, l4_ports, is_udp } = fix;
        let udp = if is_udp { BPF_F_MARK_MANGLED_0 as u64 } else { 0 };
        // From 0 by a difference: (from = 0, to = difference, size = 0).
        let replace = |difference: u16, flags: u64| {
            // SAFETY: the context outlives the program's run.
            let code =
                unsafe { bpf_l4_csum_replace(self.0, offset as u32, 0, difference as u64, udp | flags) };
            if code == 0 { Ok(()) } else { Err(Refused) }
        };
        if addresses == 0 {
            return if l4_ports == 0 { Ok(()) } else { replace(l4_ports, 0) };
        }
        let old: u16 = self.window::<2>(offset).ok_or(Refused)?.get(0);
        replace(addresses, BPF_F_PSEUDO_HDR as u64)?;
        if l4_ports == 0 {
            return Ok(());
        }
        // With a partial checksum only the pseudo-header's part is in the field, and its sum, where others have its
        // complement: the two changes differ, but where the difference is one of nothing.
        if addresses == u16::MAX {
            return replace(l4_ports, 0);
        }
        let field = self.window::<2>(offset).ok_or(Refused)?;
        let new: u16 = field.get(0);
        if new == rewrite::l4_checksum(old, addresses as u32, is_udp) {
            field.set(0, rewrite::l4_checksum(new, l4_ports as u32, is_udp));
        }
        Ok(())
    }
    #[inline(always)]
    fn context(self) -> *mut c_void {
        self.0.cast()
    }
    #[inline(always)]
    unsafe fn copy(self, to: *mut u8, len: usize) -> i64 {
        // SAFETY: the context outlives the program's run, and `to` has room.
        unsafe { bpf_skb_load_bytes(self.0.cast(), 0, to.cast(), len as u32) }
    }
}

impl<const PROGRAM: u32> Deliver for Skb<PROGRAM>
where
    Self: Global,
{
    const NEXT: i32 = finish::TCX_NEXT;
    const DROP: i32 = finish::TCX_DROP;

    #[inline(always)]
    fn can_reach(_: &Port) -> bool {
        true
    }
    #[inline(always)]
    fn redirect(self, _: PortId, port: &Port) -> i32 {
        self.mark_for(port);
        // SAFETY: takes numbers only.
        unsafe { bpf_redirect(port.ifindex, 0) as i32 }
    }
    #[inline(always)]
    fn redirect_by_host(self, port: &Port) -> i32 {
        self.mark_for(port);
        // SAFETY: no parameters: the next hop is looked up by the packet's destination.
        unsafe { bpf_redirect_neigh(port.ifindex, ptr::null_mut(), 0, 0) as i32 }
    }
    #[inline(always)]
    fn redirect_into(self, port: &Port) -> i32 {
        self.set_mark();
        // SAFETY: takes numbers only.
        unsafe { bpf_redirect(port.ifindex, BPF_F_INGRESS as u64) as i32 }
    }
    #[inline(always)]
    fn answer_drop<A: Family>(self, ingress: &Ingress, reason: DropReason) -> bool {
        answer::answer::<PROGRAM, A>(self, ingress, reason)
    }
    #[inline(always)]
    fn flood(self, ingress: &Ingress) -> Outcome<Verdict> {
        flood::copies(self, ingress)
    }
}
