//! The L4 ports that NAT gives out, kept out of those that the host's sockets get by themselves
//! (`ip_local_reserved_ports`). A socket that asks for such an L4 port by number still gets it.
//!
//! Guarantees: what others reserved stays; only what fwd added is taken out again.

use fwd_common::nat::L4Range;

use super::{
    error::{Error, Result},
    journal::{Change, Journal},
    sysctl,
};

const KEY: &str = "net/ipv4/ip_local_reserved_ports";

/// Reserves ranges, and gives back what was reserved before.
pub(super) fn reserve(wanted: &[L4Range], journal: &mut Journal) -> Result<()> {
    let held: Vec<L4Range> = journal.changes().iter().filter_map(range_of).collect();
    let foreign = without(&read()?, &held);
    let added = without(&union(wanted), &foreign);
    if added == held {
        return Ok(());
    }
    for range in &added {
        journal.note(Change::ReservedL4Ports { low: range.low, high: range.high })?;
    }
    let mut all = [foreign, added.clone()].concat();
    all.sort_by_key(|range| range.low);
    write(&all)?;
    for range in held.iter().filter(|range| !added.contains(range)) {
        journal.forget(&Change::ReservedL4Ports { low: range.low, high: range.high })?;
    }
    Ok(())
}

/// Takes out one range that fwd added.
pub(super) fn give_back(range: L4Range) -> Result<()> {
    write(&without(&read()?, &[range]))
}

fn range_of(change: &Change) -> Option<L4Range> {
    match change {
        Change::ReservedL4Ports { low, high } => Some(L4Range { low: *low, high: *high }),
        _ => None,
    }
}

fn read() -> Result<Vec<L4Range>> {
    let text = sysctl::read(KEY)?;
    parse(&text).ok_or_else(|| Error::Sysctl {
        key: KEY.to_owned(),
        action: "understanding it",
        source: std::io::Error::other(text),
    })
}

fn write(ranges: &[L4Range]) -> Result<()> {
    let text: Vec<String> = ranges.iter().map(text).collect();
    // The kernel takes an empty line as an empty list, and an empty write as none.
    sysctl::write(KEY, &(text.join(",") + "\n"))
}

fn text(range: &L4Range) -> String {
    if range.low == range.high { range.low.to_string() } else { format!("{}-{}", range.low, range.high) }
}

fn parse(text: &str) -> Option<Vec<L4Range>> {
    let one = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(L4Range { low: low.trim().parse().ok()?, high: high.trim().parse().ok()? })
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(one).collect()
}

/// The same L4 ports in ranges that do not overlap, in order.
fn union(ranges: &[L4Range]) -> Vec<L4Range> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.low);
    let mut out: Vec<L4Range> = Vec::new();
    for range in sorted {
        match out.last_mut() {
            Some(last) if u32::from(range.low) <= u32::from(last.high) + 1 => {
                last.high = last.high.max(range.high)
            }
            _ => out.push(range),
        }
    }
    out
}

/// What of `ranges` is in none of `taken`, in order.
fn without(ranges: &[L4Range], taken: &[L4Range]) -> Vec<L4Range> {
    let mut left = ranges.to_vec();
    for cut in taken {
        left = left.into_iter().flat_map(|range| minus(range, *cut)).collect();
    }
    left
}

/// What of a range is below and above another one.
fn minus(range: L4Range, cut: L4Range) -> impl Iterator<Item = L4Range> {
    if cut.high < range.low || cut.low > range.high {
        return [Some(range), None].into_iter().flatten();
    }
    let below = (range.low < cut.low).then(|| L4Range { low: range.low, high: cut.low - 1 });
    let above = (range.high > cut.high).then(|| L4Range { low: cut.high + 1, high: range.high });
    [below, above].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(ranges: &[L4Range]) -> String {
        ranges.iter().map(text).collect::<Vec<_>>().join(",")
    }

    fn ranges(text: &str) -> Vec<L4Range> {
        parse(text).expect("ranges")
    }

    #[test]
    fn a_range_is_added_around_what_others_hold() {
        for (wanted, taken, added) in [
            ("20000-32767", "", "20000-32767"),
            ("20000-32767", "8080", "20000-32767"),
            ("20000-32767", "25000", "20000-24999,25001-32767"),
            ("20000-32767", "19000-20000,32767-40000", "20001-32766"),
            ("20000-32767", "1-65535", ""),
            ("0-65535", "0,65535", "1-65534"),
        ] {
            assert_eq!(joined(&without(&ranges(wanted), &ranges(taken))), added, "{wanted} without {taken}");
        }
    }

    #[test]
    fn ranges_that_overlap_are_one() {
        let union = |text: &str| joined(&union(&ranges(text)));
        assert_eq!(union("40000-40999,20000-32767,30000-35000,35001"), "20000-35001,40000-40999");
        assert_eq!(union("1-65535,65535"), "1-65535");
    }

    #[test]
    fn what_was_added_can_be_taken_out_of_what_the_kernel_merged() {
        assert_eq!(joined(&without(&ranges("19000-32767"), &ranges("20000-32767"))), "19000-19999");
    }

    #[test]
    fn what_is_no_list_is_not_taken_for_one() {
        assert_eq!(parse("\t"), Some(Vec::new()));
        assert_eq!(parse("80,x"), None);
        assert_eq!(parse("80-70000"), None);
    }
}
