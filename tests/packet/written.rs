//! What rules mean, decided by walking them as they were written: what the loaded programs are held against. Shares
//! neither code nor types with compiler and datapath.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Value, json};

/// One end of a rule.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Any,
    Outside,
    Host,
    Port(&'static str),
    Group(&'static str),
    Network(&'static str),
    Set(&'static str),
    /// First address and length of the prefix.
    Cidr(&'static str, u8),
}

/// What a rule is about.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    Any,
    /// By IP protocol number.
    Proto(u8),
    L4(u8, u16, u16),
    Icmp,
    EchoRequest,
    /// One family's type, by protocol number, with one code or every.
    Message(u8, u8, Option<u8>),
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub allows: bool,
    pub from: Vec<End>,
    pub to: Vec<End>,
    pub services: Vec<Service>,
    /// First and last source L4 port of each range; none: any.
    pub sources: Vec<(u16, u16)>,
    pub is_operators: bool,
    pub priority: u16,
    pub is_enabled: bool,
    /// Of one that allows: what answers is asked about for itself.
    pub is_stateless: bool,
}

/// Who is at one side of a packet.
#[derive(Clone, Debug)]
pub enum Party {
    Vm { port: &'static str, network: &'static str, addresses: [IpAddr; 2] },
    Outside(IpAddr),
    Host(IpAddr),
}

/// A packet as rules see it: a forward has led to the VM's own L4 port, NAT has not happened yet.
#[derive(Clone, Debug)]
pub struct Seen {
    pub from: Party,
    pub to: Party,
    pub proto: u8,
    /// Destination L4 port, host byte order; nothing for ICMP.
    pub l4_port: Option<u16>,
    /// Source L4 port, host byte order; of ICMP it means nothing.
    pub source: u16,
    /// Type and code of ICMP.
    pub message: Option<(u8, u8)>,
}

/// What becomes of it, by the number of the rule that decides; none: the default does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Passes(Option<usize>),
    /// By a rule or default of the sender, or of the receiver.
    DeniedOnEgress(Option<usize>),
    DeniedOnIngress(Option<usize>),
    /// For a reason (its number) that rules have no part in: none of them is expected.
    Otherwise(u8),
}

/// Members of the groups and CIDRs of the sets that rules may name.
pub const GROUPS: [(&str, &[&str]); 2] =
    [("first", &["red1", "blue1"]), ("all", &["red1", "red2", "blue1", "blue2"])];
pub const SETS: [(&str, &[(&str, u8)]); 2] = [
    ("far", &[("198.51.100.0", 24), ("2001:db8:99::", 48)]),
    ("near", &[("10.10.0.12", 32), ("fd00:10::", 64), ("192.0.2.0", 25)]),
];

/// The rules of all, and whose networks are closed.
pub struct Written<'a> {
    pub rules: &'a [Rule],
    pub closed: &'a [&'static str],
}

impl Written<'_> {
    pub fn fate(&self, seen: &Seen) -> Fate {
        let sent = self.ask(&seen.from, seen, |rule| self.speaks(rule, seen));
        let received = self.ask(&seen.to, seen, |rule| self.speaks(rule, seen));
        match (sent, received) {
            ((false, rule), _) => Fate::DeniedOnEgress(rule),
            (_, (false, rule)) => Fate::DeniedOnIngress(rule),
            ((true, sent), (true, received)) => Fate::Passes(received.or(sent)),
        }
    }

    /// What becomes of the answer to a packet that passes; nothing where nothing is asked about it.
    pub fn fate_of_answer(&self, seen: &Seen, answer: &Seen) -> Option<Fate> {
        let is_stateless = |end: &Party| {
            let (_, rule) = self.ask(end, seen, |rule| self.speaks(rule, seen));
            rule.is_some_and(|rule| self.rules[rule].is_stateless)
        };
        (is_stateless(&seen.from) || is_stateless(&seen.to)).then(|| self.fate(answer))
    }

    /// Whether one end lets it pass, and by which rule. Only VMs are asked.
    fn ask(&self, asked: &Party, seen: &Seen, speaks: impl Fn(&Rule) -> bool) -> (bool, Option<usize>) {
        let Party::Vm { network, .. } = asked else { return (true, None) };
        let mut best: Option<usize> = None;
        for (number, rule) in
            self.rules.iter().enumerate().filter(|(_, rule)| rule.is_enabled && speaks(rule))
        {
            let wins = best.is_none_or(|other| {
                let other = &self.rules[other];
                let order = |rule: &Rule| (rule.is_operators, rule.priority, !rule.allows);
                order(rule) > order(other)
            });
            best = if wins { Some(number) } else { best };
        }
        let is_service = matches!(seen.to, Party::Host(_))
            && matches!((seen.proto, seen.l4_port), (17, Some(53 | 67 | 547)) | (6, Some(53)));
        let passes =
            best.map_or(is_service || !self.closed.contains(network), |rule| self.rules[rule].allows);
        (passes, best)
    }

    fn speaks(&self, rule: &Rule, seen: &Seen) -> bool {
        let one = |ends: &[End], party| ends.is_empty() || ends.iter().any(|end| end.names(party));
        let serves = rule.services.is_empty() || rule.services.iter().any(|service| service.is(seen));
        let sources = &rule.sources;
        let comes_so =
            sources.is_empty() || sources.iter().any(|(low, high)| (low..=high).contains(&&seen.source));
        one(&rule.from, &seen.from) && one(&rule.to, &seen.to) && serves && comes_so
    }
}

