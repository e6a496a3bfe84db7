//! Prefix translation (RFC 6296): an address of a network's prefix has one counterpart in an outside prefix, and the
//! other way round, by arithmetic alone. The prefix is exchanged, and one word takes what this changes in a
//! ones'-complement sum, so checksums over the address stay as they are.
//!
//! All words are in network byte order: ones'-complement sums come out the same in either (RFC 1071, 2).

use crate::{addr::Ip, id::NetworkId};

/// The longest prefix that can be translated: behind it is the interface identifier.
pub const MAX_BITS: u32 = 64;
/// Up to here the word behind the prefix is that of the subnet (RFC 6296, 3.4).
const SUBNET_BITS: u32 = 48;

/// Key data of `NAT_PREFIXES`, compared bit by bit from the front: a network's own prefix, or, of network 0, an
/// outside one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixKey {
    pub network: NetworkId,
    pub _pad: u16,
    pub addr: Ip,
}

impl PrefixKey {
    /// Prefix length of a row for the first `bits` bits of the address.
    pub const fn prefix(bits: u32) -> u32 {
        32 + bits
    }
}

/// What addresses of a prefix become.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The other prefix, all bits behind it 0.
    pub to: Ip,
    /// The network whose prefix is the inside one of the two.
    pub network: NetworkId,
    /// Added to a word, in ones' complement.
    pub adjustment: u16,
    /// Length of both prefixes, from 1 to [`MAX_BITS`].
    pub bits: u32,
}

impl Prefix {
    /// From one prefix to another of the same length; bits behind it do not count.
    pub const fn new((from, to): (Ip, Ip), bits: u32, network: NetworkId) -> Self {
        let none = Self { to: Ip::NONE, network, adjustment: 0, bits };
        let (from, to) = (none.with_prefix_of(Ip::NONE, from), none.with_prefix_of(Ip::NONE, to));
        let adjustment = plus(sum(from), !sum(to));
        Self { to, network, adjustment, bits }
    }

    /// The counterpart of an address of the prefix; [`Ip::NONE`]: it has none (RFC 6296, 3.2, 3.7), as it is all
    /// zeros or all ones where the counterpart would have to differ.
    #[inline(always)]
    pub const fn translate(&self, addr: Ip) -> Ip {
        let mut addr = self.with_prefix_of(addr, self.to);
        if self.bits <= SUBNET_BITS {
            let [high, subnet] = halves(addr.0[1]);
            if subnet == u16::MAX {
                return Ip::NONE;
            }
            addr.0[1] = whole([high, plus(subnet, self.adjustment)]);
            return addr;
        }
        let ([a, b], [c, d]) = (halves(addr.0[2]), halves(addr.0[3]));
        let by = self.adjustment;
        let [high, low] = if addr.0[2] | addr.0[3] == 0 {
            return Ip::NONE;
        } else if a != u16::MAX {
            [whole([plus(a, by), b]), addr.0[3]]
        } else if b != u16::MAX {
            [whole([a, plus(b, by)]), addr.0[3]]
        } else if c != u16::MAX {
            [addr.0[2], whole([plus(c, by), d])]
        } else if d != u16::MAX {
            [addr.0[2], whole([c, plus(d, by)])]
        } else {
            return Ip::NONE;
        };
        // It could not be told from one that has no counterpart.
        if high | low == 0 {
            return Ip::NONE;
        }
        [addr.0[2], addr.0[3]] = [high, low];
        addr
    }

    /// An address with the prefix of another one.
    #[inline(always)]
    const fn with_prefix_of(&self, addr: Ip, other: Ip) -> Ip {
        let mask = u64::MAX << (MAX_BITS.wrapping_sub(self.bits) & 63);
        let masks = [((mask >> 32) as u32).to_be(), (mask as u32).to_be()];
        let [a, b, c, d] = addr.0;
        let first = a & !masks[0] | other.0[0] & masks[0];
        Ip([first, b & !masks[1] | other.0[1] & masks[1], c, d])
    }
}

/// A sum of two words; of the two zeros the positive one.
#[inline(always)]
const fn plus(a: u16, b: u16) -> u16 {
    let sum = a as u32 + b as u32;
    let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
    if folded == u16::MAX { 0 } else { folded }
}

/// The two words of one, in the order of the bytes.
#[inline(always)]
const fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

