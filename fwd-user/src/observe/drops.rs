//! Drops as people know them: by reason, port, direction and rule, with the moment of the last one.

use std::collections::BTreeSet;

use fwd_common::{
    counter::{DropCount, DropKey},
    drop::DropReason,
    id::{PortId, RuleId},
    policy,
};

use crate::api::{
    event::DropEvent,
    query::DropQuery,
    status::{Direction, DropReasonRow, DropRow},
};

use super::{
    Maps, Moment, Names, QueryError, ReadError, View,
    events::{self, Wanted},
    names::rule_of_drop,
    view::{parse_protocol, protocol},
};

/// A query with its names resolved.
struct Filter {
    port: Option<PortId>,
    group: Option<BTreeSet<PortId>>,
    reason: Option<u8>,
    rule: Option<RuleId>,
    direction: Option<Direction>,
    /// Nanoseconds since boot.
    since_ns: u64,
}

impl Filter {
    fn new(names: &Names, now: Moment, query: &DropQuery) -> Result<Self, QueryError> {
        let port = |name: &String| names.port_id(name).ok_or_else(|| QueryError::Port(name.clone()));
        let rule = |name: &String| names.rule_id(name).ok_or_else(|| QueryError::Rule(name.clone()));
        let group = |name: &String| names.group(name).ok_or_else(|| QueryError::Group(name.clone()));
        Ok(Self {
            port: query.port.as_ref().map(port).transpose()?,
            group: query.group.as_ref().map(group).transpose()?,
            reason: query.reason.as_deref().map(reason_number).transpose()?,
            rule: query.rule.as_ref().map(rule).transpose()?,
            direction: query.direction,
            since_ns: query
                .since_secs
                .map_or(0, |secs| now.boot_ns.saturating_sub(secs.saturating_mul(1_000_000_000))),
        })
    }

    fn matches(&self, key: &DropKey, drop: &DropCount) -> bool {
        self.port.is_none_or(|p| p == key.port)
            && self.group.as_ref().is_none_or(|ports| ports.contains(&key.port))
            && self.reason.is_none_or(|r| r == key.reason)
            && self.direction.is_none_or(|d| d == direction(key.direction))
            && self.rule.is_none_or(|r| rule_of_drop(key.reason, key.rule) == Some(r))
            && drop.last_seen_ns >= self.since_ns
    }
}

fn reason_number(name: &str) -> Result<u8, QueryError> {
    DropReason::from_name(name).map(|r| r as u8).ok_or_else(|| QueryError::Reason(name.to_owned()))
}

/// What is wanted of a stream of drops. Names may be those of what was deleted: of that drops are kept.
///
/// # Errors
/// [`QueryError`]: what does not exist.
pub fn wanted(names: &Names, query: &DropQuery) -> Result<Wanted<DropEvent>, QueryError> {
    query.reason.as_deref().map(reason_number).transpose()?;
    events::check_names(names, query.port.as_deref(), query.rule.as_deref())?;
    let proto = query.proto.as_deref().map(|name| match parse_protocol(name) {
        Some(proto) => Ok(protocol(proto)),
        None if events::is_ether_type(name) => Ok(name.to_owned()),
        None => Err(QueryError::Protocol(name.to_owned())),
    });
    let members = events::members(names, query.group.as_deref())?;
    let query = DropQuery { proto: proto.transpose()?, ..query.clone() };
    Ok(Box::new(move |event| event.is_wanted(&query, members.as_ref())))
}

/// Matching rows, the most packets first.
///
/// # Errors
/// [`QueryError`]: a name that does not exist, or the map.
pub fn list(view: &View<'_>, query: &DropQuery) -> Result<Vec<DropRow>, QueryError> {
    let filter = Filter::new(view.names, view.now, query)?;
    let mut drops = view.maps.drops()?;
    drops.retain(|(key, drop)| filter.matches(key, drop));
    drops.sort_by_key(|(key, drop)| (std::cmp::Reverse(drop.count.packets), *key));
    drops.truncate(query.limit.unwrap_or(usize::MAX));
    Ok(drops.iter().map(|(key, drop)| row(view, key, drop)).collect())
}

fn row(view: &View<'_>, key: &DropKey, drop: &DropCount) -> DropRow {
    let cause = view.names.cause(key.reason, key.rule);
    DropRow {
        reason: reason_name(key.reason),
        port: view.names.port(key.port),
        network: view.names.network_of_port(key.port),
        direction: direction(key.direction),
        rule: cause.rule,
        forward: cause.forward,
        packets: drop.count.packets,
        bytes: drop.count.bytes,
        last_seen: view.now.text_of(drop.last_seen_ns),
    }
}

