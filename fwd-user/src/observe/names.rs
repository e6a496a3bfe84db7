//! Numbers of the datapath as the operator's names. The names of deleted objects are kept for what is still told
//! of them; a number of which none is known is told as `#N`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use fwd_common::{
    drop::DropReason,
    id::{ForwardId, NetworkId, PortId, RuleId},
    port::LOOPBACK,
};

use imbl::{OrdMap, ordmap::DiffItem};

use crate::{
    api::{
        spec::{Action, Group, Nat, Policy},
        text::parse_selector,
    },
    state::{Desired, EditedRules, Numbers},
};

use super::former::Former;

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
    groups: Arc<BTreeMap<String, Group>>,
    /// Of VM ports.
    labels: Arc<HashMap<PortId, BTreeMap<String, String>>>,
    staged_rules: usize,
    former_ports: Former<PortId, NamedPort>,
    former_rules: Former<RuleId, String>,
    former_forwards: Former<ForwardId, String>,
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
            groups: Arc::new(document.groups.iter().map(|g| (g.name.clone(), g.clone())).collect()),
            labels: Arc::new(labels(desired)),
            ..Self::default()
        }
    }

    /// Keeps the names of what was there before and is no more.
    pub(super) fn remember(&mut self, before: &Self) {
        self.former_ports = before.former_ports.clone();
        self.former_rules = before.former_rules.clone();
        self.former_forwards = before.former_forwards.clone();
        if !Arc::ptr_eq(&self.ports, &before.ports) {
            for (id, port) in before.ports.iter().filter(|(id, _)| !self.ports.contains_key(id)) {
                self.former_ports.remember(*id, port.clone());
            }
        }
        if !Arc::ptr_eq(&self.forwards, &before.forwards) {
            for (id, name) in before.forwards.iter().filter(|(id, _)| !self.forwards.contains_key(id)) {
                self.former_forwards.remember(*id, name.clone());
            }
        }
        for change in before.rules.diff(&self.rules) {
            if let DiffItem::Remove(id, rule) = change {
                self.former_rules.remember(*id, rule.name.clone());
            }
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

    /// Whether there is a rule with a name, or was.
    pub fn knows_rule(&self, name: &str) -> bool {
        self.rule_id(name).is_some() || self.former_rules.values().any(|former| former == name)
    }

    /// Whether there is a port with a name, or was.
    pub fn knows_port(&self, name: &str) -> bool {
        self.port_id(name).is_some() || self.former_ports.values().any(|former| former.name == name)
    }

    /// The ports of a group.
    pub fn group(&self, name: &str) -> Option<BTreeSet<PortId>> {
        let group = self.groups.get(name)?;
        let selector = group.selector.as_deref().and_then(|text| parse_selector(text).ok());
        let is_selected = |labels: &BTreeMap<String, String>| {
            selector
                .as_ref()
                .is_some_and(|asked| asked.iter().all(|(key, value)| labels.get(key) == Some(value)))
        };
        let selected = self.labels.iter().filter(|(_, labels)| is_selected(labels)).map(|(id, _)| *id);
        Some(group.members.iter().filter_map(|name| self.port_id(name)).chain(selected).collect())
    }

    /// A port's name; none of number 0.
    pub fn port(&self, id: PortId) -> Option<String> {
        (id.0 != 0).then(|| self.named_port(id).map_or_else(|| format!("#{}", id.0), |p| p.name.clone()))
    }

    /// The network of a port, by the port's number.
    pub fn network_of_port(&self, id: PortId) -> Option<String> {
        self.named_port(id)?.network.clone()
    }

    fn named_port(&self, id: PortId) -> Option<&NamedPort> {
        self.ports.get(&id).or_else(|| self.former_ports.get(id))
    }

    /// A rule's name; none of number 0.
    pub fn rule(&self, id: RuleId) -> Option<String> {
        let name = || self.rules.get(&id).map(|rule| &rule.name).or_else(|| self.former_rules.get(id));
        (id.0 != 0).then(|| name().cloned().unwrap_or_else(|| format!("#{}", id.0)))
    }

    /// A forward's name, `nat:NAME` of one address for one port; none of number 0.
    pub fn forward(&self, id: ForwardId) -> Option<String> {
        let name = || self.forwards.get(&id).or_else(|| self.former_forwards.get(id));
        (id.0 != 0).then(|| name().cloned().unwrap_or_else(|| format!("#{}", id.0)))
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

fn labels(desired: &Desired) -> HashMap<PortId, BTreeMap<String, String>> {
    let ids = &desired.numbers.ports;
    let ports = desired.document.ports.iter().filter(|port| !port.labels.is_empty());
    ports.filter_map(|port| Some((*ids.get(&port.name)?, port.labels.clone()))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{DB1, NO_SSH, WEB_HTTP, WEB1, WEB2, names, without};

    #[test]
    fn what_was_deleted_keeps_its_name() {
        let mut after = without(&["web1"], &["no-ssh"], &["web-http"]);
        after.remember(&names());
        assert_eq!((after.port_id("web1"), after.rule_id("no-ssh")), (None, None));
        assert_eq!(after.port(WEB1).as_deref(), Some("web1"));
        assert_eq!(after.network_of_port(WEB1).as_deref(), Some("left"));
        assert_eq!(after.rule(NO_SSH).as_deref(), Some("no-ssh"));
        assert_eq!(after.forward(WEB_HTTP).as_deref(), Some("web-http"));
        assert!(after.knows_rule("no-ssh") && after.knows_port("web1") && !after.knows_rule("rain"));
        let mut later = names();
        later.remember(&after);
        assert_eq!(later.port(DB1).as_deref(), Some("db1"));
        assert_eq!(after.rule(RuleId(99)).as_deref(), Some("#99"));
    }

    #[test]
    fn a_group_is_its_members_and_those_with_its_labels() {
        let names = names();
        assert_eq!(names.group("web"), Some([WEB1, WEB2].into()));
        assert_eq!(names.group("db"), Some([DB1].into()));
        assert_eq!(names.group("rain"), None);
    }
}
