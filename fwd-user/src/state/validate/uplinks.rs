//! Devices of uplinks and ports, each once.

use std::collections::BTreeMap;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Port, host_port_name},
    text::{DomainNic, parse_device, parse_pattern},
};

use super::Reporter;

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    let mut users: BTreeMap<&str, String> = BTreeMap::new();
    for (index, uplink) in document.uplinks.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Uplink, index, &uplink.device);
        check_device(&mut report, &uplink.device, &users);
        users.entry(&uplink.device).or_insert_with(|| format!("uplink {}", uplink.device));
    }
    let mut domains: BTreeMap<DomainNic, &str> = BTreeMap::new();
    for (index, port) in document.ports.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Port, index, &port.name);
        if let Some(text) = &port.libvirt {
            check_domain(&mut report, port, text, &mut domains);
        } else if port.is_pattern() {
            check_pattern(&mut report, port);
            check_twice(&mut report, &port.device, &users);
            users.entry(&port.device).or_insert_with(|| format!("port {}", port.name));
        } else {
            check_device(&mut report, &port.device, &users);
            users.entry(&port.device).or_insert_with(|| format!("port {}", port.name));
        }
        // Counters and metrics name uplinks by their device, host ports by their network.
        let is_uplinks = document.uplinks.iter().any(|u| u.device == port.name);
        if is_uplinks || document.networks.iter().any(|n| host_port_name(&n.name) == port.name) {
            let whose = if is_uplinks { "an uplink" } else { "a network's port towards the host" };
            report.add(
                "name",
                Code::DuplicateName,
                format_args!("{whose} has the same name"),
                "Rename the port: counters tell them apart by name.",
            );
        }
    }
}

fn check_device(report: &mut Reporter<'_>, device: &str, users: &BTreeMap<&str, String>) {
    match parse_device(device) {
        Err(error) => report.text("device", Code::BadValue, error),
        Ok(()) => check_twice(report, device, users),
    }
}

/// What is one guest's is not for all that match.
fn check_pattern(report: &mut Reporter<'_>, port: &Port) {
    if let Err(error) = parse_pattern(&port.device) {
        report.text("device", Code::BadValue, error);
    }
    for (field, is_given) in [("mac", port.mac.is_some()), ("ips", !port.ips.is_empty())] {
        if is_given {
            report.add(
                field,
                Code::BadValue,
                format_args!("it stands for all that match {}, and this is one guest's", port.device),
                "Leave it out: MACs and addresses are learnt; or name one interface.",
            );
        }
    }
}

fn check_twice(report: &mut Reporter<'_>, device: &str, users: &BTreeMap<&str, String>) {
    if let Some(user) = users.get(device) {
        report.add(
            "device",
            Code::DeviceTwice,
            format_args!("the interface {device} is already used by {user}"),
            "Give it another interface, or remove it there first.",
        );
    }
}

/// An interface of a libvirt domain is one port's, and takes the place of a device.
fn check_domain<'a>(
    report: &mut Reporter<'_>,
    port: &'a Port,
    text: &str,
    users: &mut BTreeMap<DomainNic, &'a str>,
) {
    let nic: DomainNic = match text.parse() {
        Ok(nic) => nic,
        Err(error) => return report.text("libvirt", Code::BadValue, error),
    };
    if !port.device.is_empty() {
        report.add(
            "device",
            Code::BadValue,
            format_args!("it names the interface {} and one of libvirt", port.device),
            "Leave one of them out.",
        );
    }
    if let Some(user) = users.get(&nic) {
        report.add(
            "libvirt",
            Code::DeviceTwice,
            format_args!("interface {nic} of libvirt is already used by port {user}"),
            "Give it another interface, or remove it there first.",
        );
    }
    users.entry(nic).or_insert(&port.name);
}
