//! Routes and neighbors: whether packets find the way out, and whether next hops and guests answer.

use std::net::IpAddr;

use super::{Seen, address, finding};
use crate::api::{
    diagnosis::{Finding, Step},
    spec::{Mode, Network, Port},
};

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    for network in &seen.document().networks {
        out.extend(forwarding(seen, network));
        out.extend(no_route(seen, network));
    }
    out.extend(seen.survey.default_routes.iter().filter_map(|route| {
        let gateway = route.gateway.filter(|gateway| seen.survey.silent.contains(gateway))?;
        Some(next_hop(&route.device, gateway))
    }));
    out.extend(seen.ports().filter_map(|(port, _)| silent(seen, port)));
    let uplinks = seen.document().uplinks.iter().map(|uplink| &uplink.device);
    out.extend(uplinks.filter_map(|device| reverse_path(seen, device)));
    out
}

/// Routes are looked up in the name of the network's port towards the host, which must forward for that.
pub(super) fn forwarding(seen: &Seen<'_>, network: &Network) -> Option<Finding> {
    if !network.has_gateway() || network.mode == Mode::Isolated {
        return None;
    }
    let id = seen.desired.numbers.host_ports.get(&network.name)?;
    let host_port = seen.compiled.ports.get(id).filter(|host_port| host_port.ifindex != 0)?;
    let (device, facts) = seen.survey.links.iter().find(|(_, facts)| facts.ifindex == host_port.ifindex)?;
    let has = |is_v4: bool| network.subnets.iter().any(|subnet| subnet.addr().is_ipv4() == is_v4);
    let stopped = [(4, true, facts.forwards4), (6, false, facts.forwards6)];
    let (version, ..) =
        stopped.into_iter().find(|(_, is_v4, forwards)| has(*is_v4) && *forwards == Some(false))?;
    Some(finding(
        Step::Route,
        "ip_forward",
        &format!("network {}", network.name),
        format_args!(
            "IPv{version} forwarding is off at {device}, so no route is found for its guests; writing 0 to \
             {} switches it off everywhere.",
            if version == 4 { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" }
        ),
        format!("Switch it on again: sysctl -w net.ipv{version}.conf.{device}.forwarding=1."),
    ))
}

/// Guests that may go outside need a way there.
fn no_route(seen: &Seen<'_>, network: &Network) -> Option<Finding> {
    let device = network.uplink.as_ref().filter(|_| matches!(network.mode, Mode::Nat | Mode::Routed))?;
    let is_v4 = |subnet: &ipnet::IpNet| subnet.addr().is_ipv4();
    let has_looked = !seen.survey.links.is_empty();
    if !has_looked || !network.subnets.iter().any(is_v4) || !seen.is_up(device) {
        return None;
    }
    let uplinks = &seen.document().uplinks;
    let leads_out = |name: &str| uplinks.iter().any(|uplink| uplink.device == name);
    let mut routes = seen.survey.default_routes.iter().filter(|route| route.is_v4);
    (!routes.any(|route| leads_out(&route.device))).then(|| {
        finding(
            Step::Route,
            "no_route",
            &format!("network {}", network.name),
            format_args!("this host has no default route through an uplink, so its guests reach no further."),
            format!(
                "Add one: ip route add default via ROUTER dev {device}; or add its interface as an uplink."
            ),
        )
    })
}

fn next_hop(device: &str, gateway: IpAddr) -> Finding {
    finding(
        Step::Route,
        "no_next_hop",
        &format!("uplink {device}"),
        format_args!("the router {gateway} does not answer {}.", asking(gateway)),
        format!("Look at the router, and at the route: ip route show dev {device}."),
    )
}

/// A guest that is connected and does not answer.
pub(super) fn silent(seen: &Seen<'_>, port: &Port) -> Option<Finding> {
    if !seen.is_connected(port) {
        return None;
    }
    let all = address::addresses(seen, port);
    let silent: Vec<_> = all.iter().filter(|addr| seen.survey.silent.contains(addr)).collect();
    let first = silent.first()?;
    let texts: Vec<_> = silent.iter().map(ToString::to_string).collect();
    Some(finding(
        Step::Route,
        "no_neighbor",
        &format!("port {}", port.name),
        format_args!("its guest does not answer {} for {}.", asking(**first), texts.join(", ")),
        "The guest hangs, or its interface is down, or it has another address: look at its console, and at \
         fwd drop list --port NAME."
            .replace("NAME", &port.name),
    ))
}

fn asking(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "ARP" } else { "neighbor discovery" }
}

fn reverse_path(seen: &Seen<'_>, device: &str) -> Option<Finding> {
    let facts = seen.survey.links.get(device)?;
    let has_v4 = seen.device(device)?.addresses.iter().any(|net| net.addr().is_ipv4());
    (facts.is_strict_reverse_path && has_v4).then(|| {
        finding(
            Step::Route,
            "rp_filter",
            &format!("uplink {device}"),
            format_args!(
                "rp_filter is strict on {device}: what comes in for this host itself, and whose answer would \
                 leave elsewhere, the kernel drops without a trace."
            ),
            format!(
                "Make it loose: sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{device}.rp_filter=2."
            ),
        )
    })
}
