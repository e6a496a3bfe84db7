//! Flow look-up, and what brings a flow up to date that the hit path left alone.

use fwd_common::{
    addr::{Address, Mac},
    conntrack::{self, Life, Stage, TimeoutClass, Way},
    event::End,
    flow::{FlowEntry, Half, Tick, flag},
    id::RuleId,
    port::Port,
    settings::Settings,
    verdict::{Outcome, Payload},
};

use super::table::{self, Flows};
use crate::{
    atomic::shared,
    frame::Deliver,
    maps::{self, Family},
    parse::{Ether, Kind, Packet},
    report::{self, Ingress},
};

/// A flow entry with its egress port.
pub struct Hit<A: 'static> {
    pub half: &'static mut Half<A>,
    pub egress: &'static Port,
}

/// What [`revisit`] found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Revisited {
    /// The packet is the first of a flow.
    Nothing,
    /// [`find`] will find its flow, which is up to date.
    Known,
    /// The same, but for edits since it was decided. Scratch has its original direction's key.
    Stale,
}

impl Payload for Revisited {
    #[inline(always)]
    fn to_word(self) -> u32 {
        self as u32
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Nothing,
            1 => Self::Known,
            _ => Self::Stale,
        }
    }
}

/// Brings the flow of a packet up to date, but for edits.
#[inline(always)]
pub fn revisit<F: Deliver, A: Family>(
    ingress: &Ingress,
    ether: &Ether,
    packet: &Packet<A>,
) -> Outcome<Revisited> {
    const NOTHING: Outcome<Revisited> = Outcome::from_word(0);
    let Some(hit) = find(ingress, ether, packet) else { return NOTHING };
    let Ok(settings) = maps::settings() else { return NOTHING };
    let now = report::now();
    // The stack has no room for a second key.
    let Some(scratch) = A::scratch().get_ptr_mut(F::PROGRAM) else { return NOTHING };
    // SAFETY: this CPU's and this program's row.
    let scratch = unsafe { &mut *scratch };
    let Some(Half { key: reply_key, entry: partner, .. }) = Flows::partner(hit.half) else { return NOTHING };
    let original_key = if hit.half.entry.has(flag::ORIGINAL) { &packet.key } else { &*reply_key };
    scratch.key = *original_key;
    if hit.half.entry.life.stage() == Stage::Dead {
        return NOTHING;
    }
    if is_expired(settings, packet.key.proto, (&hit.half.entry, partner), now) {
        table::end_flow(original_key, End::Expired, RuleId(0));
        return NOTHING;
    }
    if hit.is_refused() {
        // It neither keeps the flow alive nor moves it on.
        return Outcome::ok(if hit.is_current(ingress) { Revisited::Known } else { Revisited::Stale });
    }
    if conntrack::reopens(hit.half.entry.life, packet.key.proto, packet.tcp_flags) {
        table::end_flow(original_key, End::Reopened, RuleId(0));
        return NOTHING;
    }
    step(packet, &mut hit.half.entry, partner);
    hit.half.entry.last_seen = now;
    Outcome::ok(if hit.is_current(ingress) { Revisited::Known } else { Revisited::Stale })
}

/// The entry that a packet hits, if it came with the admitted Ethernet addresses.
#[inline(always)]
pub fn find<A: Family>(ingress: &Ingress, ether: &Ether, packet: &Packet<A>) -> Option<Hit<A>> {
    if matches!(packet.kind, Kind::IcmpError | Kind::Neighborhood) {
        return None;
    }
    let half = Flows::find(&packet.key)?;
    let entry = &half.entry;
    let egress = maps::port(entry.egress)?;
    let dst = if entry.has(flag::ROUTED) { ingress.port.gateway_mac } else { entry.out_dst };
    let same_source = ether.src == entry.frame_src || entry.frame_src == Mac::NONE;
    (ether.dst == dst && same_source).then_some(Hit { half, egress })
}

impl<A: Address> Hit<A> {
    /// Whether it answers a stateless rule's flow, and the rules refuse it.
    #[inline(always)]
    pub const fn is_refused(&self) -> bool {
        self.half.entry.has(flag::REPLY_REFUSED)
    }

    /// Whether nothing was edited since the flow was decided.
    #[inline(always)]
    fn is_current(&self, ingress: &Ingress) -> bool {
        self.half.entry.is_current(ingress.port.generation.wrapping_add(self.egress.generation))
    }
}

/// Whether neither direction was seen within the flow's timeout; of a mapping, whether it has no flow.
#[inline(always)]
pub fn is_expired<A: Address>(
    settings: &Settings,
    proto: fwd_common::proto::IpProto,
    pair: (&FlowEntry<A>, &FlowEntry<A>),
    now: Tick,
) -> bool {
    if pair.0.has(flag::MAPPING) {
        return !pair.0.is_held();
    }
    let class = TimeoutClass::of(proto, pair.0.life) as usize;
    let timeout = settings.timeouts.get(class).copied().unwrap_or(0);
    now.since(pair.0.last_seen) > timeout && now.since(pair.1.last_seen) > timeout
}

/// Moves the flow's stage on. Two CPUs that race here: one wins each word, the other's next packet steps again.
#[inline(always)]
fn step<A: Family>(packet: &Packet<A>, own: &mut FlowEntry<A>, other: &mut FlowEntry<A>) {
    let is_original = own.has(flag::ORIGINAL);
    if own.life.is_settled(packet.tcp_flags, is_original) {
        return;
    }
    let (way, original) = if is_original { (Way::Original, own.life) } else { (Way::Reply, other.life) };
    let (stage, new) = conntrack::step(own.life, other.life, way, packet.key.proto, packet.tcp_flags);
    let owner = if is_original { table::owner(own, other) } else { table::owner(other, own) };
    let other_new = other.life.with_stage(stage);
    let own_changed = replace(&mut own.life, new);
    let other_changed = replace(&mut other.life, other_new);
    let counted = if is_original { own_changed } else { other_changed };
    if counted && original.is_half_open() && !original.with_stage(stage).is_half_open() {
        table::settled::<A>(owner);
    }
}

/// Replaces a word that has not changed since it was read; whether it was this CPU that did.
#[inline(always)]
fn replace(life: &mut Life, new: Life) -> bool {
    let old = *life;
    old != new && shared(&mut life.0).replace(old.0, new.0)
}
