//! The hit path: a TCP or UDP packet of a known flow, decided and rewritten with one look-up and one window.
//!
//! Guarantees: what it takes is what `parse`, `flow`, `deliver` and `rewrite` would have let pass, and leaves as
//! they would have sent it. All else it leaves to them, who know the reason: headers that do not hold together,
//! other protocols, edits, expiry, TCP flags that move the flow on, TTL, MTU, a device that is gone.

use core::mem::MaybeUninit;

use fwd_common::{
    addr::Address,
    conntrack::TimeoutClass,
    counter::Count,
    flow::{FlowEntry, FlowKey, flag},
    id::{PortId, Zone},
    port::Port,
    proto::IpProto,
    verdict::{Outcome, Verdict},
};

use super::{refusal, table::Flows};
use crate::{
    frame::{ChecksumFix, Deliver, Open, Refused, wide},
    maps::{self, Family},
    parse::{L3, l4},
    report::{self, Ingress},
    rewrite::adjusted,
};

/// What becomes of the packet.
pub enum Hit {
    /// It is for the others to decide.
    Miss,
    /// The same, and there is no such flow.
    New,
    /// One alike was dropped a moment ago, and so is this one.
    Dropped(Outcome<Verdict>),
    /// Its source MAC is not the port's.
    Spoofed,
    /// This hook cannot deliver it.
    PassUp,
    /// Rewritten, and counted by its flow.
    Forward(PortId, &'static Port),
    /// The kernel refused to change it.
    Refused,
}

/// The headers of a TCP or UDP packet.
struct Head {
    at: Open,
    proto: IpProto,
    tcp_flags: u8,
}

/// Decides a packet that came in on a port; `size` is the frame's.
#[inline(always)]
pub fn hit<F: Deliver, A: Family>(frame: F, ingress: &Ingress, size: Count) -> Hit {
    let Some(Head { at, proto, tcp_flags }) = head::<F, A>(frame) else { return Hit::Miss };
    if ingress.port.pins_mac() && at.wide(6) != wide(&ingress.port.mac) {
        return Hit::Spoofed;
    }
    let l4 = l4::<A>();
    let key = key::<A>(at, ingress.port.zone, proto);
    // SAFETY: `key` wrote all of it.
    let Some(half) = Flows::<A>::find_here(unsafe { key.assume_init_ref() }) else {
        // SAFETY: as above.
        return refusal::recall(at, unsafe { key.assume_init() }, ingress).map_or(Hit::New, Hit::Dropped);
    };
    let entry = &mut half.entry;
    let Some(egress) = maps::port_row(entry.egress) else { return Hit::Miss };
    if entry.generation != ingress.generation.wrapping_add(egress.generation)
        || !is_addressed(at, ingress, entry)
        || !entry.life.is_settled(tcp_flags, entry.has(flag::ORIGINAL))
        || !is_alive(proto, entry)
    {
        return Hit::Miss;
    }
    if !F::can_reach(egress) {
        return Hit::PassUp;
    }
    let l3_len = if size.packets == 1 { size.bytes } else { (l4 + 20) as u64 + frame.gso_size() as u64 };
    if egress.ifindex == 0
        || entry.has(flag::UNRESOLVED)
        || (entry.has(flag::ROUTED) && at.get::<u8>(hops::<A>()) <= 1)
        || l3_len > (egress.mtu as usize + L3) as u64
    {
        return Hit::Miss;
    }
    entry.packets += size.packets;
    entry.bytes += size.bytes;
    match rewrite(frame, at, proto, entry, egress) {
        Ok(()) => Hit::Forward(entry.egress, egress),
        Err(Refused) => Hit::Refused,
    }
}

/// The headers, if they are TCP's or UDP's and all that `parse` would ask of them holds.
#[inline(always)]
fn head<F: Deliver, A: Family>(frame: F) -> Option<Head> {
    let l4 = l4::<A>();
    let mut at = frame.open(l4 + 8)?;
    let (proto, end): (IpProto, usize) = if A::IS_V6 {
        let is_plain = at.get::<u8>(L3) >> 4 == 6;
        is_plain.then_some((at.get(L3 + 6), l4 + u16::from_be(at.get(L3 + 4)) as usize))?
    } else {
        // No options, no fragment.
        let is_plain = at.get::<u8>(L3) == 0x45 && at.get::<u16>(L3 + 6) & 0x3fff_u16.to_be() == 0;
        is_plain.then_some((at.get(L3 + 9), L3 + u16::from_be(at.get(L3 + 2)) as usize))?
    };
    let (least, len, tcp_flags) = match proto {
        IpProto::UDP => (8, u16::from_be(at.get(l4 + 4)) as usize, 0),
        IpProto::TCP => {
            at = frame.open(l4 + 20)?;
            (20, (at.get::<u8>(l4 + 12) >> 4) as usize * 4, at.get(l4 + 13))
        }
        _ => return None,
    };
    let is_whole = len >= least && l4 + len <= end && end <= frame.len() as usize;
    (is_whole && !frame.has_vlan_metadata()).then_some(Head { at, proto, tcp_flags })
}

/// The packet's key, stored by words of eight bytes: loads of words that were stored in parts would wait for all
/// of them to reach the cache.
#[inline(always)]
fn key<A: Family>(at: Open, zone: Zone, proto: IpProto) -> MaybeUninit<FlowKey<A>> {
    let mut key = MaybeUninit::<FlowKey<A>>::uninit();
    let words = key.as_mut_ptr().cast::<u64>();
    // Both addresses lie side by side, in packets as in keys.
    let addresses = 2 * size_of::<A>() / 8;
    for n in 0..addresses {
        // SAFETY: a key is its addresses and one more word.
        unsafe { words.add(n).write(at.get(addresses_at::<A>().0 + 8 * n)) };
    }
    let l4_ports: u32 = at.get(l4::<A>());
    let last = (proto.0 as u64) << 48 | (zone.0 as u64) << 32 | l4_ports as u64;
    // SAFETY: as above. In this order a little-endian word has the fields: L4 ports, zone, protocol, kind (0).
    unsafe { words.add(addresses).write(last) };
    key
}

/// Where the addresses are.
#[inline(always)]
const fn addresses_at<A: Address>() -> (usize, usize) {
    if A::IS_V6 { (L3 + 8, L3 + 24) } else { (L3 + 12, L3 + 16) }
}

/// Where the TTL or hop limit is.
#[inline(always)]
const fn hops<A: Address>() -> usize {
    L3 + if A::IS_V6 { 7 } else { 8 }
}

/// Whether the frame has the Ethernet addresses of the admitted one: see `flow::find`.
#[inline(always)]
fn is_addressed<A: Address>(at: Open, ingress: &Ingress, entry: &FlowEntry<A>) -> bool {
    let dst = if entry.has(flag::ROUTED) { &ingress.port.gateway_mac } else { &entry.out_dst };
    let src = wide(&entry.frame_src);
    at.wide(0) == wide(dst) && (ingress.port.pins_mac() || at.wide(6) == src || src == (0, 0))
}

/// Whether this direction was used within its timeout; it is now. Where it was not, the other one may have been.
#[inline(always)]
fn is_alive<A>(proto: IpProto, entry: &mut FlowEntry<A>) -> bool {
    let now = report::now();
    if entry.last_seen == now {
        return true;
    }
    let Ok(settings) = maps::settings() else { return false };
    let class = TimeoutClass::of(proto, entry.life) as usize;
    if settings.timeouts.get(class).is_none_or(|timeout| now.since(entry.last_seen) > *timeout) {
        return false;
    }
    entry.last_seen = now;
    true
}

/// Changes the frame as its flow's entry says.
#[inline(always)]
fn rewrite<F: Deliver, A: Family>(
    frame: F,
    at: Open,
    proto: IpProto,
    entry: &FlowEntry<A>,
    egress: &Port,
) -> Result<(), Refused> {
    let is_routed = entry.has(flag::ROUTED);
    if is_routed {
        at.set_wide(0, wide(&entry.out_dst));
        at.set_wide(6, wide(&egress.gateway_mac));
        at.set(hops::<A>(), at.get::<u8>(hops::<A>()) - 1);
    }
    let is_translated = entry.has(flag::TRANSLATED);
    if !A::IS_V6 && (is_routed || is_translated) {
        // The TTL is the first byte of its word: one less is a difference of ~0x0100.
        let hop = if is_routed { !0x0100_u16.to_be() as u32 } else { 0 };
        at.set(L3 + 10, adjusted(at.get(L3 + 10), entry.l3_delta as u32 + hop));
    }
    if !is_translated {
        return Ok(());
    }
    let (src, dst) = addresses_at::<A>();
    let l4 = l4::<A>();
    at.set(src, entry.src);
    at.set(dst, entry.dst);
    at.set(l4, entry.sport);
    at.set(l4 + 2, entry.dport);
    let is_udp = proto == IpProto::UDP;
    let fix = |offset| ChecksumFix { offset, addresses: entry.l3_delta, l4_ports: entry.l4_delta, is_udp };
    if is_udp { frame.fix_checksum(fix(l4 + 6)) } else { frame.fix_checksum(fix(l4 + 16)) }
}
