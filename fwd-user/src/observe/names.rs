//! Numbers of the datapath as the operator's names. A number whose object was deleted is told as `#N`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fwd_common::{
    drop::DropReason,
    id::{ForwardId, NetworkId, PortId, RuleId},
    port::LOOPBACK,
};

use imbl::OrdMap;

use crate::{
    api::spec::{Action, Nat, Policy},
    state::{Desired, EditedRules, Numbers},
};

/// What a port number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRole {
    Vm,
    Host,
    Uplink,
}

/// A port as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// A VM port's name, an uplink's device, `host:NETWORK` of a network's port towards the host.
    pub name: String,
    pub role: PortRole,
    /// None of an uplink that is in no bridge network.
    pub network: Option<String>,
}

/// A rule as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRule {
    pub name: String,
    pub action: Action,
    /// It only counts what it would do.
    pub is_staged: bool,
    /// What it decides is told in the daemon's log.
    pub is_logged: bool,
}

impl NamedRule {
    fn of(policy: &Policy) -> Self {
        let (name, action) = (policy.name.clone(), policy.action);
        Self { name, action, is_staged: policy.stage, is_logged: policy.log }
    }
}

/// The names of one accepted document, by number. In order of numbers, so that lists and metrics keep theirs.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ports: Arc<BTreeMap<PortId, NamedPort>>,
    networks: Arc<BTreeMap<NetworkId, String>>,
    rules: OrdMap<RuleId, NamedRule>,
    forwards: Arc<BTreeMap<ForwardId, String>>,
    port_ids: Arc<HashMap<String, PortId>>,
    staged_rules: usize,
}

impl Names {
    pub fn new(desired: &Desired) -> Self {
        let (document, numbers) = (&desired.document, &desired.numbers);
        let ports = named_ports(desired);
        let forwards = numbers.forwards.iter().map(|(name, id)| (*id, name.clone()));
        // A forward may have the same name.
        let one_to_one = |name: &str| document.find::<Nat>(name).is_some_and(|nat| nat.one_to_one.is_some());
        let nats = numbers.nats.iter().filter(|(name, _)| one_to_one(name));
        let nats = nats.map(|(name, id)| (*id, format!("nat:{name}")));
        let policies: HashMap<_, _> = document.policies.iter().map(|p| (p.name.as_str(), p)).collect();
        let rule = |(name, id): (&String, &RuleId)| {
            let policy = policies.get(name.as_str())?;
            Some((*id, NamedRule::of(policy)))
        };
        Self {
            port_ids: Arc::new(ports.iter().map(|(id, p)| (p.name.clone(), *id)).collect()),
            ports: Arc::new(ports),
            networks: Arc::new(numbers.networks.iter().map(|(name, id)| (*id, name.clone())).collect()),
            rules: numbers.rules.iter().filter_map(rule).collect(),
            staged_rules: document.policies.iter().filter(|policy| policy.stage).count(),
            forwards: Arc::new(forwards.chain(nats).collect()),
        }
    }

    /// The names after an edit of rules.
    pub fn follow(&self, edited: &EditedRules<'_>) -> Self {
        let mut names = self.clone();
        for (id, policy) in edited {
            let old = match policy {
                Some(policy) => names.rules.insert(*id, NamedRule::of(policy)),
                None => names.rules.remove(id),
            };
            names.staged_rules += usize::from(policy.is_some_and(|policy| policy.stage));
            names.staged_rules -= usize::from(old.is_some_and(|rule| rule.is_staged));
        }
        names
    }

