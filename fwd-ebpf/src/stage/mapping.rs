//! Endpoint-independent mapping and filtering (RFC 4787, 4.1 and 5; RFC 5382, 4): in a network that asks for it, one
//! address and L4 port of a guest has one address and L4 port outside, whomever it talks to, and whoever sends to
//! these reaches it.
//!
//! A mapping is a pair of entries of the flow table whose far end is nobody (`key_kind::MAPPING`): no packet's key is
//! like theirs, and inserting them is the reservation of the L4 port. It counts as a flow of its guest's port. Its
//! flows hold it, in both directions; without any it is over, and the next packet out makes it anew.
//!
//! Two CPUs, one that ends a mapping that nobody holds and one that begins to hold it: the flow goes on without it,
//! and the guest's next flow may get another L4 port.

use fwd_common::{
    addr::Mac,
    conntrack::{Life, Stage},
    counter::FlowCounter,
    drop::DropReason,
    event::End,
    flow::{FlowEntry, FlowKey, Pair, flag},
    id::{ForwardId, PortId, RuleId, Zone},
    nat::TRIES,
    network::{self, Network},
    port::Port,
    proto::IpProto,
    settings,
    table::Inserted,
    verdict::{Outcome, Verdict},
};

use super::{
    admit, forward, nat, reclaim,
    table::{self, Flows},
};
use crate::{
    atomic::shared,
    frame::{Deliver, Frame},
    maps::{self, Family},
    report::{self, Ingress},
};

/// Added to the number of a try at an L4 port: it is a mapping's.
pub const TRY: u32 = 1 << 31;

/// A mapping that is alive.
pub struct Mapping<A: 'static> {
    /// As the guest's packets would have it, and as packets from outside would.
    own: &'static mut FlowEntry<A>,
    outside: &'static FlowEntry<A>,
}

/// A second pair: that of a mapping, beside the flow's.
#[inline(always)]
fn spare<F: Frame, A: Family>() -> Option<&'static mut Pair<A>> {
    let row = A::scratch().get_ptr_mut(F::PROGRAM + maps::PROGRAMS)?;
    // SAFETY: this CPU's and this program's row, used here only.
    Some(unsafe { &mut *row })
}

/// Whether there can be mappings for a protocol at all.
#[inline(always)]
fn are_for(proto: IpProto) -> bool {
    matches!(proto, IpProto::TCP | IpProto::UDP)
        && maps::settings().is_ok_and(|settings| settings.flags & settings::flag::MAPPINGS != 0)
}

/// Marks a flow that goes out from a network as one that is to have its guest's mapping, if these are to have one.
/// A guest that has an address of its own keeps its L4 ports anyway.
#[inline(always)]
pub fn ask<A: Family>(network: &Network, from: &Port, proto: IpProto, to: &mut FlowEntry<A>) {
    let is_asked = network.has(network::flag::ENDPOINT_INDEPENDENT)
        && are_for(proto)
        && nat::source::<A>(from).is_none_or(|source| !source.keeps_l4_ports());
    if is_asked {
        to.flags |= flag::WANTS_MAPPING;
    }
}

/// Whether an outside address and L4 port (a reply's) are a mapping's.
#[inline(always)]
pub fn is_reserved<F: Frame, A: Family>(reply: &FlowKey<A>) -> bool {
    if !are_for(reply.proto) {
        return false;
    }
    let Some(spare) = spare::<F, A>() else { return false };
    spare.reply_key = FlowKey::outside_of_mapping(reply.dst, reply.dport, reply.proto);
    Flows::get(&spare.reply_key).is_some()
}

/// The mapping that a packet to an address of this host meets, if it is alive, and its network still maps so.
#[inline(always)]
pub fn met<F: Frame, A: Family>(key: &FlowKey<A>) -> Option<Mapping<A>> {
    if !are_for(key.proto) {
        return None;
    }
    let spare = spare::<F, A>()?;
    spare.reply_key = FlowKey::outside_of_mapping(key.dst, key.dport, key.proto);
    let outside = Flows::find(&spare.reply_key)?;
    let own = Flows::partner(outside)?;
    spare.key = own.key;
    let (own, outside) = (&mut own.entry, &mut outside.entry);
    let is_alive = own.life.stage() != Stage::Dead && own.is_held();
    let network = maps::network(maps::port(outside.egress)?.network).ok()?;
    (is_alive && network.has(network::flag::ENDPOINT_INDEPENDENT)).then_some(Mapping { own, outside })
}

impl<A: Family> Mapping<A> {
    /// The uplink by which its flows leave.
    pub const fn uplink(&self) -> PortId {
        self.own.egress
    }

