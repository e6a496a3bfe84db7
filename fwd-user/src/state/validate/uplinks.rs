//! Uplinks: devices, each once, not also a port's.

use std::collections::BTreeMap;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::Document,
    text::parse_device,
};

use super::Reporter;

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    let mut users: BTreeMap<&str, String> = BTreeMap::new();
    for (index, uplink) in document.uplinks.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Uplink, index, &uplink.device);
        check_device(&mut report, &uplink.device, &mut users);
        users.entry(&uplink.device).or_insert_with(|| format!("uplink {}", uplink.device));
    }
    for (index, port) in document.ports.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Port, index, &port.name);
        check_device(&mut report, &port.device, &mut users);
        users.entry(&port.device).or_insert_with(|| format!("port {}", port.name));
        // Counters and metrics name uplinks by their device, and ports by their name.
        if document.uplinks.iter().any(|u| u.device == port.name) {
            report.add(
                "name",
                Code::DuplicateName,
                "an uplink has the same name",
                "Rename the port: counters tell ports and uplinks apart by name.",
            );
        }
    }
}

fn check_device(report: &mut Reporter<'_>, device: &str, users: &mut BTreeMap<&str, String>) {
    if let Err(error) = parse_device(device) {
        report.text("device", Code::BadValue, error);
    } else if let Some(user) = users.get(device) {
        report.add(
            "device",
            Code::DeviceTwice,
            format_args!("the interface {device} is already used by {user}"),
            "Give it another interface, or remove it there first.",
        );
    }
}
