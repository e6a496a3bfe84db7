//! What observations are made from: the maps, the names, one moment, and the port rows without which a flow
//! entry cannot be told to people.

use std::collections::HashMap;

use fwd_common::{
    addr::Address,
    conntrack::{Stage, TimeoutClass},
    flow::{FlowEntry, FlowKey, flag},
    id::{PortId, Zone},
    port::{self, Port},
    proto::IpProto,
    settings::Settings,
};

use crate::api::status::{FlowState, Path};

use super::{Maps, Moment, Names, ReadError};

/// The datapath at one moment.
pub struct View<'a> {
    pub maps: &'a dyn Maps,
    pub names: &'a Names,
    pub now: Moment,
    pub settings: Settings,
    ports: HashMap<PortId, Port>,
    zones: HashMap<Zone, PortId>,
}

impl<'a> View<'a> {
    /// Reads the rows of the named ports.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn new(maps: &'a dyn Maps, names: &'a Names, now: Moment) -> Result<Self, ReadError> {
        let ports =
            names.ports().map(|(id, _)| Ok((id, maps.port(id)?))).collect::<Result<HashMap<_, _>, _>>()?;
        let zones =
            ports.iter().map(|(id, port)| (port.zone, *id)).filter(|(zone, _)| *zone != Zone::OUTSIDE);
        Ok(Self { maps, names, now, settings: maps.settings()?, zones: zones.collect(), ports })
    }

    /// A port's row; empty if it has none.
    pub fn port(&self, id: PortId) -> Port {
        self.ports.get(&id).copied().unwrap_or_default()
    }

    /// The key of the other direction.
    pub fn partner<A: Address>(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> FlowKey<A> {
        entry.partner_key(key.proto, self.port(entry.egress).zone)
    }

    /// The port on which the opener's packets come in. Without the reply, an outside one is not known.
    pub fn ingress<A: Address>(&self, key: &FlowKey<A>, reply: Option<&FlowEntry<A>>) -> PortId {
        match reply {
            Some(reply) => reply.egress,
            None => self.zones.get(&key.zone).copied().unwrap_or_default(),
        }
    }

    /// The port against whose limit a flow counts.
    pub fn owner<A: Address>(
        &self,
        key: &FlowKey<A>,
        entry: &FlowEntry<A>,
        reply: Option<&FlowEntry<A>>,
    ) -> PortId {
        if entry.has(flag::OWNED_BY_EGRESS) { entry.egress } else { self.ingress(key, reply) }
    }

    /// What carries packets from one port to another.
    pub fn path(&self, ingress: PortId, egress: PortId) -> Path {
        let is_xdp = self.port(ingress).has(port::flag::XDP) && self.port(egress).has(port::flag::XDP_TARGET);
        if is_xdp { Path::Xdp } else { Path::Skb }
    }

    /// Ticks since the last packet of either direction.
    pub fn silent_ticks<A>(&self, entry: &FlowEntry<A>, reply: Option<&FlowEntry<A>>) -> u32 {
        let since = |seen| self.now.tick().since(seen);
        reply.map_or(u32::MAX, |r| since(r.last_seen)).min(since(entry.last_seen))
    }

    /// Whether a packet of the flow would still hit it: an expired entry is a miss even before it is deleted. A mapping lives
    /// while a flow holds it.
    pub fn is_live<A: Address>(
        &self,
        proto: IpProto,
        entry: &FlowEntry<A>,
        reply: Option<&FlowEntry<A>>,
    ) -> bool {
        if entry.has(flag::MAPPING) {
            return entry.life.stage() != Stage::Dead && entry.is_held();
        }
        let timeout = self.settings.timeouts[TimeoutClass::of(proto, entry.life) as usize];
        entry.life.stage() != Stage::Dead && self.silent_ticks(entry, reply) <= timeout
    }
}

/// A flow's state as people know it.
pub const fn state(stage: Stage) -> FlowState {
    match stage {
        Stage::HalfOpen | Stage::Replied => FlowState::HalfOpen,
        Stage::Established => FlowState::Established,
        Stage::Closing | Stage::Dead => FlowState::Closing,
    }
}

/// A protocol's name in lists and metrics.
pub fn protocol(proto: IpProto) -> String {
    match proto {
        IpProto::TCP => "tcp".to_owned(),
        IpProto::UDP => "udp".to_owned(),
        IpProto::SCTP => "sctp".to_owned(),
        IpProto::ICMP => "icmp".to_owned(),
        IpProto::ICMPV6 => "icmpv6".to_owned(),
        IpProto(number) => number.to_string(),
    }
}

/// The protocol of a name that [`protocol`] gives.
pub fn parse_protocol(name: &str) -> Option<IpProto> {
    match name {
        "tcp" => Some(IpProto::TCP),
        "udp" => Some(IpProto::UDP),
        "sctp" => Some(IpProto::SCTP),
        "icmp" => Some(IpProto::ICMP),
        "icmpv6" => Some(IpProto::ICMPV6),
        number => number.parse().ok().map(IpProto),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_keep_their_names() {
        for number in 0..=255 {
            assert_eq!(parse_protocol(&protocol(IpProto(number))), Some(IpProto(number)));
        }
        assert_eq!(parse_protocol("tpc"), None);
    }
}
