//! Rules of others: what fwd forwards does not pass them, and what guests ask of this host does.
//!
//! Docker, firewalld, ufw and libvirt are known by their tables and chains. A verdict is worked out for the two
//! questions that every guest asks, DHCP and DNS, for the host's answers, and for what it sends to a guest itself; what a
//! rule matches that is not understood, it is taken not to match.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde_json::Value;

use super::{Seen, finding, iptables};
use crate::{
    api::{
        diagnosis::{Finding, Step},
        spec::Network,
    },
    host::{inventory::Device, survey::Firewall},
};

/// A packet between a guest and this host.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub way: Way,
    pub device: &'a str,
    pub proto: &'static str,
    /// The service's.
    pub l4_port: u64,
    /// The guest's address, where it is known.
    pub guest: Option<IpAddr>,
}

/// By whom it is sent: the chains that it passes, and where it has the service's L4 port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A guest's question.
    In,
    /// The host's answer to it.
    Out,
    /// The host's own to a guest's service.
    ToGuest,
}

impl Way {
    const fn chains(self) -> [&'static str; 2] {
        match self {
            Self::In => ["prerouting", "input"],
            Self::Out | Self::ToGuest => ["output", "postrouting"],
        }
    }
}

/// A chain's answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepts,
    Drops,
    /// The next rule, chain or policy decides.
    GoesOn,
}

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let rules = Rules::of(&seen.survey.firewall);
    let mut out: Vec<_> = seen
        .document()
        .networks
        .iter()
        .filter(|network| network.has_gateway() && !network.is_apart())
        .filter_map(|network| blocked(seen, &rules, network))
        .collect();
    let owners = rules.owners();
    if !owners.is_empty() && !seen.document().networks.is_empty() {
        out.push(bypassed(&owners));
    }
    let bridges: Vec<_> = seen
        .document()
        .uplinks
        .iter()
        .filter(|uplink| seen.inventory.devices.values().any(|d| d.master.as_ref() == Some(&uplink.device)))
        .collect();
    if let Some(uplink) = bridges.first()
        && seen.survey.bridges_filter
        && rules.has_any()
    {
        out.push(finding(
            Step::Transport,
            "br_netfilter",
            &format!("uplink {}", uplink.device),
            format_args!("br_netfilter takes frames that cross the bridge {} through this host's IP rules.", uplink.device),
            "Switch it off: sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0.",
        ));
    }
    out
}

/// Rules that stand before the host's own services in a network.
fn blocked(seen: &Seen<'_>, rules: &Rules<'_>, network: &Network) -> Option<Finding> {
    let device = host_end_of(seen, network)?;
    let has_dhcp = !network.dhcp_ranges().is_empty();
    let asked = [(has_dhcp, 67, "DHCP"), (network.has_dns(), 53, "DNS")];
    let is_stopped = |way, l4_port| rules.drops(Question { way, device, proto: "udp", l4_port, guest: None });
    let stopped_by = |way| {
        let of = move |(is_served, l4_port, _): &(bool, u64, &str)| *is_served && is_stopped(way, *l4_port);
        asked.into_iter().filter(of).map(|(_, _, name)| name).collect::<Vec<_>>()
    };
    let ways = [Way::In, Way::Out].into_iter().map(|way| (way, stopped_by(way)));
    let (way, services) = ways.into_iter().find(|(_, services)| !services.is_empty())?;
    let service = services.first()?;
    let owner = rules.owner(way);
    if way == Way::Out {
        return Some(finding(
            Step::Application,
            "firewall_blocks_services",
            &format!("network {}", network.name),
            format_args!(
                "{owner} drops what this host's {} answers guests at {device}.",
                services.join(" and ")
            ),
            format!(
                "Accept what goes out by it: nft insert rule … oifname \"{device}\" accept; or iptables -I OUTPUT -o \
                 {device} -j ACCEPT."
            ),
        ));
    }
    Some(finding(
        Step::Application,
        "firewall_blocks_services",
        &format!("network {}", network.name),
        format_args!(
            "{owner} drops what guests send to this host's {} at {device}, so {} does not answer them.",
            services.join(" and "),
            service
        ),
        match owner.as_str() {
            "firewalld" => format!(
                "Trust the interface: firewall-cmd --permanent --zone=trusted --add-interface={device}; firewall-cmd --reload."
            ),
            "ufw" => format!("Allow the interface: ufw allow in on {device}."),
            _ => format!(
                "Accept what comes in by it: nft insert rule … iifname \"{device}\" accept; or iptables -I INPUT -i {device} -j ACCEPT."
            ),
        },
    ))
}

