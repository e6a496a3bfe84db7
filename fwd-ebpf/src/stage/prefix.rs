//! Prefix translation (RFC 6296): the addresses of a network's prefix have counterparts in an outside prefix, whoever
//! sends first. Which one is arithmetic ([`Prefix::translate`]); a flow's entries only keep the result.

use fwd_common::{
    drop::DropReason,
    flow::{FlowEntry, FlowKey, flag},
    id::NetworkId,
    network::{self, Network},
    port::{Port, PortKind},
    prefix::Prefix,
    verdict::{Outcome, Verdict},
};

use super::{nat, route};
use crate::{
    frame::Frame,
    maps::{self, Family},
};

/// The way of a VM's packet that a prefix translates, into `to`: out under the counterpart of its source; or, where it
/// is for a counterpart that somebody has, to them (RFC 6296, 4.3): others outside may have addresses of the prefix. [`Verdict::HOST`]: none does. Who has no counterpart
/// reaches those of others under its own address, unless that may mean somebody else there.
///
/// # Errors
/// `PrefixUnmapped`; those of [`route::outside`] and [`route::inside`].
#[inline(never)]
pub fn from_inside<F: Frame, A: Family>(frame: F, id: NetworkId, to: &mut FlowEntry<A>) -> Outcome<Verdict> {
    let network = maps::network(id)?;
    let own = maps::prefix(id, to.src.ip());
    let met = maps::prefix(NetworkId(0), to.dst.ip()).filter(|met| is_somebodys(met, to.dst));
    match (own, met) {
        (None, None) => return Outcome::ok(Verdict::HOST),
        (None, Some(met)) if is_private(network) || is_private(maps::network(met.network)?) => {
            return Outcome::ok(Verdict::HOST);
        }
        (Some(_), None) if nat::is_exempt(id, network, to.dst) => return Outcome::ok(Verdict::HOST),
        _ => {}
    }
    to.flags |= flag::TRANSLATED | flag::PREFIX;
    let verdict = match met {
        Some(met) => {
            to.dst = counterpart(met, to.dst)?;
            route::inside(met.network, to)?
        }
        None => route::outside(frame, network.fib_ifindex, to)?,
    };
    // Last: routes are asked for with the guest's own.
    if let Some(own) = own {
        to.src = counterpart(own, to.src)?;
    }
    Outcome::ok(verdict)
}

/// The way of a packet from outside to an address of an outside prefix.
///
/// # Errors
/// `SourceAddressSpoofed` where a VM's comes from outside, `PrefixUnmapped`; those of [`route::inside`].
#[inline(always)]
pub fn inward<A: Family>(outside: &Prefix, to: &mut FlowEntry<A>) -> Outcome<Verdict> {
    if maps::network_of(to.src.ip()).is_some() {
        return Outcome::dropped(DropReason::SourceAddressSpoofed);
    }
    to.flags |= flag::TRANSLATED | flag::PREFIX;
    to.dst = counterpart(outside, to.dst)?;
    route::inside(outside.network, to)
}

/// Whether somebody in a network has an address whose counterpart this is.
#[inline(always)]
pub fn is_somebodys<A: Family>(outside: &Prefix, addr: A) -> bool {
    maps::neighbor(outside.network, outside.translate(addr.ip())).is_some()
}

#[inline(always)]
const fn is_private(network: &Network) -> bool {
    network.has(network::flag::PRIVATE)
}

#[inline(always)]
fn counterpart<A: Family>(prefix: &Prefix, addr: A) -> Result<A, DropReason> {
    let other = prefix.translate(addr.ip());
    if other.is_none() { Err(DropReason::PrefixUnmapped) } else { Ok(A::from_ip(other)) }
}

/// Whether the addresses of a translated flow from a port would be the same, were it admitted now: one that a
/// prefix translates, or one that goes out under another address, where none does.
///
/// Verifier: a function of its own, so that its stack is not added to that of what is looked up besides; and with no
/// more arguments, which LLVM takes apart until there are too many.
#[inline(never)]
pub fn holds<A: Family>(from: &Port, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool {
    let Some(to) = maps::port(entry.egress) else { return false };
    let own = if from.is(PortKind::Vm) { maps::prefix(from.network, key.src.ip()) } else { None };
    if !entry.has(flag::PREFIX) {
        return own.is_none() && nat::outside_address::<A>(from, to) == entry.src;
    }
    let source = own.map_or(key.src, |own| A::from_ip(own.translate(key.src.ip())));
    let is_destination = key.dst == entry.dst
        || maps::prefix(NetworkId(0), key.dst.ip()).is_some_and(|met| {
            met.network == to.network && A::from_ip(met.translate(key.dst.ip())) == entry.dst
        });
    source == entry.src && is_destination
}
