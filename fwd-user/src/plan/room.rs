//! Whether maps have room for what an edit comes to, before anything is written.
//!
//! New rows are written before old ones are deleted, so a map needs room for both while the edit is made. What the
//! kernel itself learns (neighbors, MACs) comes on top and is not counted here.

use fwd_common::map;

use super::merge::Sorted;
use crate::compile::Tables;

/// A map that is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub map: &'static str,
    /// The most rows while the edit is made.
    pub needed: u64,
    /// The rows that stay.
    pub after: u64,
    pub capacity: u64,
}

/// The maps that are too small for `old` to become `new`.
pub fn shortages(old: &Tables, new: &Tables, capacities: &[(&'static str, u32)]) -> Vec<Shortage> {
    let counts = old.rows_by_map().into_iter().zip(new.rows_by_map());
    let mut shortages = Vec::new();
    for ((map, before), (_, after)) in counts {
        let Some((_, capacity)) = capacities.iter().find(|(name, _)| *name == map) else { continue };
        let capacity = u64::from(*capacity);
        if before + after <= capacity {
            continue;
        }
        let needed = match map {
            // One copy is made new while the other one holds.
            map::IDENTITIES => before.max(after) / 2 + after / 2 + gone(map, old, new),
            _ => after + gone(map, old, new),
        };
        if needed > capacity {
            shortages.push(Shortage { map, needed, after, capacity });
        }
    }
    shortages
}

/// How many rows of a map are deleted.
fn gone(map: &str, old: &Tables, new: &Tables) -> u64 {
    let gone = match map {
        map::PORTS => count(&old.ports, &new.ports),
        map::NETWORKS => count(&old.networks, &new.networks),
        map::MEMBERS => count(&old.members, &new.members),
        map::NEIGHBORS => count(&old.neighbors, &new.neighbors),
        map::ALLOWED_SOURCES => count(&old.allowed_sources, &new.allowed_sources),
        map::HOST_ADDRESSES => count(&old.host_addresses, &new.host_addresses),
        map::FORWARDS => count(&old.forwards, &new.forwards),
        map::FORWARD_CLIENTS => count(&old.forward_clients, &new.forward_clients),
        map::NAT_EXEMPTIONS => count(&old.nat_exemptions, &new.nat_exemptions),
        map::NAT_PREFIXES => count(&old.nat_prefixes, &new.nat_prefixes),
        map::IDENTITIES => count(&old.classes, &new.classes),
        map::POLICIES => count(&old.policies, &new.policies),
        map::ROWS => count(&old.rows, &new.rows),
        map::FDB => count(&old.fdb, &new.fdb),
        _ => 0,
    };
    gone as u64
}

fn count<T: Sorted>(old: &T, new: &T) -> usize {
    old.differences(new).filter(|(_, _, now)| now.is_none()).count()
}

#[cfg(test)]
mod tests {
    use fwd_common::{
        addr::Ip,
        id::{ClassId, RowId, RuleId},
        policy::{ClassKey, RowKey, RowVerdict},
        proto::IpProto,
    };

    use super::*;

    fn tables(lists: std::ops::Range<u32>, classes: u32) -> Tables {
        let verdict = RowVerdict::new(RuleId(1), RowVerdict::PERMIT);
        let row = |id| ((RowKey::new(RowId(id), IpProto::TCP, 0), RowKey::PROTO), verdict);
        let class = |n: u32| {
            let addr = Ip::from(std::net::IpAddr::from(n.to_be_bytes()));
            ((ClassKey { epoch: 0, addr }, ClassKey::prefix(128)), ClassId(1))
        };
        Tables {
            rows: lists.map(row).collect(),
            classes: (0..classes).map(class).collect(),
            ..Tables::default()
        }
    }

    #[test]
    fn a_map_needs_room_for_what_comes_beside_what_goes() {
        let (old, new) = (tables(0..60, 10), tables(50..110, 40));
        let rooms = |rows, classes| shortages(&old, &new, &[(map::ROWS, rows), (map::IDENTITIES, classes)]);
        assert_eq!(rooms(110, 80), []);
        let rows = Shortage { map: map::ROWS, needed: 110, after: 60, capacity: 109 };
        assert_eq!(rooms(109, 80), [rows]);
        let classes = Shortage { map: map::IDENTITIES, needed: 80, after: 80, capacity: 79 };
        assert_eq!(rooms(59, 79), [classes, Shortage { capacity: 59, ..rows }]);
        assert_eq!(shortages(&old, &old, &[(map::ROWS, 60)]), []);
        assert_eq!(shortages(&old, &new, &[]), [], "nothing is known of the maps");
    }
}