impl End {
    fn names(self, party: &Party) -> bool {
        match (self, party) {
            (Self::Any, _) | (Self::Outside, Party::Outside(_)) | (Self::Host, Party::Host(_)) => true,
            (Self::Port(name), Party::Vm { port, .. }) => name == *port,
            (Self::Network(name), Party::Vm { network, .. }) => name == *network,
            (Self::Group(name), Party::Vm { port, .. }) => listed(&GROUPS, name).contains(port),
            (Self::Cidr(first, bits), _) => party.addresses().iter().any(|addr| is_in(*addr, first, bits)),
            (Self::Set(name), _) => {
                listed(&SETS, name).iter().any(|(first, bits)| Self::Cidr(first, *bits).names(party))
            }
            _ => false,
        }
    }
}

fn listed<T>(all: &[(&str, &'static [T])], name: &str) -> &'static [T] {
    all.iter().find(|(other, _)| *other == name).expect("it is listed").1
}

fn is_in(addr: IpAddr, first: &str, bits: u8) -> bool {
    let words = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => (32, u128::from(addr.to_bits())),
        IpAddr::V6(addr) => (128, addr.to_bits()),
    };
    let ((width, addr), (of, first)) = (words(addr), words(first.parse().expect("an address")));
    width == of && (bits == 0 || (addr ^ first) >> (width - u32::from(bits)) == 0)
}

impl Party {
    fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Vm { addresses, .. } => addresses.to_vec(),
            Self::Outside(addr) | Self::Host(addr) => vec![*addr],
        }
    }
}

impl Seen {
    /// What answers it.
    pub fn answer(&self) -> Self {
        let message = self.message.map(|(kind, code)| match (self.proto, kind) {
            (1, 8) => (0, 0),
            (58, 128) => (129, 0),
            (1, 13) => (14, code),
            (58, 139) => (140, code),
            _ => (kind, code),
        });
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            proto: self.proto,
            l4_port: self.l4_port.map(|_| self.source),
            source: self.l4_port.unwrap_or(0),
            message,
        }
    }
}

impl Service {
    fn is(self, seen: &Seen) -> bool {
        match self {
            Self::Any => true,
            Self::Proto(proto) => proto == seen.proto,
            Self::L4(proto, low, high) => {
                proto == seen.proto && seen.l4_port.is_some_and(|l4| (low..=high).contains(&l4))
            }
            Self::Icmp => matches!(seen.proto, 1 | 58),
            Self::EchoRequest => {
                let kind = seen.message.map(|(kind, _)| kind);
                matches!((seen.proto, kind), (1, Some(8)) | (58, Some(128)))
            }
            Self::Message(proto, wanted, only) => {
                let is_meant =
                    |(kind, code): (u8, u8)| kind == wanted && only.is_none_or(|only| code == only);
                proto == seen.proto && seen.message.is_some_and(is_meant)
            }
        }
    }
}

impl Rule {
    /// As a document has it.
    pub fn document(&self, name: &str) -> Value {
        let words = |ends: &[End]| ends.iter().map(End::to_string).collect::<Vec<_>>();
        json!({
            "name": name, "action": if self.allows { "allow" } else { "deny" },
            "from": words(&self.from), "to": words(&self.to),
            "services": self.services.iter().map(Service::to_string).collect::<Vec<_>>(),
            "source_l4_ports": self.sources.iter().map(|(low, high)| format!("{low}-{high}")).collect::<Vec<_>>(),
            "tier": if self.is_operators { "operator" } else { "tenant" },
            "priority": self.priority, "enabled": self.is_enabled, "stateless": self.is_stateless,
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(f, "any"),
            Self::Outside => write!(f, "outside"),
            Self::Host => write!(f, "host"),
            Self::Port(name) => write!(f, "port:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Set(name) => write!(f, "set:{name}"),
            Self::Cidr(first, bits) => write!(f, "{first}/{bits}"),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(f, "any"),
            Self::Proto(proto) => write!(f, "proto/{proto}"),
            Self::L4(6, low, high) => write!(f, "tcp/{low}-{high}"),
            Self::L4(_, low, high) => write!(f, "udp/{low}-{high}"),
            Self::Icmp => write!(f, "icmp"),
            Self::EchoRequest => write!(f, "icmp/echo-request"),
            Self::Message(proto, kind, code) => {
                write!(f, "{}/{kind}", if *proto == 58 { "icmpv6" } else { "icmp" })?;
                code.map_or(Ok(()), |code| write!(f, "/{code}"))
            }
        }
    }
}
