//! What rules mean, decided by walking them as they were written: what compiled policies are held against.
//! Shares types and parsers with the compiler, and no decision.

use std::net::IpAddr;

use fwd_common::{id::RuleId, policy::Direction, proto::IpProto};
use ipnet::IpNet;

use crate::{
    api::{
        spec::{Action, DefaultPolicy, Group, Network, Policy, Port, Set, Tier},
        text::{End, Service},
    },
    state::Desired,
};

pub(super) type Decision = (RuleId, bool, RuleId, bool);

/// Who is at the other side of a packet.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    Vm(String),
    Outside(IpAddr),
    Host(IpAddr),
}

/// Port f (bridged, without configured addresses) was seen with this one.
pub(super) const SEEN: &str = "10.1.9.9";

/// The rules as they were written.
pub(super) struct Naive<'a> {
    desired: &'a Desired,
    rules: Vec<Written<'a>>,
}

/// An enabled rule with its texts parsed.
struct Written<'a> {
    rule: &'a Policy,
    id: RuleId,
    from: Vec<End>,
    to: Vec<End>,
    services: Vec<Service>,
    /// First and last of each range.
    sources: Vec<(u16, u16)>,
}

impl<'a> Naive<'a> {
    pub fn new(desired: &'a Desired) -> Self {
        let ends = |texts: &[String]| texts.iter().map(|text| text.parse().expect("an end")).collect();
        let written = |rule: &'a Policy| Written {
            rule,
            id: desired.numbers.rules[&rule.name],
            from: ends(&rule.from),
            to: ends(&rule.to),
            services: rule.services.iter().map(|text| text.parse().expect("a service")).collect(),
            sources: rule.source_l4_ports.iter().map(|text| range(text)).collect(),
        };
        let enabled = desired.document.policies.iter().filter(|rule| rule.enabled);
        Self { desired, rules: enabled.map(written).collect() }
    }

    fn port(&self, name: &str) -> &Port {
        self.desired.document.find(name).expect("a port of the document")
    }

    fn addresses(&self, peer: &Peer) -> Vec<IpAddr> {
        match peer {
            Peer::Outside(addr) | Peer::Host(addr) => vec![*addr],
            Peer::Vm(name) if name == "f" => vec![SEEN.parse().expect("an address")],
            Peer::Vm(name) => self.port(name).ips.clone(),
        }
    }

    fn is_in(&self, peer: &Peer, net: IpNet) -> bool {
        self.addresses(peer).iter().any(|addr| net.contains(addr))
    }

    fn names(&self, end: &End, peer: &Peer) -> bool {
        let document = &self.desired.document;
        match (end, peer) {
            (End::Any, _) | (End::Outside, Peer::Outside(_)) | (End::Host, Peer::Host(_)) => true,
            (End::Cidr(net), peer) => self.is_in(peer, *net),
            (End::Set(name), peer) => {
                let set: &Set = document.find(name).expect("a set");
                set.cidrs.iter().any(|net| self.is_in(peer, *net))
            }
            (End::Port(name), Peer::Vm(vm)) => name == vm,
            (End::Network(name), Peer::Vm(vm)) => self.port(vm).network == *name,
            (End::Group(name), Peer::Vm(vm)) => {
                let group: &Group = document.find(name).expect("a group");
                let role = self.port(vm).labels.get("role").map(String::as_str);
                group.members.contains(vm) || (group.selector.is_some() && role == Some("web"))
            }
            _ => false,
        }
    }

    fn one_of(&self, ends: &[End], peer: &Peer) -> bool {
        ends.is_empty() || ends.iter().any(|end| self.names(end, peer))
    }

    /// Whether a rule says anything of a packet, at the port where it is asked.
    fn applies(&self, rule: &Written<'_>, subject: &str, direction: Direction, peer: &Peer) -> bool {
        let own = Peer::Vm(subject.to_owned());
        match direction {
            Direction::Egress => self.one_of(&rule.from, &own) && self.one_of(&rule.to, peer),
            Direction::Ingress => self.one_of(&rule.from, peer) && self.one_of(&rule.to, &own),
        }
    }

    fn serves(rule: &Written<'_>, (proto, l4_port, source): (IpProto, u16, u16)) -> bool {
        let kind = l4_port >> 8;
        let one = |service: &Service| match *service {
            Service::Any => true,
            Service::Proto(wanted) => wanted == proto,
            Service::L4 { proto: wanted, low, high } => wanted == proto && l4_port >= low && l4_port <= high,
            Service::Icmp => proto == IpProto::ICMP || proto == IpProto::ICMPV6,
            Service::IcmpMessage(message) => message.messages().into_iter().any(|(family, of, code)| {
                family == proto
                    && u16::from(of) == kind
                    && code.is_none_or(|code| code == (l4_port & 0xff) as u8)
            }),
        };
        let comes_so = |(low, high): &(u16, u16)| (*low..=*high).contains(&source);
        (rule.services.is_empty() || rule.services.iter().any(one))
            && (rule.sources.is_empty() || rule.sources.iter().any(comes_so))
    }

    /// The rule that decides (0: none), whether the packet passes, the staged rule that would decide (0: none), and whether
    /// it passes by a stateless rule.
    pub fn decide(
        &self,
        subject: &str,
        direction: Direction,
        peer: &Peer,
        packet: (IpProto, u16, u16),
    ) -> Decision {
        let applies =
            |rule: &&Written<'_>| self.applies(rule, subject, direction, peer) && Self::serves(rule, packet);
        let all: Vec<_> = self.rules.iter().filter(applies).collect();
        let staged = Self::best(all.iter().copied()).filter(|rule| rule.rule.stage);
        let in_force = Self::best(all.iter().copied().filter(|rule| !rule.rule.stage));
        let (rule, passes) = match in_force {
            Some(rule) => (rule.id, rule.rule.action == Action::Allow),
            None => (RuleId(0), self.default(subject, direction, peer, packet)),
        };
        let is_stateless = passes && in_force.is_some_and(|rule| rule.rule.stateless);
        (rule, passes, staged.map_or(RuleId(0), |rule| rule.id), is_stateless)
    }

    fn best<'b>(rules: impl Iterator<Item = &'b Written<'a>>) -> Option<&'b Written<'a>>
    where
        'a: 'b,
    {
        let mut best: Option<&Written<'_>> = None;
        for rule in rules {
            let wins = best.is_none_or(|other| {
                if rule.rule.tier != other.rule.tier {
                    rule.rule.tier == Tier::Operator
                } else if rule.rule.priority != other.rule.priority {
                    rule.rule.priority > other.rule.priority
                } else if rule.rule.action != other.rule.action {
                    rule.rule.action != Action::Allow && other.rule.action == Action::Allow
                } else {
                    rule.id < other.id
                }
            });
            if wins {
                best = Some(rule);
            }
        }
        best
    }

    fn default(
        &self,
        subject: &str,
        direction: Direction,
        peer: &Peer,
        (proto, l4_port, _): (IpProto, u16, u16),
    ) -> bool {
        let network: &Network = self.desired.document.find(&self.port(subject).network).expect("a network");
        let is_served_by_gateway = network.name != "lan"
            && matches!(peer, Peer::Host(_))
            && direction == Direction::Egress
            && matches!((proto.0, l4_port), (17, 67 | 547 | 53) | (6, 53));
        network.default_policy == DefaultPolicy::Open || is_served_by_gateway
    }
}

fn range(text: &str) -> (u16, u16) {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    (low.parse().expect("an L4 port"), high.parse().expect("an L4 port"))
}
