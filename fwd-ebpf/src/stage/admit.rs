//! Admission: both directions of a flow go into the table, after all stages agreed.

use fwd_common::{
    addr::{Address, Mac},
    conntrack::Life,
    counter::FlowCounter,
    drop::DropReason,
    flow::{FlowEntry, Pair, flag},
    id::{ForwardId, PortId, RuleId},
    nat::TRIES,
    policy::note,
    port::{Port, PortKind},
    settings,
    table::Inserted,
    verdict::{Outcome, Verdict},
};

use super::{
    deliver, former, mapping, nat, reclaim,
    table::{self, Flows},
};
use crate::{
    atomic::shared,
    flow_event,
    frame::Deliver,
    maps::{self, Family},
    parse::{Ether, Packet},
    report::{self, Ingress},
    rewrite::{address_difference, fold, word_difference},
};

/// A flow to be admitted: the original direction's entry in scratch, as if the packet were to be delivered
/// unchanged to where its frame is addressed. `forward`, `route` and `fdb` change what is otherwise.
///
/// # Errors
/// `TcpMidstream`.
#[inline(always)]
pub fn candidate<F: Deliver, A: Family>(
    ingress: &Ingress,
    ether: &Ether,
    packet: &Packet<A>,
) -> Result<&'static mut FlowEntry<A>, DropReason> {
    let key = &packet.key;
    let is_midstream = packet.is_midstream();
    let pair = A::scratch().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row; nothing that runs until the packet is sent uses it.
    let pair = unsafe { &mut *pair };
    pair.key = *key;
    pair.is_midstream = is_midstream as u32;
    pair.frame_src = ether.src;
    pair.l4 = packet.l4 as u16;
    pair.reply_rule = RuleId(0);
    // Field by field: a whole entry would be made on the stack first.
    let entry = &mut pair.entry;
    entry.generation = ingress.generation;
    entry.life = Life::NEW;
    entry.flags = flag::ORIGINAL;
    entry.forward = ForwardId(0);
    (entry.src, entry.dst, entry.sport, entry.dport) = (key.src, key.dst, key.sport, key.dport);
    entry.frame_src = known(ingress.port, ether.src);
    entry.out_dst = ether.dst;
    Ok(entry)
}

/// Sets the port by which a flow to be admitted leaves. Both generations are read before the policy is asked:
/// an edit in between leaves the flow stale.
#[inline(always)]
pub fn leave_by<A: Family>(to: &mut FlowEntry<A>, id: PortId, port: &Port) -> Verdict {
    to.egress = id;
    to.generation = to.generation.wrapping_add(port.generation);
    Verdict::NEXT
}

/// Routers answer from whatever MAC they like.
#[inline(always)]
fn known(port: &Port, mac: Mac) -> Mac {
    if port.is(PortKind::Uplink) { Mac::NONE } else { mac }
}

/// Admits the flow in scratch and sends its first packet on its way. `slot` goes back if it is not used.
///
/// # Errors
/// What the packet or a limit forbids.
#[inline(always)]
pub fn admit<F: Deliver, A: Family>(frame: F, ingress: &Ingress, slot: u32) -> Outcome<Verdict> {
    let mut is_used = false;
    let verdict = admit_in::<F, A>(frame, ingress, slot, &mut is_used);
    if !is_used {
        if slot != reclaim::NONE {
            let _ = A::free().push(slot, 0);
        }
        if let Some(pair) = A::scratch().get_ptr_mut(F::PROGRAM) {
            // SAFETY: this CPU's and this program's row.
            let pair = unsafe { &*pair };
            mapping::let_go(&pair.key, &pair.entry, flag::MAPPED_SOURCE as u32);
        }
    }
    verdict
}

