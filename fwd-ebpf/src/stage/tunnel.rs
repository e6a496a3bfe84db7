//! Packets of tunnels: they come without an Ethernet header, and get one that stands for it while they are decided. A
//! redirect into a tunnel takes it off again, as does the kernel of packets that go on to the host's stack.

use aya_ebpf::programs::TcContext;
use fwd_common::{
    addr::Mac,
    drop::DropReason,
    proto::EtherType,
    verdict::{Outcome, Verdict},
};

use crate::{
    finish,
    frame::{Deliver, Frame, Incoming},
    maps,
    parse::L3,
    report::{self, Ingress, Told},
};

/// Gives a packet its header, and leaves it to the program of all other devices; without one it is dropped.
#[inline(always)]
pub fn enter(frame: Incoming) -> i32 {
    let Some(ingress) = Ingress::of(frame) else { return Incoming::NEXT };
    let ether_type = frame.protocol();
    // Refused where memory is short, and of packets beyond 16 KiB that are not to be cut.
    if frame.push(L3).is_err() || header(frame, ether_type).is_none() {
        return refuse(frame, &ingress, DropReason::RewriteFailed);
    }
    // SAFETY: the row is a program for the same context; where it runs this never returns.
    unsafe { maps::PIPELINE.tail_call(&TcContext::new(frame.raw()), 0) };
    refuse(frame, &ingress, DropReason::Internal)
}

#[inline(always)]
fn header(frame: Incoming, ether_type: EtherType) -> Option<()> {
    let w = frame.window::<L3>(0)?;
    w.set(0, Mac::OF_TUNNEL);
    w.set(6, Mac::OF_TUNNEL);
    w.set(12, ether_type.0.to_be());
    Some(())
}

/// Counts and tells a drop of a packet that nothing was read of.
#[inline(always)]
fn refuse(frame: Incoming, ingress: &Ingress, reason: DropReason) -> i32 {
    let size = report::size_of_frame(frame);
    let drop = Outcome::<Verdict>::dropped(reason).drop();
    report::received(ingress, size);
    ingress.count(|l| &mut l.dropped, size);
    if report::dropped(ingress.id, drop, size) {
        report::tell_drop(ingress.id, drop, size.bytes, Told::default(), |_| 0);
    }
    finish::TCX_DROP
}
