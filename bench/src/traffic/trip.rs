//! Where packets go and what they look like when they arrive: the streams of both directions, and what the sinks
//! are to expect.

use std::net::{Ipv4Addr, Ipv6Addr};

use fwd_tests::frame::Mac;

use super::rig::{CLIENTS, HOST, HOST_MAC, INSIDE, INSIDE_MAC, OUTSIDE_MAC};
use super::stream::{Expected, Stream, end};
use crate::result::{Arrangement, At, Family};

/// The L4 port under which the inside machine's service is published.
pub const PUBLISHED: u16 = 8080;
/// The L4 port on which it listens.
pub const SERVED: u16 = 80;
/// Like [`PUBLISHED`] and [`SERVED`], for what is to be flooded.
pub const FLOODED: u16 = 8081;
pub const FLOODED_INSIDE: u16 = 81;
/// The first L4 port of a client.
const CLIENT: u16 = 1024;

const UDP: u8 = 17;

/// What an element does to the packets on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// To the host's address; a translated destination arrives.
    Forward,
    /// To the inside machine's address, by the host's MAC.
    Route,
    /// To the inside machine's address and MAC.
    Bridge,
    /// As they were sent, MACs included: to the host's address.
    Unchanged,
}

/// Which packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub family: Family,
    pub flows: u32,
    /// As in [`Stream::length`].
    pub length: u16,
}

impl Load {
    /// What a reading of it says; no arrangement: one that the scenario has for itself.
    #[must_use]
    pub fn at(self, arrangement: Option<Arrangement>) -> At {
        At {
            arrangement,
            family: Some(self.family),
            flows: Some(self.flows.into()),
            size: Some(self.length.into()),
        }
    }
}

impl Trip {
    /// From clients outside.
    #[must_use]
    pub fn forth(self, load: Load) -> Stream {
        let (address, l4_port) = self.target();
        Stream {
            src: words(CLIENTS, load.family),
            dst: words(address, load.family),
            sport: CLIENT,
            dport: l4_port,
            frame_dst: if self == Self::Bridge { INSIDE_MAC.0 } else { HOST_MAC.0 },
            frame_src: OUTSIDE_MAC.0,
            walked: end::SOURCE,
            ..base(load)
        }
    }

    /// The answers, by way of the inside machine's gateway.
    #[must_use]
    pub fn back(self, load: Load, gateway: Mac) -> Stream {
        Stream {
            src: words(INSIDE, load.family),
            dst: words(CLIENTS, load.family),
            sport: SERVED,
            dport: CLIENT,
            frame_dst: if self == Self::Bridge { OUTSIDE_MAC.0 } else { gateway.0 },
            frame_src: INSIDE_MAC.0,
            walked: end::DESTINATION,
            ..base(load)
        }
    }

    /// What arrives inside.
    #[must_use]
    pub fn arriving(self, family: Family) -> Expected {
        let (address, l4_port) = match self {
            Self::Unchanged => self.target(),
            _ => (INSIDE, SERVED),
        };
        let [.., address] = words(address, family);
        Expected { address, l4_port, end: end::DESTINATION, is_strict: 1 }
    }

    /// What comes back outside.
    #[must_use]
    pub fn returning(self, family: Family) -> Expected {
        let (address, l4_port) = self.target();
        let [.., address] = words(address, family);
        Expected { address, l4_port, end: end::SOURCE, is_strict: 1 }
    }

    /// What clients talk to.
    #[must_use]
    pub const fn target(self) -> ((Ipv4Addr, Ipv6Addr), u16) {
        match self {
            Self::Forward | Self::Unchanged => (HOST, PUBLISHED),
            Self::Route | Self::Bridge => (INSIDE, SERVED),
        }
    }
}

fn base(load: Load) -> Stream {
    Stream {
        flows: load.flows,
        length: load.length,
        is_v6: u8::from(load.family == Family::V6),
        proto: UDP,
        ..Stream::default()
    }
}

/// An address of the family, as [`Stream`] has it.
#[must_use]
pub fn words(address: (Ipv4Addr, Ipv6Addr), family: Family) -> [u32; 4] {
    match family {
        Family::V4 => [0, 0, 0, address.0.to_bits()],
        Family::V6 => {
            let bits = address.1.to_bits();
            [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_words_with_the_last_part_last() {
        assert_eq!(words(INSIDE, Family::V4), [0, 0, 0, 0x0a0a_000b]);
        assert_eq!(words(INSIDE, Family::V6), [0xfd00_0010, 0, 0, 0x11]);
    }
}
