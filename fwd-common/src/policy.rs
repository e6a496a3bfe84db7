//! The decision of a compiled policy, at a cost that does not depend on how many rules there are.
//!
//! Priorities and overlaps are resolved in user space. A port has one [`PolicyId`]; with the direction and
//! the peer's identity it leads to a row (two look-ups at most: this peer, then any peer), and the row with
//! protocol and L4 port to a verdict (one longest-prefix look-up; a second one, by the source L4 port, where a rule
//! looks at that). A row is immutable under its id. Which row
//! a policy has for a peer stands there twice, as all else that an edit changes: the epoch's parity says
//! which one holds, so an edit writes only what it changes, and binds as a whole with one write.

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

/// Key of `POLICIES`; its value is a [`RowCopies`].
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

/// Value of `POLICIES`: the row that holds in each parity of the epoch; 0: none, any peer's holds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCopies(pub [RowId; 2]);

impl RowCopies {
    /// The row in an epoch.
    #[inline(always)]
    pub const fn row(self, epoch: u32) -> Option<RowId> {
        let row = if epoch & 1 == 0 { self.0[0] } else { self.0[1] };
        if row.0 == 0 { None } else { Some(row) }
    }

    /// With another row in an epoch and those of its parity.
    pub const fn with(mut self, epoch: u32, row: RowId) -> Self {
        self.0[(epoch & 1) as usize] = row;
        self
    }
}

/// Key data of `ROWS`, compared bit by bit from the front: row, protocol, L4 port. ICMP has its type and
/// code in place of the L4 port. The destination's, or the source's in a row to which a verdict leads by
/// [`RowVerdict::BY_SOURCE`].
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
    /// 0: the network's default decided. With [`RowVerdict::BY_SOURCE`] the id of a row.
    pub rule: RuleId,
    /// The staged rule that would decide if it were in force; 0: none.
    pub staged: RuleId,
    /// [`RowVerdict::DENY`], [`RowVerdict::PERMIT`], [`RowVerdict::REJECT`], [`RowVerdict::BY_SOURCE`] or
    /// [`RowVerdict::PERMIT_STATELESS`].
    pub action: u16,
    /// What the staged rule would do; 0 where there is none.
    pub staged_action: u16,
}

impl RowVerdict {
    pub const DENY: u16 = 0;
    pub const PERMIT: u16 = 1;
    /// Denied, and the sender is told so.
    pub const REJECT: u16 = 2;
    /// The source L4 port decides, in another row.
    pub const BY_SOURCE: u16 = 3;
    /// Permitted as packets of this direction are: what answers them is asked about like any first packet.
    pub const PERMIT_STATELESS: u16 = 4;

    /// Of a rule, or of a default (0), without a staged one.
    pub const fn new(rule: RuleId, action: u16) -> Self {
        Self { rule, action, staged: RuleId(0), staged_action: 0 }
    }

    /// That the source L4 port decides, in this row.
    pub const fn by_source_in(row: RowId) -> Self {
        Self::new(RuleId(row.0), Self::BY_SOURCE)
    }

    /// The row in which the source L4 port decides.
    #[inline(always)]
    pub const fn by_source(self) -> Option<RowId> {
        if self.action == Self::BY_SOURCE { Some(RowId(self.rule.0)) } else { None }
    }

    #[inline(always)]
    pub const fn permits(self) -> bool {
        Self::is_permit(self.action)
    }

    #[inline(always)]
    const fn is_permit(action: u16) -> bool {
        matches!(action, Self::PERMIT | Self::PERMIT_STATELESS)
    }
}

/// What rules compare of an L4 header: protocol, destination L4 port (of ICMP type and code), source L4 port, in network
/// byte order. One word, so that it is one argument.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4(u64);

impl L4 {
    #[inline(always)]
    pub const fn new(proto: IpProto, service: u16, sport: u16) -> Self {
        Self((proto.0 as u64) << 32 | (sport as u64) << 16 | service as u64)
    }

    #[inline(always)]
    const fn proto(self) -> IpProto {
        IpProto((self.0 >> 32) as u8)
    }

