//! The one table of drop reasons: code, CLI, metrics and docs are all made from it.
//!
//! A number, once given, means the same for ever; a retired one stays retired.

macro_rules! drop_reasons {
    ($($num:literal $variant:ident $name:literal $sentence:literal $remedy:literal;)*) => {
        /// Why a frame was dropped.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $(#[doc = $sentence] $variant = $num,)* }

        impl DropReason {
            /// Every reason, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The reason with this number.
            pub const fn from_number(n: u8) -> Option<Self> {
                match n { $($num => Some(Self::$variant),)* _ => None }
            }

            /// Its name in CLI, metrics and docs.
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// What happened, in one sentence.
            pub const fn sentence(self) -> &'static str { match self { $(Self::$variant => $sentence,)* } }

            /// What to do about it.
            pub const fn remedy(self) -> &'static str { match self { $(Self::$variant => $remedy,)* } }
        }
    };
}

drop_reasons! {
    1 RuntFrame "runt_frame" "The frame is shorter than an Ethernet header." "Look at the guest's driver: no stack sends such frames.";
    2 TruncatedHeader "truncated_header" "The frame ends inside a header that its type requires." "Look at the sender: the frame was cut or forged.";
    3 BadIpv4Header "bad_ipv4_header" "Version, header length or total length of the IPv4 header is wrong." "Look at the sender: the header is forged or its driver is broken.";
    4 BadIpv6Header "bad_ipv6_header" "Version or payload length of the IPv6 header is wrong." "Look at the sender: the header is forged or its driver is broken.";
    5 Ipv4Options "ipv4_options_unsupported" "The IPv4 header carries a source route, or more options than are looked behind." "Send without source routes: hosts and routers refuse them.";
    6 Ipv6Extension "ipv6_extension_unsupported" "The IPv6 packet carries extension headers of an unknown kind, or more of them than are looked behind." "Send with fewer extension headers.";
    8 VlanTagged "vlan_unsupported" "The frame carries a VLAN tag on a port that is not a trunk." "Remove the VLAN from the guest's interface.";
    9 EtherTypeUnsupported "ether_type_unsupported" "The frame is neither ARP, IPv4 nor IPv6, and its network carries only these." "Use a bridge network for other protocols.";
    10 SourceMacSpoofed "source_mac_spoofed" "The source MAC is not the port's." "Set the port's --mac, or --trust the port.";
    11 SourceAddressSpoofed "source_address_spoofed" "The source address does not belong to the port." "Give the port the address with --ip or --allow-address, or --trust it.";
    12 ArpSpoofed "arp_spoofed" "An ARP message claims a MAC or address that is not the port's." "Give the port the address with --ip or --allow-address, or --trust it.";
    13 NdSpoofed "nd_spoofed" "A neighbor discovery message claims a MAC or address that is not the port's." "Give the port the address with --ip or --allow-address, or --trust it.";
    14 BadArp "bad_arp" "The ARP message is not one of Ethernet and IPv4." "Look at the sender: the message is forged.";
    15 PolicyDenied "policy_denied" "A rule denies it." "See the rule: fwd policy show RULE.";
    16 PolicyDefaultDeny "policy_default_deny" "The network is closed and no rule allows it." "Add a rule: fwd policy add allow FROM TO SERVICE.";
    17 FlowTableFull "flow_table_full" "The flow table is full, and nothing in it has expired." "Raise flow_limit, or see who fills it: fwd flow count.";
    18 PortFlowLimit "port_flow_limit" "The port has as many flows as it may have." "Raise flow_limit_per_port, or look at what the guest does.";
    19 HalfOpenLimit "half_open_limit" "Too many flows of the port have not been answered." "A scan or a flood: look at the port's flows.";
    20 NatExhausted "nat_exhausted" "No free L4 port is left for this translation." "Widen nat_l4_ports.";
    21 NoRoute "no_route" "The host has no route to the destination through an uplink." "Look at `ip route get`, and at fwd uplink list.";
    22 NoNeighbor "no_neighbor" "Nobody in the network has the destination address." "Start the guest, or give its port the address with --ip.";
    23 PortDown "port_down" "The port to which it should go has no device." "Start the guest: fwd port show PORT.";
    24 TtlExceeded "ttl_exceeded" "The TTL or hop limit ran out here, and the sender is not told: it is an ICMP error, or one more than the port may cause." "A routing loop or a flood: look at the port's flows.";
    25 PacketTooBig "packet_too_big" "The packet is larger than the MTU of where it should go, and the sender is not told: it is an ICMP error, or one more than the port may cause." "Make the MTUs along the path equal.";
    27 ProtocolUnsupported "protocol_unsupported" "The protocol has no L4 ports or id by which it could be translated." "Use TCP, UDP, SCTP or ICMP echo here, or a bridge network.";
    28 SamePort "same_port" "It should go out by the port on which it came in." "A loop, or two addresses behind one guest; nothing to do if rare.";
    29 MacLimit "mac_limit" "The port has as many MAC addresses as it may have." "A MAC flood, or many machines behind one port.";
    30 ModeForbids "mode_forbids" "The network's mode has no way there." "See the mode: fwd network show NETWORK.";
    31 TcpMidstream "tcp_midstream" "A TCP packet that opens no connection belongs to no flow, and midstream_tcp is deny." "Set midstream_tcp to allow, or reconnect.";
    32 PolicyRowMissing "policy_row_missing" "A compiled rule table lacks a row: this cannot happen." "Report it with fwd status --check.";
    33 Internal "internal" "A table that always exists could not be read: this cannot happen." "Report it with fwd status --check.";
    34 LinkLocalFrame "link_local_frame" "The frame is for the next bridge only (01:80:c2:00:00:0x)." "Nothing to do: bridges never forward these.";
    35 SourceAddressInvalid "source_address_invalid" "The source address is one that no host may send from." "Look at the sender: the packet is forged.";
    36 RewriteFailed "rewrite_failed" "The kernel refused to change the packet." "Report it with the guest's offload settings; of a tunnel lower the MTU below 16000.";
    38 BadL4Header "bad_l4_header" "A length in the L4 header is wrong." "Look at the sender: the header is forged.";
    39 RogueServer "rogue_server" "A guest answers DHCP, DHCPv6 or router discovery for the network." "Stop that service in the guest, or --trust the port.";
    41 ForwardRemoved "forward_removed" "The forward that admitted the flow is gone or leads elsewhere now." "Connect again; if it should still be there: fwd forward list.";
    42 FdbMoved "fdb_moved" "A MAC that is configured for one port came in on another." "Two guests with one MAC, or a loop.";
    43 IcmpErrorUnrelated "icmp_error_unrelated" "The ICMP error quotes a packet of no live flow." "Nothing to do if rare: the flow had ended, or the error is forged.";
    44 IcmpRedirect "icmp_redirect" "A guest redirects others to another router." "Nothing to do: the gateway redirects nobody, or --trust the port.";
    45 PolicyRejected "policy_rejected" "A rule rejects it; the sender is told so, within limits." "See the rule: fwd policy show RULE.";
    46 FragmentBeforeFirst "fragment_before_first" "The fragment came before the first one of its datagram, which alone has the L4 header, or long after it." "Nothing to do if rare: the sender sends the datagram again. Else lower the sender's datagram size.";
    47 FragmentTiny "fragment_tiny" "The first fragment ends inside the L4 header, so rules could not see it whole." "Look at the sender: no stack cuts datagrams so small.";
    48 FragmentOverlap "fragment_overlap" "The fragment covers bytes that the first one of its datagram had." "Look at the sender: overlapping fragments are forged.";
    49 FragmentInvalid "fragment_invalid" "The fragment has an impossible length or place, or is one of a message that is never sent in fragments." "Look at the sender: the fragment is forged.";
    50 Ipv6RoutingHeader "ipv6_routing_header" "The IPv6 packet carries a routing header with hops to go, or one of type 0." "Send without routing headers: rules see only the next hop.";
    51 FloodLimit "flood_limit" "The port's broadcast, multicast and unknown unicast made as many copies as they may." "A loop or a storm in the guest: look at what it sends; a guest that does stream to groups needs a higher flood_limit_per_port.";
    52 ForwardClientDenied "forward_client_denied" "The forward is for other clients." "See whom it is for: fwd forward show FORWARD.";
    53 SctpFragment "sctp_fragment" "A fragment of SCTP whose L4 port would have to change: the checksum is over all of the packet, most of which is in other fragments." "Let the ends find the path's MTU, as SCTP does; or give the flow an L4 port of its own, or an address by fwd nat add --one-to-one.";
    54 PrefixUnmapped "prefix_unmapped" "The address has no counterpart in the other prefix: its subnet, or its interface identifier, is all ones, or the latter all zeros." "Give the guest another address: such ones are reserved anyway.";
}

