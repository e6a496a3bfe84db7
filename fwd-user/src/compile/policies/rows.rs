//! One list of services with their verdicts: overlaps and priorities resolved into prefixes of which the
//! longest that matches is right.

use std::collections::{BTreeMap, BTreeSet};

use fwd_common::{
    forward::range_prefixes,
    id::{RowId, RuleId},
    nat::L4Range,
    policy::{RowKey, RowVerdict},
    proto::IpProto,
};

use crate::api::text::Match;

/// Rows under `RowId(0)`, with the prefix length in bits.
pub(super) type Content = BTreeMap<(RowKey, u32), RowVerdict>;

/// What one rule says, for those that are not rules too.
pub(super) struct Entry<'a> {
    pub verdict: RowVerdict,
    pub matches: &'a [Match],
    /// Source L4 ports; empty: every.
    pub sources: &'a [L4Range],
    /// It decides nothing; what it would do is noted beside what decides.
    pub is_staged: bool,
}

/// What a rule-less default says.
pub(super) const fn by_default(permit: bool) -> RowVerdict {
    RowVerdict::new(RuleId(0), if permit { RowVerdict::PERMIT } else { RowVerdict::DENY })
}

/// What entries that match come to: the first one that is in force, then the default; with the first staged
/// one, if that comes before.
fn first<'a>(matching: impl Iterator<Item = &'a Entry<'a>>, default: RowVerdict) -> RowVerdict {
    let mut staged = None;
    for entry in matching {
        if !entry.is_staged {
            return beside(entry.verdict, staged);
        }
        staged.get_or_insert(entry.verdict);
    }
    beside(default, staged)
}

fn beside(verdict: RowVerdict, staged: Option<RowVerdict>) -> RowVerdict {
    let noted =
        |staged: RowVerdict| RowVerdict { staged: staged.rule, staged_action: staged.action, ..verdict };
    staged.map_or(verdict, noted)
}

/// Gives a row's content an id.
pub(super) type Numbered<'a> = &'a mut dyn FnMut(&Content) -> RowId;

