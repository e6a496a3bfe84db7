//! What belongs to no flow: ARP (RFC 826), neighbor and multicast listener discovery (RFC 4861, RFC 2710),
//! ICMP errors, and frames that are not IP.

use fwd_common::{
    addr::{Address, Ip, Mac, V4},
    drop::DropReason,
    network::Mode,
    port::{self, PortKind},
    proto::{EtherType, icmpv6},
    verdict::{Outcome, Verdict},
};

use super::{
    claim,
    fdb::{self, Target},
    proxy, source,
};
use crate::{
    frame::{Deliver, Frame, Hook},
    maps::{self, Family},
    parse::{self, Ether, L3, Packet},
    report::Ingress,
};

/// Ethernet and IPv4, six and four bytes.
const ARP_FORMAT: u64 = u64::from_be_bytes([0, 1, 8, 0, 6, 4, 0, 0]);

/// Places a frame that is not IP.
///
/// # Errors
/// What source guard and the network's mode refuse.
#[inline(always)]
pub fn place<F: Deliver>(frame: F, ingress: &Ingress, ether: &Ether) -> Outcome<Verdict> {
    let is_uplink = ingress.port.is(PortKind::Uplink);
    if is_uplink && (!ingress.is_bridged() || ether.dst.is_bridge_reserved()) {
        return Outcome::ok(Verdict::HOST);
    }
    if ether.dst.is_bridge_reserved() {
        return Outcome::dropped(DropReason::LinkLocalFrame);
    }
    let is_arp = ether.ether_type == EtherType::ARP;
    if !is_arp && !maps::network(ingress.port.network)?.is(Mode::Bridge) {
        return Outcome::dropped(DropReason::EtherTypeUnsupported);
    }
    if ingress.port.is(PortKind::Vm) {
        source::mac(ingress, ether)?;
        if is_arp {
            check_arp(frame, ingress, ether)?;
        }
    }
    if is_arp
        && is_uplink
        && let Ok((mac, sender)) = arp(frame)
    {
        claim::note(ingress, mac, sender.ip());
    }
    switch(frame, ingress, ether)
}

/// Places a unicast packet of neighbor discovery.
///
/// # Errors
/// What source guard refuses.
#[inline(always)]
pub fn unicast<F: Deliver, A: Family>(
    frame: F,
    ingress: &Ingress,
    ether: &Ether,
    packet: &Packet<A>,
) -> Outcome<Verdict> {
    if ingress.port.is(PortKind::Uplink) && !ingress.is_bridged() {
        let is_answered = proxy::answers::<F, A>(frame, ingress);
        return Outcome::ok(if is_answered { Verdict::ANSWERED } else { Verdict::HOST });
    }
    if ingress.port.is(PortKind::Vm) {
        check_nd(frame, ingress, ether, packet)?;
    } else if A::IS_V6
        && packet.service.to_ne_bytes()[0] == icmpv6::NEIGHBOR_ADVERTISEMENT
        && let Ok(target) = advertised::<F, A>(frame)
    {
        claim::note(ingress, ether.src, target);
    }
    switch(frame, ingress, ether)
}

/// To where the FDB says, without a flow.
#[inline(never)]
pub fn switch<F: Deliver>(frame: F, ingress: &Ingress, ether: &Ether) -> Outcome<Verdict> {
    by_fdb(frame, ingress, ether)
}

#[inline(always)]
fn by_fdb<F: Deliver>(frame: F, ingress: &Ingress, ether: &Ether) -> Outcome<Verdict> {
    if ether.dst.is_group() {
        if F::HOOK == Hook::Xdp {
            return Outcome::ok(Verdict::PASS_UP);
        }
        fdb::learn(ingress, ether.src)?;
        return frame.flood(ingress);
    }
    let id = match fdb::target(ingress, ether)? {
        Target::Port(id) => id,
        Target::Host => return Outcome::ok(Verdict::HOST),
        Target::Unknown => return frame.flood(ingress),
    };
    let port = maps::port(id).filter(|p| p.ifindex != 0).ok_or(DropReason::PortDown)?;
    if port.flags & ingress.port.flags & port::flag::ISOLATED != 0 {
        return Outcome::dropped(DropReason::ModeForbids);
    }
    Outcome::ok(if F::can_reach(port) { Verdict::forward(id) } else { Verdict::PASS_UP })
}

