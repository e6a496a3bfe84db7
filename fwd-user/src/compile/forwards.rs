//! Rows of forwards: each listen becomes a few prefixes on each of its addresses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use fwd_common::{
    forward::{ClientKey, Forward, ForwardKey, flag, range_prefixes},
    id::{ForwardId, PortId},
    proto::IpProto,
};

use super::{
    ForwardState, World,
    neighbors::mapped_prefixes,
    world::{VmPort, is_link_local},
};
use crate::api::{
    spec,
    status::ObjectState,
    text::{Listen, Moment, Target},
};

type Rows = BTreeMap<(ForwardKey, u32), Forward>;

/// Rows of all forwards, and how each of them is.
pub(super) fn compile(world: &World<'_>) -> (Rows, BTreeMap<String, ForwardState>) {
    let mut rows = Rows::new();
    let mut states = BTreeMap::new();
    // Of two that would take a packet, the first has the row.
    let mut forwards: Vec<_> = world.document.forwards.iter().collect();
    forwards.sort_by_cached_key(|forward| {
        // Of loopback, one of all addresses goes before one of one.
        let order = |listen: Listen| (listen.breadth(), listen.addr.is_some());
        forward.listen.parse().map(order).unwrap_or_default()
    });
    for forward in forwards {
        let state = match plan(world, forward) {
            Ok(planned) => {
                for (key, row) in planned.rows() {
                    rows.entry(key).or_insert(row);
                }
                planned.state()
            }
            Err(reason) => ForwardState { state: ObjectState::Pending, reason: Some(reason) },
        };
        states.insert(forward.name.clone(), state);
    }
    (rows, states)
}

/// Rows of who may use the forwards that are not for everybody.
pub(super) fn clients(world: &World<'_>) -> BTreeMap<(ClientKey, u32), u32> {
    let mut rows = BTreeMap::new();
    for forward in &world.document.forwards {
        let Some(id) = world.numbers.forwards.get(&forward.name).copied() else { continue };
        for (addr, bits, is_client) in forward.from.iter().copied().flat_map(mapped_prefixes) {
            let row = rows.entry((ClientKey { forward: id, addr }, ClientKey::prefix(bits))).or_insert(0);
            *row |= u32::from(is_client);
        }
    }
    rows
}

/// A forward whose every name is resolved.
struct Planned {
    id: ForwardId,
    port: PortId,
    listen: Listen,
    target: Target,
    /// Where it listens, and the port's address of the same family.
    pairs: Vec<(IpAddr, IpAddr)>,
    /// The same of loopback addresses.
    pairs_of_host: Vec<(IpAddr, IpAddr)>,
    /// When it ends, in nanoseconds since boot; 0: never.
    expires_ns: u64,
    flags: u32,
    /// What it still waits for.
    waits: Option<String>,
}

/// Why there is nothing to forward yet is the error.
fn plan(world: &World<'_>, forward: &spec::Forward) -> Result<Planned, String> {
    let invalid = || format!("Forward {} was accepted by another version of fwd.", forward.name);
    let listen: Listen = forward.listen.parse().map_err(|_| invalid())?;
    let target: Target = forward.to.parse().map_err(|_| invalid())?;
    let vm = world.port(&target.port).ok_or_else(invalid)?;
    let VmPort { id: port_id, port, .. } = *vm;
    let id = world.numbers.forwards.get(&forward.name).copied().ok_or_else(invalid)?;
    let addresses = world.addresses(port_id, port);
    if addresses.is_empty() {
        return Err(format!("The address of port {} is not known yet.", port.name));
    }
    let outside = outside_addresses(world);
    let pairs = pairs(&outside, &listen, addresses);
    let pairs_of_host = pairs_of_host(&outside, &listen, addresses);
    if pairs.is_empty() {
        return Err(match listen.addr {
            Some(addr) => {
                let family = if addr.is_ipv4() { "IPv4" } else { "IPv6" };
                format!("The {family} address of port {} is not known yet.", port.name)
            }
            None => format!("No uplink has an address of a family that port {} has.", port.name),
        });
    }
    let waits = waits_for(world, vm);
    let expires_ns = forward.expires.as_ref().map_or(0, |text| expires_ns(world, text));
    let limited = if forward.from.is_empty() { 0 } else { flag::LIMITED };
    let flags = limited | if listen.is_whole() { flag::WHOLE } else { 0 };
    Ok(Planned { id, port: port_id, listen, target, pairs, expires_ns, flags, pairs_of_host, waits })
}

