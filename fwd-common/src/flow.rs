//! The flow table's rows: one entry per direction of an admitted flow, with all that its next packet needs.
//!
//! A pair of entries names each other: the partner's key follows from an entry and its own key
//! ([`FlowEntry::partner_key`]), and the partner's row is the one beside ([`Half`]).

use crate::{
    addr::{Address, Mac},
    conntrack::Life,
    id::{ForwardId, PortId, RuleId, Zone},
    policy::Staged,
    proto::IpProto,
};

/// What identifies one direction of a flow. L4 ports in network byte order; what ICMP has in their place says
/// [`message`](crate::message). Aligned so that it can be read by words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey<A> {
    pub src: A,
    pub dst: A,
    pub sport: u16,
    pub dport: u16,
    pub zone: Zone,
    pub proto: IpProto,
    /// One of [`key_kind`].
    pub kind: u8,
}

/// What a key is of.
pub mod key_kind {
    /// Packets of a flow: one end to the other.
    pub const FLOW: u8 = 0;
    /// A mapping: of one end, whatever the other. No packet has such a key.
    pub const MAPPING: u8 = 1;
}

/// How packets of one direction are rewritten and where they go. Bytes, packets and `last_seen` are
/// written by every CPU without locks: two CPUs that carry one direction at once may lose counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEntry<A> {
    /// Sum of both ports' generations when this was decided; another sum means: decide anew. Generations
    /// only grow, so the sum changes whenever one of them does. Of a reply that is refused its highest bit is
    /// another, so that none hits ([`FlowEntry::generation_of_reply`]).
    pub generation: u32,
    /// Stage and TCP flags seen; changed by atomics only.
    pub life: Life,
    pub egress: PortId,
    /// Bits of [`flag`].
    pub flags: u16,
    /// The original direction's: the forward that led it. The reply's: the [`Tick`] in which the flow was
    /// admitted.
    pub forward: ForwardId,
    /// Addresses and L4 ports as they leave.
    pub src: A,
    pub dst: A,
    pub sport: u16,
    pub dport: u16,
    /// When the last packet came, in [`Tick`]s; stored only when it changed.
    pub last_seen: Tick,
    /// The admitted frame's source MAC; another one misses.
    pub frame_src: Mac,
    /// Destination MAC as it leaves; of a bridged flow also as it came.
    pub out_dst: Mac,
    /// Ones'-complement differences of addresses, and of L4 ports, for checksums.
    pub l3_delta: u16,
    pub l4_delta: u16,
    /// The original direction's: the rule that permitted it; 0: the default did. The reply's: the staged rule
    /// that would decide it; 0: none.
    pub rule: RuleId,
    /// The rule from which [`flag::KEPT_FROM_RULE`] keeps this direction.
    pub kept_from: RuleId,
    pub packets: u64,
    pub bytes: u64,
}

/// A row of `FLOWS4` and `FLOWS6`: an entry with its key. Both directions of a flow lie side by side, the original one in
/// the even row.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Half<A> {
    pub key: FlowKey<A>,
    pub entry: FlowEntry<A>,
    /// The row's own number.
    pub row: u32,
    /// 1: it can be found by its key. A row that is none may have any content.
    pub is_live: u32,
}

