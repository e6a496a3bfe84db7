//! A flow admitted before an edit is decided anew: permitted still, it keeps its entries and its translation;
//! else it is cut. Needs no packet, so sweeps use it too.

use fwd_common::{
    addr::Mac,
    conntrack::Stage,
    counter::FlowCounter,
    drop::DropReason,
    event::End,
    flow::{FlowEntry, FlowKey, flag},
    id::{PortId, RuleId},
    message, network,
    policy::{L4, note},
    port::{self, Port, PortKind},
    settings,
    verdict::{Outcome, Payload},
};

use super::{
    fdb, forward, nat, policy, prefix, route,
    table::{self, Flows},
};
use crate::{
    frame::Frame,
    maps::{self, Family},
    report,
};

/// What became of the flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Yes,
    /// And its replies are permitted, which were not before.
    Reopened,
    /// It goes another way now: its entries are gone, and its packet is a first one.
    DecideAsNew,
}

impl Payload for Kept {
    #[inline(always)]
    fn to_word(self) -> u32 {
        match self {
            Self::DecideAsNew => 0,
            Self::Yes => 1,
            Self::Reopened => 2,
        }
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::DecideAsNew,
            1 => Self::Yes,
            _ => Self::Reopened,
        }
    }
}

/// Decides a flow anew, by its original direction's key in scratch.
///
/// # Errors
/// The flow was cut; the drop names the rule.
#[inline(always)]
pub fn recheck<F: Frame, A: Family>(frame: F) -> Outcome<Kept> {
    report::add(FlowCounter::Rechecked, 1);
    let scratch = A::scratch().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row, into which the caller wrote the key.
    let key: &FlowKey<A> = unsafe { &(*scratch).key };
    let Some(half) = Flows::find(key) else { return Outcome::ok(Kept::DecideAsNew) };
    let Some(reply) = Flows::partner(half) else { return as_new(key) };
    let (entry, reply) = (&mut half.entry, &mut reply.entry);
    if entry.life.stage() == Stage::Dead {
        return Outcome::ok(Kept::DecideAsNew);
    }
    let (Some(from), Some(to)) = (maps::port(reply.egress), maps::port(entry.egress)) else {
        return as_new(key);
    };
    // Read before anything it stands for: an edit in between leaves the flow stale.
    let generation = from.generation.wrapping_add(to.generation);
    let led = forward::check(key, entry);
    if led.is_drop() && !is_kept_from_forward(entry) {
        table::end_flow(key, End::CutByRoute, RuleId(0));
        return Outcome::dropped(led.drop());
    }
    let l4 = L4::new(key.proto, service(key, entry), key.sport);
    let asked = policy::ask::<F, A>((from, to), (key.src.ip(), entry.dst.ip()), l4);
    if !asked.is_drop() {
        entry.rule = asked.value();
        entry.flags &= !flag::KEPT_FROM_RULE;
        decide_replies::<F, A>((from, to), key, entry, reply)?;
    } else if !is_kept_from_rule(entry, asked.drop().rule) {
        table::end_flow(key, End::CutByPolicy, asked.drop().rule);
        return Outcome::dropped(asked.drop());
    }
    if !reroute(frame, key, entry, (from, to)) {
        return as_new(key);
    }
    let staged = policy::staged::<F, A>()?;
    if reply.rule != staged.rule {
        reply.rule = staged.rule;
        report::decided(staged.rule);
    }
    let stale = entry.has(flag::UNRESOLVED) as u32;
    entry.generation = generation.wrapping_sub(stale);
    let is_refused = reply.has(flag::REPLY_REFUSED);
    reply.generation = FlowEntry::<A>::generation_of_reply(entry.generation, is_refused);
    Outcome::ok(if staged.has(note::REOPENED) { Kept::Reopened } else { Kept::Yes })
}

/// Decides the replies of a flow that a rule has just been found to permit still. Notes that they were refused until now, and
/// are no longer.
///
/// Verifier: a function of its own, so that its stack is not added to that of what else its caller calls; and what it
/// finds is noted in scratch, for the caller's has no room for it.
#[inline(never)]
fn decide_replies<F: Frame, A: Family>(
    ports: (&Port, &Port),
    key: &FlowKey<A>,
    entry: &FlowEntry<A>,
    reply: &mut FlowEntry<A>,
) -> Outcome<()> {
    let asked = policy::ask_replies::<F, A>(ports, key, entry, service(key, entry));
    let was_refused = reply.has(flag::REPLY_REFUSED);
    if !asked.is_drop() {
        reply.flags &= !(flag::REPLY_REFUSED | flag::KEPT_FROM_RULE);
        if was_refused {
            policy::staged::<F, A>()?.notes |= note::REOPENED;
            if asked.value() != entry.rule {
                report::decided(asked.value());
            }
        }
        return Outcome::ok(());
    }
    if was_refused || !is_kept_from_rule(reply, asked.drop().rule) {
        reply.flags = reply.flags & !flag::KEPT_FROM_RULE | flag::REPLY_REFUSED;
    }
    Outcome::ok(())
}