/// The table of reasons, with what was dropped for each.
///
/// # Errors
/// [`ReadError`] names the map.
pub fn reasons(maps: &dyn Maps) -> Result<Vec<DropReasonRow>, ReadError> {
    let counts = maps.drops_by_reason()?;
    let row = |reason: &DropReason| DropReasonRow {
        number: *reason as u8,
        reason: reason.name().to_owned(),
        meaning: reason.sentence().to_owned(),
        remedy: reason.remedy().to_owned(),
        packets: counts[*reason as usize].packets,
    };
    Ok(DropReason::ALL.iter().map(row).collect())
}

/// A reason's name; of a number that this version does not know, `reason_N`.
pub fn reason_name(number: u8) -> String {
    DropReason::from_number(number).map_or_else(|| format!("reason_{number}"), |r| r.name().to_owned())
}

/// The direction of a number that the datapath wrote.
pub fn direction(number: u8) -> Direction {
    if number == policy::Direction::Ingress as u8 { Direction::Ingress } else { Direction::Egress }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{DB1, NO_SSH, WEB_HTTP, WEB1, maps, names, view};

    #[test]
    fn drops_are_told_by_reason_port_and_rule() {
        let (mut maps, names) = (maps(), names());
        maps.add_drops(WEB1, DropReason::PolicyDenied, NO_SSH, 7);
        maps.add_drops(DB1, DropReason::RuntFrame, RuleId(0), 9);
        let rows = list(&view(&maps, &names), &DropQuery::default()).expect("no names asked for");
        assert_eq!(rows.iter().map(|r| r.packets).collect::<Vec<_>>(), [9, 7]);
        assert_eq!(
            rows[1],
            DropRow {
                reason: "policy_denied".to_owned(),
                port: Some("web1".to_owned()),
                network: Some("left".to_owned()),
                direction: Direction::Egress,
                rule: Some("no-ssh".to_owned()),
                forward: None,
                packets: 7,
                bytes: 700,
                last_seen: Some("2023-11-14T22:12:20.000Z".to_owned()),
            }
        );
    }

    #[test]
    fn what_a_forward_refused_is_no_rules() {
        let (mut maps, names) = (maps(), names());
        let rule_with_its_number = names.rule(RuleId(WEB_HTTP.0)).expect("a rule");
        maps.add_drops(WEB1, DropReason::ForwardClientDenied, RuleId(WEB_HTTP.0), 7);
        let rows = list(&view(&maps, &names), &DropQuery::default()).expect("no names asked for");
        assert_eq!((rows[0].forward.as_deref(), &rows[0].rule), (Some("web-http"), &None));
        let query = DropQuery { rule: Some(rule_with_its_number), ..DropQuery::default() };
        assert_eq!(list(&view(&maps, &names), &query).expect("the rule exists"), []);
    }

    #[test]
    fn filters_name_port_reason_rule_and_time() {
        let (mut maps, names) = (maps(), names());
        maps.add_drops(WEB1, DropReason::PolicyDenied, NO_SSH, 7);
        maps.add_drops(DB1, DropReason::RuntFrame, RuleId(0), 9);
        let view = view(&maps, &names);
        let count = |query| list(&view, &query).expect("the names exist").len();
        let none = DropQuery::default();
        assert_eq!(count(DropQuery { port: Some("db1".to_owned()), ..none.clone() }), 1);
        assert_eq!(count(DropQuery { rule: Some("no-ssh".to_owned()), ..none.clone() }), 1);
        assert_eq!(count(DropQuery { group: Some("db".to_owned()), ..none.clone() }), 1);
        assert_eq!(count(DropQuery { direction: Some(Direction::Ingress), ..none.clone() }), 0);
        assert_eq!(count(DropQuery { limit: Some(1), ..none.clone() }), 1);
        assert_eq!(count(DropQuery { reason: Some("runt_frame".to_owned()), ..none.clone() }), 1);
        assert_eq!(count(DropQuery { since_secs: Some(61), ..none.clone() }), 2);
        assert_eq!(count(DropQuery { since_secs: Some(59), ..none.clone() }), 0);
        let unknown = list(&view, &DropQuery { reason: Some("rain".to_owned()), ..none });
        assert_eq!(unknown.expect_err("refused").to_string(), "drop reason rain does not exist");
    }

    #[test]
    fn the_table_of_reasons_has_all_of_them() {
        let mut maps = maps();
        maps.add_drops(WEB1, DropReason::RuntFrame, RuleId(0), 4);
        let rows = reasons(&maps).expect("memory can be read");
        assert_eq!(rows.len(), DropReason::ALL.len());
        assert_eq!((rows[0].reason.as_str(), rows[0].number, rows[0].packets), ("runt_frame", 1, 4));
        assert_eq!(rows.iter().map(|r| r.packets).sum::<u64>(), 4);
    }

    #[test]
    fn a_number_of_a_later_version_is_told_as_such() {
        assert_eq!(reason_name(200), "reason_200");
    }
}