/// Bits of [`FlowEntry::flags`].
pub mod flag {
    /// The direction of the packet that opened the flow.
    pub const ORIGINAL: u16 = 1;
    /// Routed: MACs are set, TTL goes down. Else bridged: MACs stay.
    pub const ROUTED: u16 = 2;
    /// Addresses or L4 ports change.
    pub const TRANSLATED: u16 = 4;
    /// The source (of the original direction) was replaced: the pair holds a NAT L4 port.
    pub const SOURCE_TRANSLATED: u16 = 8;
    /// The flow counts against the egress port, not the ingress port.
    pub const OWNED_BY_EGRESS: u16 = 16;
    /// The next hop's MAC was unknown at the last decision.
    pub const UNRESOLVED: u16 = 32;
    /// A rule, or the default, that an edit brought no longer permits the flow (the reply's: what answers a stateless
    /// rule's flow), and the edit let it live.
    pub const KEPT_FROM_RULE: u16 = 64;
    /// Its forward leads there no longer, or it would now be translated otherwise, and that edit let the flow live.
    pub const KEPT_FROM_FORWARD: u16 = 128;
    /// It holds the mapping of its source; of its destination. The original direction's.
    pub const MAPPED_SOURCE: u16 = 256;
    pub const MAPPED_DESTINATION: u16 = 512;
    /// No flow, but a mapping: its key is of [`key_kind::MAPPING`](super::key_kind::MAPPING). The original direction's
    /// `packets` are the flows that hold it.
    pub const MAPPING: u16 = 1024;
    /// Not admitted yet: it is to have the mapping of its source.
    pub const WANTS_MAPPING: u16 = 2048;
    /// The prefix of an address was exchanged, or both addresses': checksums stay, and so do the L4 ports, if there
    /// are any.
    pub const PREFIX: u16 = 4096;
    /// The reply's: a stateless rule permits the flow, and nothing permits what answers it. While a flow is not admitted
    /// yet, the original direction's.
    pub const REPLY_REFUSED: u16 = 8192;
}

/// Time since boot in units of 2^27 ns (about 134 ms), wrapping after 18 years.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks in a second, rounded down.
    pub const PER_SEC: u32 = 7;
    const SHIFT: u32 = 27;

    /// From nanoseconds since boot.
    #[inline(always)]
    pub const fn from_ns(ns: u64) -> Self {
        Self((ns >> Self::SHIFT) as u32)
    }

    /// A duration in ticks, rounded up.
    pub const fn ticks_from_secs(secs: u32) -> u32 {
        (((secs as u64 * 1_000_000_000) >> Self::SHIFT) + 1) as u32
    }

    /// How many of `per_sec` there are in a tick, rounded up.
    pub const fn share_of(per_sec: u32) -> u32 {
        (((per_sec as u64) << Self::SHIFT) / 1_000_000_000 + 1) as u32
    }

    /// Ticks since an earlier moment; none since a later one, which another CPU may have noted already.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let ticks = self.0.wrapping_sub(earlier.0);
        if ticks.cast_signed() < 0 { 0 } else { ticks }
    }
}

/// A row of `SCRATCH4` and `SCRATCH6`: both directions of a flow to be admitted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair<A> {
    pub key: FlowKey<A>,
    pub reply_key: FlowKey<A>,
    pub entry: FlowEntry<A>,
    pub reply: FlowEntry<A>,
    /// The rows that it is to have: this number twice, and one more.
    pub slot: u32,
    /// The first packet's, as it came.
    pub frame_src: Mac,
    /// Where its L4 header is; 0: in another fragment.
    pub l4: u16,
    /// 1: the first packet is one of TCP without SYN.
    pub is_midstream: u32,
    /// What staged rules would do, of the decision made last.
    pub staged: Staged,
    /// The rule that permits what answers a stateless rule's flow, if it is another; 0: none, or the default.
    pub reply_rule: RuleId,
    pub _pad: u32,
}

impl<A: Address> FlowKey<A> {
    /// Whether both are the same, compared by words.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        let mut difference = 0;
        for n in 0..Self::WORDS {
            difference |= self.word(n) ^ other.word(n);
        }
        difference == 0
    }

    /// The key of packets that go the other way in a zone, nothing translated.
    #[inline(always)]
    pub fn reversed(&self, zone: Zone) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            zone,
            proto: self.proto,
            kind: key_kind::FLOW,
        }
    }

    /// The key of the mapping that the guest of these packets has, as the guest sees it.
    #[inline(always)]
    pub fn inside_of_mapping(&self) -> Self {
        Self { dst: A::default(), dport: 0, kind: key_kind::MAPPING, ..*self }
    }

    /// The key of the mapping that has an outside address and L4 port, as outside sees it.
    #[inline(always)]
    pub fn outside_of_mapping(dst: A, dport: u16, proto: IpProto) -> Self {
        let kind = key_kind::MAPPING;
        Self { src: A::default(), dst, sport: 0, dport, zone: Zone::OUTSIDE, proto, kind }
    }
}

