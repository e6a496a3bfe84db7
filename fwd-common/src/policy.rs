//! The decision of a compiled policy, at a cost that does not depend on how many rules there are.
//!
//! Priorities and overlaps are resolved in user space. A port has one [`PolicyId`]; with the direction and
//! the peer's identity it leads to a row (two look-ups at most: this peer, then any peer), and the row with
//! protocol and L4 port to a verdict (one longest-prefix look-up). Rows and policies are immutable under
//! their id: an edit writes new ones and flips the ports' views.

use crate::{
    drop::DropReason,
    id::{Identity, PolicyId, RowId, RuleId},
    proto::IpProto,
};

/// Which way, as the port's guest sees it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the port.
    Egress = 0,
    /// To the port.
    Ingress = 1,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

/// Key of `POLICIES`; its value is a [`RowId`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    pub policy: PolicyId,
    pub peer: Identity,
    /// [`Direction`] as a number.
    pub direction: u8,
    pub _pad: [u8; 3],
}

impl PolicyKey {
    #[inline(always)]
    pub const fn new(policy: PolicyId, direction: Direction, peer: Identity) -> Self {
        Self { policy, peer, direction: direction as u8, _pad: [0; 3] }
    }
}

/// Key data of `ROWS`, compared bit by bit from the front: row, protocol, L4 port. ICMP has its type and
/// code in place of the L4 port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    pub row: RowId,
    pub proto: IpProto,
    pub l4_port: [u8; 2],
    pub _pad: u8,
}

impl RowKey {
    /// Prefix length of the row's default.
    pub const ANY: u32 = 32;
    /// Prefix length of a whole protocol.
    pub const PROTO: u32 = 40;

    /// Prefix length of L4 ports that share their first `bits` bits.
    pub const fn l4(bits: u32) -> u32 {
        Self::PROTO + bits
    }

    /// `l4_port` in network byte order.
    #[inline(always)]
    pub const fn new(row: RowId, proto: IpProto, l4_port: u16) -> Self {
        Self { row, proto, l4_port: l4_port.to_ne_bytes(), _pad: 0 }
    }
}

/// Value of `ROWS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowVerdict {
    /// 0: the network's default decided.
    pub rule: RuleId,
    /// [`RowVerdict::DENY`], [`RowVerdict::PERMIT`] or [`RowVerdict::REJECT`].
    pub action: u32,
}

impl RowVerdict {
    pub const DENY: u32 = 0;
    pub const PERMIT: u32 = 1;
    /// Denied, and the sender is told so.
    pub const REJECT: u32 = 2;

    #[inline(always)]
    pub const fn permits(self) -> bool {
        self.action == Self::PERMIT
    }
}

/// Key data of `IDENTITIES`: addresses that rules name by CIDR. Two copies, as of a port's views.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassKey {
    /// The epoch's parity.
    pub epoch: u32,
    pub addr: crate::addr::Ip,
}

impl ClassKey {
    /// Prefix length of a row for the first `bits` bits of the sixteen-byte address.
    pub const fn prefix(bits: u32) -> u32 {
        32 + bits
    }
}

/// The compiled rules, wherever they are.
pub trait Policies {
    fn row(&self, key: &PolicyKey) -> Option<RowId>;
    fn verdict(&self, key: &RowKey) -> Option<RowVerdict>;
}

/// Why not, and by which rule (0: by default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    pub reason: DropReason,
    pub rule: RuleId,
}

/// Asks one port's policy about a peer. `l4_port` in network byte order.
///
/// # Errors
/// [`Denied`] names the rule; also where a row is missing, which cannot happen (fails closed).
#[inline(always)]
pub fn decide<P: Policies>(
    policies: &P,
    policy: PolicyId,
    direction: Direction,
    peer: Identity,
    service: (IpProto, u16),
) -> Result<RuleId, Denied> {
    const MISSING: Denied = Denied { reason: DropReason::PolicyRowMissing, rule: RuleId(0) };
    if policy == PolicyId::OPEN {
        return Ok(RuleId(0));
    }
    let row = match policies.row(&PolicyKey::new(policy, direction, peer)) {
        Some(row) => row,
        None => policies.row(&PolicyKey::new(policy, direction, Identity::ANY)).ok_or(MISSING)?,
    };
    let verdict = policies.verdict(&RowKey::new(row, service.0, service.1)).ok_or(MISSING)?;
    if verdict.permits() {
        return Ok(verdict.rule);
    }
    let reason = match (verdict.action, verdict.rule) {
        (RowVerdict::REJECT, _) => DropReason::PolicyRejected,
        (_, RuleId(0)) => DropReason::PolicyDefaultDeny,
        _ => DropReason::PolicyDenied,
    };
    Err(Denied { reason, rule: verdict.rule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Tables(BTreeMap<PolicyKey, RowId>, BTreeMap<RowKey, RowVerdict>);

    impl Policies for Tables {
        fn row(&self, key: &PolicyKey) -> Option<RowId> {
            self.0.get(key).copied()
        }
        fn verdict(&self, key: &RowKey) -> Option<RowVerdict> {
            self.1.get(key).copied()
        }
    }

    const HTTP: (IpProto, u16) = (IpProto::TCP, 80_u16.to_be());

    #[test]
    fn this_peer_comes_before_any_peer() {
        let mut t = Tables::default();
        let (policy, peer) = (PolicyId(1), Identity::vm(9));
        t.0.insert(PolicyKey::new(policy, Direction::Ingress, peer), RowId(1));
        t.0.insert(PolicyKey::new(policy, Direction::Ingress, Identity::ANY), RowId(2));
        t.1.insert(
            RowKey::new(RowId(1), HTTP.0, HTTP.1),
            RowVerdict { rule: RuleId(5), action: RowVerdict::PERMIT },
        );
        t.1.insert(
            RowKey::new(RowId(2), HTTP.0, HTTP.1),
            RowVerdict { rule: RuleId(0), action: RowVerdict::DENY },
        );
        assert_eq!(decide(&t, policy, Direction::Ingress, peer, HTTP), Ok(RuleId(5)));
        let other = decide(&t, policy, Direction::Ingress, Identity::vm(8), HTTP);
        assert_eq!(other, Err(Denied { reason: DropReason::PolicyDefaultDeny, rule: RuleId(0) }));
    }

    #[test]
    fn open_asks_nothing_and_a_missing_row_denies() {
        let t = Tables::default();
        assert_eq!(decide(&t, PolicyId::OPEN, Direction::Egress, Identity::vm(1), HTTP), Ok(RuleId(0)));
        let missing = decide(&t, PolicyId(3), Direction::Egress, Identity::vm(1), HTTP);
        assert_eq!(missing.map_err(|d| d.reason), Err(DropReason::PolicyRowMissing));
    }
}
