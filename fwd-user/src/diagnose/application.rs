//! What answers at the end: a network's own DHCP and DNS.

use super::{Seen, finding};
use crate::api::diagnosis::{Finding, Step};

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let served = seen.inventory.served.iter().filter_map(|(network, served)| {
        let problem = served.problem.as_ref()?;
        Some(Finding {
            step: Step::Application,
            check: "no_services".to_owned(),
            object: format!("network {network}"),
            found: problem.clone(),
            remedy: format!("Or do without: fwd network set {network} --dhcp off --dns off."),
        })
    });
    let rogues = seen.drops.iter().filter(|drop| drop.reason == "rogue_server").filter_map(|drop| {
        let port = drop.port.as_ref()?;
        Some(finding(
            Step::Application,
            "rogue_server",
            &format!("port {port}"),
            "its guest answers DHCP or router discovery for the network, and is dropped for it.",
            format!("Stop that service in the guest, or trust it: fwd port set {port} --trust."),
        ))
    });
    served.chain(rogues).collect()
}