/// Who drops what this host itself sends to a guest's service, such as a probe.
pub(super) fn stops(
    seen: &Seen<'_>,
    network: &Network,
    (proto, to): (&'static str, SocketAddr),
) -> Option<String> {
    let rules = Rules::of(&seen.survey.firewall);
    let device = host_end_of(seen, network)?;
    let question =
        Question { way: Way::ToGuest, device, proto, l4_port: to.port().into(), guest: Some(to.ip()) };
    rules.drops(question).then(|| rules.owner(Way::ToGuest))
}

/// The host's interface in a network: the one that has its gateway's address.
fn host_end_of<'a>(seen: &Seen<'a>, network: &Network) -> Option<&'a str> {
    let gateways = network.gateway_nets();
    let has_gateway = |(_, device): &(&String, &Device)| {
        device.addresses.iter().any(|net| gateways.iter().any(|gateway| gateway.addr() == net.addr()))
    };
    seen.inventory.devices.iter().find(has_gateway).map(|(name, _)| name.as_str())
}

fn bypassed(owners: &BTreeSet<String>) -> Finding {
    let owners: Vec<_> = owners.iter().cloned().collect();
    finding(
        Step::Transport,
        "firewall_bypassed",
        "host",
        format_args!(
            "{} filters or translates packets that this host forwards; what fwd forwards between uplinks and \
             guests does not pass those rules.",
            owners.join(", ")
        ),
        "Write what is to hold for guests as rules of fwd: fwd policy add. If those rules are not about guests, \
         there is nothing to do.",
    )
}

/// Every base chain, and the chains that they lead to.
struct Rules<'a> {
    items: &'a [Value],
    legacy: &'a [String],
}

impl<'a> Rules<'a> {
    fn of(firewall: &'a Firewall) -> Self {
        let items = firewall.nft.as_ref().and_then(|nft| nft.get("nftables")).and_then(Value::as_array);
        Self { items: items.map_or(&[], Vec::as_slice), legacy: &firewall.legacy }
    }

    fn has_any(&self) -> bool {
        !self.owners().is_empty()
    }

