//! Rules of others: what fwd forwards does not pass them, and what guests ask of this host does.
//!
//! Docker, firewalld, ufw and libvirt are known by their tables and chains. A verdict is worked out for the two
//! questions that every guest asks, DHCP and DNS; what a rule matches that is not understood, it is taken not to
//! match.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Seen, finding};
use crate::{
    api::{
        diagnosis::{Finding, Step},
        spec::Network,
    },
    host::{inventory::Device, survey::Firewall},
};

/// A question that a guest asks of this host.
#[derive(Clone, Copy)]
struct Question<'a> {
    device: &'a str,
    l4_port: u64,
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
    let gateways = network.gateway_nets();
    let has_gateway = |(_, device): &(&String, &Device)| {
        device.addresses.iter().any(|net| gateways.iter().any(|gateway| gateway.addr() == net.addr()))
    };
    let (device, _) = seen.inventory.devices.iter().find(has_gateway)?;
    let has_dhcp = !network.dhcp_ranges().is_empty();
    let asked = [(has_dhcp, 67, "DHCP"), (network.has_dns(), 53, "DNS")];
    let stopped: Vec<_> = asked
        .into_iter()
        .filter(|(is_served, l4_port, _)| *is_served && rules.drops(Question { device, l4_port: *l4_port }))
        .collect();
    let (_, _, service) = stopped.first()?;
    let services: Vec<_> = stopped.iter().map(|(_, _, name)| *name).collect();
    let owner = rules.input_owner();
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
        for save in self.legacy.iter().filter(|save| is_acting(save)) {
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

    fn input_owner(&self) -> String {
        let dropping = self
            .chains("input")
            .find(|chain| text(chain, "policy") == "drop" || self.rules(chain).next().is_some());
        let owners = dropping.map_or_else(BTreeSet::new, |chain| self.owners_of(chain));
        owners.into_iter().next().unwrap_or_else(|| "The host's iptables".to_owned())
    }

    /// Whether a question does not reach its service.
    fn drops(&self, question: Question<'_>) -> bool {
        let nft = self.chains("input").any(|chain| match self.answer(chain, question, 0) {
            Answer::Accepts => false,
            Answer::Drops => true,
            Answer::GoesOn => text(chain, "policy") == "drop",
        });
        nft || self.legacy.iter().any(|save| legacy_drops(save, question))
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
    let holds = if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
        match key {
            "iifname" | "iif" => {
                any(right, &|name| name.as_str().is_some_and(|n| is_name(n, question.device)))
            }
            "l4proto" => any(right, &|proto| proto == "udp" || proto == 17),
            "nfproto" => any(right, &|family| family == "ipv4"),
            _ => return false,
        }
    } else if let Some(field) = left.get("payload") {
        let is_port = matches!(text(field, "protocol"), "udp" | "th") && text(field, "field") == "dport";
        match (is_port, text(field, "field")) {
            (true, _) => any(right, &|l4_port| is_in(l4_port, question.l4_port)),
            (_, "protocol") => any(right, &|proto| proto == "udp"),
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

/// `fwd-*` and `fwd-+` are patterns.
fn is_name(pattern: &str, name: &str) -> bool {
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

/// Whether a saved table does anything to forwarded packets.
fn is_acting(save: &str) -> bool {
    let starts = [":FORWARD DROP", "-A FORWARD", "-A PREROUTING", "-A POSTROUTING"];
    save.lines().any(|line| starts.iter().any(|start| line.starts_with(start)))
}

/// As far as the INPUT chain itself says.
fn legacy_drops(save: &str, question: Question<'_>) -> bool {
    let l4_port = format!("--dport {}", question.l4_port);
    for line in save.lines().filter(|line| line.starts_with("-A INPUT ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |flag: &str| words.iter().position(|w| *w == flag).and_then(|at| words.get(at + 1));
        let is_here = after("-i").is_none_or(|name| is_name(name, question.device));
        let is_udp = after("-p").is_none_or(|proto| *proto == "udp");
        let has_state = line.contains("--ctstate") && !line.contains("NEW");
        let is_port = !line.contains("--dport") || line.contains(&l4_port);
        let is_plain = after("-s").is_none() && after("-d").is_none();
        if !(is_here && is_udp && is_port && is_plain) || has_state {
            continue;
        }
        match after("-j").copied() {
            Some("ACCEPT") => return false,
            Some("DROP" | "REJECT") => return true,
            _ => {}
        }
    }
    save.contains(":INPUT DROP")
}