/// The rows of a list, in which the first entry that matches wins, then the default. Where an entry that could decide
/// is about source L4 ports, they decide in a row of their own: of all entries up to the one that decides whatever they
/// are.
pub(super) fn compile(list: &[Entry<'_>], default: RowVerdict, numbered: Numbered<'_>) -> Content {
    let all = || list.iter().flat_map(|entry| entry.matches);
    let is_general = |entry: &&Entry<'_>| entry.matches.iter().any(|m| m.proto.is_none());
    let general = first(list.iter().filter(is_general), default);
    let mut content = Content::from([((RowKey::new(RowId(0), IpProto(0), 0), RowKey::ANY), general)]);
    let protos: BTreeSet<IpProto> = all().filter_map(|m| m.proto).collect();
    for proto in protos {
        let segments = segments(list, default, proto, numbered);
        let common = commonest(&segments, general);
        if common != general {
            content.insert((RowKey::new(RowId(0), proto, 0), RowKey::PROTO), common);
        }
        for segment in segments.iter().filter(|s| s.verdict != common) {
            for (first, bits) in range_prefixes(segment.low, segment.high) {
                content
                    .insert((RowKey::new(RowId(0), proto, first.to_be()), RowKey::l4(bits)), segment.verdict);
            }
        }
    }
    content
}

/// L4 ports of one protocol that share a verdict.
#[derive(Clone, Copy, Debug)]
struct Segment {
    low: u16,
    high: u16,
    verdict: RowVerdict,
}

/// All L4 ports of a protocol, in order: at each place the first of the entries that are open there.
fn segments(list: &[Entry<'_>], default: RowVerdict, proto: IpProto, numbered: Numbered<'_>) -> Vec<Segment> {
    // Where an entry begins to match (a step up) or does so no longer (down).
    let mut steps: Vec<(u32, usize, i32)> = Vec::with_capacity(2 * list.len());
    for (rank, entry) in list.iter().enumerate() {
        for m in entry.matches.iter().filter(|m| m.proto.is_none_or(|p| p == proto)) {
            steps.extend([(m.low.into(), rank, 1), (u32::from(m.high) + 1, rank, -1)]);
        }
    }
    steps.sort_unstable_by_key(|(at, ..)| *at);
    let mut open: BTreeMap<usize, i32> = BTreeMap::new();
    let mut segments: Vec<Segment> = Vec::new();
    let mut rest = &steps[..];
    let mut at = 0;
    while at <= u32::from(u16::MAX) {
        let (here, later) = rest.split_at(rest.partition_point(|(next, ..)| *next == at));
        for (_, rank, step) in here {
            let count = open.entry(*rank).or_default();
            *count += step;
            if *count == 0 {
                open.remove(rank);
            }
        }
        rest = later;
        let deciding = up_to_the_last(open.keys().map(|rank| &list[*rank]));
        let verdict = match deciding.iter().any(|entry| !entry.sources.is_empty()) {
            true => RowVerdict::by_source_in(numbered(&by_source(&deciding, default, proto))),
            false => first(deciding.into_iter(), default),
        };
        let low = at as u16;
        match segments.last_mut() {
            Some(last) if last.verdict == verdict => {}
            Some(last) => {
                last.high = low - 1;
                segments.push(Segment { low, high: u16::MAX, verdict });
            }
            None => segments.push(Segment { low, high: u16::MAX, verdict }),
        }
        let Some((next, ..)) = rest.first() else { break };
        at = *next;
    }
    segments
}

/// Entries that match a destination, up to the first that decides whatever the source.
fn up_to_the_last<'a>(matching: impl Iterator<Item = &'a Entry<'a>>) -> Vec<&'a Entry<'a>> {
    let mut deciding = Vec::new();
    for entry in matching {
        deciding.push(entry);
        if !entry.is_staged && entry.sources.is_empty() {
            break;
        }
    }
    deciding
}

/// A row of entries that match a destination, by source L4 port.
fn by_source(deciding: &[&Entry<'_>], default: RowVerdict, proto: IpProto) -> Content {
    const EVERY: L4Range = L4Range { low: 0, high: u16::MAX };
    let match_of = |range: &L4Range| Match { proto: Some(proto), low: range.low, high: range.high };
    let matches: Vec<Vec<Match>> = deciding
        .iter()
        .map(|entry| {
            let ranges = if entry.sources.is_empty() { &[EVERY][..] } else { entry.sources };
            ranges.iter().map(match_of).collect()
        })
        .collect();
    let entries = deciding.iter().zip(&matches);
    let list: Vec<Entry<'_>> =
        entries.map(|(entry, matches)| Entry { matches, sources: &[], ..**entry }).collect();
    compile(&list, default, &mut |_| unreachable!("no entry is about sources"))
}

/// The verdict whose segments would take the most rows: it becomes the protocol's. Of equals the general one.
fn commonest(segments: &[Segment], general: RowVerdict) -> RowVerdict {
    let mut rows: BTreeMap<RowVerdict, usize> = BTreeMap::new();
    for segment in segments {
        *rows.entry(segment.verdict).or_default() += range_prefixes(segment.low, segment.high).count();
    }
    let most = rows.into_iter().max_by_key(|(verdict, count)| (*count, *verdict == general));
    most.map_or(general, |(verdict, _)| verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(rule: u32, action: u16, matches: &[Match]) -> Entry<'_> {
        Entry { verdict: RowVerdict::new(RuleId(rule), action), matches, sources: &[], is_staged: false }
    }

    fn tcp(low: u16, high: u16) -> Match {
        Match { proto: Some(IpProto::TCP), low, high }
    }

    /// Of entries that are about no source.
    fn compile(list: &[Entry<'_>], default: RowVerdict) -> Content {
        super::compile(list, default, &mut |_| unreachable!("no entry is about sources"))
    }

    #[test]
    fn sources_decide_where_a_rule_is_about_them_and_nowhere_else() {
        let (dns, all) = ([tcp(53, 53)], [tcp(0, u16::MAX)]);
        let sources = [L4Range { low: 1024, high: u16::MAX }];
        let mut rows = Vec::new();
        let mut numbered = |content: &Content| {
            rows.push(content.clone());
            RowId(rows.len() as u32 + 6)
        };
        let list = [Entry { sources: &sources, ..entry(1, 1, &dns) }, entry(2, 0, &all), entry(3, 1, &dns)];
        let content = super::compile(&list, by_default(true), &mut numbered);
        let of = |content: &Content, l4_port| lookup(content, IpProto::TCP, l4_port);
        assert_eq!(of(&content, 53).by_source(), Some(RowId(7)));
        assert_eq!((of(&content, 54).rule, lookup(&content, IpProto::UDP, 53).rule), (RuleId(2), RuleId(0)));
        assert_eq!(rows.len(), 1);
        assert_eq!([1023, 1024, u16::MAX].map(|source| of(&rows[0], source).rule.0), [2, 1, 1]);
    }

    #[test]
    fn a_list_takes_few_rows() {
        let web = [tcp(80, 80)];
        assert_eq!(compile(&[entry(1, 1, &web)], by_default(false)).len(), 2);
        assert_eq!(compile(&[], by_default(true)).len(), 1);
        // All of TCP but one L4 port: the protocol's row and one more.
        let (one, all) = ([tcp(22, 22)], [tcp(0, u16::MAX)]);
        let rows = compile(&[entry(1, 0, &one), entry(2, 1, &all)], by_default(false));
        assert_eq!(rows.len(), 3);
    }

    fn lookup(content: &Content, proto: IpProto, l4_port: u16) -> RowVerdict {
        let tables = crate::compile::Tables { rows: content.clone().into(), ..Default::default() };
        let key = RowKey::new(RowId(0), proto, l4_port.to_be());
        fwd_common::policy::Policies::verdict(&tables, &key).expect("every row has a default")
    }

    fn matches() -> impl Strategy<Value = Match> {
        let proto = prop_oneof![Just(None), Just(Some(IpProto::TCP)), Just(Some(IpProto::UDP))];
        (proto, 0u16..40, 0u16..40).prop_map(|(proto, a, b)| match proto {
            None => Match { proto, low: 0, high: u16::MAX },
            Some(_) => Match { proto, low: a.min(b), high: a.max(b) },
        })
    }

    proptest! {
        /// Invariant: the longest prefix carries the verdict of the first entry in force that matches, and the
        /// staged one that comes before it.
        #[test]
        fn rows_say_what_the_list_says(
            lists in proptest::collection::vec(
                (any::<bool>(), any::<bool>(), proptest::collection::vec(matches(), 1..4)), 0..6),
            default: bool,
        ) {
            let list: Vec<Entry<'_>> = lists.iter().enumerate()
                .map(|(n, (permit, is_staged, matches))| {
                    Entry { is_staged: *is_staged, ..entry(n as u32 + 1, u16::from(*permit), matches) }
                }).collect();
            let content = compile(&list, by_default(default));
            for proto in [IpProto::TCP, IpProto::UDP, IpProto(47)] {
                for l4_port in (0..45).chain([1000, u16::MAX]) {
                    let hits = |m: &Match| m.proto.is_none_or(|p| p == proto) && (m.low..=m.high).contains(&l4_port);
                    let matching: Vec<_> = list.iter().filter(|e| e.matches.iter().any(hits)).collect();
                    let decides = matching.iter().position(|e| !e.is_staged);
                    let mut wanted = decides.map_or(by_default(default), |n| matching[n].verdict);
                    if matching.first().is_some_and(|e| e.is_staged) {
                        wanted.staged = matching[0].verdict.rule;
                        wanted.staged_action = matching[0].verdict.action;
                    }
                    prop_assert_eq!(lookup(&content, proto, l4_port), wanted);
                }
            }
        }
    }
}
