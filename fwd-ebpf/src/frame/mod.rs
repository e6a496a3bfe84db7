//! A frame, whichever hook it came through. All that the hooks do differently is here.

mod bare;
mod skb;
mod xdp;

use core::{ffi::c_void, ptr};

pub use bare::Bare;
pub use skb::{Incoming, Outgoing, Skb, Swept};
pub use xdp::Xdp;

use fwd_common::{
    addr::Mac,
    drop::DropReason,
    id::PortId,
    port::Port,
    verdict::{Outcome, Verdict},
};

use crate::{global::Global, maps::Family, report::Ingress};

/// Which of the two hooks, and so which ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Xdp,
    Skb,
}

/// A checksum to be corrected: where it is, and by how much addresses (if they are part of it) and L4 ports
/// have changed, as ones'-complement differences.
#[derive(Clone, Copy)]
pub struct ChecksumFix {
    pub offset: usize,
    pub addresses: u16,
    pub l4_ports: u16,
    pub is_udp: bool,
}

/// The helper refused to change the frame.
pub struct Refused;

/// Loads a packet pointer from a context, at a constant offset.
///
/// Verifier: in assembly, because LLVM sees a field of 32 bits, and then computes with it in half registers,
/// which the verifier no longer takes for packet pointers ("invalid mem access 'scalar'", 6.18).
macro_rules! packet_pointer {
    ($context:expr, $offset:literal) => {{
        let pointer: *mut u8;
        // SAFETY: the context outlives the program's run, and has a field of 32 bits there.
        unsafe {
            core::arch::asm!(
                concat!("{0} = *(u32 *)({1} + ", $offset, ")"),
                out(reg) pointer,
                in(reg) $context,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        pointer
    }};
}
pub(crate) use packet_pointer;

/// A number of which LLVM knows nothing, so that the comparisons that follow stay as they are written.
#[inline(always)]
pub fn opaque(mut n: usize) -> usize {
    // SAFETY: moves a register to itself. Nothing at all would leave two line records of one instruction, which
    // the kernel refuses.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) n, options(pure, nomem, nostack, preserves_flags));
    }
    n
}

/// The `gso_size` of a frame whose segments differ in size (GSO_BY_FRAGS).
pub const BY_FRAGMENTS: u32 = 0xffff;

/// A frame at a hook.
pub trait Frame: Copy {
    const HOOK: Hook;
    /// Scratch of its own in per-CPU maps.
    const PROGRAM: u32;
    /// Whether frames come in on a device here; else the host sends them out.
    const IS_INGRESS: bool = true;

    fn data(self) -> *mut u8;
    fn data_end(self) -> *mut u8;
    /// Bytes, all fragments of the buffer included (XDP: those of the first one).
    fn len(self) -> u32;
    /// Bytes of the others, where it is in several pieces, of which only the first is at hand (XDP).
    fn rest(self) -> u64;
    /// Frames on the wire that this one stands for (GSO).
    fn segments(self) -> u64;
    /// Bytes of the largest of them, without its L2 to L4 headers; 0: not a GSO frame.
    fn gso_size(self) -> u32;
    /// Whether every segment of a GSO frame that is cut where its pieces end (SCTP) is within a device's MTU.
    fn has_short_segments(self, ifindex: u32) -> bool;
    fn ifindex(self) -> u32;
    /// Whether a VLAN tag stands beside the data.
    fn has_vlan_metadata(self) -> bool;
    /// Makes the first `len` bytes accessible; invalidates pointers into the frame.
    fn pull(self, len: usize);
    /// Clears fwd's mark and says whether it was there.
    fn take_mark(self) -> bool;
    /// Corrects a checksum that covers the pseudo-header; invalidates pointers into the frame.
    fn fix_checksum(self, fix: ChecksumFix) -> Result<(), Refused>;
    /// The context that helpers take.
    fn context(self) -> *mut c_void;
    /// Copies the first `len` bytes; 0: they were copied.
    ///
    /// # Safety
    /// `to` has room for them.
    unsafe fn copy(self, to: *mut u8, len: usize) -> i64;

    /// Copies the frame's first bytes, as far as there are some; how many.
    #[inline(always)]
    fn head<const N: usize>(self, to: *mut [u8; N]) -> usize {
        // Verifier: the length needs both bounds, each of its own comparison (see `Skb::load`); and one byte is no
        // head, since the kernel learns no lower bound from an inequality to 0 (6.1).
        let len = opaque((self.len() as usize).min(N));
        if len > N {
            return 0;
        }
        let len = opaque(len);
        if len < 2 {
            return 0;
        }
        // SAFETY: `to` has `N` bytes.
        if unsafe { self.copy(to.cast(), len) } == 0 { len } else { 0 }
    }

    /// The `N` bytes from `offset` on.
    #[inline(always)]
    fn window<const N: usize>(self, offset: usize) -> Option<Window<N>> {
        let start = self.data().wrapping_add(offset);
        // Verifier: the compared value must be the pointer that is used, with its offset already added.
        if start.wrapping_add(N) > self.data_end() {
            return None;
        }
        Some(Window(start))
    }

    /// The first `len` bytes.
    #[inline(always)]
    fn open(self, len: usize) -> Option<Open> {
        let start = self.data();
        if start.wrapping_add(len) > self.data_end() {
            return None;
        }
        Some(Window(start))
    }
}

/// What only one hook can do with a frame, as the hook's code.
pub trait Deliver: Frame + Global {
    /// Left to the host's stack and to other programs.
    const NEXT: i32;
    const DROP: i32;
    /// Whether frames can be redirected into a port's device at all.
    fn can_reach(port: &Port) -> bool;
    fn redirect(self, id: PortId, port: &Port) -> i32;
    /// Out of a device, MAC found by the host's stack.
    fn redirect_by_host(self, port: &Port) -> i32;
    /// Copies to all other members of the network (XDP: left to TCX).
    fn flood(self, ingress: &Ingress) -> Outcome<Verdict>;
    /// Makes the frame the answer to its packet, which was dropped (XDP: never); whether it is now one.
    fn answer_drop<A: Family>(self, ingress: &Ingress, reason: DropReason) -> bool;
    /// Into a device's ingress.
    fn redirect_into(self, port: &Port) -> i32;
}

/// The first bytes of a frame; how many is for the verifier to know.
pub type Open = Window<{ usize::MAX }>;

/// A MAC in two words, for fewer loads, stores and compares.
pub type Wide = (u32, u16);

/// A MAC of a map row.
#[inline(always)]
pub fn wide(mac: &Mac) -> Wide {
    let mac = ptr::from_ref(mac).cast::<u8>();
    // SAFETY: six bytes; see `Window::get` for the alignment.
    unsafe { (mac.cast::<u32>().read(), mac.add(4).cast::<u16>().read()) }
}

/// `N` accessible bytes of a frame. Valid until the frame is pulled or its checksum fixed.
#[derive(Clone, Copy)]
pub struct Window<const N: usize>(*mut u8);

impl<const N: usize> Window<N> {
    /// A field at a fixed place, in the frame's byte order.
    #[inline(always)]
    pub fn get<T: Copy>(&self, offset: usize) -> T {
        debug_assert!(offset + size_of::<T>() <= N);
        // SAFETY: `Frame::window` checked N bytes; callers pass constant offsets below N (the verifier
        // refuses others). The BPF target loads from any alignment, so `read` is not split into bytes.
        unsafe { self.0.add(offset).cast::<T>().read() }
    }

    #[inline(always)]
    pub fn set<T: Copy>(&self, offset: usize, value: T) {
        debug_assert!(offset + size_of::<T>() <= N);
        // SAFETY: as for `get`; nobody else writes this frame.
        unsafe { self.0.add(offset).cast::<T>().write(value) }
    }

    /// The MAC at a fixed place.
    #[inline(always)]
    pub fn wide(&self, offset: usize) -> Wide {
        (self.get(offset), self.get(offset + 4))
    }

    #[inline(always)]
    pub fn set_wide(&self, offset: usize, mac: Wide) {
        self.set(offset, mac.0);
        self.set(offset + 4, mac.1);
    }
}
