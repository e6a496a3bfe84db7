//! What the generator is told to send, what the sink is told to expect, and what it counted: the rows that
//! user space and the programs share. Compiled into both.
//!
//! Addresses are words in host byte order, IPv4 in the last of four. A stream walks through its flows by
//! source (or destination) address and L4 port, one packet each, and begins again.

/// L4 ports that a stream uses of one address before it takes the next.
pub const L4_PORTS: u32 = 1 << 14;
/// Frame length that stands for the mix of sizes: of 12 frames 7 of 64 bytes, 4 of 576, 1 of 1500.
pub const IMIX: u16 = 0;
/// The longest frame of the mix.
pub const LONGEST: u16 = 1500;

/// Which end of the packets is walked through, or looked at.
pub mod end {
    pub const SOURCE: u8 = 0;
    pub const DESTINATION: u8 = 1;
}

/// A stream of UDP or TCP packets without payload but zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    pub src: [u32; 4],
    pub dst: [u32; 4],
    /// How many flows there are before the first comes again.
    pub flows: u32,
    /// Of the first flow.
    pub sport: u16,
    pub dport: u16,
    pub frame_dst: [u8; 6],
    pub frame_src: [u8; 6],
    /// Of a frame, Ethernet header included; or [`IMIX`].
    pub length: u16,
    pub is_v6: u8,
    pub proto: u8,
    pub tcp_flags: u8,
    /// [`end`] that is walked through.
    pub walked: u8,
    pub _pad: [u8; 2],
}

/// What the sink takes for a packet that was delivered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Last word of the address at the end that does not change.
    pub address: u32,
    pub l4_port: u16,
    /// [`end`] at which it stands.
    pub end: u8,
    /// Whether checksums are held against the headers, all payload being zeros.
    pub is_strict: u8,
}

/// What came to the sink, by CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    pub packets: u64,
    pub bytes: u64,
    /// With another address or L4 port than expected.
    pub strange: u64,
    /// With a wrong checksum.
    pub corrupt: u64,
}
