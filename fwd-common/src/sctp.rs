//! SCTP (RFC 9260): what a packet does to its flow's life, and what its checksum becomes when its L4 ports change.
//!
//! The checksum is a CRC-32c (RFC 9260, appendix A) over the whole packet and no pseudo-header, so a change of
//! addresses leaves it. A CRC is linear: what a change of the first four bytes makes to it follows from the change
//! and from how many bytes come after it, whatever these are.

use crate::proto::tcp;

/// Reflected, as packets have it: the highest bit is the coefficient of x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^8, x^16, x^32, …: a packet that is one byte longer, two, four, …
const POWERS: [u32; 16] = {
    let mut powers = [1 << 23; 16];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = product(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
};

/// The product of two polynomials, without carries.
#[inline(always)]
const fn product(mut a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut n = 0;
    // Verifier: without branches, so that it walks one way.
    while n < 32 {
        product ^= b & (a.cast_signed() >> 31).cast_unsigned();
        a <<= 1;
        b = b >> 1 ^ POLYNOMIAL & (b & 1).wrapping_neg();
        n += 1;
    }
    product
}

/// By what the checksum of a packet of `len` bytes changes whose first word changes by `change`; both are
/// exclusive-or, and words as they lie in the packet.
#[inline(always)]
pub fn checksum_change(change: u32, len: u16) -> u32 {
    let mut changed = u32::from_le(change);
    let mut n = 0;
    while n < POWERS.len() {
        if len >> n & 1 != 0 {
            changed = product(changed, POWERS[n]);
        }
        n += 1;
    }
    changed.to_le()
}

/// What a packet that begins with such a chunk does to its flow, as the TCP flags that do the same.
#[inline(always)]
pub const fn signals(chunk: u8) -> u8 {
    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    const ABORT: u8 = 6;
    const SHUTDOWN_COMPLETE: u8 = 14;
    match chunk {
        INIT => tcp::SYN,
        INIT_ACK => tcp::SYN | tcp::ACK,
        ABORT | SHUTDOWN_COMPLETE => tcp::RST,
        _ => tcp::ACK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as the RFC has it.
    fn checksum(packet: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in packet {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL };
            }
        }
        !crc
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 3720, B.4.
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn a_change_of_l4_ports_is_a_change_of_the_checksum(
            mut packet in proptest::collection::vec(any::<u8>(), 12..2000),
            l4_ports: u32,
        ) {
            let before = checksum(&packet);
            let old = u32::from_ne_bytes(packet[..4].try_into().expect("four bytes"));
            packet[..4].copy_from_slice(&l4_ports.to_ne_bytes());
            let len = u16::try_from(packet.len()).expect("it is short");
            let change = checksum_change(old ^ l4_ports, len);
            prop_assert_eq!(before ^ u32::from_le(change), checksum(&packet));
        }
    }
}
