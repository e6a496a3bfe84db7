//! Translations: what flows to outside get as source, whose address leads to one port, and what is not translated.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use fwd_common::{
    addr::Ip,
    forward::{Forward, ForwardKey},
    id::{ForwardId, NetworkId, PortId},
    nat::{ExemptionKey, Source},
    prefix::{Prefix, PrefixKey},
    proto::IpProto,
};
use ipnet::IpNet;

use super::{ForwardState, World, neighbors::mapped_prefixes, world::VmPort};
use crate::api::{
    spec::{Mode, Nat},
    status::ObjectState,
    text::PrefixPair,
};

/// The document's translations, by what they are about.
pub(super) struct Nats<'a> {
    /// By network and family (IPv4: true).
    networks: BTreeMap<(NetworkId, bool), Source>,
    /// By port and family.
    pairs: BTreeMap<(PortId, bool), OneToOne<'a>>,
    /// Networks of ports that have an address of IPv6 outside.
    paired: BTreeSet<NetworkId>,
    exemptions: BTreeMap<(ExemptionKey, u32), u32>,
    exempting: BTreeSet<NetworkId>,
    prefixes: BTreeMap<(PrefixKey, u32), Prefix>,
    /// Whose guests have endpoint-independent mappings.
    mapping: BTreeSet<NetworkId>,
}

struct OneToOne<'a> {
    id: ForwardId,
    addr: IpAddr,
    port: &'a str,
}

impl<'a> Nats<'a> {
    pub fn of(world: &World<'a>) -> Self {
        let mut nats = Self {
            networks: BTreeMap::new(),
            pairs: BTreeMap::new(),
            paired: BTreeSet::new(),
            exemptions: BTreeMap::new(),
            exempting: BTreeSet::new(),
            prefixes: BTreeMap::new(),
            mapping: BTreeSet::new(),
        };
        for nat in &world.document.nats {
            nats.add(world, nat);
        }
        nats
    }

    fn add(&mut self, world: &World<'a>, nat: &'a Nat) {
        let network = nat.network.as_ref().and_then(|name| world.numbers.networks.get(name).copied());
        if let (Some(network), Some(addr)) = (network, nat.address) {
            let source = Source { addr: addr.into(), l4_ports: nat.l4_range().unwrap_or_default() };
            self.networks.insert((network, addr.is_ipv4()), source);
        }
        self.mapping.extend(network.filter(|_| nat.endpoint_independent));
        if let Some(pair) = nat.pair()
            && let Some(vm) = world.port(&pair.port)
            && let Some(id) = world.numbers.nats.get(&nat.name).copied()
        {
            let one = OneToOne { id, addr: pair.addr, port: &vm.port.name };
            self.pairs.insert((vm.id, pair.addr.is_ipv4()), one);
            self.paired.extend(pair.addr.is_ipv6().then_some(vm.network_id));
        }
        if let (Some(network), Some(pair)) = (network, nat.prefixes()) {
            self.exchange(network, &pair);
        }
        if let Some(net) = nat.exempt {
            let own = world.networks().filter(|(id, row)| {
                network.map_or(row.mode == Mode::Nat && !row.private, |network| network == *id)
            });
            for (id, _) in own {
                self.exempt(id, net);
            }
        }
    }

    fn exempt(&mut self, network: NetworkId, net: IpNet) {
        for (addr, bits, is_meant) in mapped_prefixes(net) {
            let key = ExemptionKey { network, _pad: 0, addr };
            *self.exemptions.entry((key, ExemptionKey::prefix(bits))).or_insert(0) |= u32::from(is_meant);
        }
        self.exempting.insert(network);
    }

    /// Out by the network's own prefix, and in by the outside one.
    fn exchange(&mut self, network: NetworkId, pair: &PrefixPair) {
        let [inside, outside] = [pair.inside, pair.outside].map(|net| Ip::from(IpAddr::V6(net.network())));
        let bits = u32::from(pair.inside.prefix_len());
        for (of, from, to) in [(network, inside, outside), (NetworkId(0), outside, inside)] {
            let key = PrefixKey { network: of, _pad: 0, addr: from };
            let row = Prefix::new((from, to), bits, network);
            self.prefixes.insert((key, PrefixKey::prefix(bits)), row);
        }
    }

