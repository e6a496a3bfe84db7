//! What passes in a closed network though no rule allows it, in the shape of rules.

use serde_json::{Value, json};

use crate::{
    api::spec::{DefaultPolicy, Document},
    compile::implicit_services,
};

/// The exemptions of each closed network: nothing is configured of them, so they have no priority.
pub fn list(document: &Document) -> Vec<Value> {
    let closed = document.networks.iter().filter(|n| n.default_policy == DefaultPolicy::Closed);
    closed
        .flat_map(|network| {
            let exempt = |what: &str, to: String, services: Value, reason: &str| {
                json!({"name": format!("implicit-{what}-{}", network.name), "action": "allow",
                       "from": [format!("network:{}", network.name)], "to": [to], "services": services,
                       "priority": null, "enabled": true, "expires": null, "reason": reason})
            };
            let gateway: Vec<String> = implicit_services().iter().map(ToString::to_string).collect();
            let neighbors = exempt(
                "neighbors",
                format!("network:{}", network.name),
                json!(["arp", "nd"]),
                "Ports find each other, and their gateway.",
            );
            let gateway =
                exempt("gateway", "host".to_owned(), json!(gateway), "The gateway's own DHCP and DNS.");
            [Some(neighbors), network.has_gateway().then_some(gateway)].into_iter().flatten()
        })
        .collect()
}
