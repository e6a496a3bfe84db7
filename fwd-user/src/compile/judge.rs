//! What compiled rules say of a packet: both ends are asked, as the programs do it.

use std::collections::BTreeSet;

use fwd_common::{
    addr::Ip,
    drop::DropReason,
    id::{Identity, PortId, RowId, RuleId},
    policy::{Denied, Direction, L4, PolicyKey, RowKey, Staged, decide, note},
    port::{PortKind, flag},
    proto::IpProto,
};

use super::Tables;

/// Who sends or receives a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Vm(PortId),
    Host(Ip),
    Outside(Ip),
}

impl Party {
    /// Who is behind a port, with an address there.
    pub fn behind(tables: &Tables, port: PortId, addr: Ip) -> Self {
        match tables.ports.get(&port) {
            Some(row) if row.is(PortKind::Vm) => Self::Vm(port),
            Some(row) if row.is(PortKind::Host) => Self::Host(addr),
            _ => Self::Outside(addr),
        }
    }

    fn identity(self, tables: &Tables) -> Identity {
        match self {
            Self::Vm(port) => tables.views.get(&port).copied().unwrap_or_default().identity,
            Self::Host(addr) => Identity::host(tables.class_of(addr)),
            Self::Outside(addr) => Identity::outside(tables.class_of(addr)),
        }
    }
}

impl Tables {
    /// The rule that permits a packet (0: the default).
    ///
    /// # Errors
    /// Why not, and by which rule.
    pub fn judge(&self, from: Party, to: Party, l4: L4) -> Result<RuleId, Denied> {
        self.judge_noting(from, to, l4).map(|(rule, _)| rule)
    }

    /// What they say of the answers to a packet that they permit, `answer` being what they compare of these: nothing where
    /// no stateless rule permits it.
    ///
    /// # Errors
    /// As for [`Tables::judge`], of the answers.
    pub fn judge_answer(&self, (from, to): (Party, Party), l4: L4, answer: L4) -> Result<RuleId, Denied> {
        match self.judge_noting(from, to, l4) {
            Ok((_, noted)) if noted.has(note::STATELESS) => self.judge(to, from, answer),
            _ => Ok(RuleId(0)),
        }
    }

    fn judge_noting(&self, from: Party, to: Party, l4: L4) -> Result<(RuleId, Staged), Denied> {
        let mut noted = Staged::default();
        let is_isolated = |party| match party {
            Party::Vm(port) => self.ports.get(&port).is_some_and(|row| row.has(flag::ISOLATED)),
            Party::Host(_) | Party::Outside(_) => false,
        };
        if is_isolated(from) && is_isolated(to) {
            return Err(Denied { reason: DropReason::ModeForbids, rule: RuleId(0) });
        }
        let sent = self.one_end((from, Direction::Egress), to, l4, &mut noted)?;
        let received = self.one_end((to, Direction::Ingress), from, l4, &mut noted)?;
        Ok((if received == RuleId(0) { sent } else { received }, noted))
    }

    /// Source L4 ports (host byte order), one for each that rules may tell apart: of all others the same is said as of
    /// one of these.
    pub fn sources(&self) -> BTreeSet<u16> {
        /// Where clients' ones are, if rules look at none.
        const USUAL: u16 = 49_152;
        let by_source = self.by_source();
        let mut edges = self.edges(|key| by_source.contains(&key.row));
        edges.remove(&0);
        edges.insert(if by_source.is_empty() { USUAL } else { 1 });
        edges
    }

    /// Likewise of destinations of a protocol: L4 ports, or types and codes.
    pub fn services(&self, proto: IpProto) -> BTreeSet<u16> {
        let by_source = self.by_source();
        let mut edges = self.edges(|key| key.proto == proto && !by_source.contains(&key.row));
        edges.extend([0, u16::MAX]);
        edges
    }

    /// The rows in which the source L4 port decides.
    fn by_source(&self) -> BTreeSet<RowId> {
        self.rows.values().filter_map(|verdict| verdict.by_source()).collect()
    }

    /// Where prefixes of L4 ports begin and end.
    fn edges(&self, is_meant: impl Fn(&RowKey) -> bool) -> BTreeSet<u16> {
        let meant = self.rows.keys().filter(|(key, bits)| *bits >= RowKey::PROTO && is_meant(key));
        let edges = meant.flat_map(|(key, bits)| {
            let low = u16::from_be_bytes(key.l4_port);
            let after = u32::from(low) + (1 << (RowKey::l4(16) - bits));
            [Some(low), u16::try_from(after).ok()]
        });
        edges.flatten().collect()
    }

    fn one_end(
        &self,
        (asked, direction): (Party, Direction),
        peer: Party,
        l4: L4,
        noted: &mut Staged,
    ) -> Result<RuleId, Denied> {
        let Party::Vm(port) = asked else { return Ok(RuleId(0)) };
        let policy = self.views.get(&port).copied().unwrap_or_default().policy;
        let key = PolicyKey::new(policy, direction, peer.identity(self));
        decide(self, key, l4, noted)
    }
}