    fn chains(&self, hook: &'a str) -> impl Iterator<Item = &'a Value> {
        let chains = self.items.iter().filter_map(|item| item.get("chain"));
        chains.filter(move |chain| text(chain, "hook") == hook)
    }

    fn rules(&self, chain: &'a Value) -> impl Iterator<Item = &'a Value> {
        let same = |rule: &&Value, key| text(rule, key) == text(chain, key);
        let rules = self.items.iter().filter_map(|item| item.get("rule"));
        rules.filter(move |rule| {
            same(rule, "family") && same(rule, "table") && text(rule, "chain") == text(chain, "name")
        })
    }

    fn chain(&self, like: &'a Value, name: &str) -> Option<&'a Value> {
        let mut chains = self.items.iter().filter_map(|item| item.get("chain"));
        chains.find(|chain| {
            text(chain, "family") == text(like, "family")
                && text(chain, "table") == text(like, "table")
                && text(chain, "name") == name
        })
    }

    /// Who has something to say about packets that the host forwards.
    fn owners(&self) -> BTreeSet<String> {
        let hooks = ["forward", "prerouting", "postrouting"];
        let chains = hooks.into_iter().flat_map(|hook| self.chains(hook));
        let acting =
            chains.filter(|chain| text(chain, "policy") == "drop" || self.rules(chain).next().is_some());
        let mut owners: BTreeSet<_> = acting.flat_map(|chain| self.owners_of(chain)).collect();
        for save in self.legacy.iter().filter(|save| iptables::is_acting(save)) {
            owners.extend(owners_in(save, "the host (iptables)"));
        }
        owners
    }

    fn owners_of(&self, chain: &Value) -> BTreeSet<String> {
        let table = text(chain, "table");
        if table == "firewalld" {
            return BTreeSet::from(["firewalld".to_owned()]);
        }
        if table == "libvirt_network" {
            return BTreeSet::from(["libvirt".to_owned()]);
        }
        let chains = self.items.iter().filter_map(|item| item.get("chain"));
        let names: Vec<_> =
            chains.filter(|one| text(one, "table") == table).map(|c| text(c, "name")).collect();
        owners_in(&names.join("\n"), &format!("the nftables table {table}"))
    }

    fn owner(&self, way: Way) -> String {
        let mut chains = way.chains().into_iter().flat_map(|hook| self.chains(hook));
        let dropping =
            chains.find(|chain| text(chain, "policy") == "drop" || self.rules(chain).next().is_some());
        let owners = dropping.map_or_else(BTreeSet::new, |chain| self.owners_of(chain));
        owners.into_iter().next().unwrap_or_else(|| "The host's iptables".to_owned())
    }

    /// Whether a question does not reach its service.
    fn drops(&self, question: Question<'_>) -> bool {
        let chains = question.way.chains().into_iter().flat_map(|hook| self.chains(hook));
        // Both tables of IPv4 and such of both families; of IPv6 alone, where the guest's address is of it.
        let is_v6 = question.guest.is_some_and(|guest| guest.is_ipv6());
        let is_other = |chain: &&Value| text(chain, "family") == if is_v6 { "ip" } else { "ip6" };
        let nft =
            chains.filter(|chain| !is_other(chain)).any(|chain| match self.answer(chain, question, 0) {
                Answer::Accepts => false,
                Answer::Drops => true,
                Answer::GoesOn => text(chain, "policy") == "drop",
            });
        nft || self.legacy.iter().any(|save| iptables::drops(save, question))
    }

    fn answer(&self, chain: &'a Value, question: Question<'_>, depth: u8) -> Answer {
        const DEEPEST: u8 = 16;
        if depth > DEEPEST {
            return Answer::GoesOn;
        }
        for rule in self.rules(chain) {
            let parts = rule.get("expr").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if !parts.iter().filter_map(|part| part.get("match")).all(|test| matches(test, question)) {
                continue;
            }
            for part in parts {
                let jump = part.get("jump").or_else(|| part.get("goto"));
                let target = jump.and_then(|jump| self.chain(chain, text(jump, "target")));
                let answer = match target {
                    Some(target) => self.answer(target, question, depth + 1),
                    None if part.get("accept").is_some() => Answer::Accepts,
                    None if part.get("drop").is_some() || part.get("reject").is_some() => Answer::Drops,
                    None if part.get("return").is_some() => return Answer::GoesOn,
                    None => Answer::GoesOn,
                };
                if answer != Answer::GoesOn {
                    return answer;
                }
            }
        }
        Answer::GoesOn
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Whether a rule's test holds for a question; one that is not understood does not.
fn matches(test: &Value, question: Question<'_>) -> bool {
    let (left, right) = (&test["left"], &test["right"]);
    let is_here =
        |right: &Value| any(right, &|name| name.as_str().is_some_and(|n| is_name(n, question.device)));
    let is_v6 = question.guest.is_some_and(|guest| guest.is_ipv6());
    let holds = if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
        match key {
            "iifname" | "iif" if question.way == Way::In => is_here(right),
            "oifname" | "oif" if question.way != Way::In => is_here(right),
            "l4proto" => {
                let number = if question.proto == "udp" { 17 } else { 6 };
                any(right, &|proto| *proto == question.proto || *proto == number)
            }
            "nfproto" => any(right, &|family| *family == if is_v6 { "ipv6" } else { "ipv4" }),
            _ => return false,
        }
    } else if let Some(field) = left.get("payload") {
        let is_of = [question.proto, "th"].contains(&text(field, "protocol"));
        let side = if question.way == Way::Out { "sport" } else { "dport" };
        match (text(field, "field"), question.guest) {
            (name, _) if is_of && name == side => any(right, &|l4_port| is_in(l4_port, question.l4_port)),
            ("protocol", _) => any(right, &|proto| *proto == question.proto),
            ("daddr", Some(guest)) if question.way != Way::In => any(right, &|net| is_of_net(net, guest)),
            _ => return false,
        }
    } else if left.pointer("/ct/key").is_some_and(|key| key == "state") {
        any(right, &|state| state == "new")
    } else {
        return false;
    };
    (test["op"] == "!=") != holds
}

/// Whether one of the values of a set, or the value itself, will do.
fn any(right: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    let list = right.get("set").unwrap_or(right).as_array();
    list.map_or_else(|| is(right), |values| values.iter().any(is))
}

fn is_in(value: &Value, wanted: u64) -> bool {
    let range = value.get("range").and_then(Value::as_array);
    match range.map(Vec::as_slice) {
        Some([low, high]) => {
            low.as_u64().is_some_and(|low| low <= wanted) && high.as_u64().is_some_and(|high| wanted <= high)
        }
        _ => value.as_u64() == Some(wanted),
    }
}

/// Whether a value is this address, or a prefix that has it.
fn is_of_net(value: &Value, addr: IpAddr) -> bool {
    let net = match value.get("prefix") {
        Some(prefix) => format!("{}/{}", text(prefix, "addr"), prefix.get("len").unwrap_or(&Value::Null)),
        None => value.as_str().unwrap_or_default().to_owned(),
    };
    let one = net.parse::<IpAddr>().map(IpNet::from);
    net.parse::<IpNet>().or(one).is_ok_and(|net| net.contains(&addr))
}

/// `fwd-*` and `fwd-+` are patterns.
pub(super) fn is_name(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(['*', '+']) {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// By the chains that each makes.
fn owners_in(names: &str, else_named: &str) -> BTreeSet<String> {
    let known = [("DOCKER", "Docker"), ("ufw", "ufw"), ("LIBVIRT", "libvirt"), ("FWDI_", "firewalld")];
    let owners: BTreeSet<_> = known
        .into_iter()
        .filter(|(mark, _)| names.contains(mark))
        .map(|(_, owner)| owner.to_owned())
        .collect();
    if owners.is_empty() { BTreeSet::from([else_named.to_owned()]) } else { owners }
}
