//! The packets of a walk: the row that user space and the walking programs share. Compiled into both.
//!
//! A walk goes through its flows by the source's (or the destination's) address and L4 port, one flow a run.

/// Words of a frame that are written anew for every run: Ethernet, IPv6 and UDP or TCP headers fit.
pub const WORDS: usize = 10;
/// Bytes of a walk's frame.
pub const LEN: usize = WORDS * 8;
/// L4 ports that a walk uses of one address before it takes the next, as a power of two.
pub const L4_PORT_BITS: u32 = 14;

/// A walk, and where it stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// The first flow's frame, as it stands in memory.
    pub frame: [u64; WORDS],
    /// Last word of the address that is walked, in host byte order.
    pub address: u32,
    /// The L4 port that is walked, in host byte order.
    pub l4_port: u32,
    /// How many flows there are, less one; a power of two, less one.
    pub mask: u32,
    /// Odd: 1 walks in the order of admission, a large one jumps about.
    pub stride: u32,
    pub position: u32,
    pub _pad: u32,
}