    /// To the guest.
    ///
    /// # Errors
    /// `PortDown`, `NoNeighbor`.
    #[inline(always)]
    pub fn lead(&self, to: &mut FlowEntry<A>) -> Outcome<Verdict> {
        let outside = self.outside;
        let Some(port) = maps::port(outside.egress) else { return Outcome::dropped(DropReason::PortDown) };
        let neighbor = maps::neighbor(port.network, outside.dst.ip()).ok_or(DropReason::NoNeighbor)?;
        if neighbor.port != outside.egress {
            return Outcome::dropped(DropReason::NoNeighbor);
        }
        to.flags |= flag::ROUTED | flag::TRANSLATED | flag::MAPPED_DESTINATION;
        (to.dst, to.dport, to.out_dst) = (outside.dst, outside.dport, neighbor.mac);
        Outcome::ok(admit::leave_by(to, outside.egress, port))
    }

    /// To the guest, from another one under the sender's own address outside (RFC 4787, REQ-9). For who has none,
    /// what it asks for is the host's.
    ///
    /// # Errors
    /// As for [`Self::lead`]; `NoRoute` where the sender's address is not known.
    #[inline(always)]
    pub fn hairpin(
        &self,
        from: &Network,
        ingress: &Ingress,
        key: &FlowKey<A>,
        to: &mut FlowEntry<A>,
    ) -> Outcome<Verdict> {
        if !from.is(network::Mode::Nat) {
            return Outcome::ok(Verdict::HOST);
        }
        let verdict = self.lead(to)?;
        let uplink = maps::port(self.uplink()).ok_or(DropReason::PortDown)?;
        to.src = nat::outside_address::<A>(ingress.port, uplink);
        if to.src == A::default() {
            return Outcome::dropped(DropReason::NoRoute);
        }
        to.flags |= flag::SOURCE_TRANSLATED;
        ask(from, ingress.port, key.proto, to);
        Outcome::ok(verdict)
    }
}

/// Whether the flow in scratch is to have its guest's mapping.
#[inline(always)]
pub fn is_wanted<F: Frame, A: Family>() -> bool {
    // SAFETY: this CPU's and this program's row.
    A::scratch().get_ptr(F::PROGRAM).is_some_and(|pair| unsafe { (*pair).entry.has(flag::WANTS_MAPPING) })
}

/// Gives the flow in scratch the L4 port of its guest's mapping, which it then holds; one that is not there, or is
/// of another address, is made. `slot` goes back if it is not used.
///
/// # Errors
/// What a limit forbids, `NatExhausted`.
#[inline(always)]
pub fn reserve<F: Deliver, A: Family>(frame: F, ingress: PortId, slot: u32) -> Result<(), DropReason> {
    let mut is_used = false;
    let reserved = reserve_in::<F, A>(frame, (ingress, slot), &mut is_used);
    if !is_used && slot != reclaim::NONE {
        let _ = A::free().push(slot, 0);
    }
    reserved
}

#[inline(always)]
fn reserve_in<F: Deliver, A: Family>(
    frame: F,
    (ingress, slot): (PortId, u32),
    is_used: &mut bool,
) -> Result<(), DropReason> {
    let pair = A::scratch().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row.
    let pair = unsafe { &mut *pair };
    let mut uplink = pair.entry.egress;
    if pair.entry.has(flag::MAPPED_DESTINATION) {
        uplink = met::<F, A>(&pair.key).ok_or(DropReason::NatExhausted)?.uplink();
    }
    let spare = spare::<F, A>().ok_or(DropReason::Internal)?;
    spare.key = pair.key.inside_of_mapping();
    if hold(&spare.key, &mut pair.entry) {
        return Ok(());
    }
    // One that is over, or of an address that is no longer the network's.
    table::end_flow(&spare.key, End::Expired, RuleId(0));
    admit::limits::<A>(ingress)?;
    begin(spare, &pair.entry, (ingress, uplink));
    if slot == reclaim::NONE {
        report::add(FlowCounter::RefusedTableFull, 1);
        return Err(DropReason::FlowTableFull);
    }
    spare.slot = slot;
    let inserted = insert::<F, A>(frame);
    *is_used = inserted == Inserted::Won;
    if *is_used {
        table::take::<A>(ingress, false, 1);
    }
    match inserted {
        Inserted::Won | Inserted::Adopted | Inserted::Lost if hold(&spare.key, &mut pair.entry) => Ok(()),
        Inserted::Full => {
            report::add(FlowCounter::RefusedTableFull, 1);
            Err(DropReason::FlowTableFull)
        }
        _ => {
            report::add(FlowCounter::RefusedNatExhausted, 1);
            Err(DropReason::NatExhausted)
        }
    }
}

