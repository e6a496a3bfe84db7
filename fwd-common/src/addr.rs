//! Addresses as map rows hold them. Flow tables use the family's own width ([`V4`], [`V6`]); all other
//! tables hold [`Ip`], sixteen bytes with IPv4 mapped into `::ffff:0:0/96` (RFC 4291, 2.5.5.2).

use core::fmt;

/// An Ethernet address. Aligned to two bytes, so that the datapath loads and compares it by halfwords.
#[repr(C, align(2))]
#[allow(
    clippy::derived_hash_with_manual_eq,
    reason = "PartialEq is the derived one's equality, by halfwords"
)]
#[derive(Clone, Copy, Default, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// No address: not known yet.
    pub const NONE: Self = Self([0; 6]);
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Both ends of a tunnel whose packets have no Ethernet header: it stands in the header that they get while they
    /// are decided, and leaves no host.
    pub const OF_TUNNEL: Self = Self([0x02, b'f', b'w', b't', 0, 0]);

    /// Group bit: multicast or broadcast.
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// 01:80:c2:00:00:0x, which a bridge never forwards (IEEE 802.1Q, 8.6.3).
    #[inline(always)]
    pub const fn is_bridge_reserved(self) -> bool {
        let m = self.0;
        m[0] == 1 && m[1] == 0x80 && m[2] == 0xc2 && m[3] == 0 && m[4] == 0 && m[5] < 16
    }
}

impl PartialEq for Mac {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let halves = |m: &Self| {
            let m = m.0;
            let half = |i: usize| u16::from_ne_bytes([m[i], m[i + 1]]);
            [half(0), half(2), half(4)]
        };
        let (a, b) = (halves(self), halves(other));
        (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) == 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An IPv4 address, in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V4(pub u32);

/// An IPv6 address, in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V6(pub [u32; 4]);

/// An address of either family, in network byte order; IPv4 as `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip(pub [u32; 4]);

const MAPPED: u32 = 0x0000_ffff_u32.to_be();

impl Ip {
    /// No address.
    pub const NONE: Self = Self([0; 4]);

    /// From sixteen bytes in network order.
    #[inline(always)]
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// The address as its family's user-space type.
    pub fn to_std(self) -> core::net::IpAddr {
        let [a, b, c, d] = self.0.map(u32::to_ne_bytes);
        let v6 = core::net::Ipv6Addr::from([
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3],
        ]);
        v6.to_canonical()
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// Whether this is a unique local address of IPv6 (RFC 4193, 3.1).
    #[inline(always)]
    pub const fn is_unique_local(self) -> bool {
        self.0[0].to_ne_bytes()[0] & 0xfe == 0xfc
    }

    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0[0] | self.0[1] | self.0[2] | self.0[3] == 0
    }
}

impl From<core::net::IpAddr> for Ip {
    fn from(a: core::net::IpAddr) -> Self {
        match a {
            core::net::IpAddr::V4(v4) => Self::from_octets(v4.to_ipv6_mapped().octets()),
            core::net::IpAddr::V6(v6) => Self::from_octets(v6.octets()),
        }
    }
}

/// What a flow table needs of an address family.
pub trait Address: Copy + PartialEq + Ord + Default + 'static {
    /// ICMP's protocol number in this family.
    const ICMP: crate::proto::IpProto;
    /// Whether this is IPv6.
    const IS_V6: bool;
    /// The address as other tables hold it.
    fn ip(self) -> Ip;
    /// The address out of what other tables hold; of the other family, garbage.
    fn from_ip(ip: Ip) -> Self;
    /// Ones'-complement sum of the address's 16-bit words, not folded.
    fn sum(self) -> u32;
    /// Multicast, or (IPv4) the limited broadcast.
    fn is_group(self) -> bool;
    /// An address that is no single host's, so that nothing may come from it, or be routed to it: none, multicast,
    /// broadcast, loopback, and (IPv6) those of IPv4 mapped into it.
    fn is_nobody(self) -> bool;
}

