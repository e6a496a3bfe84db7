//! Who uses an object: what a refused deletion names.

use crate::api::{
    object::Noun,
    spec::Document,
    text::{End, Target},
};

/// The objects that name this one: `network vmnat`, `forward web-http`.
pub(super) fn users(document: &Document, noun: Noun, name: &str) -> Vec<String> {
    let mut users = Vec::new();
    match noun {
        Noun::Uplink => {
            let networks = document.networks.iter().filter(|n| n.uplink.as_deref() == Some(name));
            users.extend(networks.map(|n| format!("network {}", n.name)));
        }
        Noun::Network => {
            let ports = document.ports.iter().filter(|p| p.network == name);
            users.extend(ports.map(|p| format!("port {}", p.name)));
            let nats = document.nats.iter().filter(|n| n.network.as_deref() == Some(name));
            users.extend(nats.map(|n| format!("nat {}", n.name)));
            users.extend(rules_with(document, &End::Network(name.to_owned())));
        }
        Noun::Port => {
            let leads_here = |to: &str| to.parse::<Target>().is_ok_and(|target| target.port == name);
            let forwards = document.forwards.iter().filter(|f| leads_here(&f.to));
            users.extend(forwards.map(|f| format!("forward {}", f.name)));
            let nats = document.nats.iter().filter(|n| n.pair().is_some_and(|pair| pair.port == name));
            users.extend(nats.map(|n| format!("nat {}", n.name)));
            let groups = document.groups.iter().filter(|g| g.members.iter().any(|m| m == name));
            users.extend(groups.map(|g| format!("group {}", g.name)));
            users.extend(rules_with(document, &End::Port(name.to_owned())));
        }
        Noun::Group => users.extend(rules_with(document, &End::Group(name.to_owned()))),
        Noun::Set => users.extend(rules_with(document, &End::Set(name.to_owned()))),
        Noun::Forward | Noun::Nat | Noun::Policy => {}
    }
    users
}

fn rules_with<'a>(document: &'a Document, end: &End) -> impl Iterator<Item = String> + use<'a> {
    let text = end.to_string();
    let rules = document.policies.iter();
    let rules = rules.filter(move |p| p.from.iter().chain(&p.to).any(|end| *end == text));
    rules.map(|p| format!("policy {}", p.name))
}
