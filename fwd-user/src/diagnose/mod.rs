//! What is wrong, and how to mend it, out of what was accepted, compiled and seen. Pure: who looks is the daemon.
//!
//! One file a step of the way of a packet. A check tells nothing of what works as it should, so a healthy host
//! has no findings.

mod address;
mod application;
mod firewall;
mod forward;
mod iptables;
mod link;
mod route;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::{BTreeMap, BTreeSet};

use fwd_common::id::PortId;

pub use address::expected;
pub use forward::{Probe, Probed, probes, test};
pub use route::is_led_to;

use crate::{
    api::{
        diagnosis::{Finding, Step},
        error::ApiError,
        spec::{Document, Network, Port},
        status::{DropRow, DuplicateAddress},
    },
    compile::{Attachment, Compiled, device_name},
    host::{
        inventory::{Device, Inventory},
        survey::Survey,
    },
    state::Desired,
};

/// All that a diagnosis is made from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub desired: &'a Desired,
    pub inventory: &'a Inventory,
    pub compiled: &'a Compiled,
    pub survey: &'a Survey,
    /// Devices that refused a program, by ifindex.
    pub refused: &'a BTreeMap<u32, ApiError>,
    /// Of the last minute.
    pub drops: &'a [DropRow],
    /// Addresses that two machines use.
    pub duplicates: &'a [DuplicateAddress],
    /// Ports from which nothing ever came.
    pub mute: &'a BTreeSet<PortId>,
    /// Forwards whose L4 port a process of this host listens on, with its name.
    pub taken: &'a BTreeMap<String, String>,
    /// Flow entries in use, and the most there may be, of the fuller family.
    pub flows: (u64, u64),
}

/// Everything that is not as it should be, by step.
pub fn doctor(seen: &Seen<'_>) -> Vec<Finding> {
    let mut findings = link::findings(seen);
    findings.extend(address::findings(seen));
    findings.extend(route::findings(seen));
    findings.extend(transport::findings(seen));
    findings.extend(firewall::findings(seen));
    findings.extend(application::findings(seen));
    findings.sort();
    findings.dedup();
    findings
}

impl<'a> Seen<'a> {
    fn document(&self) -> &'a Document {
        &self.desired.document
    }

    fn device(&self, name: &str) -> Option<&'a Device> {
        self.inventory.devices.get(name)
    }

    fn attachment(&self, port: &Port) -> Option<&'a Attachment> {
        self.compiled.ports.get(self.desired.numbers.ports.get(&port.name)?)
    }

    /// Whether a port has a device that can carry something now.
    fn is_connected(&self, port: &Port) -> bool {
        let Some(device) = device_name(self.inventory, port) else { return false };
        let has_carrier = self.survey.links.get(device).is_none_or(|facts| facts.has_carrier);
        has_carrier && self.attachment(port).is_some_and(|a| a.ifindex != 0) && self.is_up(device)
    }

    fn is_up(&self, device: &str) -> bool {
        self.device(device).is_some_and(|device| device.is_up)
    }

    /// Ports with their networks.
    fn ports(&self) -> impl Iterator<Item = (&'a Port, &'a Network)> {
        let document = self.document();
        document.ports.iter().filter_map(|port| Some((port, document.find::<Network>(&port.network)?)))
    }

    /// The devices on which fwd works, with what to call each.
    fn devices(&self) -> Vec<(&'a str, String)> {
        let document = self.document();
        let uplinks = document.uplinks.iter().map(|u| (u.device.as_str(), format!("uplink {}", u.device)));
        let named =
            |port: &'a Port| Some((device_name(self.inventory, port)?, format!("port {}", port.name)));
        let ports = document.ports.iter().filter_map(named);
        uplinks.chain(ports).filter(|(device, _)| self.device(device).is_some()).collect()
    }
}

/// A finding of a step about an object: `found` goes on after its name.
fn finding(
    step: Step,
    check: &str,
    object: &str,
    found: impl std::fmt::Display,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        step,
        check: check.to_owned(),
        object: object.to_owned(),
        found: format!("{}: {found}", capitalized(object)),
        remedy: remedy.into(),
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