#[inline(always)]
fn admit_in<F: Deliver, A: Family>(
    frame: F,
    ingress: &Ingress,
    slot: u32,
    is_used: &mut bool,
) -> Outcome<Verdict> {
    let pair = A::scratch().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: as in `candidate`, which filled it for this.
    let pair = unsafe { &mut *pair };
    let egress = maps::port(pair.entry.egress).ok_or(DropReason::PortDown)?;
    if !deliver::is_for::<F>(egress, pair.entry.flags) {
        return Outcome::ok(Verdict::PASS_UP);
    }
    deliver::check::<F, A>(frame, egress, pair.entry.flags)?;
    // A stateless rule permits packets, not connections.
    let is_midstream = pair.is_midstream != 0 && !pair.staged.has(note::STATELESS);
    if is_midstream && maps::settings()?.flags & settings::flag::MIDSTREAM_TCP == 0 {
        return Outcome::dropped(DropReason::TcpMidstream);
    }
    let owner = complete(pair, ingress, egress);
    limits::<A>(owner)?;
    pair.slot = slot;
    if slot == reclaim::NONE {
        report::add(FlowCounter::RefusedTableFull, 1);
        return Outcome::dropped(DropReason::FlowTableFull);
    }
    let count = report::size_of_frame(frame);
    (pair.entry.packets, pair.entry.bytes) = (count.packets, count.bytes);
    let l4 = (pair.key.proto, pair.l4 as usize);
    let mut inserted = insert(frame, pair);
    let may_be_former = matches!(inserted, Inserted::Adopted | Inserted::Lost | Inserted::Taken);
    if may_be_former && former::end(pair) {
        inserted = insert(frame, pair);
    }
    *is_used = inserted == Inserted::Won;
    if *is_used {
        admitted::<F, A>(pair, owner);
    }
    match inserted {
        Inserted::Won | Inserted::Adopted => deliver::send(frame, l4, &pair.entry, egress),
        Inserted::Lost => {
            // The winner's translation is the flow's; where it has ended since, the sender tries again.
            let entry = Flows::get(&pair.key).ok_or(DropReason::NatExhausted)?;
            deliver::send(frame, l4, entry, egress)
        }
        Inserted::Taken => {
            report::add(FlowCounter::RefusedNatExhausted, 1);
            Outcome::dropped(DropReason::NatExhausted)
        }
        Inserted::Full => {
            report::add(FlowCounter::RefusedTableFull, 1);
            Outcome::dropped(DropReason::FlowTableFull)
        }
    }
}

/// Fills in what does not depend on a translated L4 port. Returns the port whose quota the flow uses: the VM
/// that opened it, else the VM that it was opened to.
#[inline(always)]
fn complete<A: Family>(pair: &mut Pair<A>, ingress: &Ingress, egress: &Port) -> PortId {
    let now = report::now();
    if pair.entry.has(flag::UNRESOLVED) {
        // Stale from the start: looked up again by its next packet.
        pair.entry.generation = pair.entry.generation.wrapping_sub(1);
    }
    pair.entry.last_seen = now;
    let both = flag::ROUTED | flag::TRANSLATED | flag::SOURCE_TRANSLATED | flag::PREFIX | flag::REPLY_REFUSED;
    let (key, reply) = (&pair.key, &mut pair.reply);
    let is_refused = pair.entry.has(flag::REPLY_REFUSED);
    reply.generation = FlowEntry::<A>::generation_of_reply(pair.entry.generation, is_refused);
    reply.life = Life::NEW;
    reply.egress = ingress.id;
    reply.flags = pair.entry.flags & both;
    reply.forward = ForwardId(now.0);
    (reply.src, reply.dst, reply.sport, reply.dport) = (key.dst, key.src, key.dport, key.sport);
    reply.last_seen = now;
    reply.frame_src = known(egress, pair.entry.out_dst);
    reply.out_dst = pair.frame_src;
    reply.rule = pair.staged.rule;
    (reply.packets, reply.bytes) = (0, 0);
    pair.entry.flags &= !flag::REPLY_REFUSED;
    finish_translation(pair, egress);
    if ingress.port.is(PortKind::Vm) || !egress.is(PortKind::Vm) {
        return ingress.id;
    }
    pair.entry.flags |= flag::OWNED_BY_EGRESS;
    pair.entry.egress
}