    /// Every port, by number.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &NamedPort)> {
        self.ports.iter().map(|(id, port)| (*id, port))
    }

    pub fn rules(&self) -> impl Iterator<Item = (RuleId, &NamedRule)> {
        self.rules.iter().map(|(id, rule)| (*id, rule))
    }

    pub fn forwards(&self) -> impl Iterator<Item = (ForwardId, &str)> {
        self.forwards.iter().map(|(id, name)| (*id, name.as_str()))
    }

    pub fn networks(&self) -> impl Iterator<Item = &str> {
        self.networks.values().map(String::as_str)
    }

    /// The port with a name.
    pub fn port_id(&self, name: &str) -> Option<PortId> {
        self.port_ids.get(name).copied()
    }

    /// Whether a rule only counts what it would do.
    pub const fn has_staged_rules(&self) -> bool {
        self.staged_rules > 0
    }

    /// A rule, by its number.
    pub fn named_rule(&self, id: RuleId) -> Option<&NamedRule> {
        self.rules.get(&id)
    }

    /// The rule with a name.
    pub fn rule_id(&self, name: &str) -> Option<RuleId> {
        self.rules().find(|(_, rule)| rule.name == name).map(|(id, _)| id)
    }

    /// A port's name; none of number 0.
    pub fn port(&self, id: PortId) -> Option<String> {
        (id.0 != 0).then(|| self.ports.get(&id).map_or_else(|| format!("#{}", id.0), |p| p.name.clone()))
    }

    /// The network of a port, by the port's number.
    pub fn network_of_port(&self, id: PortId) -> Option<String> {
        self.ports.get(&id)?.network.clone()
    }

    /// A rule's name; none of number 0.
    pub fn rule(&self, id: RuleId) -> Option<String> {
        (id.0 != 0).then(|| self.rules.get(&id).map_or_else(|| format!("#{}", id.0), |r| r.name.clone()))
    }

    /// A forward's name, `nat:NAME` of one address for one port; none of number 0.
    pub fn forward(&self, id: ForwardId) -> Option<String> {
        (id.0 != 0).then(|| self.forwards.get(&id).cloned().unwrap_or_else(|| format!("#{}", id.0)))
    }
}

/// What a drop was for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub rule: Option<String>,
    pub forward: Option<String>,
}

impl Names {
    /// The rule or the forward that a drop's number means.
    pub fn cause(&self, reason: u8, number: RuleId) -> Cause {
        match rule_of_drop(reason, number) {
            Some(rule) => Cause { rule: self.rule(rule), forward: None },
            None => Cause { rule: None, forward: self.forward(ForwardId(number.0)) },
        }
    }
}

/// The rule that a drop's number means; none: it means a forward.
pub fn rule_of_drop(reason: u8, number: RuleId) -> Option<RuleId> {
    let is_of_forward = DropReason::from_number(reason).is_some_and(DropReason::is_of_forward);
    (!is_of_forward).then_some(number)
}

fn named_ports(desired: &Desired) -> BTreeMap<PortId, NamedPort> {
    let Numbers { ports, uplinks, host_ports, .. } = &desired.numbers;
    let document = &desired.document;
    let networks: HashMap<_, _> =
        document.ports.iter().map(|p| (p.name.as_str(), p.network.clone())).collect();
    let bridged: HashMap<_, _> = document
        .networks
        .iter()
        .filter(|n| n.mode == crate::api::spec::Mode::Bridge)
        .filter_map(|n| Some((n.uplink.as_deref()?, n.name.clone())))
        .collect();
    let vms = ports.iter().map(|(name, id)| {
        let network = networks.get(name.as_str()).cloned();
        (*id, NamedPort { name: name.clone(), role: PortRole::Vm, network })
    });
    let uplinks = uplinks.iter().map(|(device, id)| {
        let network = bridged.get(device.as_str()).cloned();
        (*id, NamedPort { name: device.clone(), role: PortRole::Uplink, network })
    });
    let hosts = host_ports.iter().map(|(network, id)| {
        let name = format!("host:{network}");
        (*id, NamedPort { name, role: PortRole::Host, network: Some(network.clone()) })
    });
    // A network may be called `lo`.
    let loopback = NamedPort { name: "host/lo".to_owned(), role: PortRole::Host, network: None };
    let has_pair = document.nats.iter().any(|nat| nat.pair().is_some());
    let is_there = has_pair || !document.forwards.is_empty();
    vms.chain(uplinks).chain(hosts).chain(is_there.then_some((LOOPBACK, loopback))).collect()
}
