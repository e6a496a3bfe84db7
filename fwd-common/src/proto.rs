//! Protocol numbers and flag bits, as types that cannot be mixed.

/// Ethertype, in host byte order (IANA "IEEE 802 Numbers").
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: Self = Self(0x0800);
    pub const ARP: Self = Self(0x0806);
    pub const VLAN: Self = Self(0x8100);
    pub const IPV6: Self = Self(0x86dd);
    pub const SERVICE_VLAN: Self = Self(0x88a8);
}

/// IP protocol number (IANA "Protocol Numbers").
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpProto(pub u8);

impl IpProto {
    pub const HOP_BY_HOP: Self = Self(0);
    pub const ICMP: Self = Self(1);
    pub const IGMP: Self = Self(2);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const ROUTING: Self = Self(43);
    pub const FRAGMENT: Self = Self(44);
    pub const AUTH: Self = Self(51);
    pub const ICMPV6: Self = Self(58);
    pub const NO_NEXT: Self = Self(59);
    pub const DEST_OPTIONS: Self = Self(60);
    pub const SCTP: Self = Self(132);

    /// TCP and SCTP: opened by a handshake of three packets, and closed by word.
    #[inline(always)]
    pub const fn has_handshake(self) -> bool {
        matches!(self.0, 6 | 132)
    }

    #[inline(always)]
    pub const fn has_l4_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    /// An IPv6 extension header (RFC 8200, 4; RFC 4302; RFC 7045 for mobility, HIP, shim6, experiments).
    #[inline(always)]
    pub const fn is_ipv6_extension(self) -> bool {
        matches!(self.0, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140 | 253 | 254)
    }
}

/// IPv4 option types, copied flag and class included (RFC 791, 3.1).
pub mod ip_option {
    pub const END: u8 = 0;
    pub const NOP: u8 = 1;
    pub const LOOSE_ROUTE: u8 = 131;
    pub const STRICT_ROUTE: u8 = 137;
}

/// TCP flag bits (RFC 9293, 3.1).
pub mod tcp {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// ICMP types (RFC 792, RFC 950).
pub mod icmp {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const REDIRECT: u8 = 5;
    pub const ECHO_REQUEST: u8 = 8;
    /// Codes of `UNREACHABLE` (RFC 1191, RFC 1812).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    pub const PROHIBITED: u8 = 13;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    pub const TIMESTAMP_REPLY: u8 = 14;
    pub const INFO_REPLY: u8 = 16;
    pub const ADDRESS_MASK_REPLY: u8 = 18;
}

/// ICMPv6 types (RFC 4443, RFC 4861, RFC 2710, RFC 3810, RFC 4620).
pub mod icmpv6 {
    pub const UNREACHABLE: u8 = 1;
    /// Code of `UNREACHABLE`: administratively prohibited.
    pub const PROHIBITED: u8 = 1;
    pub const PACKET_TOO_BIG: u8 = 2;
    pub const TIME_EXCEEDED: u8 = 3;
    /// Errors are the types below this one.
    pub const FIRST_INFORMATIONAL: u8 = 128;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
    pub const MLD_QUERY: u8 = 130;
    pub const MLD_DONE: u8 = 132;
    pub const ROUTER_SOLICITATION: u8 = 133;
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    pub const REDIRECT: u8 = 137;
    pub const NODE_INFO_REPLY: u8 = 140;
    pub const MLDV2_REPORT: u8 = 143;
}
