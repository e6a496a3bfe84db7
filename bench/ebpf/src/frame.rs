//! Bytes of a frame at XDP, and checksums over them.

use core::ptr;

use aya_ebpf::programs::XdpContext;

pub const ETHER: usize = 14;
pub const IPV4: usize = 20;
pub const IPV6: usize = 40;
pub const UDP: usize = 8;
pub const TCP: usize = 20;

pub const PROTO_TCP: u8 = 6;
pub const PROTO_UDP: u8 = 17;
pub const TYPE_IPV4: u16 = 0x0800;
pub const TYPE_IPV6: u16 = 0x86dd;

/// `LEN` bytes of a frame that are there.
#[derive(Clone, Copy)]
pub struct Window<const LEN: usize>(*mut u8);

impl<const LEN: usize> Window<LEN> {
    /// The bytes from an offset, if the frame has them all.
    #[inline(always)]
    pub fn at(ctx: &XdpContext, offset: usize) -> Option<Self> {
        let start = ctx.data() + offset;
        (start + LEN <= ctx.data_end()).then_some(Self(start as *mut u8))
    }

    /// As it stands in the frame, in network byte order.
    #[inline(always)]
    pub fn get<T>(self, offset: usize) -> T {
        const { assert!(LEN <= 256) };
        // SAFETY: `at` has seen that LEN bytes are there, and the verifier refuses what reads beyond them.
        unsafe { ptr::read_unaligned(self.0.add(offset).cast()) }
    }

    #[inline(always)]
    pub fn set<T>(self, offset: usize, value: T) {
        // SAFETY: as in `get`.
        unsafe { ptr::write_unaligned(self.0.add(offset).cast(), value) }
    }
}

/// Sum of the two halves of a word.
#[inline(always)]
pub const fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// A ones'-complement sum in 16 bits (RFC 1071).
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    halves(halves(sum)) as u16
}