#[inline(always)]
const fn whole([high, low]: [u16; 2]) -> u32 {
    let ([a, b], [c, d]) = (high.to_ne_bytes(), low.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// A prefix's sum.
const fn sum(Ip([first, second, ..]): Ip) -> u16 {
    let ([a, b], [c, d]) = (halves(first), halves(second));
    plus(plus(a, b), plus(c, d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Address, V6};
    use core::net::IpAddr;
    use proptest::prelude::*;

    fn ip(text: &str) -> Ip {
        text.parse::<IpAddr>().expect("an address").into()
    }

    /// Both ways: out and in.
    fn pair(from: &str, to: &str, bits: u32) -> [Prefix; 2] {
        let (from, to) = (ip(from), ip(to));
        [(from, to), (to, from)].map(|pair| Prefix::new(pair, bits, NetworkId(1)))
    }

    #[track_caller]
    fn check([out, back]: [Prefix; 2], inside: &str, outside: &str) {
        assert_eq!(out.translate(ip(inside)).to_std().to_string(), outside);
        assert_eq!(back.translate(ip(outside)).to_std().to_string(), inside);
    }

    /// RFC 6296, 3.6, and its numbers.
    #[test]
    fn the_worked_example_comes_out() {
        let pair = pair("fd01:203:405::", "2001:db8:1::", 48);
        assert_eq!(pair.map(|prefix| u16::from_be(prefix.adjustment)), [0xd54f, 0x2ab0]);
        check(pair, "fd01:203:405:1::1234", "2001:db8:1:d550::1234");
    }

    #[test]
    fn the_word_is_the_subnet_or_the_first_of_the_identifier_that_is_not_all_ones() {
        let shorter = pair("fd00::", "2001:db8::", 32);
        check(shorter, "fd00:0:7:1::1234", "2001:db8:7:cf48::1234");
        let longer = pair("fd00:10::", "2001:db8:113:5::", 64);
        check(longer, "fd00:10::11", "2001:db8:113:5:ce3f::11");
        check(longer, "fd00:10::ffff:0:0:11", "2001:db8:113:5:ffff:ce3f:0:11");
        check(longer, "fd00:10::ffff:ffff:0:11", "2001:db8:113:5:ffff:ffff:ce3f:11");
        check(longer, "fd00:10::ffff:ffff:ffff:11", "2001:db8:113:5:ffff:ffff:ffff:ce50");
        let between = pair("fd00:10:0:ab00::", "2001:db8:113:5500::", 56);
        check(between, "fd00:10:0:abcd::11", "2001:db8:113:55cd:2445::11");
    }

    /// RFC 6296, 3.2 and 3.7, and 3.4 for the subnet.
    #[test]
    fn what_has_no_counterpart_gets_none() {
        let none = |prefix: &Prefix, addr: &str| assert_eq!(prefix.translate(ip(addr)), Ip::NONE, "{addr}");
        let [out, back] = pair("fd01:203:405::", "2001:db8:1::", 48);
        none(&out, "fd01:203:405:ffff::1");
        none(&back, "2001:db8:1:ffff::1");
        let [out, back] = pair("fd00:10::", "2001:db8:113:5::", 64);
        none(&out, "fd00:10::");
        none(&out, "fd00:10::ffff:ffff:ffff:ffff");
        none(&back, "2001:db8:113:5::");
        // Its counterpart would be all zeros.
        none(&out, "fd00:10::31c0:0:0:0");
    }

    fn sum_of(addr: Ip) -> u32 {
        let sum = V6::from_ip(addr).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        // Both zeros are one.
        ((folded & 0xffff) + (folded >> 16)) % 0xffff
    }

    proptest! {
        #[test]
        fn counterparts_are_each_others_and_leave_sums_alone(
            from: u128, to: u128, addr: u128, bits in 1_u32..=64, ones in 0_u32..=4,
        ) {
            let kept = u128::MAX << (128 - bits);
            let ones = if ones == 0 { 0 } else { (u128::MAX << (128 - 16 * ones)) >> 64 };
            let ip = |n: u128| Ip::from_octets(n.to_be_bytes());
            let inside = ip(from & kept | addr & !kept | ones);
            let out = Prefix::new((ip(from), ip(to)), bits, NetworkId(1));
            let back = Prefix::new((ip(to), ip(from)), bits, NetworkId(1));
            let outside = out.translate(inside);
            if outside != Ip::NONE {
                prop_assert_eq!(out.with_prefix_of(outside, ip(to)), outside);
                prop_assert_eq!(back.translate(outside), inside);
                prop_assert_eq!(sum_of(inside), sum_of(outside));
            }
            prop_assert!(outside != Ip::NONE || is_edge(inside, bits));
        }
    }

    /// Whether it may have no counterpart: few have none.
    fn is_edge(addr: Ip, bits: u32) -> bool {
        let words: [u16; 8] = core::array::from_fn(|n| halves(addr.0[n / 2])[n % 2]);
        if bits <= 48 {
            words[3] == u16::MAX
        } else {
            words[4..].iter().filter(|w| ![0, u16::MAX].contains(w)).count() <= 1
        }
    }
}
