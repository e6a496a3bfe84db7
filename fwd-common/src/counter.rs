//! The ledgers: what came in on a port and what became of it, by hook, per CPU; drops by reason; totals.

use crate::id::{PortId, RuleId};

/// Packets and bytes (of whole frames, as the hook sees them).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl core::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// One hook's ledger. Invariant, at rest: received = forwarded + host + answered + dropped + passed_up
/// (held by the topology test `accounting`). `received` is counted at entry, the rest in `finish`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookLedger {
    pub received: Count,
    /// Handed to another device; a flood counts once.
    pub forwarded: Count,
    /// Left to the host's stack.
    pub host: Count,
    pub answered: Count,
    pub dropped: Count,
    /// XDP only: left to TCX.
    pub passed_up: Count,
}

/// A port's row in `LEDGERS` (one per CPU). GSO frames count by their segments.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub xdp: HookLedger,
    pub skb: HookLedger,
    /// Copies that floods of this port's frames made.
    pub copies: Count,
}

impl core::ops::AddAssign for Ledger {
    fn add_assign(&mut self, o: Self) {
        for (a, b) in [(&mut self.xdp, o.xdp), (&mut self.skb, o.skb)] {
            a.received += b.received;
            a.forwarded += b.forwarded;
            a.host += b.host;
            a.answered += b.answered;
            a.dropped += b.dropped;
            a.passed_up += b.passed_up;
        }
        self.copies += o.copies;
    }
}

impl HookLedger {
    /// Packets that came in and left no trace: 0 at rest.
    pub const fn unaccounted(&self) -> i64 {
        let out = self.forwarded.packets
            + self.host.packets
            + self.answered.packets
            + self.dropped.packets
            + self.passed_up.packets;
        self.received.packets as i64 - out as i64
    }
}

/// Whose drops a row of `DROPS` counts: a word of `DROP_KEYS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DropKey {
    /// As in [`Dropped`](crate::verdict::Dropped): of some reasons, a forward's number.
    pub rule: RuleId,
    /// The port on which the packet came in.
    pub port: PortId,
    /// [`DropReason`](crate::drop::DropReason) as a number.
    pub reason: u8,
    /// [`Direction`](crate::policy::Direction) as a number: of the port that refused it, the guest's view.
    pub direction: u8,
}

/// Rows of `DROPS` and of `DROP_KEYS`.
pub const DROP_ROWS: u32 = 1 << 14;
/// Rows, one after the other, of which the first that is free becomes a key's. Until three quarters are taken there is
/// one for nearly every key.
pub const DROP_TRIES: u32 = 32;

impl DropKey {
    /// As one word; never 0, for no reason is.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.rule.0 as u64
            | (self.port.0 as u64) << 32
            | (self.reason as u64) << 48
            | (self.direction as u64) << 56
    }

    /// The key of a word; none: the row is nobody's.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        Some(Self {
            rule: RuleId(word as u32),
            port: PortId((word >> 32) as u16),
            reason: (word >> 48) as u8,
            direction: (word >> 56) as u8,
        })
    }

    /// The n-th row that a key may have.
    #[inline(always)]
    pub const fn row(word: u64, n: u32) -> u32 {
        // The upper bits of a product with the golden ratio: rules and ports that count up lie far from each other.
        let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - DROP_ROWS.ilog2());
        (hash as u32 + n) % DROP_ROWS
    }
}

/// Value of `DROPS`, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCount {
    pub count: Count,
    /// Nanoseconds since boot.
    pub last_seen_ns: u64,
}

impl core::ops::AddAssign for DropCount {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.last_seen_ns = self.last_seen_ns.max(other.last_seen_ns);
    }
}

/// What rules and forwards did (`RULE_TOTALS`, `FORWARD_TOTALS`). Packets and bytes are those of flows
/// that have ended; those of live flows stand in the flow table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Flows admitted.
    pub flows: u64,
    /// Flows cut because an edit no longer permits them.
    pub cut: u64,
    /// Ended flows, opener's direction, then the other.
    pub out: Count,
    pub back: Count,
    /// Nanoseconds since boot.
    pub last_hit_ns: u64,
}

/// What the flow tables did; index into `FLOW_COUNTERS` (per CPU, one u64 each).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowCounter {
    Admitted = 0,
    RefusedTableFull = 1,
    RefusedPortLimit = 2,
    RefusedHalfOpen = 3,
    RefusedNatExhausted = 4,
    Expired = 5,
    Reopened = 6,
    CutByPolicy = 7,
    CutByRoute = 8,
    CutByDelete = 9,
    CutByHostSocket = 10,
    Rechecked = 11,
    /// Events that found the ring full or their budget spent.
    EventsLost = 12,
    /// Drops whose key found no row in `DROPS`: they stand in the ledgers and in `DROPS_BY_REASON` only.
    DropsUnattributed = 13,
}

impl FlowCounter {
    /// Slots of `FLOW_COUNTERS`.
    pub const SLOTS: u32 = 16;
}

/// One family's flow table as a whole (`TABLE_USE`, index 0 for IPv4, 1 for IPv6); changed by atomics.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUse {
    /// Slots handed out at least once.
    pub fresh_slots: u32,
    pub flows: u32,
    pub half_open: u32,
    pub _pad: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{drop::DropReason, policy::Direction};

    #[test]
    fn words_come_back_as_keys_and_none_is_0() {
        for &reason in DropReason::ALL {
            for direction in Direction::ALL {
                let (reason, direction) = (reason as u8, direction as u8);
                for (rule, port) in [(0, 0), (1, 2), (u32::MAX, u16::MAX)] {
                    let key = DropKey { rule: RuleId(rule), port: PortId(port), reason, direction };
                    assert_eq!(DropKey::from_word(key.word()), Some(key));
                }
            }
        }
        assert_eq!(DropKey::from_word(0), None);
    }

    #[test]
    fn keys_find_rows_until_three_quarters_are_taken() {
        let mut held = vec![0; DROP_ROWS as usize];
        // 500 ports, 24 rules each.
        let keys = (0..DROP_ROWS * 3 / 4).map(|n| DropKey {
            rule: RuleId(n / 500 + 1),
            port: PortId((n % 500) as u16 + 1),
            reason: DropReason::PolicyDenied as u8,
            direction: (n % 2) as u8,
        });
        for key in keys {
            let rows = (0..DROP_TRIES).map(|n| DropKey::row(key.word(), n) as usize);
            let row = { rows }.find(|row| held[*row] == 0).expect("one is free");
            held[row] = key.word();
        }
    }
}