#[inline(always)]
fn as_new<A: Family>(key: &FlowKey<A>) -> Outcome<Kept> {
    table::end_flow(key, End::CutByRoute, RuleId(0));
    Outcome::ok(Kept::DecideAsNew)
}

/// Whether the edit under way lets live flows live. Asked after rules and forwards were: who saw what the
/// edit made of them sees this too, because it is written first.
#[inline(always)]
fn keeps_flows() -> bool {
    maps::settings().is_ok_and(|settings| settings.flags & settings::flag::KEEP_FLOWS != 0)
}

/// Whether a flow goes on though its forward leads there no longer, or it would now be translated otherwise.
#[inline(always)]
fn is_kept_from_forward<A: Family>(entry: &mut FlowEntry<A>) -> bool {
    if keeps_flows() {
        entry.flags |= flag::KEPT_FROM_FORWARD;
    }
    entry.has(flag::KEPT_FROM_FORWARD)
}

/// Whether a flow, or its replies, goes on though this rule (0: the default) does not permit it. What another rule, of a
/// later edit, says of it counts.
#[inline(always)]
fn is_kept_from_rule<A: Family>(entry: &mut FlowEntry<A>, rule: RuleId) -> bool {
    if keeps_flows() {
        entry.flags |= flag::KEPT_FROM_RULE;
        entry.kept_from = rule;
    }
    entry.has(flag::KEPT_FROM_RULE) && entry.kept_from == rule
}

/// What rules compare, as the flow's first packet had it.
#[inline(always)]
fn service<A: Family>(key: &FlowKey<A>, entry: &FlowEntry<A>) -> u16 {
    if key.proto == A::ICMP { message::service::<A>(key.sport, key.dport) } else { entry.dport }
}

/// Whether the address of one end is routed.
#[inline(always)]
fn joins<A: Family>((from, source): (&Port, A), (to, destination): (&Port, A)) -> bool {
    let is_routed =
        |port: &Port, own: A| maps::network(port.network).is_ok_and(|network| network.routes(own.ip()));
    is_routed(to, destination) || (from.is(PortKind::Vm) && is_routed(from, source))
}

/// Looks the next hop up again; whether the flow still goes out by the same port under the same address.
#[inline(always)]
fn reroute<F: Frame, A: Family>(
    frame: F,
    key: &FlowKey<A>,
    entry: &mut FlowEntry<A>,
    (from, to): (&Port, &Port),
) -> bool {
    if to.is(PortKind::Vm) && entry.has(flag::ROUTED) {
        let Some(neighbor) = maps::neighbor(to.network, entry.dst.ip()) else { return false };
        entry.out_dst = neighbor.mac;
        let is_published = if entry.has(flag::PREFIX) {
            let is_still = prefix::holds(from, key, entry) || is_kept_from_forward(entry);
            return is_still && neighbor.port == entry.egress;
        } else if entry.has(flag::MAPPED_DESTINATION) {
            maps::network(to.network).is_ok_and(|network| network.has(network::flag::ENDPOINT_INDEPENDENT))
        } else {
            entry.forward.0 != 0 || from.network == to.network
        };
        return neighbor.port == entry.egress && (is_published || joins((from, key.src), (to, entry.dst)));
    }
    if !entry.has(flag::ROUTED) {
        let seen = fdb::seen(to.network, entry.out_dst);
        return to.has(port::flag::INTO) || seen == entry.egress || seen == PortId(0);
    }
    if entry.forward.0 != 0 {
        return true;
    }
    let Ok(network) = maps::network(from.network) else { return false };
    let is_translated = entry.has(flag::SOURCE_TRANSLATED | flag::PREFIX);
    let is_routed = network.routes(key.src.ip()) && !entry.has(flag::PREFIX);
    let is_due = !is_routed && !nat::is_exempt(from.network, network, key.dst);
    if is_translated != is_due && !is_kept_from_forward(entry) {
        return false;
    }
    let mut hop = route::Hop::default();
    if route::lookup(frame, network.fib_ifindex, (&key.src, &key.dst), &mut hop).is_err() {
        return false;
    }
    if hop.egress != entry.egress {
        return false;
    }
    let is_as_due = !is_translated
        || if A::IS_V6 {
            prefix::holds(from, key, entry)
        } else {
            nat::outside_address::<A>(from, to) == entry.src
        };
    if !is_as_due && !is_kept_from_forward(entry) {
        return false;
    }
    entry.out_dst = hop.mac;
    entry.flags = entry.flags & !flag::UNRESOLVED | if hop.mac == Mac::NONE { flag::UNRESOLVED } else { 0 };
    true
}
