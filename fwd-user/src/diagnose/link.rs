//! Interfaces: whether they are there, up, connected, whole, and served by the hook that carries their frames.

use super::{Seen, finding};
use crate::{
    api::{
        diagnosis::{Finding, Step},
        error::Code,
        spec::{Hook, Mode, Network},
        status::{DropRow, ObjectState},
    },
    compile::{Attachment, device_name, too_narrow},
    host::survey::ForeignProgram,
};

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    for attachment in seen.compiled.ports.values() {
        out.extend(attached(seen, attachment));
    }
    for (port, network) in seen.ports() {
        let device = device_name(seen.inventory, port);
        out.extend(device.and_then(|device| mtu(seen, device, (&format!("port {}", port.name), network))));
    }
    for network in seen.document().networks.iter().filter(|n| n.mode == Mode::Bridge) {
        if let Some(uplink) = &network.uplink {
            out.extend(mtu(seen, uplink, (&format!("uplink {uplink}"), network)));
        }
    }
    for (device, object) in seen.devices() {
        out.extend(carrier(seen, device, &object));
        out.extend(offloads(seen, device, &object));
    }
    out.extend(detached(seen));
    out.extend(seen.drops.iter().filter_map(lost_for_size));
    out
}

/// Programs of fwd's that somebody took off.
fn detached(seen: &Seen<'_>) -> Vec<Finding> {
    let devices = seen.devices();
    let said = |program: &ForeignProgram| {
        let (_, object) = devices.iter().find(|(device, _)| *device == program.device)?;
        let (point, device) = (program.point, &program.device);
        Some(finding(
            Step::Link,
            "detached",
            object,
            format_args!("fwd's {point} program is no longer on {device}: somebody detached it."),
            "End the daemon and start it again (systemctl restart fwd, or fwd up): it attaches what is missing, and flows go on.",
        ))
    };
    seen.survey.detached.iter().filter_map(said).collect()
}

/// What compiling and attaching already know.
fn attached(seen: &Seen<'_>, attachment: &Attachment) -> Option<Finding> {
    let object = object(seen, attachment);
    if let Some(error) = seen.refused.get(&attachment.ifindex).filter(|_| attachment.ifindex != 0) {
        let check = if error.code == Code::ForeignProgram { "foreign_program" } else { "attach_refused" };
        return Some(finding(Step::Link, check, &object, &error.message, error.hints.join(" ")));
    }
    let reason = attachment.state_reason.as_ref().filter(|_| attachment.state != ObjectState::Ready)?;
    let reason = without_mtu(seen, attachment, reason);
    if reason.is_empty() {
        return None;
    }
    let device = seen.inventory.devices.get(&attachment.device);
    let check = match (attachment.state, device) {
        (ObjectState::Conflict, _) => "enslaved",
        (_, None) => "no_device",
        (_, Some(device)) if !device.is_up => "device_down",
        _ => "hook",
    };
    let (found, remedy) = sentences(reason);
    let remedy = if check == "no_device" && remedy.is_empty() {
        format!("Start the guest; or name its interface: fwd port set {} --device DEVICE.", attachment.name)
    } else {
        remedy
    };
    Some(finding(Step::Link, check, &object, found, remedy))
}

fn object(seen: &Seen<'_>, attachment: &Attachment) -> String {
    let is = |list: bool, noun: &str| list.then(|| format!("{noun} {}", attachment.name));
    let document = seen.document();
    is(document.ports.iter().any(|p| p.name == attachment.name), "port")
        .or_else(|| is(document.uplinks.iter().any(|u| u.device == attachment.name), "uplink"))
        .unwrap_or_else(|| format!("host port {}", attachment.name))
}

/// What is so, and what to do about it: the first sentence and the rest.
fn sentences(reason: &str) -> (&str, String) {
    match reason.split_once(". ") {
        Some((found, remedy)) => (&reason[..=found.len()], remedy.to_owned()),
        None => match reason.split_once(": use ") {
            Some((found, remedy)) => (found, format!("Use {remedy}")),
            None => (reason, String::new()),
        },
    }
}

fn carrier(seen: &Seen<'_>, device: &str, object: &str) -> Option<Finding> {
    let facts = seen.survey.links.get(device)?;
    if facts.has_carrier || !seen.is_up(device) {
        return None;
    }
    let remedy = if object.starts_with("port") {
        "Start the guest; if it runs, look at its interface: it is not connected, or down."
    } else {
        "Look at the cable, the switch port, and `ip link`."
    };
    Some(finding(
        Step::Link,
        "no_carrier",
        object,
        format_args!("nobody is at the other end of {device}: it has no carrier."),
        remedy,
    ))
}

fn mtu(seen: &Seen<'_>, device: &str, (object, network): (&str, &Network)) -> Option<Finding> {
    let reason = too_narrow(network, device, seen.device(device)?)?;
    let (found, remedy) = sentences(&reason);
    Some(finding(Step::Link, "mtu", object, found, remedy))
}

/// Why a port does not work as it should, but for what [`mtu`] says of it.
fn without_mtu<'a>(seen: &Seen<'_>, attachment: &Attachment, reason: &'a str) -> &'a str {
    let device = seen.device(&attachment.device);
    let mut narrow =
        seen.document().networks.iter().filter_map(|n| too_narrow(n, &attachment.device, device?));
    narrow.find_map(|narrow| reason.strip_suffix(&narrow)).map_or(reason, str::trim_end)
}

fn lost_for_size(drop: &DropRow) -> Option<Finding> {
    let (check, remedy) = match drop.reason.as_str() {
        "packet_too_big" => ("mtu", "Make the MTUs along the path equal."),
        "vlan_unsupported" => ("vlan", "Remove the VLAN from the guest's interface."),
        _ => return None,
    };
    let port = drop.port.as_ref()?;
    Some(finding(
        Step::Link,
        check,
        &format!("port {port}"),
        format_args!(
            "{} packets were dropped, the last of them a moment ago: {}.",
            drop.packets, drop.reason
        ),
        remedy,
    ))
}

fn offloads(seen: &Seen<'_>, device: &str, object: &str) -> Option<Finding> {
    let facts = seen.survey.links.get(device)?;
    let attachment = seen.compiled.ports.values().find(|port| port.device == device)?;
    if facts.strips_vlan && attachment.hook == Some(Hook::Xdp) && object.starts_with("uplink") {
        return Some(finding(
            Step::Link,
            "offload_rxvlan",
            object,
            format_args!("{device} takes VLAN tags out of frames, so XDP sees tagged frames as untagged."),
            format!("Switch it off: ethtool -K {device} rxvlan off."),
        ));
    }
    facts.has_lro.then(|| {
        finding(
            Step::Link,
            "offload_lro",
            object,
            format_args!("{device} joins received frames (LRO); such frames cannot be forwarded."),
            format!("Switch it off: ethtool -K {device} lro off."),
        )
    })
}
