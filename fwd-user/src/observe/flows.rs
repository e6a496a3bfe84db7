//! Flows as people know them: one row for the two entries of each, joined from the original direction's.
//!
//! Listing walks the tables in batches, so memory is that of one batch, whatever the tables hold. Flows that expired but were not reclaimed yet are not told.

use std::{collections::BTreeSet, net::IpAddr, ops::ControlFlow};

use fwd_common::{
    addr::{Address, V4, V6},
    flow::{FlowEntry, FlowKey, flag},
    id::{PortId, RuleId},
    message,
    proto::IpProto,
    sweep::Command,
};

use crate::api::{
    event::FlowEvent,
    query::FlowQuery,
    status::{FlowCount, FlowRow, FlowState, Ways},
};

use super::{
    Family, FlowName, Names, QueryError, View,
    clock::ticks_to_secs,
    events::{self, Wanted},
    impact::LiveFlow,
    view::{parse_protocol, protocol, state},
};

/// A query with its names resolved.
#[derive(Debug, Default)]
struct Filter {
    name: Option<FlowName>,
    port: Option<PortId>,
    group: Option<BTreeSet<PortId>>,
    peer: Option<ipnet::IpNet>,
    proto: Option<IpProto>,
    rule: Option<RuleId>,
    state: Option<FlowState>,
    translated_only: bool,
}

/// Which flows to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    /// `nat table`: with mappings, whose far end is nobody.
    Translated,
}

/// What is wanted of a stream of starts and ends. Names may be those of what was deleted.
///
/// # Errors
/// [`QueryError`]: what does not exist.
pub fn wanted(names: &Names, query: &FlowQuery) -> Result<Wanted<FlowEvent>, QueryError> {
    let named = FlowQuery { port: None, rule: None, ..query.clone() };
    let Filter { proto, .. } = Filter::new(names, Which::All, &named)?;
    events::check_names(names, query.port.as_deref(), query.rule.as_deref())?;
    let members = events::members(names, query.group.as_deref())?;
    let query = FlowQuery { proto: proto.map(protocol), ..query.clone() };
    Ok(Box::new(move |event| event.is_wanted(&query, members.as_ref())))
}

/// Gives each matching flow's row to `take`, in no order, until it breaks or the query's limit is reached.
///
/// # Errors
/// [`QueryError`]: a name that does not exist, or a map that cannot be read.
pub fn each(
    view: &View<'_>,
    which: Which,
    query: &FlowQuery,
    take: &mut dyn FnMut(FlowRow) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    let filter = Filter::new(view.names, which, query)?;
    let mut left = query.limit.unwrap_or(usize::MAX);
    let mut take = |row| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        take(row)
    };
    if each_of::<V4>(view, &filter, &mut |flow| take(flow.row(view)))?.is_continue() {
        let _ended_early = each_of::<V6>(view, &filter, &mut |flow| take(flow.row(view)))?;
    }
    Ok(())
}

