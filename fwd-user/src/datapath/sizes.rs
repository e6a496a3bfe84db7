//! How many rows the flow tables are made for; the object says it of all other maps.

use fwd_common::{index, map};

/// The sizes that follow settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Most flows of each family. Tables are made for twice as many entries, one per direction.
    pub flows: u32,
}

/// IPv4 and IPv6 flow tables take about this much for each flow that one of them may hold.
const BYTES_PER_FLOW: u64 = 560;

impl Sizes {
    pub const LEAST_FLOWS: u32 = 1 << 10;
    pub const MOST_FLOWS: u32 = 1 << 23;

    /// For at least so many flows; a size just above a power of two would double the buckets anyway.
    pub fn for_flows(flows: u32) -> Self {
        Self { flows: flows.clamp(Self::LEAST_FLOWS, Self::MOST_FLOWS).next_power_of_two() }
    }

    /// What a host with so much memory gets by default: a sixty-fourth of it, at most a million flows.
    pub fn for_memory(bytes: u64) -> Self {
        let flows = u32::try_from(bytes / 64 / BYTES_PER_FLOW).unwrap_or(u32::MAX);
        Self::for_flows((flows.clamp(Self::LEAST_FLOWS, 1 << 20) + 1).next_power_of_two() / 2)
    }

    /// Rows of a map; `None`: as the object says.
    pub fn rows(&self, name: &str) -> Option<u32> {
        match name {
            map::FLOWS4 | map::FLOWS6 => Some(self.flows * 2),
            map::INDEX4 | map::INDEX6 => Some(index::buckets(self.flows * 2)),
            map::FREE4 | map::FREE6 => Some(self.flows),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_tables_follow_memory_in_powers_of_two() {
        const GIB: u64 = 1 << 30;
        for (memory, flows) in [(0, 1 << 10), (GIB, 1 << 14), (4 * GIB, 1 << 16), (1 << 50, 1 << 20)] {
            assert_eq!(Sizes::for_memory(memory).flows, flows, "{memory} bytes");
        }
    }

    #[test]
    fn asked_flows_always_fit() {
        for asked in [1, 1000, 1 << 20, 2_000_000] {
            let sizes = Sizes::for_flows(asked);
            assert!(sizes.flows >= asked);
            assert_eq!(sizes.rows(map::FLOWS4), Some(sizes.flows * 2));
            assert_eq!(sizes.rows(map::INDEX4), Some(sizes.flows / 2));
            assert_eq!(sizes.rows(map::FREE6), Some(sizes.flows));
        }
    }
}
