//! A flow whose ends were elsewhere when it was admitted: a guest got another MAC, or an address went to another port.
//!
//! No packet hits it again, for a hit compares where it comes from and where it goes. Guarantees: only the packet of
//! the same two ends that was to be admitted ends it, after source guard, routes and rules agreed to that packet.

use fwd_common::{
    event::End,
    flow::{FlowEntry, Half, Pair, flag},
    id::RuleId,
};

use super::table::{self, Flows};
use crate::maps::Family;

/// Ends the flow that is in the way of the one in scratch, if it is that one's former self.
///
/// Verifier: a function of its own, so that its stack is not added to what its caller calls besides.
#[inline(never)]
pub fn end<A: Family>(pair: &Pair<A>) -> bool {
    if let Some(old) = Flows::find(&pair.key)
        && has_moved(&old.entry, &pair.entry)
    {
        return end_of(old);
    }
    // The other end may have spoken first then. An equal tuple of another conversation leads elsewhere.
    if let Some(old) = Flows::find(&pair.reply_key)
        && let entry = &old.entry
        && has_moved(entry, &pair.reply)
        && (entry.src, entry.dst, entry.sport, entry.dport)
            == (pair.reply.src, pair.reply.dst, pair.reply.sport, pair.reply.dport)
    {
        return end_of(old);
    }
    false
}

/// Whether packets of this direction come from elsewhere, or go elsewhere, than when it was admitted.
#[inline(always)]
fn has_moved<A: Family>(old: &FlowEntry<A>, new: &FlowEntry<A>) -> bool {
    let is_bridged = !old.has(flag::ROUTED) && !new.has(flag::ROUTED);
    old.egress != new.egress || old.frame_src != new.frame_src || (is_bridged && old.out_dst != new.out_dst)
}

#[inline(always)]
fn end_of<A: Family>(half: &Half<A>) -> bool {
    if half.entry.has(flag::ORIGINAL) {
        return table::end_flow(&half.key, End::CutByRoute, RuleId(0));
    }
    Flows::partner(half).is_some_and(|original| table::end_flow(&original.key, End::CutByRoute, RuleId(0)))
}