    #[inline(always)]
    const fn service(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    const fn sport(self) -> u16 {
        (self.0 >> 16) as u16
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

/// What is noted while both ends of a packet are asked: above all, what staged rules would do to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// 0: no staged rule would decide.
    pub rule: RuleId,
    /// As [`RowVerdict::staged_action`].
    pub action: u16,
    /// Bits of [`note`].
    pub notes: u16,
}

/// Bits of [`Staged::notes`].
pub mod note {
    /// The decision, staged or not, looked at the source L4 port.
    pub const BY_SOURCE: u16 = 1;
    /// A stateless rule permits it.
    pub const STATELESS: u16 = 2;
    /// What answers the flow was refused until now, and is permitted.
    pub const REOPENED: u16 = 4;
}

impl Staged {
    /// One end said this. As of rules in force, the receiver's counts, unless the sender's refuses.
    #[inline(always)]
    pub const fn note(&mut self, verdict: RowVerdict) {
        let is_open = self.rule.0 == 0 || RowVerdict::is_permit(self.action);
        if verdict.staged.0 != 0 && is_open {
            (self.rule, self.action) = (verdict.staged, verdict.staged_action);
        }
    }

    #[inline(always)]
    pub const fn has(&self, notes: u16) -> bool {
        self.notes & notes != 0
    }
}

/// Asks one port's policy about a peer. What staged rules would do is noted.
///
/// # Errors
/// [`Denied`] names the rule; also where a row is missing, which cannot happen (fails closed).
#[inline(always)]
pub fn decide<P: Policies>(
    policies: &P,
    asked: PolicyKey,
    l4: L4,
    staged: &mut Staged,
) -> Result<RuleId, Denied> {
    const MISSING: Denied = Denied { reason: DropReason::PolicyRowMissing, rule: RuleId(0) };
    if asked.policy == PolicyId::OPEN {
        return Ok(RuleId(0));
    }
    let row = match policies.row(&asked) {
        Some(row) => row,
        None => policies.row(&PolicyKey { peer: Identity::ANY, ..asked }).ok_or(MISSING)?,
    };
    let mut verdict = policies.verdict(&RowKey::new(row, l4.proto(), l4.service())).ok_or(MISSING)?;
    if let Some(row) = verdict.by_source() {
        staged.notes |= note::BY_SOURCE;
        verdict = policies.verdict(&RowKey::new(row, l4.proto(), l4.sport())).ok_or(MISSING)?;
    }
    staged.note(verdict);
    if verdict.permits() {
        if verdict.action == RowVerdict::PERMIT_STATELESS {
            staged.notes |= note::STATELESS;
        }
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

    const HTTP: L4 = L4::new(IpProto::TCP, 80_u16.to_be(), 4000_u16.to_be());

    #[test]
    fn this_peer_comes_before_any_peer() {
        let mut t = Tables::default();
        let (policy, peer) = (PolicyId(1), Identity::vm(9));
        t.0.insert(PolicyKey::new(policy, Direction::Ingress, peer), RowId(1));
        t.0.insert(PolicyKey::new(policy, Direction::Ingress, Identity::ANY), RowId(2));
        t.1.insert(
            RowKey::new(RowId(1), HTTP.proto(), HTTP.service()),
            RowVerdict::new(RuleId(5), RowVerdict::PERMIT),
        );
        t.1.insert(
            RowKey::new(RowId(2), HTTP.proto(), HTTP.service()),
            RowVerdict::new(RuleId(0), RowVerdict::DENY),
        );
        let ask =
            |peer| decide(&t, PolicyKey::new(policy, Direction::Ingress, peer), HTTP, &mut Staged::default());
        assert_eq!(ask(peer), Ok(RuleId(5)));
        let other = ask(Identity::vm(8));
        assert_eq!(other, Err(Denied { reason: DropReason::PolicyDefaultDeny, rule: RuleId(0) }));
    }

    #[test]
    fn the_source_l4_port_decides_where_a_row_says_so() {
        let mut t = Tables::default();
        let (policy, peer) = (PolicyId(1), Identity::vm(9));
        t.0.insert(PolicyKey::new(policy, Direction::Ingress, peer), RowId(1));
        let by_source = RowVerdict::by_source_in(RowId(2));
        t.1.insert(RowKey::new(RowId(1), HTTP.proto(), HTTP.service()), by_source);
        t.1.insert(
            RowKey::new(RowId(2), HTTP.proto(), HTTP.sport()),
            RowVerdict::new(RuleId(5), RowVerdict::PERMIT),
        );
        let mut staged = Staged::default();
        let mut ask = |l4| decide(&t, PolicyKey::new(policy, Direction::Ingress, peer), l4, &mut staged);
        assert_eq!(ask(HTTP), Ok(RuleId(5)));
        let other = ask(L4::new(HTTP.proto(), HTTP.service(), 1));
        assert_eq!(other.map_err(|d| d.reason), Err(DropReason::PolicyRowMissing));
        assert_eq!(staged.notes, note::BY_SOURCE);
    }

    #[test]
    fn a_stateless_permit_is_noted() {
        let mut t = Tables::default();
        let key = PolicyKey::new(PolicyId(1), Direction::Ingress, Identity::vm(9));
        t.0.insert(key, RowId(1));
        for (action, wanted) in [(RowVerdict::PERMIT, 0), (RowVerdict::PERMIT_STATELESS, note::STATELESS)] {
            let verdict = RowVerdict::new(RuleId(5), action);
            t.1.insert(RowKey::new(RowId(1), HTTP.proto(), HTTP.service()), verdict);
            let mut staged = Staged::default();
            assert_eq!(decide(&t, key, HTTP, &mut staged), Ok(RuleId(5)));
            assert_eq!(staged.notes, wanted);
        }
    }

    #[test]
    fn open_asks_nothing_and_a_missing_row_denies() {
        let t = Tables::default();
        let key = |id| PolicyKey::new(id, Direction::Egress, Identity::vm(1));
        let ask = |id| decide(&t, key(id), HTTP, &mut Staged::default());
        assert_eq!(ask(PolicyId::OPEN), Ok(RuleId(0)));
        assert_eq!(ask(PolicyId(3)).map_err(|d| d.reason), Err(DropReason::PolicyRowMissing));
    }

    #[test]
    fn of_staged_rules_the_senders_counts_if_it_refuses_else_the_receivers() {
        let says = |rule, staged_action| RowVerdict {
            staged: RuleId(rule),
            staged_action,
            ..RowVerdict::new(RuleId(9), RowVerdict::PERMIT)
        };
        let both = |sender: RowVerdict, receiver: RowVerdict| {
            let mut staged = Staged::default();
            staged.note(sender);
            staged.note(receiver);
            staged.rule.0
        };
        let (permit, deny) = (RowVerdict::PERMIT, RowVerdict::DENY);
        assert_eq!(both(says(0, deny), says(0, deny)), 0);
        assert_eq!(both(says(1, permit), says(0, deny)), 1);
        assert_eq!(both(says(1, permit), says(2, permit)), 2);
        assert_eq!(both(says(1, deny), says(2, permit)), 1);
        assert_eq!(both(says(0, deny), says(2, deny)), 2);
    }
}