impl DropReason {
    /// Slots that an array indexed by reason needs.
    pub const SLOTS: u32 = 64;

    /// Whether the number that goes with a drop is the forward's that refused it, and not a rule's.
    #[must_use]
    pub const fn is_of_forward(self) -> bool {
        matches!(self, Self::ForwardClientDenied)
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// The stage of the pipeline that gives it; `way` is the one that chooses where a packet goes: forward, route or FDB.
    #[must_use]
    pub const fn stage(self) -> &'static str {
        match self {
            Self::SourceMacSpoofed
            | Self::SourceAddressSpoofed
            | Self::SourceAddressInvalid
            | Self::ArpSpoofed
            | Self::NdSpoofed
            | Self::BadArp
            | Self::RogueServer
            | Self::IcmpRedirect => "source",
            Self::PolicyDenied | Self::PolicyDefaultDeny | Self::PolicyRejected | Self::PolicyRowMissing => {
                "policy"
            }
            Self::ForwardRemoved => "recheck",
            Self::NatExhausted | Self::SctpFragment => "nat",
            Self::FlowTableFull | Self::PortFlowLimit | Self::HalfOpenLimit | Self::TcpMidstream => "admit",
            Self::TtlExceeded
            | Self::PacketTooBig
            | Self::PortDown
            | Self::RewriteFailed
            | Self::FloodLimit => "deliver",
            Self::NoRoute
            | Self::NoNeighbor
            | Self::ForwardClientDenied
            | Self::ModeForbids
            | Self::SamePort
            | Self::ProtocolUnsupported
            | Self::IcmpErrorUnrelated
            | Self::EtherTypeUnsupported
            | Self::LinkLocalFrame
            | Self::PrefixUnmapped
            | Self::MacLimit
            | Self::FdbMoved
            | Self::Internal => "way",
            Self::RuntFrame
            | Self::TruncatedHeader
            | Self::BadIpv4Header
            | Self::BadIpv6Header
            | Self::BadL4Header
            | Self::Ipv4Options
            | Self::Ipv6Extension
            | Self::Ipv6RoutingHeader
            | Self::VlanTagged
            | Self::FragmentBeforeFirst
            | Self::FragmentTiny
            | Self::FragmentOverlap
            | Self::FragmentInvalid => "parse",
        }
    }