/// Both entries of a mapping to be made, but for its L4 port and slot.
#[inline(always)]
fn begin<A: Family>(spare: &mut Pair<A>, flow: &FlowEntry<A>, (ingress, uplink): (PortId, PortId)) {
    let Pair { key, entry, reply, .. } = spare;
    let translated = flag::TRANSLATED | flag::SOURCE_TRANSLATED | flag::MAPPING;
    let nobody = A::default();
    for (entry, egress) in [(&mut *entry, uplink), (&mut *reply, ingress)] {
        entry.generation = 0;
        // It waits for no answer.
        entry.life = Life::NEW.with_stage(Stage::Established);
        (entry.egress, entry.flags) = (egress, translated);
        (entry.forward, entry.rule, entry.kept_from) = (ForwardId(0), RuleId(0), RuleId(0));
        (entry.frame_src, entry.out_dst) = (Mac::NONE, Mac::NONE);
        (entry.l3_delta, entry.l4_delta) = (0, 0);
        (entry.packets, entry.bytes) = (0, 0);
        entry.last_seen = report::now();
    }
    entry.flags |= flag::ORIGINAL;
    (entry.src, entry.dst, entry.sport, entry.dport) = (flow.src, nobody, 0, 0);
    (reply.src, reply.dst, reply.sport, reply.dport) = (nobody, key.src, 0, key.sport);
}

/// Inserts it under the first L4 port that is free.
#[inline(always)]
fn insert<F: Deliver, A: Family>(frame: F) -> Inserted {
    for n in 0..TRIES {
        match frame.try_l4_port::<A>(n | TRY) {
            Inserted::Taken => {}
            inserted => return inserted,
        }
    }
    Inserted::Taken
}

/// Inserts the mapping in scratch under the n-th L4 port that it may take.
#[inline(always)]
pub fn try_l4_port<F: Deliver, A: Family>(frame: F, n: u32) -> Inserted {
    let (Some(spare), Ok(settings)) = (spare::<F, A>(), maps::settings()) else { return Inserted::Full };
    let Some(from) = maps::port(spare.reply.egress) else { return Inserted::Full };
    let source = nat::source::<A>(from).filter(|source| A::from_ip(source.addr) == spare.entry.src);
    let Pair { key, reply_key, entry, .. } = &mut *spare;
    entry.sport = nat::l4_port(settings.nat_l4_ports, source, key, n);
    *reply_key = FlowKey::outside_of_mapping(entry.src, entry.sport, key.proto);
    if forward::owns(key.proto, entry.src.ip(), entry.sport) || nat::has_socket(frame, reply_key) {
        return Inserted::Taken;
    }
    table::insert(spare, true)
}

/// Lets a flow hold the mapping that has this key, under its L4 port; whether there is one of the flow's address.
#[inline(always)]
fn hold<A: Family>(key: &FlowKey<A>, flow: &mut FlowEntry<A>) -> bool {
    let Some(own) = Flows::get(key) else { return false };
    if own.src != flow.src || own.life.stage() == Stage::Dead {
        return false;
    }
    shared(&mut own.packets).add(1);
    flow.sport = own.sport;
    flow.flags = flow.flags & !flag::WANTS_MAPPING | flag::MAPPED_SOURCE;
    true
}

/// A flow that meets a mapping was admitted, and holds it.
#[inline(always)]
pub fn hold_met<F: Frame, A: Family>(key: &FlowKey<A>) {
    if let Some(mapping) = met::<F, A>(key) {
        shared(&mut mapping.own.packets).add(1);
    }
}

/// Lets go of the mappings that a flow held which ends, or was not admitted, by its original direction.
///
/// Verifier: a function of its own, so that its stack is not added to what else is called when a flow ends.
#[inline(never)]
pub fn let_go<A: Family>(key: &FlowKey<A>, entry: &FlowEntry<A>, of: u32) -> u32 {
    let of = of as u16 & entry.flags;
    if of & flag::MAPPED_SOURCE != 0 {
        let_go_of(&key.inside_of_mapping(), (entry.src, entry.sport));
    }
    if of & flag::MAPPED_DESTINATION != 0 {
        let zone = maps::port(entry.egress).map_or(Zone::OUTSIDE, |port| port.zone);
        let own = entry.partner_key(key.proto, zone).inside_of_mapping();
        let_go_of(&own, (key.dst, key.dport));
    }
    0
}

/// Only of the one that a flow held: another may have come in its place.
#[inline(always)]
fn let_go_of<A: Family>(key: &FlowKey<A>, (addr, l4_port): (A, u16)) {
    if let Some(own) = Flows::get(key)
        && own.src == addr
        && own.sport == l4_port
    {
        shared(&mut own.packets).add(u64::MAX);
    }
}
