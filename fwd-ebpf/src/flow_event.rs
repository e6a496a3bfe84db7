//! Tells starts and ends of flows, where the settings want them told: a flow costs nothing here but when it
//! is admitted and when it ends. What the budget or the ring has no room for is counted as lost.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use fwd_common::{
    addr::Mac,
    counter::{Count, FlowCounter},
    event::{Budget, End, EventKind, FlowEvent},
    flow::{FlowEntry, FlowKey, Half, Pair, Tick},
    id::{PortId, RuleId},
    settings,
};

use crate::{
    maps::{self, Family},
    report,
    stage::table::Flows,
};

/// Tells that the flow in scratch was admitted.
#[inline(always)]
pub fn began<A: Family>(pair: &Pair<A>) {
    if is_wanted() {
        tell(&pair.key, &pair.entry, Some(&pair.reply), EventKind::FlowStart as u64);
    }
}

/// Tells that a flow ends, by its original direction; `by`: the rule that cut it. While both entries stand.
#[inline(never)]
pub fn ended<A: Family>(half: &Half<A>, end: End, by: RuleId) -> u32 {
    if is_wanted() {
        let reply = Flows::partner(half).map(|reply| &reply.entry);
        tell(
            &half.key,
            &half.entry,
            reply,
            EventKind::FlowEnd as u64 | (end as u64) << 8 | (by.0 as u64) << 32,
        );
    }
    0
}

#[inline(always)]
fn is_wanted() -> bool {
    maps::settings().is_ok_and(|s| s.flags & settings::flag::FLOW_EVENTS != 0)
}

/// `what`: from the lowest byte on the kind, the end, and in the upper half the rule.
#[inline(never)]
fn tell<A: Family>(key: &FlowKey<A>, entry: &FlowEntry<A>, reply: Option<&FlowEntry<A>>, what: u64) -> u32 {
    if !report::may_tell(Budget::Flows) {
        return 0;
    }
    let Some(mut record) = maps::EVENTS.reserve::<FlowEvent>(0) else {
        report::add(FlowCounter::EventsLost, 1);
        return 0;
    };
    // SAFETY: the ring's memory; every field of it is written before it is handed in.
    let told = unsafe { &mut *record.as_mut_ptr() };
    // Field by field: a whole record would be made on the stack first.
    // SAFETY: reads a clock.
    told.event.at_ns = unsafe { bpf_ktime_get_ns() };
    (told.event.src, told.event.dst) = (key.src.ip(), key.dst.ip());
    (told.event.rule, told.event.len) = (entry.rule, 0);
    (told.event.sport, told.event.dport) = (key.sport, key.dport);
    (told.event.kind, told.event.reason) = (what as u8, (what >> 8) as u8);
    (told.event.proto, told.event.direction) = (key.proto, 0);
    (told.event.frame_src, told.event.ether_type) = (Mac::NONE, 0);
    (told.event.zone, told.event.head_len, told.event._pad) = (key.zone, 0, [0; 3]);
    told.out = Count { packets: entry.packets, bytes: entry.bytes };
    (told.left_src, told.left_dst) = (entry.src.ip(), entry.dst.ip());
    (told.left_sport, told.left_dport) = (entry.sport, entry.dport);
    (told.egress, told.flags, told.forward) = (entry.egress, entry.flags, entry.forward);
    (told.cut_by, told.life) = (RuleId((what >> 32) as u32), entry.life.last());
    told.last_seen = entry.last_seen;
    match reply {
        Some(reply) => {
            told.event.port = reply.egress;
            told.back = Count { packets: reply.packets, bytes: reply.bytes };
            (told.began, told.back_life) = (Tick(reply.forward.0), reply.life.last());
            if reply.last_seen.since(entry.last_seen) > 0 {
                told.last_seen = reply.last_seen;
            }
        }
        None => {
            told.event.port = PortId(0);
            told.back = Count { packets: 0, bytes: 0 };
            (told.began, told.back_life) = (Tick(0), entry.life.last());
        }
    }
    record.submit(0);
    0
}
