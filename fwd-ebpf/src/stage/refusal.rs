//! Refusals: a packet that is alike one dropped a moment ago is dropped after one look-up in a small cache of this
//! CPU, without a decision. A flood of them costs little more than its look-up among flows, and fills no table.
//!
//! The cache has so many rows and no more: a new refusal takes the place of one of its row that no longer holds, else
//! of any. Never remembered are drops that are answered, and those that depend on limits or on the payload.

use fwd_common::{
    dhcp,
    flow::{FlowEntry, FlowKey, Tick},
    id::PortId,
    proto::IpProto,
    refusal::{self, Refusal, WAYS},
    verdict::{Outcome, Payload, Verdict},
};

use crate::{
    frame::{Open, wide},
    maps::{self, Family},
    parse::{Ether, Packet},
    report::{self, Ingress},
};

/// The row that a key belongs to, and the way of it that comes first.
#[inline(always)]
fn place<A: Family>(key: &FlowKey<A>) -> (u32, usize) {
    let mut hash = 0;
    for n in 0..FlowKey::<A>::WORDS {
        hash = refusal::mixed(hash, key.word(n));
    }
    refusal::place(hash)
}

/// Whether a refusal is this key's, and of this tick.
#[inline(always)]
fn is_of<A: Family>(known: &Refusal<A>, key: &FlowKey<A>, now: Tick) -> bool {
    known.tick == now && known.key.is(key)
}

/// The drop of packets like this one, if it is remembered and holds. `key` is the packet's.
#[inline(always)]
pub fn recall<A: Family>(at: Open, mut key: FlowKey<A>, ingress: &Ingress) -> Option<Outcome<Verdict>> {
    key.sport = refusal::source_l4_port(ingress.port.kind, key.sport);
    let (row, first) = place(&key);
    // SAFETY: this CPU's row.
    let row = unsafe { &*A::refusals().get_ptr(row)? };
    let now = report::now();
    for n in 0..WAYS {
        let known = row.get(refusal::way(first, n))?;
        if is_of(known, &key, now)
            && at.wide(0) == wide(&known.frame_dst)
            && at.wide(6) == wide(&known.frame_src)
        {
            let bumped = ingress.generation.wrapping_add(maps::port_row(known.egress)?.generation);
            return (known.generation == bumped).then_some(Outcome::from_word(known.word));
        }
    }
    None
}

/// Remembers a drop of a packet that is no hit; `to` is where it would have gone, if that was decided.
///
/// Verifier: a function of its own, so that its stack is not added to that of what else its caller calls.
#[inline(never)]
pub fn remember<A: Family, T: Payload>(
    ingress: &Ingress,
    ether: &Ether,
    packet: &Packet<A>,
    to: Option<&FlowEntry<A>>,
    drop: Outcome<T>,
) {
    let FlowKey { proto, dport, .. } = packet.key;
    // What is sent to servers is judged by its payload.
    let is_by_payload = proto == IpProto::UDP && dhcp::SERVERS.contains(&dport);
    if !refusal::is_kept(drop.word() as u8) || is_by_payload || !matches!(proto, IpProto::TCP | IpProto::UDP)
    {
        return;
    }
    let mut key = packet.key;
    key.sport = refusal::source_l4_port(ingress.port.kind, packet.key.sport);
    let (row, first) = place(&key);
    let Some(row) = A::refusals().get_ptr_mut(row) else { return };
    // SAFETY: this CPU's row, which no program that nests in this one is in the middle of.
    let row = unsafe { &mut *row };
    let now = report::now();
    let mut way = first;
    for n in (0..WAYS).rev() {
        let at = refusal::way(first, n);
        if row.get(at).is_some_and(|known| known.tick != now || is_of(known, &key, now)) {
            way = at;
        }
    }
    let Some(known) = row.get_mut(way) else { return };
    known.key = key;
    known.word = drop.word();
    // Read before it was decided: an edit since leaves the refusal stale.
    (known.egress, known.generation) =
        to.map_or((PortId(0), ingress.generation), |to| (to.egress, to.generation));
    known.tick = now;
    (known.frame_dst, known.frame_src) = (ether.dst, ether.src);
}