    /// Reasons that can only come of a fault in fwd itself; tests hold them at zero.
    pub const CANNOT_HAPPEN: &[Self] = &[Self::PolicyRowMissing, Self::Internal];

    /// Reasons that nothing gives any more. Neither number nor name comes back with another meaning.
    pub const RETIRED: &[(u8, &str)] = &[
        (7, "fragment_unsupported"),
        (26, "icmp_error_unsupported"),
        (37, "flood_suppressed"),
        (40, "route_loop"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_given_is_a_reason_or_retired() {
        let last = DropReason::ALL.iter().map(|reason| *reason as u8).max().expect("there are reasons");
        for number in 1..=last {
            let retired = DropReason::RETIRED.iter().any(|(n, _)| *n == number);
            assert_ne!(DropReason::from_number(number).is_some(), retired, "{number}");
        }
        for (number, name) in DropReason::RETIRED {
            assert!(*number < last, "{name} was given, so later ones have higher numbers");
            assert!(DropReason::ALL.iter().all(|reason| reason.name() != *name), "{name}");
        }
    }

    #[test]
    fn numbers_and_names_are_unique_and_fit() {
        for (i, a) in DropReason::ALL.iter().enumerate() {
            assert!((*a as u32) < DropReason::SLOTS);
            assert_eq!(DropReason::from_number(*a as u8), Some(*a));
            for b in &DropReason::ALL[..i] {
                assert_ne!(a.name(), b.name());
                assert!((*b as u8) < (*a as u8));
            }
        }
    }
}