/// A moment on the datapath's clock; one before it began is its first.
fn expires_ns(world: &World<'_>, text: &str) -> u64 {
    let Ok(Moment { unix_secs }) = text.parse() else { return 0 };
    let secs = unix_secs.saturating_sub(world.inventory.clock_began);
    u64::try_from(secs).unwrap_or(0).saturating_mul(1_000_000_000).max(1)
}

fn pairs(outside: &[IpAddr], listen: &Listen, addresses: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
    let alone = listen.addr.map(|addr| [addr]);
    paired(alone.as_ref().map_or(outside, |addr| &addr[..]), addresses)
}

/// Processes of this host reach its named L4 ports by loopback too, unless it listens on what this host has not.
fn pairs_of_host(outside: &[IpAddr], listen: &Listen, addresses: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
    const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let is_own = listen.addr.is_none_or(|at| outside.contains(&at));
    if listen.is_whole() || !is_own {
        return Vec::new();
    }
    let of_family = |at: &IpAddr| listen.addr.is_none_or(|addr| addr.is_ipv4() == at.is_ipv4());
    paired(&LOOPBACK.into_iter().filter(of_family).collect::<Vec<_>>(), addresses)
}

/// Each address on which is listened, with the target's of its family.
fn paired(listens: &[IpAddr], addresses: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
    let to = |at: &IpAddr| addresses.iter().copied().find(|to| to.is_ipv4() == at.is_ipv4());
    listens.iter().filter_map(|at| Some((*at, to(at)?))).collect()
}

/// Every address of the uplinks that are not bridged: what a listen without an address means.
fn outside_addresses(world: &World<'_>) -> Vec<IpAddr> {
    let uplinks = world.uplinks().filter(|(_, _, bridge)| bridge.is_none());
    let devices = uplinks.filter_map(|(_, uplink, _)| world.device(&uplink.device));
    let addresses = devices.flat_map(|device| &device.addresses).map(|net| net.addr());
    addresses.filter(|addr| !is_link_local(*addr) && !addr.is_loopback()).collect()
}

fn waits_for<'a>(world: &World<'a>, vm: &VmPort<'a>) -> Option<String> {
    let port = vm.port;
    if world.mac(vm).is_none() {
        return Some(format!("The MAC of port {} is not known yet.", port.name));
    }
    world.device_of(vm).is_none().then(|| format!("Port {} has no device yet.", port.name))
}

impl Planned {
    fn rows(&self) -> Rows {
        let (low, high) = (self.listen.l4_ports.low, self.listen.l4_ports.high);
        let l4_offset = self.target.l4_ports.low.wrapping_sub(low);
        let mut rows = Rows::new();
        let public = self.pairs.iter().map(|pair| (pair, 0));
        let of_host = self.pairs_of_host.iter().map(|pair| (pair, flag::LOOPBACK));
        for ((at, to), more) in public.chain(of_host) {
            let row = Forward {
                id: self.id,
                port: self.port,
                l4_offset,
                to: (*to).into(),
                expires_ns: self.expires_ns,
                flags: self.flags | more,
                _pad: 0,
            };
            let other_icmp = if at.is_ipv4() { IpProto::ICMPV6 } else { IpProto::ICMP };
            for proto in self.listen.protocols.list().iter().filter(|proto| **proto != other_icmp) {
                let whole = self.listen.is_whole().then_some((0, 0));
                let named = range_prefixes(low, high).filter(|_| whole.is_none());
                for (first, bits) in whole.into_iter().chain(named) {
                    let key = ForwardKey::new(*proto, (*at).into(), first.to_be());
                    rows.insert((key, ForwardKey::prefix(bits)), row);
                }
            }
        }
        rows
    }

    fn state(self) -> ForwardState {
        let state = if self.waits.is_some() { ObjectState::Pending } else { ObjectState::Ready };
        ForwardState { state, reason: self.waits }
    }
}
