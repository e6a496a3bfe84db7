//! The forwarding database: learns where MACs are, and says where a bridged frame goes.

use aya_ebpf::bindings::BPF_NOEXIST;
use fwd_common::{
    addr::Mac,
    drop::DropReason,
    fdb::{FdbEntry, FdbKey, flag},
    flow::{FlowEntry, Tick},
    id::{NetworkId, PortId},
    policy::L4,
    port::{NO_MAC_LIMIT, PortKind},
    verdict::{Outcome, Payload, Verdict},
};

use super::{admit, policy, table};
use crate::{
    atomic::shared,
    frame::Deliver,
    maps::{self, Family},
    parse::{Ether, Packet},
    report::{self, Ingress},
};

/// Where a unicast frame goes.
#[derive(Clone, Copy)]
pub enum Target {
    Port(PortId),
    /// It came in on a bridged uplink, for this host.
    Host,
    Unknown,
}

/// The way of a packet within its network's L2, into `to`.
///
/// # Errors
/// `SamePort`, and what learning refuses.
#[inline(always)]
pub fn find<F: Deliver, A: Family>(
    frame: F,
    ingress: &Ingress,
    ether: &Ether,
    packet: &Packet<A>,
    to: &mut FlowEntry<A>,
) -> Outcome<Verdict> {
    let key = &packet.key;
    let id = match target(ingress, ether)? {
        Target::Port(id) => id,
        Target::Host => return Outcome::ok(Verdict::HOST),
        Target::Unknown => {
            // Nobody known has it: the sender's rules alone say whether it may be flooded.
            let l4 = L4::new(key.proto, packet.service, key.sport);
            policy::ask_sender(ingress.port, key.dst.ip(), l4)?;
            return frame.flood(ingress);
        }
    };
    let port = maps::port(id).ok_or(DropReason::PortDown)?;
    Outcome::ok(admit::leave_by(to, id, port))
}

/// Learns the source, and looks the destination up.
///
/// # Errors
/// `SamePort`, and what learning refuses.
#[inline(never)]
pub fn target(ingress: &Ingress, ether: &Ether) -> Outcome<Target> {
    look_up(ingress, ether)
}

impl Payload for Target {
    #[inline(always)]
    fn to_word(self) -> u32 {
        match self {
            Self::Port(id) => id.0 as u32,
            Self::Host => 1 << 16,
            Self::Unknown => 2 << 16,
        }
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        match word >> 16 {
            0 => Self::Port(PortId(word as u16)),
            1 => Self::Host,
            _ => Self::Unknown,
        }
    }
}

#[inline(always)]
fn look_up(ingress: &Ingress, ether: &Ether) -> Outcome<Target> {
    learn(ingress, ether.src)?;
    if ingress.is_bridged() && ether.dst == ingress.port.mac {
        return Outcome::ok(Target::Host);
    }
    let network = ingress.port.network;
    let host_port = maps::network(network)?.host_port;
    let id = match maps::port(host_port) {
        Some(host) if host.mac == ether.dst => host_port,
        _ => seen(network, ether.dst),
    };
    if id == PortId(0) {
        return Outcome::ok(Target::Unknown);
    }
    if id == ingress.id {
        return Outcome::dropped(DropReason::SamePort);
    }
    Outcome::ok(Target::Port(id))
}

/// The port behind which a MAC was seen lately; port 0: nowhere.
#[inline(always)]
pub fn seen(network: NetworkId, mac: Mac) -> PortId {
    // SAFETY: rows are eight bytes; one that is replaced meanwhile was about to move anyway.
    let Some(entry) = (unsafe { maps::FDB.get(&FdbKey { network, mac }) }) else { return PortId(0) };
    let Ok(settings) = maps::settings() else { return PortId(0) };
    let is_static = entry.flags & flag::STATIC != 0;
    let is_fresh = is_static || report::now().since(entry.last_seen) <= settings.fdb_timeout;
    if is_fresh { entry.port } else { PortId(0) }
}

/// Notes that a MAC is behind the ingress port.
///
/// # Errors
/// `FdbMoved` where another port has it by configuration, `MacLimit` where a VM port has too many.
#[inline(never)]
pub fn learn(ingress: &Ingress, mac: Mac) -> Result<(), DropReason> {
    if mac.is_group() || mac == Mac::NONE {
        return Err(DropReason::SourceMacSpoofed);
    }
    let now = report::now();
    let key = FdbKey { network: ingress.port.network, mac };
    let Some(entry) = maps::FDB.get_ptr_mut(&key) else { return insert(ingress, &key, now) };
    // SAFETY: rows are eight bytes; a race leaves one of two ports, and the next frame corrects it.
    let entry = unsafe { &mut *entry };
    if entry.flags & flag::STATIC != 0 {
        return if entry.port == ingress.id { Ok(()) } else { Err(DropReason::FdbMoved) };
    }
    if entry.port != ingress.id {
        hold(entry.port, u32::MAX);
        hold(ingress.id, 1);
        entry.port = ingress.id;
    }
    if entry.last_seen != now {
        entry.last_seen = now;
    }
    Ok(())
}

#[inline(always)]
fn insert(ingress: &Ingress, key: &FdbKey, now: Tick) -> Result<(), DropReason> {
    let held = table::port_use(ingress.id).ok_or(DropReason::Internal)?;
    let entry = FdbEntry { port: ingress.id, flags: 0, last_seen: now };
    let limit = ingress.port.mac_limit;
    if (limit == NO_MAC_LIMIT || shared(&mut held.macs).load() < limit as u32)
        && maps::FDB.insert(key, &entry, BPF_NOEXIST as u64).is_ok()
    {
        shared(&mut held.macs).add(1);
        return Ok(());
    }
    // An uplink's stranger stays unknown, and frames to it are flooded; a guest's flood of MACs ends here.
    if ingress.port.is(PortKind::Vm) { Err(DropReason::MacLimit) } else { Ok(()) }
}

#[inline(always)]
fn hold(port: PortId, by: u32) {
    if let Some(held) = table::port_use(port) {
        shared(&mut held.macs).add(by);
    }
}
