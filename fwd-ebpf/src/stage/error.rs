//! ICMP errors belong to the flow of the packet that they quote (RFC 5508, 4.2). Those of bridged flows pass;
//! those of translated ones would have to be translated too, which is not built yet.

use fwd_common::{
    drop::DropReason,
    flow::{FlowKey, flag},
    port::PortKind,
    verdict::{Outcome, Verdict},
};

use super::table::Flows;
use crate::{
    frame::{Deliver, Frame},
    maps::Family,
    parse,
    report::Ingress,
};

/// Judges an ICMP error: [`Verdict::NEXT`] where it may go to where its frame is addressed.
///
/// # Errors
/// `IcmpError` where the quoted flow is translated, or where a guest quotes a packet of no flow.
#[inline(never)]
pub fn judge<F: Deliver, A: Family>(frame: F, ingress: &Ingress) -> Outcome<Verdict> {
    let is_routed_uplink = ingress.port.is(PortKind::Uplink) && !ingress.is_bridged();
    let pair = A::scratch().get_ptr_mut(F::PROGRAM).ok_or(DropReason::Internal)?;
    // SAFETY: this CPU's and this program's row.
    let key = unsafe { &mut (*pair).key };
    let flow = if quoted(frame, ingress, key) { Flows::get(key) } else { None };
    match flow {
        None if is_routed_uplink => Outcome::ok(Verdict::HOST),
        Some(entry) if !entry.has(flag::TRANSLATED | flag::ROUTED) => Outcome::ok(Verdict::NEXT),
        _ => Outcome::dropped(DropReason::IcmpError),
    }
}

/// The key of the flow direction that answers the quoted packet: what a reply to it would have. Whether the
/// quotation is long enough (eight bytes of L4: RFC 792).
#[inline(always)]
fn quoted<F: Frame, A: Family>(frame: F, ingress: &Ingress, key: &mut FlowKey<A>) -> bool {
    let start = parse::l4::<A>() + 8;
    let header = parse::l4::<A>() - parse::L3;
    frame.pull(start + header + 8);
    if A::IS_V6 {
        let Some(w) = frame.window::<40>(start) else { return false };
        (key.dst, key.src, key.proto) = (w.get(8), w.get(24), w.get(6));
    } else {
        let Some(w) = frame.window::<20>(start) else { return false };
        if w.get::<u8>(0) != 0x45 {
            return false;
        }
        (key.dst, key.src, key.proto) = (w.get(12), w.get(16), w.get(9));
    }
    let Some(l4) = frame.window::<8>(start + header) else { return false };
    (key.dport, key.sport) = if key.proto == A::ICMP { (l4.get(4), 0) } else { (l4.get(0), l4.get(2)) };
    (key.zone, key._pad) = (ingress.port.zone, 0);
    true
}