/// All matching rows: by network, port, protocol, source, destination.
///
/// # Errors
/// As [`each`].
pub fn list(view: &View<'_>, which: Which, query: &FlowQuery) -> Result<Vec<FlowRow>, QueryError> {
    let mut rows = Vec::new();
    each(view, which, query, &mut |row| {
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    rows.sort_by(|a, b| {
        let key = |r: &FlowRow| (r.network.clone(), r.port.clone(), r.protocol.clone(), r.source.clone());
        key(a).cmp(&key(b)).then_with(|| a.destination.cmp(&b.destination))
    });
    Ok(rows)
}

/// Commands that end the matching flows, some at a time, while the tables are walked, until `take` breaks.
///
/// # Errors
/// As [`each`].
pub fn each_end(
    view: &View<'_>,
    query: &FlowQuery,
    take: &mut dyn FnMut(Vec<Command>) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    const AT_ONCE: usize = 1024;
    let filter = Filter::new(view.names, Which::All, query)?;
    let mut left = query.limit.unwrap_or(usize::MAX);
    let mut commands = Vec::new();
    let mut add = |command| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        commands.push(command);
        if commands.len() < AT_ONCE {
            return ControlFlow::Continue(());
        }
        take(std::mem::take(&mut commands))
    };
    if each_of::<V4>(view, &filter, &mut |flow| add(Command::delete(flow.key)))?.is_continue() {
        let _ended_early = each_of::<V6>(view, &filter, &mut |flow| add(Command::delete(flow.key)))?;
    }
    let _last = take(commands);
    Ok(())
}

/// Every live flow, as rules are asked about it, with its row for when it is told.
///
/// # Errors
/// A map cannot be read.
pub fn each_live(
    view: &View<'_>,
    take: &mut dyn FnMut(&LiveFlow, &dyn Fn() -> FlowRow),
) -> Result<(), QueryError> {
    let filter = Filter::new(view.names, Which::All, &FlowQuery::default())?;
    let _all = each_of::<V4>(view, &filter, &mut |flow| {
        take(&flow.live(view), &|| flow.row(view));
        ControlFlow::Continue(())
    })?;
    let _all = each_of::<V6>(view, &filter, &mut |flow| {
        take(&flow.live(view), &|| flow.row(view));
        ControlFlow::Continue(())
    })?;
    Ok(())
}

/// Counts matching flows, up to the query's limit. `cut` is left to who keeps the revisions.
///
/// # Errors
/// As [`each`].
pub fn count(view: &View<'_>, query: &FlowQuery) -> Result<FlowCount, QueryError> {
    let filter = Filter::new(view.names, Which::All, query)?;
    let mut count = FlowCount { limit: view.settings.flow_limit.into(), ..FlowCount::default() };
    let most = query.limit.unwrap_or(usize::MAX) as u64;
    let mut add = |state| {
        if count.flows == most {
            return ControlFlow::Break(());
        }
        count.flows += 1;
        count.half_open += u64::from(state == FlowState::HalfOpen);
        ControlFlow::Continue(())
    };
    if each_of::<V4>(view, &filter, &mut |flow| add(state(flow.entry.life.stage())))?.is_continue() {
        let _ended_early = each_of::<V6>(view, &filter, &mut |flow| add(state(flow.entry.life.stage())))?;
    }
    Ok(count)
}

/// Both directions of a flow.
struct Flow<'a, A> {
    key: &'a FlowKey<A>,
    entry: &'a FlowEntry<A>,
    /// None for a moment while the pair is inserted or deleted.
    reply: Option<&'a FlowEntry<A>>,
}

