//! DHCP (RFC 2131, RFC 2132), as far as the datapath reads it: who speaks to whom, and what a server of a bridged
//! network gives to a guest.

use crate::addr::V4;

/// L4 ports of servers, IPv4 and IPv6, in network byte order (RFC 2131, 4.1; RFC 8415, 7.2).
pub const SERVERS: [u16; 2] = [67_u16.to_be(), 547_u16.to_be()];
/// Of clients.
pub const CLIENTS: [u16; 2] = [68_u16.to_be(), 546_u16.to_be()];

/// Where fields of a message are, behind the UDP header (RFC 2131, 2).
pub mod at {
    /// The address that a client gets.
    pub const YIADDR: usize = 16;
    /// The client's MAC.
    pub const CHADDR: usize = 28;
    pub const COOKIE: usize = 236;
    pub const OPTIONS: usize = 240;
}

/// What stands at [`at::COOKIE`] (RFC 2132, 2), in network byte order.
pub const COOKIE: u32 = 0x6382_5363_u32.to_be();

/// Options (RFC 2132).
pub mod option {
    pub const PAD: u8 = 0;
    /// Seconds, four bytes.
    pub const LEASE_TIME: u8 = 51;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const END: u8 = 255;
}

/// Types of messages (RFC 2132, 9.6).
pub mod message {
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
}

/// Value of `LEASES`: what a server gave last to the MAC that is the key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Nanoseconds since boot.
    pub given_ns: u64,
    pub addr: V4,
    /// For how long, from then on; `u32::MAX`: for ever (RFC 2131, 3.3).
    pub seconds: u32,
}