/// Quotas. CPUs that ask at once may all pass: at most one flow each above a limit.
#[inline(always)]
pub fn limits<A: Family>(owner: PortId) -> Result<(), DropReason> {
    let port = maps::port(owner).ok_or(DropReason::PortDown)?;
    let held = table::port_use(owner).ok_or(DropReason::Internal)?;
    if shared(&mut held.flows).load() >= port.flow_limit {
        report::add(FlowCounter::RefusedPortLimit, 1);
        return Err(DropReason::PortFlowLimit);
    }
    let all = maps::TABLE_USE.get_ptr_mut(A::INDEX).ok_or(DropReason::Internal)?;
    // SAFETY: a map row, changed by atomics only.
    let all = shared(unsafe { &mut (*all).half_open }).load();
    let own = shared(&mut held.half_open).load();
    if own >= port.half_open_limit || all >= maps::settings()?.half_open_limit {
        report::add(FlowCounter::RefusedHalfOpen, 1);
        return Err(DropReason::HalfOpenLimit);
    }
    Ok(())
}

/// The reply's key, and both directions' checksum differences, once the L4 ports are known.
#[inline(always)]
fn finish_translation<A: Family>(pair: &mut Pair<A>, egress: &Port) {
    pair.reply_key = pair.entry.partner_key(pair.key.proto, egress.zone);
    differences(&pair.key, &mut pair.entry);
    differences(&pair.reply_key, &mut pair.reply);
}

#[inline(always)]
fn differences<A: Address>(key: &fwd_common::flow::FlowKey<A>, entry: &mut FlowEntry<A>) {
    entry.l3_delta = 0;
    entry.l4_delta = 0;
    if (key.src, key.dst) != (entry.src, entry.dst) {
        entry.l3_delta =
            fold(address_difference(key.src, entry.src) + address_difference(key.dst, entry.dst));
    }
    if (key.sport, key.dport) != (entry.sport, entry.dport) {
        entry.l4_delta =
            fold(word_difference(key.sport, entry.sport) + word_difference(key.dport, entry.dport));
    }
}

/// Inserts the pair; where the source is translated, under the first L4 port that is free.
#[inline(always)]
fn insert<F: Deliver, A: Family>(frame: F, pair: &Pair<A>) -> Inserted {
    if !pair.entry.has(flag::SOURCE_TRANSLATED) {
        return attempt(pair);
    }
    for n in 0..TRIES {
        match frame.try_l4_port::<A>(n) {
            Inserted::Taken => {}
            inserted => return inserted,
        }
    }
    Inserted::Taken
}

/// Inserts the pair in scratch under the n-th L4 port that its flow may take.
#[inline(always)]
pub fn try_l4_port<F: Deliver, A: Family>(frame: F, n: u32) -> Inserted {
    if n & mapping::TRY != 0 {
        return mapping::try_l4_port::<F, A>(frame, n & !mapping::TRY);
    }
    let Some(pair) = A::scratch().get_ptr_mut(F::PROGRAM) else { return Inserted::Full };
    // SAFETY: this CPU's and this program's row, which `admit` filled for this.
    let pair = unsafe { &mut *pair };
    let (Ok(settings), Some(egress), Some(from)) =
        (maps::settings(), maps::port(pair.entry.egress), maps::port(pair.reply.egress))
    else {
        return Inserted::Full;
    };
    let source = nat::source::<A>(from).filter(|source| A::from_ip(source.addr) == pair.entry.src);
    let is_taken = if pair.entry.has(flag::MAPPED_SOURCE) {
        n > 0 || nat::has_socket(frame, &pair.reply_key)
    } else if source.is_some_and(|source| source.keeps_l4_ports()) {
        n > 0
    } else {
        pair.entry.sport = nat::l4_port(settings.nat_l4_ports, source, &pair.key, n);
        finish_translation(pair, egress);
        nat::is_taken(frame, &pair.reply_key)
    };
    if is_taken { Inserted::Taken } else { attempt(pair) }
}

#[inline(always)]
fn attempt<A: Family>(pair: &Pair<A>) -> Inserted {
    table::insert(pair, pair.entry.has(flag::TRANSLATED))
}

#[inline(never)]
fn admitted<F: Deliver, A: Family>(pair: &Pair<A>, owner: PortId) {
    table::take::<A>(owner, true, 1);
    if pair.entry.has(flag::MAPPED_DESTINATION) {
        mapping::hold_met::<F, A>(&pair.key);
    }
    report::add(FlowCounter::Admitted, 1);
    report::began(&pair.entry);
    report::decided(pair.staged.rule);
    report::decided(pair.reply_rule);
    flow_event::began(pair);
}