#[inline(always)]
fn check_arp<F: Frame>(frame: F, ingress: &Ingress, ether: &Ether) -> Result<(), DropReason> {
    let (mac, sender) = arp(frame)?;
    if ingress.port.has(port::flag::TRUSTED) {
        claim::note(ingress, mac, sender.ip());
        return Ok(());
    }
    if mac != ether.src {
        return Err(DropReason::ArpSpoofed);
    }
    // A probe asks in nobody's name (RFC 5227, 2.1.1).
    if sender == V4::default() {
        return Ok(());
    }
    own(ingress, mac, sender.ip(), DropReason::ArpSpoofed)
}

/// The sender's hardware and protocol address.
#[inline(always)]
fn arp<F: Frame>(frame: F) -> Result<(Mac, V4), DropReason> {
    frame.pull(L3 + 28);
    let w = frame.window::<28>(L3).ok_or(DropReason::TruncatedHeader)?;
    if w.get::<u64>(0) & u64::from_ne_bytes([255, 255, 255, 255, 255, 255, 0, 0]) != ARP_FORMAT.to_be() {
        return Err(DropReason::BadArp);
    }
    Ok((w.get(8), w.get(14)))
}

/// Checks that a guest claims only its own; else the claim is noted.
#[inline(always)]
fn own(ingress: &Ingress, mac: Mac, addr: Ip, spoofed: DropReason) -> Result<(), DropReason> {
    let checked = source::address(ingress, mac, addr, spoofed);
    if checked.is_err() {
        claim::note(ingress, mac, addr);
    }
    checked
}

/// The target of a neighbor advertisement (RFC 4861, 4.4).
#[inline(always)]
fn advertised<F: Frame, A: Family>(frame: F) -> Result<Ip, DropReason> {
    let start = parse::l4::<A>();
    frame.pull(start + 24);
    let w = frame.window::<24>(start).ok_or(DropReason::TruncatedHeader)?;
    Ok(Ip(w.get(8)))
}

/// Checks that a guest's neighbor discovery speaks for itself.
///
/// # Errors
/// `NdSpoofed`, `RogueServer`.
#[inline(never)]
pub fn check_nd<F: Frame, A: Family>(
    frame: F,
    ingress: &Ingress,
    ether: &Ether,
    packet: &Packet<A>,
) -> Result<(), DropReason> {
    if !A::IS_V6 || ingress.port.has(port::flag::TRUSTED) {
        return Ok(());
    }
    let start = parse::l4::<A>();
    match packet.service.to_ne_bytes()[0] {
        icmpv6::ROUTER_ADVERTISEMENT => Err(DropReason::RogueServer),
        icmpv6::REDIRECT => Err(DropReason::NdSpoofed),
        icmpv6::ROUTER_SOLICITATION => check_options(frame, ether, start + 8),
        icmpv6::NEIGHBOR_SOLICITATION => check_options(frame, ether, start + 24),
        icmpv6::NEIGHBOR_ADVERTISEMENT => {
            own(ingress, ether.src, advertised::<F, A>(frame)?, DropReason::NdSpoofed)?;
            check_options(frame, ether, start + 24)
        }
        _ => Ok(()),
    }
}

/// Link-layer address options (RFC 4861, 4.6.1) must name the frame's own source. Of the options the first
/// two of eight bytes are looked at, which is all that these messages carry; more of them are refused.
#[inline(always)]
fn check_options<F: Frame>(frame: F, ether: &Ether, start: usize) -> Result<(), DropReason> {
    let len = frame.len() as usize;
    if len > start + 16 {
        return Err(DropReason::NdSpoofed);
    }
    frame.pull(len.min(start + 16));
    for option in [start, start + 8] {
        let Some(w) = frame.window::<8>(option) else { return Ok(()) };
        let is_address = matches!(w.get::<u8>(0), 1 | 2);
        if w.get::<u8>(1) != 1 || (is_address && w.get::<Mac>(2) != ether.src) {
            return Err(DropReason::NdSpoofed);
        }
    }
    Ok(())
}