fn each_of<A: Family>(
    view: &View<'_>,
    filter: &Filter,
    take: &mut dyn FnMut(Flow<'_, A>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, QueryError> {
    let mut end = ControlFlow::Continue(());
    A::walk(view.maps, &mut |key, entry, reply| {
        let flow = Flow { key, entry, reply };
        if filter.may_match(key, entry) && filter.matches(view, &flow) {
            end = take(flow);
        }
        end
    })?;
    Ok(end)
}

impl Filter {
    fn new(names: &Names, which: Which, query: &FlowQuery) -> Result<Self, QueryError> {
        let port = |name: &String| names.port_id(name).ok_or_else(|| QueryError::Port(name.clone()));
        let rule = |name: &String| names.rule_id(name).ok_or_else(|| QueryError::Rule(name.clone()));
        let proto = |name: &String| parse_protocol(name).ok_or_else(|| QueryError::Protocol(name.clone()));
        let group = |name: &String| names.group(name).ok_or_else(|| QueryError::Group(name.clone()));
        let name = |name: &String| FlowName::parse(name).ok_or_else(|| QueryError::Flow(name.clone()));
        Ok(Self {
            name: query.name.as_ref().map(name).transpose()?,
            port: query.port.as_ref().map(port).transpose()?,
            group: query.group.as_ref().map(group).transpose()?,
            peer: query.peer,
            proto: query.proto.as_ref().map(proto).transpose()?,
            rule: query.rule.as_ref().map(rule).transpose()?,
            state: query.state,
            translated_only: which == Which::Translated,
        })
    }

    /// What the original entry alone can tell.
    fn may_match<A: Address>(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool {
        self.proto.is_none_or(|p| p == key.proto)
            && self.rule.is_none_or(|r| r == entry.rule)
            && self.state.is_none_or(|s| s == state(entry.life.stage()))
            && if self.translated_only { entry.has(flag::TRANSLATED) } else { !entry.has(flag::MAPPING) }
            && self.name.is_none_or(|name| name == FlowName::of(key))
            && self.peer.is_none_or(|net| {
                [key.src, key.dst, entry.src, entry.dst].iter().any(|a| net.contains(&a.ip().to_std()))
            })
    }

    fn matches<A: Address>(&self, view: &View<'_>, flow: &Flow<'_, A>) -> bool {
        let ends = [view.ingress(flow.key, flow.reply), flow.entry.egress];
        self.port.is_none_or(|port| ends.contains(&port))
            && self.group.as_ref().is_none_or(|group| ends.iter().any(|end| group.contains(end)))
            && view.is_live(flow.key.proto, flow.entry, flow.reply)
    }
}

impl<A: Address> Flow<'_, A> {
    fn live(&self, view: &View<'_>) -> LiveFlow {
        let Self { key, entry, reply } = *self;
        LiveFlow {
            ports: (view.ingress(key, reply), entry.egress),
            came: (key.src.ip(), key.dst.ip(), key.dport),
            left: (entry.dst.ip(), entry.dport),
            proto: key.proto,
            service: match key.proto == A::ICMP {
                true => message::service::<A>(key.sport, key.dport),
                false => entry.dport,
            },
            sport: key.sport,
            forward: entry.forward,
            answer: match key.proto == A::ICMP {
                true => message::answered::<A>(message::service::<A>(key.sport, key.dport)),
                false => key.sport,
            },
            flags: entry.flags,
            answers: reply.map_or(0, |reply| reply.flags),
            kept_from: match reply {
                Some(reply) if !entry.has(flag::KEPT_FROM_RULE) => reply.kept_from,
                _ => entry.kept_from,
            },
        }
    }

    fn row(&self, view: &View<'_>) -> FlowRow {
        let Self { key, entry, reply } = *self;
        let owner = view.owner(key, entry, reply);
        let is_icmp = key.proto == A::ICMP;
        let end = |addr: A, l4_port: u16| show_end(addr.ip().to_std(), l4_port, is_icmp);
        let translated =
            if entry.has(flag::SOURCE_TRANSLATED) || (entry.has(flag::PREFIX) && key.src != entry.src) {
                Some(end(entry.src, entry.sport))
            } else {
                entry.has(flag::TRANSLATED).then(|| end(entry.dst, entry.dport))
            };
        // The opener's packets are `out` unless the flow is the port's at the far end.
        let ways = |opener, other| match entry.has(flag::OWNED_BY_EGRESS) {
            true => Ways { out: other, in_: opener },
            false => Ways { out: opener, in_: other },
        };
        FlowRow {
            name: FlowName::of(key).to_string(),
            network: view.names.network_of_port(owner),
            port: view.names.port(owner),
            protocol: protocol(key.proto),
            source: end(key.src, key.sport),
            destination: end(key.dst, key.dport),
            translated,
            id: message::id(key.sport, key.dport).filter(|_| is_icmp).map(u16::from_be),
            state: state(entry.life.stage()),
            rule: view.names.rule(entry.rule),
            forward: view.names.forward(entry.forward),
            path: view.path(view.ingress(key, reply), entry.egress),
            packets: ways(
                if entry.has(flag::MAPPING) { 0 } else { entry.packets },
                reply.map_or(0, |r| r.packets),
            ),
            bytes: ways(entry.bytes, reply.map_or(0, |r| r.bytes)),
            age_secs: ticks_to_secs(view.silent_ticks(entry, reply)),
        }
    }
}

/// `addr:l4port`, of ICMP the address. `l4_port` in network byte order.
pub fn show_end(addr: IpAddr, l4_port: u16, is_icmp: bool) -> String {
    if is_icmp {
        addr.to_string()
    } else {
        std::net::SocketAddr::new(addr, u16::from_be(l4_port)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::status::Path,
        observe::{
            MemoryMaps,
            testing::{
                DB1, ETH0, Flow as TestFlow, WEB1, WEB2, ago, forwarded, maps, masqueraded, names, view,
            },
        },
    };
    use fwd_common::conntrack::Stage;

    fn rows(maps: &MemoryMaps, which: Which, query: &FlowQuery) -> Vec<FlowRow> {
        let names = names();
        list(&view(maps, &names), which, query).expect("the names exist")
    }

    fn all(maps: &MemoryMaps) -> Vec<FlowRow> {
        rows(maps, Which::All, &FlowQuery::default())
    }

    #[test]
    fn a_mapping_is_a_translation_without_a_far_end_and_no_flow() {
        let mut maps = maps();
        maps.add_flow(masqueraded());
        let flow = maps.flows4.iter().find(|(_, entry)| entry.has(flag::ORIGINAL));
        let (key, entry) = flow.map(|(key, entry)| (key.inside_of_mapping(), *entry)).expect("it is there");
        let mapping = FlowEntry { flags: entry.flags | flag::MAPPING, packets: 1, ..entry };
        maps.flows4.insert(key, mapping);
        assert_eq!(all(&maps).len(), 1);
        let table = rows(&maps, Which::Translated, &FlowQuery::default());
        let told: Vec<_> = table.iter().map(|row| (row.destination.as_str(), row.packets.out)).collect();
        assert_eq!(told, [("0.0.0.0:0", 0), ("198.51.100.1:80", 10)]);
        assert_eq!(table[0].translated, table[1].translated);
    }

    #[test]
    fn a_masqueraded_flow_is_told_from_its_guest() {
        let mut maps = maps();
        maps.add_flow(masqueraded());
        let name =
            FlowName::of(maps.flows4.keys().find(|key| key.sport == 40000_u16.to_be()).expect("it is there"));
        assert_eq!(
            all(&maps),
            [FlowRow {
                name: name.to_string(),
                network: Some("left".to_owned()),
                port: Some("web1".to_owned()),
                protocol: "tcp".to_owned(),
                source: "10.10.0.11:40000".to_owned(),
                destination: "198.51.100.1:80".to_owned(),
                translated: Some("203.0.113.10:40000".to_owned()),
                id: None,
                state: FlowState::Established,
                rule: None,
                forward: None,
                path: Path::Xdp,
                packets: Ways { out: 10, in_: 20 },
                bytes: Ways { out: 1000, in_: 20_000 },
                age_secs: 3,
            }]
        );
    }

    #[test]
    fn a_forwarded_flow_is_told_of_the_port_it_reaches() {
        let mut maps = maps();
        maps.add_flow(forwarded());
        let row = all(&maps).remove(0);
        assert_eq!(row.port.as_deref(), Some("db1"));
        assert_eq!(row.translated.as_deref(), Some("10.10.0.12:80"));
        assert_eq!((row.rule.as_deref(), row.forward.as_deref()), (Some("web2db"), Some("web-http")));
        assert_eq!((row.packets, row.bytes), (Ways { out: 2, in_: 3 }, Ways { out: 2000, in_: 300 }));
        assert_eq!(row.path, Path::Skb);
    }

    #[test]
    fn a_flow_is_found_by_its_name_and_ended_by_its_key() {
        let mut maps = maps();
        maps.add_flow(masqueraded());
        maps.add_flow(forwarded());
        let one = all(&maps).remove(0);
        let query = FlowQuery { name: Some(one.name.clone()), ..FlowQuery::default() };
        assert_eq!(rows(&maps, Which::All, &query), [one]);
        let ended = |query: &FlowQuery| {
            let (names, mut ended) = (names(), Vec::new());
            each_end(&view(&maps, &names), query, &mut |commands| {
                ended.extend(commands);
                ControlFlow::Continue(())
            })
            .expect("the names exist");
            ended
        };
        assert_eq!(ended(&query).len(), 1);
        assert_eq!(ended(&FlowQuery::default()).len(), 2);
        assert_eq!(ended(&FlowQuery { limit: Some(1), ..FlowQuery::default() }).len(), 1);
        let names = names();
        let bad = FlowQuery { name: Some("web1".to_owned()), ..FlowQuery::default() };
        assert!(matches!(list(&view(&maps, &names), Which::All, &bad), Err(QueryError::Flow(_))));
    }

    #[test]
    fn a_count_ends_at_its_limit() {
        let mut maps = maps();
        maps.add_flow(masqueraded());
        maps.add_flow(forwarded());
        let names = names();
        let count = |limit| {
            let query = FlowQuery { limit, ..FlowQuery::default() };
            count(&view(&maps, &names), &query).expect("no name is given").flows
        };
        assert_eq!((count(None), count(Some(1)), count(Some(0))), (2, 1, 0));
    }

    #[test]
    fn equal_addresses_of_two_networks_are_two_flows() {
        let mut maps = maps();
        maps.add_flow(masqueraded());
        maps.add_flow(TestFlow {
            ports: (WEB2, ETH0),
            leaves: ("203.0.113.10:20001", "198.51.100.1:80"),
            ..masqueraded()
        });
        let rows = all(&maps);
        let told: Vec<_> = rows.iter().map(|r| (r.network.as_deref(), r.translated.as_deref())).collect();
        assert_eq!(
            told,
            [(Some("left"), Some("203.0.113.10:40000")), (Some("right"), Some("203.0.113.10:20001"))]
        );
    }

    #[test]
    fn an_echo_is_told_by_its_id() {
        let mut maps = maps();
        maps.add_flow(TestFlow {
            proto: IpProto::ICMP,
            ends: ("10.10.0.11:77", "198.51.100.1:0"),
            leaves: ("203.0.113.10:77", "198.51.100.1:0"),
            ..masqueraded()
        });
        let row = all(&maps).remove(0);
        assert_eq!((row.source.as_str(), row.id), ("10.10.0.11", Some(77)));
        assert_eq!(row.translated.as_deref(), Some("203.0.113.10"));
    }

    #[test]
    fn a_flow_is_live_as_long_as_one_direction_is() {
        let mut maps = maps();
        let half_open = TestFlow { stage: Stage::HalfOpen, ..masqueraded() };
        maps.add_flow(TestFlow { seen: (ago(500), ago(50)), ..half_open });
        maps.add_flow(TestFlow {
            ends: ("10.10.0.11:2", "198.51.100.1:80"),
            leaves: ("203.0.113.10:2", "198.51.100.1:80"),
            seen: (ago(500), ago(62)),
            ..half_open
        });
        let rows = all(&maps);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].source.as_str(), rows[0].age_secs), ("10.10.0.11:40000", 50));
        assert_eq!(rows[0].state, FlowState::HalfOpen);
    }

    #[test]
    fn each_filter_keeps_what_it_names() {
        let mut maps = maps();
        maps.add_flow(masqueraded());
        maps.add_flow(forwarded());
        maps.add_flow(TestFlow {
            proto: IpProto::UDP,
            ends: ("10.10.0.12:53", "10.10.0.11:53"),
            leaves: ("10.10.0.12:53", "10.10.0.11:53"),
            ports: (DB1, WEB1),
            flags: 0,
            ..masqueraded()
        });
        let count = |query: FlowQuery| rows(&maps, Which::All, &query).len();
        assert_eq!(count(FlowQuery::default()), 3);
        assert_eq!(count(FlowQuery { port: Some("db1".to_owned()), ..FlowQuery::default() }), 2);
        assert_eq!(count(FlowQuery { port: Some("eth0".to_owned()), ..FlowQuery::default() }), 2);
        assert_eq!(count(FlowQuery { proto: Some("udp".to_owned()), ..FlowQuery::default() }), 1);
        assert_eq!(count(FlowQuery { rule: Some("web2db".to_owned()), ..FlowQuery::default() }), 1);
        let peer = "203.0.113.0/24".parse().ok();
        assert_eq!(count(FlowQuery { peer, ..FlowQuery::default() }), 2);
        assert_eq!(count(FlowQuery { state: Some(FlowState::Closing), ..FlowQuery::default() }), 0);
        assert_eq!(count(FlowQuery { limit: Some(2), ..FlowQuery::default() }), 2);
        assert_eq!(rows(&maps, Which::Translated, &FlowQuery::default()).len(), 2);
    }

    #[test]
    fn names_that_do_not_exist_are_refused() {
        let (maps, names) = (maps(), names());
        let refused =
            |query| list(&view(&maps, &names), Which::All, &query).expect_err("refused").to_string();
        let port = refused(FlowQuery { port: Some("web9".to_owned()), ..FlowQuery::default() });
        assert_eq!(port, "port web9 does not exist");
        let rule = refused(FlowQuery { rule: Some("x".to_owned()), ..FlowQuery::default() });
        assert_eq!(rule, "rule x does not exist");
    }

    #[test]
    fn counting_tells_half_open_ones() {
        let (mut maps, names) = (maps(), names());
        maps.add_flow(forwarded());
        maps.add_flow(TestFlow { stage: Stage::Replied, ..masqueraded() });
        let counted = count(&view(&maps, &names), &FlowQuery::default()).expect("memory can be read");
        assert_eq!(counted, FlowCount { flows: 2, half_open: 1, limit: 1024, cut: None });
    }
}