#[inline(always)]
const fn sum32(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

#[inline(always)]
const fn first_octet(word: u32) -> u8 {
    word.to_ne_bytes()[0]
}

impl Address for V4 {
    const ICMP: crate::proto::IpProto = crate::proto::IpProto::ICMP;
    const IS_V6: bool = false;

    #[inline(always)]
    fn ip(self) -> Ip {
        Ip([0, 0, MAPPED, self.0])
    }
    #[inline(always)]
    fn from_ip(ip: Ip) -> Self {
        Self(ip.0[3])
    }
    #[inline(always)]
    fn sum(self) -> u32 {
        sum32(self.0)
    }
    #[inline(always)]
    fn is_group(self) -> bool {
        first_octet(self.0) & 0xf0 == 0xe0 || self.0 == u32::MAX
    }
    #[inline(always)]
    fn is_nobody(self) -> bool {
        let first = first_octet(self.0);
        first == 0 || first == 127 || first >= 0xe0
    }
}

impl Address for V6 {
    const ICMP: crate::proto::IpProto = crate::proto::IpProto::ICMPV6;
    const IS_V6: bool = true;

    #[inline(always)]
    fn ip(self) -> Ip {
        Ip(self.0)
    }
    #[inline(always)]
    fn from_ip(ip: Ip) -> Self {
        Self(ip.0)
    }
    #[inline(always)]
    fn sum(self) -> u32 {
        sum32(self.0[0]) + sum32(self.0[1]) + sum32(self.0[2]) + sum32(self.0[3])
    }
    #[inline(always)]
    fn is_group(self) -> bool {
        first_octet(self.0[0]) == 0xff
    }
    #[inline(always)]
    fn is_nobody(self) -> bool {
        let head = self.0[0] | self.0[1];
        let is_none_or_loopback = self.0[2] == 0 && u32::from_be(self.0[3]) <= 1;
        self.is_group() || (head == 0 && (is_none_or_loopback || self.0[2] == MAPPED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};

    #[test]
    fn addresses_keep_their_family_through_ip() {
        for text in ["10.0.0.5", "255.255.255.255", "2001:db8::1", "fe80::1"] {
            let a: IpAddr = text.parse().expect("an address");
            assert_eq!(Ip::from(a).to_std(), a);
            assert_eq!(Ip::from(a).is_v4(), a.is_ipv4());
        }
        let v4 = V4(u32::from_ne_bytes([10, 0, 0, 5]));
        assert_eq!(v4.ip().to_std(), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(V4::from_ip(v4.ip()), v4);
    }

    #[test]
    fn addresses_of_no_single_host_are_told() {
        for (text, bad) in [("0.0.0.0", true), ("127.0.0.1", true), ("224.0.0.1", true), ("10.0.0.1", false)]
        {
            let a: Ipv4Addr = text.parse().expect("an address");
            assert_eq!(V4(u32::from_ne_bytes(a.octets())).is_nobody(), bad, "{text}");
        }
        for (text, bad) in [
            ("::", true),
            ("::1", true),
            ("::2", false),
            ("::ffff:10.0.0.5", true),
            ("ff02::1", true),
            ("fe80::1", false),
            ("2001:db8::1", false),
        ] {
            let a: std::net::Ipv6Addr = text.parse().expect("an address");
            assert_eq!(V6::from_ip(Ip::from_octets(a.octets())).is_nobody(), bad, "{text}");
        }
    }

    #[test]
    fn bridge_reserved_macs_are_told() {
        assert!(Mac([1, 0x80, 0xc2, 0, 0, 0]).is_bridge_reserved());
        assert!(!Mac([1, 0x80, 0xc2, 0, 0, 0x10]).is_bridge_reserved());
        assert!(!Mac::BROADCAST.is_bridge_reserved());
    }
}
