//! What compiled rules say of a packet: both ends are asked, as the programs do it.

use fwd_common::{
    addr::Ip,
    drop::DropReason,
    id::{Identity, PortId, RuleId},
    policy::{Denied, Direction, PolicyKey, Staged, decide},
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
    /// The rule that permits a packet (0: the default); L4 port in host byte order, ICMP's type and code in
    /// its place.
    ///
    /// # Errors
    /// Why not, and by which rule.
    pub fn judge(&self, from: Party, to: Party, (proto, l4_port): (IpProto, u16)) -> Result<RuleId, Denied> {
        let is_isolated = |party| match party {
            Party::Vm(port) => self.ports.get(&port).is_some_and(|row| row.has(flag::ISOLATED)),
            Party::Host(_) | Party::Outside(_) => false,
        };
        if is_isolated(from) && is_isolated(to) {
            return Err(Denied { reason: DropReason::ModeForbids, rule: RuleId(0) });
        }
        let service = (proto, l4_port.to_be());
        let sent = self.one_end((from, Direction::Egress), to, service)?;
        let received = self.one_end((to, Direction::Ingress), from, service)?;
        Ok(if received == RuleId(0) { sent } else { received })
    }

    fn one_end(
        &self,
        (asked, direction): (Party, Direction),
        peer: Party,
        service: (IpProto, u16),
    ) -> Result<RuleId, Denied> {
        let Party::Vm(port) = asked else { return Ok(RuleId(0)) };
        let policy = self.views.get(&port).copied().unwrap_or_default().policy;
        let key = PolicyKey::new(policy, direction, peer.identity(self));
        decide(self, key, service, &mut Staged::default())
    }
}