    /// What flows of a port to outside get as source: IPv4, IPv6.
    pub fn sources(&self, vm: &VmPort<'_>) -> [Source; 2] {
        [true, false].map(|is_ipv4| match self.pairs.get(&(vm.id, is_ipv4)) {
            Some(pair) => Source { addr: pair.addr.into(), l4_ports: Source::OWN },
            None => self.networks.get(&(vm.network_id, is_ipv4)).copied().unwrap_or_default(),
        })
    }

    /// Whether an outside address is one port's alone.
    pub fn is_of_one_port(&self, addr: IpAddr) -> bool {
        self.pairs.values().any(|pair| pair.addr == addr)
    }

    pub fn has_exemptions(&self, network: NetworkId) -> bool {
        self.exempting.contains(&network)
    }

    pub fn is_endpoint_independent(&self, network: NetworkId) -> bool {
        self.mapping.contains(&network)
    }

    pub fn has_mappings(&self) -> bool {
        !self.mapping.is_empty()
    }

    /// Whether flows of IPv6 of a network, or of a port of it, are to have an address that was named.
    pub fn has_ipv6(&self, network: NetworkId) -> bool {
        self.networks.contains_key(&(network, false)) || self.paired.contains(&network)
    }

    /// Rows of destinations that are not translated, and of prefixes that are.
    #[allow(clippy::type_complexity, reason = "both are rows of tables, as they stand there")]
    pub fn rows(self) -> (BTreeMap<(ExemptionKey, u32), u32>, BTreeMap<(PrefixKey, u32), Prefix>) {
        (self.exemptions, self.prefixes)
    }

    /// Adds what leads to one port alone: all of an address, but for what a forward takes of it.
    pub fn publish(&self, world: &World<'_>, rows: &mut BTreeMap<(ForwardKey, u32), Forward>) {
        for ((port, is_ipv4), pair) in &self.pairs {
            let to = world.port(pair.port).and_then(|vm| target(world, vm, *is_ipv4));
            let Some(to) = to else { continue };
            let row = Forward { id: pair.id, port: *port, l4_offset: 0, to, ..Forward::default() };
            let icmp = if *is_ipv4 { IpProto::ICMP } else { IpProto::ICMPV6 };
            for proto in [IpProto::TCP, IpProto::UDP, IpProto::SCTP, icmp] {
                let key = ForwardKey::new(proto, pair.addr.into(), 0);
                rows.entry((key, ForwardKey::prefix(0))).or_insert(row);
            }
        }
    }

    /// How each of them is.
    pub fn states(world: &World<'_>) -> BTreeMap<String, ForwardState> {
        let state = |nat: &Nat| {
            let reason = waits_for(world, nat);
            let state = if reason.is_some() { ObjectState::Pending } else { ObjectState::Ready };
            (nat.name.clone(), ForwardState { state, reason })
        };
        world.document.nats.iter().map(state).collect()
    }
}

fn waits_for(world: &World<'_>, nat: &Nat) -> Option<String> {
    let pair = nat.pair();
    if let Some(addr) = nat.address.or(pair.as_ref().map(|pair| pair.addr))
        && let Some(device) = is_missing(world, addr)
    {
        return Some(format!(
            "The interface {device} does not have {addr}, so nobody outside finds it. Add it: ip address add {addr} dev {device}."
        ));
    }
    let pair = pair?;
    let vm = world.port(&pair.port)?;
    if target(world, vm, pair.addr.is_ipv4()).is_none() {
        return Some(format!("The address of port {} is not known yet.", vm.port.name));
    }
    world.mac(vm).is_none().then(|| format!("The MAC of port {} is not known yet.", vm.port.name))
}

fn target(world: &World<'_>, vm: &VmPort<'_>, is_ipv4: bool) -> Option<Ip> {
    let addresses = world.addresses(vm.id, vm.port);
    addresses.iter().find(|addr| addr.is_ipv4() == is_ipv4).copied().map(Ip::from)
}

/// The uplink on whose link an address lies that no uplink has: nobody answers for it there.
fn is_missing<'a>(world: &World<'a>, addr: IpAddr) -> Option<&'a str> {
    let uplinks = world.uplinks().filter(|(_, _, bridge)| bridge.is_none());
    let uplinks = uplinks.filter_map(|(_, uplink, _)| Some((&uplink.device, world.device(&uplink.device)?)));
    let uplinks: Vec<_> = uplinks.collect();
    if uplinks.iter().any(|(_, device)| device.addresses.iter().any(|net| net.addr() == addr)) {
        return None;
    }
    let on_link = uplinks.iter().find(|(_, device)| device.addresses.iter().any(|net| net.contains(&addr)));
    on_link.map(|(name, _)| name.as_str())
}
