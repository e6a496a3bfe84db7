//! L4 ports and checksum of SCTP packets (RFC 9260, 3.1). A change of addresses leaves the checksum; one of L4 ports
//! changes it by what [`checksum_change`] says, which is off the hit path: SCTP has none.
//!
//! A checksum that the kernel has yet to fill in (partial) is zero in the packet, and has to stay so. One that is
//! computed is zero in one packet of four billion, which its receiver then discards.

use fwd_common::{drop::DropReason, sctp::checksum_change};

use crate::{
    chain,
    frame::{Frame, Window, opaque},
    maps::Family,
    parse::{self, L3},
};

const CHECKSUM: usize = 8;

/// Whether the packet that was read last, whose common header is at a place (0: in another fragment), may get these
/// L4 ports.
///
/// # Errors
/// `SctpFragment`.
#[inline(always)]
pub fn check<F: Frame, A: Family>(frame: F, start: usize, l4_ports: (u16, u16)) -> Result<(), DropReason> {
    if start == 0 || !chain::is_piece::<F, A>(frame) {
        return Ok(());
    }
    match frame.window::<4>(opaque(start) & chain::FARTHEST) {
        Some(w) if (w.get(0), w.get(2)) != l4_ports => Err(DropReason::SctpFragment),
        _ => Ok(()),
    }
}

/// Sets both L4 ports of a packet that passed [`check`].
///
/// # Errors
/// `TruncatedHeader` where the frame shrank since it was parsed.
#[inline(always)]
pub fn set_l4_ports<F: Frame, A: Family>(
    frame: F,
    start: usize,
    l4_ports: (u16, u16),
) -> Result<(), DropReason> {
    let w = frame.window::<12>(start).ok_or(DropReason::TruncatedHeader)?;
    if (w.get(0), w.get(2)) == l4_ports {
        return Ok(());
    }
    let end = L3 + parse::l3_len::<F, A>(frame) as usize;
    change(&w, l4_ports, end.wrapping_sub(start) as u16);
    Ok(())
}

/// Sets both L4 ports of a packet of `len` bytes whose common header is at hand.
#[inline(always)]
pub fn change(w: &Window<12>, (sport, dport): (u16, u16), len: u16) {
    let old: u32 = w.get(0);
    w.set(0, sport);
    w.set(2, dport);
    let (new, checksum): (u32, u32) = (w.get(0), w.get(CHECKSUM));
    if checksum != 0 {
        w.set(CHECKSUM, checksum ^ shifted(old ^ new, len));
    }
}

/// Verifier: a function of its own, so that its loops are in the object once.
#[inline(never)]
fn shifted(change: u32, len: u16) -> u32 {
    checksum_change(change, len)
}

/// Whether the kernel has yet to compute the checksum of a packet whose common header is at a place.
#[inline(always)]
pub fn owes_checksum<F: Frame>(frame: F, start: usize) -> bool {
    frame.window::<12>(start).is_some_and(|w| w.get::<u32>(CHECKSUM) == 0)
}