impl<A: Address> FlowEntry<A> {
    /// The partner's key. `egress_zone` is the zone of the port named by `self.egress`.
    #[inline(always)]
    pub fn partner_key(&self, proto: IpProto, egress_zone: Zone) -> FlowKey<A> {
        FlowKey {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            zone: egress_zone,
            proto,
            kind: if self.has(flag::MAPPING) { key_kind::MAPPING } else { key_kind::FLOW },
        }
    }

    /// What a reply of a flow has that was decided under these generations. A CPU that read one of them before an edit is
    /// behind by few, never by as much as the highest bit: it takes no refused reply for a hit.
    #[inline(always)]
    pub const fn generation_of_reply(generations: u32, is_refused: bool) -> u32 {
        generations ^ (is_refused as u32) << 31
    }

    /// Whether it was decided under these generations.
    #[inline(always)]
    pub const fn is_current(&self, generations: u32) -> bool {
        Self::generation_of_reply(generations, self.has(flag::REPLY_REFUSED)) == self.generation
    }

    #[inline(always)]
    pub const fn has(&self, bits: u16) -> bool {
        self.flags & bits != 0
    }

    /// Of a mapping: whether a flow holds it.
    #[inline(always)]
    pub const fn is_held(&self) -> bool {
        self.packets.cast_signed() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::V4;

    #[test]
    fn a_pair_names_each_other() {
        let key = FlowKey {
            src: V4(1),
            dst: V4(2),
            sport: 3,
            dport: 4,
            zone: Zone(5),
            proto: IpProto::TCP,
            kind: 0,
        };
        let forward = FlowEntry { src: V4(9), dst: V4(2), sport: 30, dport: 4, ..Default::default() };
        let reverse_key = forward.partner_key(key.proto, Zone(0));
        assert_eq!(
            reverse_key,
            FlowKey { src: V4(2), dst: V4(9), sport: 4, dport: 30, zone: Zone(0), ..key }
        );
        let reverse = FlowEntry { src: V4(2), dst: V4(1), sport: 4, dport: 3, ..Default::default() };
        assert_eq!(reverse.partner_key(key.proto, Zone(5)), key);
    }

    #[test]
    fn a_mappings_entries_name_each_other_and_no_packets_key() {
        let packet =
            FlowKey { src: V4(1), dst: V4(2), sport: 3, dport: 4, zone: Zone(5), ..Default::default() };
        let own = packet.inside_of_mapping();
        assert_ne!(own, FlowKey { dst: V4(0), dport: 0, ..packet });
        let entry = FlowEntry { src: V4(9), sport: 30, flags: flag::MAPPING, ..Default::default() };
        let outside = FlowKey::outside_of_mapping(V4(9), 30, packet.proto);
        assert_eq!(entry.partner_key(packet.proto, Zone::OUTSIDE), outside);
        let reply = FlowEntry { dst: V4(1), dport: 3, flags: flag::MAPPING, ..Default::default() };
        assert_eq!(reply.partner_key(packet.proto, Zone(5)), own);
        assert!(!FlowEntry { packets: u64::MAX, ..entry }.is_held());
    }

    #[test]
    fn a_refused_reply_is_current_and_equal_to_no_generation_near() {
        let entry = |generation, flags| FlowEntry::<V4> { generation, flags, ..Default::default() };
        for generations in [0_u32, 1, 7, u32::MAX] {
            let refused = FlowEntry::<V4>::generation_of_reply(generations, true);
            assert!(entry(refused, flag::REPLY_REFUSED).is_current(generations));
            assert!(entry(generations, 0).is_current(generations));
            assert!(!entry(refused, 0).is_current(generations));
            assert!(!entry(generations, flag::REPLY_REFUSED).is_current(generations));
            for behind in 0..1000 {
                assert_ne!(refused, generations.wrapping_sub(behind));
                assert_ne!(refused, generations.wrapping_add(behind));
            }
        }
    }

    #[test]
    fn ticks_wrap() {
        assert_eq!(Tick(3).since(Tick(u32::MAX)), 4);
        assert_eq!(Tick(3).since(Tick(4)), 0);
        assert_eq!(Tick(u32::MAX).since(Tick(0)), 0);
        assert!(Tick::ticks_from_secs(1) > Tick::PER_SEC);
    }
}
