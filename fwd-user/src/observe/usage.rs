//! What the live flows add up to: by protocol and state, by rule, forward and port, and the NAT L4 ports they
//! hold. The datapath keeps none of these sums; they need a walk of the flow tables.
//!
//! Freshness: tables of up to [`SMALL`] flows are walked when they are asked for. Larger ones are walked in
//! the background, with a [`pause`] between walks of [`INTERVAL`] or two hundred times what the walk took, whichever
//! is longer; a scrape then gets the last walk's sums.
//!
//! What ended is read before what lives, so a flow that ends meanwhile may be missing from one walk but is
//! never counted twice; and sums that are counters never go back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fwd_common::{
    addr::{V4, V6},
    counter::Totals,
    flow::{FlowEntry, FlowKey, flag},
    id::{ForwardId, PortId, RuleId},
    proto::IpProto,
};

use crate::api::status::{FlowState, Ways};

use super::{Family, ReadError, View, view::state};

/// Tables with so many flows are walked within a scrape.
pub const SMALL: u32 = 16_384;
/// The shortest time from one background walk to the next.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// The sums of one walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By family's name, protocol, state.
    pub flows: BTreeMap<(&'static str, IpProto, FlowState), u64>,
    /// Live translated flows, by the port against which they count.
    pub translations: HashMap<PortId, u64>,
    /// Endpoint-independent mappings that a flow holds, by port.
    pub mappings: HashMap<PortId, u64>,
    /// Packets of both directions, of ended and of live flows.
    pub rule_packets: HashMap<RuleId, u64>,
    pub forward_flows: HashMap<ForwardId, u64>,
    /// Bytes of ended and of live flows, the guest's view: `in` is what clients sent.
    pub forward_bytes: HashMap<ForwardId, Ways>,
    /// How many L4 ports (or ICMP ids) of the NAT range each address has given out.
    pub nat_l4_ports: BTreeMap<(IpAddr, IpProto), u64>,
}

impl Usage {
    /// Walks both tables.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn walk(view: &View<'_>) -> Result<Self, ReadError> {
        let mut usage = Self::default();
        for (rule, ended) in view.maps.rule_totals()? {
            usage.rule_packets.insert(rule, ended.out.packets + ended.back.packets);
        }
        for (forward, Totals { out, back, .. }) in view.maps.forward_totals()? {
            usage.forward_bytes.insert(forward, Ways { out: back.bytes, in_: out.bytes });
        }
        let mut held = HashSet::new();
        usage.walk_family::<V4>(view, &mut held)?;
        usage.walk_family::<V6>(view, &mut held)?;
        for (address, proto, _) in held {
            *usage.nat_l4_ports.entry((address, proto)).or_default() += 1;
        }
        Ok(usage)
    }

    fn walk_family<A: Family>(&mut self, view: &View<'_>, held: &mut Held) -> Result<(), ReadError> {
        A::walk(view.maps, &mut |key, entry, reply| {
            if entry.has(flag::MAPPING) {
                self.add_mapping(view, key, entry, held);
            } else {
                self.add(view, key, (entry, reply), held);
            }
            ControlFlow::Continue(())
        })
    }

    /// It carries nothing itself, and holds its L4 port.
    fn add_mapping<A: Family>(
        &mut self,
        view: &View<'_>,
        key: &FlowKey<A>,
        entry: &FlowEntry<A>,
        held: &mut Held,
    ) {
        if view.is_live(key.proto, entry, None) {
            *self.mappings.entry(view.owner(key, entry, None)).or_default() += 1;
            hold(view, key, entry, held);
        }
    }

    fn add<A: Family>(
        &mut self,
        view: &View<'_>,
        key: &FlowKey<A>,
        (entry, reply): (&FlowEntry<A>, Option<&FlowEntry<A>>),
        held: &mut Held,
    ) {
        *self.rule_packets.entry(entry.rule).or_default() += entry.packets + reply.map_or(0, |r| r.packets);
        if let Some(reply) = reply.filter(|reply| reply.rule != RuleId(0)) {
            *self.rule_packets.entry(reply.rule).or_default() += entry.packets + reply.packets;
        }
        let bytes = self.forward_bytes.entry(entry.forward).or_default();
        bytes.in_ += entry.bytes;
        bytes.out += reply.map_or(0, |r| r.bytes);
        if !view.is_live(key.proto, entry, reply) {
            return;
        }
        *self.flows.entry((A::NAME, key.proto, state(entry.life.stage()))).or_default() += 1;
        *self.forward_flows.entry(entry.forward).or_default() += 1;
        if entry.has(flag::TRANSLATED) {
            *self.translations.entry(view.owner(key, entry, reply)).or_default() += 1;
        }
        hold(view, key, entry, held);
    }

    /// Raises counters to what they were: they never go back.
    fn at_least(mut self, last: &Self) -> Self {
        for (rule, packets) in &last.rule_packets {
            let now = self.rule_packets.entry(*rule).or_default();
            *now = (*now).max(*packets);
        }
        for (forward, bytes) in &last.forward_bytes {
            let now = self.forward_bytes.entry(*forward).or_default();
            *now = Ways { out: now.out.max(bytes.out), in_: now.in_.max(bytes.in_) };
        }
        self
    }
}

/// Notes the L4 port of the NAT range that an entry has as its source.
fn hold<A: Family>(view: &View<'_>, key: &FlowKey<A>, entry: &FlowEntry<A>, held: &mut Held) {
    let l4_port = u16::from_be(entry.sport);
    let range = view.settings.nat_l4_ports;
    if entry.has(flag::SOURCE_TRANSLATED) && (range.low..=range.high).contains(&l4_port) {
        held.insert((entry.src.ip().to_std(), key.proto, l4_port));
    }
}

/// NAT L4 ports in use; one may serve several destinations.
type Held = HashSet<(IpAddr, IpProto, u16)>;

/// The last walk.
#[derive(Debug, Default)]
pub struct UsageCache {
    last: Mutex<Option<Arc<Usage>>>,
}

impl UsageCache {
    /// The sums: of now if the tables are small, else of the last walk; none before the first one.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn get(&self, view: &View<'_>) -> Result<Option<Arc<Usage>>, ReadError> {
        if Self::is_small(view)? {
            return self.refresh(view).map(Some);
        }
        Ok(self.last.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Whether the tables are walked when they are asked for.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn is_small(view: &View<'_>) -> Result<bool, ReadError> {
        let flows: u32 = view.maps.table_use()?.iter().map(|table| table.flows).sum();
        Ok(flows <= SMALL)
    }

    /// Walks the tables now.
    ///
    /// # Errors
    /// [`ReadError`] names the map.
    pub fn refresh(&self, view: &View<'_>) -> Result<Arc<Usage>, ReadError> {
        let usage = Usage::walk(view)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = Arc::new(match &*last {
            Some(last) => usage.at_least(last),
            None => usage,
        });
        *last = Some(Arc::clone(&usage));
        Ok(usage)
    }
}

/// How long to wait after a walk: walking takes half a per cent of the time at most.
pub fn pause(took: Duration) -> Duration {
    INTERVAL.max(took * 200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{
        DB1, Flow, WEB_HTTP, WEB1, WEB2DB, ago, forwarded, maps, masqueraded, names, view,
    };
    use fwd_common::counter::Count;

    #[test]
    fn live_flows_add_to_what_ended() {
        let (mut maps, names) = (maps(), names());
        maps.add_flow(masqueraded());
        maps.add_flow(Flow {
            leaves: ("203.0.113.10:20001", "198.51.100.2:80"),
            ends: ("10.10.0.11:1", "198.51.100.2:80"),
            ..masqueraded()
        });
        maps.add_flow(forwarded());
        let ended = Totals {
            out: Count { packets: 100, bytes: 10_000 },
            back: Count { packets: 50, bytes: 5000 },
            ..Totals::default()
        };
        maps.rule_totals.insert(WEB2DB, ended);
        maps.forward_totals.insert(WEB_HTTP, ended);
        let usage = Usage::walk(&view(&maps, &names)).expect("memory can be read");
        assert_eq!(usage.flows, [(("ipv4", IpProto::TCP, FlowState::Established), 3)].into());
        assert_eq!(usage.translations, [(WEB1, 2), (DB1, 1)].into());
        assert_eq!(usage.rule_packets[&WEB2DB], 155);
        assert_eq!(usage.forward_flows[&WEB_HTTP], 1);
        assert_eq!(usage.forward_bytes[&WEB_HTTP], Ways { out: 7000, in_: 10_300 });
        let address = "203.0.113.10".parse().expect("an address");
        assert_eq!(usage.nat_l4_ports, [((address, IpProto::TCP), 1)].into());
    }

    #[test]
    fn a_mapping_counts_while_a_flow_holds_it_and_is_none_itself() {
        let (mut maps, names) = (maps(), names());
        maps.add_flow(masqueraded());
        let flow = maps.flows4.iter().find(|(_, entry)| entry.has(flag::ORIGINAL));
        let (key, entry) = flow.map(|(key, entry)| (key.inside_of_mapping(), *entry)).expect("it is there");
        let mapping = FlowEntry { flags: entry.flags | flag::MAPPING, dst: V4(0), dport: 0, ..entry };
        for (holders, mappings) in [(2, [(WEB1, 1)].into()), (0, HashMap::new()), (u64::MAX, HashMap::new())]
        {
            maps.flows4.insert(key, FlowEntry { packets: holders, ..mapping });
            let usage = Usage::walk(&view(&maps, &names)).expect("memory can be read");
            assert_eq!(usage.mappings, mappings, "{holders} holders");
            assert_eq!(usage.flows, [(("ipv4", IpProto::TCP, FlowState::Established), 1)].into());
        }
    }

    #[test]
    fn expired_flows_are_not_live_but_their_packets_happened() {
        let (mut maps, names) = (maps(), names());
        maps.add_flow(Flow { seen: (ago(900), ago(900)), proto: IpProto::UDP, ..forwarded() });
        let usage = Usage::walk(&view(&maps, &names)).expect("memory can be read");
        assert!(usage.flows.is_empty());
        assert_eq!(usage.rule_packets[&WEB2DB], 5);
    }

    #[test]
    fn counters_never_go_back() {
        let (mut maps, names) = (maps(), names());
        maps.add_flow(forwarded());
        let cache = UsageCache::default();
        let first = cache.get(&view(&maps, &names)).expect("memory can be read").expect("small");
        maps.flows4.clear();
        let second = cache.get(&view(&maps, &names)).expect("memory can be read").expect("small");
        assert_eq!(first.rule_packets[&WEB2DB], second.rule_packets[&WEB2DB]);
        assert_eq!(first.forward_bytes[&WEB_HTTP], second.forward_bytes[&WEB_HTTP]);
        assert_eq!(second.forward_flows.get(&WEB_HTTP), None);
    }

    #[test]
    fn large_tables_are_not_walked_in_a_scrape() {
        let (mut maps, names) = (maps(), names());
        maps.table_use[1].flows = SMALL + 1;
        let cache = UsageCache::default();
        assert_eq!(cache.get(&view(&maps, &names)).expect("memory can be read"), None);
        cache.refresh(&view(&maps, &names)).expect("memory can be read");
        assert!(cache.get(&view(&maps, &names)).expect("memory can be read").is_some());
    }

    #[test]
    fn walking_takes_half_a_per_cent_of_the_time_at_most() {
        assert_eq!(pause(Duration::from_millis(1)), INTERVAL);
        assert_eq!(pause(Duration::from_secs(1)), Duration::from_secs(200));
    }
}
