//! Routes and neighbors: whether packets find the way out, and whether next hops and guests answer.

use std::net::IpAddr;

use super::{Seen, address, finding};
use crate::{
    api::{
        diagnosis::{Finding, Step},
        spec::{Document, Forward, Mode, Nat, Network, Port},
        text::{Listen, Target},
    },
    host::{inventory::DeviceKind, survey::NoArp},
};

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    of_families(seen, &|_| true)
}

/// Those that are about packets of some families: IPv4 is true, IPv6 false.
pub(super) fn of_families(seen: &Seen<'_>, is_of: &dyn Fn(bool) -> bool) -> Vec<Finding> {
    let mut out = Vec::new();
    for network in &seen.document().networks {
        out.extend(forwarding(seen, network, is_of));
        out.extend(no_route(seen, network, is_of));
    }
    out.extend(seen.survey.default_routes.iter().filter(|route| is_of(route.is_v4)).filter_map(|route| {
        let gateway = route.gateway.filter(|gateway| seen.survey.silent.contains(gateway))?;
        Some(next_hop(&route.device, gateway))
    }));
    out.extend(seen.ports().filter_map(|(port, _)| silent(seen, port, is_of)));
    out.extend(seen.ports().filter_map(|(port, network)| cut_off(seen, port, network, is_of)));
    let uplinks = seen.document().uplinks.iter().map(|uplink| &uplink.device).filter(|_| is_of(true));
    out.extend(uplinks.clone().filter_map(|device| reverse_path(seen, device)));
    out.extend(uplinks.filter_map(|device| no_arp(seen, device)));
    out
}

/// Routes are looked up in the name of the network's port towards the host, which must forward for that.
fn forwarding(seen: &Seen<'_>, network: &Network, is_of: &dyn Fn(bool) -> bool) -> Option<Finding> {
    if !network.has_gateway() || network.mode == Mode::Isolated {
        return None;
    }
    let id = seen.desired.numbers.host_ports.get(&network.name)?;
    let host_port = seen.compiled.ports.get(id).filter(|host_port| host_port.ifindex != 0)?;
    let (device, facts) = seen.survey.links.iter().find(|(_, facts)| facts.ifindex == host_port.ifindex)?;
    let has = |is_v4: bool| network.subnets.iter().any(|subnet| subnet.addr().is_ipv4() == is_v4);
    let stopped = [(4, true, facts.forwards4), (6, false, facts.forwards6)];
    let (version, ..) =
        stopped.into_iter().find(|(_, is_v4, on)| is_of(*is_v4) && has(*is_v4) && *on == Some(false))?;
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
fn no_route(seen: &Seen<'_>, network: &Network, is_of: &dyn Fn(bool) -> bool) -> Option<Finding> {
    let device = network.uplink.as_ref().filter(|_| matches!(network.mode, Mode::Nat | Mode::Routed))?;
    let has_looked = !seen.survey.links.is_empty();
    if !has_looked || !seen.is_up(device) {
        return None;
    }
    let uplinks = &seen.document().uplinks;
    let leads_out = |name: &str| uplinks.iter().any(|uplink| uplink.device == name);
    let routes = &seen.survey.default_routes;
    // Where the host itself has no IPv6 outside, nobody misses the route.
    let is_due = |is_v4: bool| {
        let is_of = |subnet: &ipnet::IpNet| subnet.addr().is_ipv4() == is_v4;
        let is_global = |addr: IpAddr| matches!(addr, IpAddr::V6(v6) if !v6.is_unique_local());
        let has_own = seen.device(device).is_some_and(|own| own.outside_addresses(false).any(is_global));
        network.subnets.iter().any(is_of) && (is_v4 || has_own)
    };
    let has = |is_v4: bool| routes.iter().any(|route| route.is_v4 == is_v4 && leads_out(&route.device));
    let is_v4 = [true, false].into_iter().find(|is_v4| is_of(*is_v4) && is_due(*is_v4) && !has(*is_v4))?;
    let (version, option) = if is_v4 { (4, "") } else { (6, "-6 ") };
    Some({
        finding(
            Step::Route,
            "no_route",
            &format!("network {}", network.name),
            format_args!(
                "this host has no default route of IPv{version} through an uplink, so its guests reach no further."
            ),
            format!(
                "Add one: ip {option}route add default via ROUTER dev {device}; or add its interface as an uplink."
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
fn silent(seen: &Seen<'_>, port: &Port, is_of: &dyn Fn(bool) -> bool) -> Option<Finding> {
    if !seen.is_connected(port) {
        return None;
    }
    let all = address::addresses(seen, port);
    let asked = all.iter().filter(|addr| is_of(addr.is_ipv4()));
    let silent: Vec<_> = asked.filter(|addr| seen.survey.silent.contains(addr)).collect();
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

/// A guest to which something outside leads, and which answers within its network only.
fn cut_off(seen: &Seen<'_>, port: &Port, network: &Network, is_of: &dyn Fn(bool) -> bool) -> Option<Finding> {
    if !seen.is_connected(port) {
        return None;
    }
    let all = address::addresses(seen, port);
    let first = all.iter().find(|addr| is_of(addr.is_ipv4()) && seen.survey.cut_off.contains(addr))?;
    let mut gateways = network.gateway_nets().into_iter().map(|net| net.addr());
    let gateway = gateways.find(|gateway| gateway.is_ipv4() == first.is_ipv4())?;
    Some(finding(
        Step::Route,
        "no_way_back",
        &format!("port {}", port.name),
        format_args!(
            "its guest answers its gateway, and nobody beyond its network, for {first}: it has no default route, or \
             one that leads elsewhere, or too short a prefix."
        ),
        format!(
            "In the guest: ip route replace default via {gateway}; look at ip address and ip route there, and at \
             its firewall."
        ),
    ))
}

/// Whether a forward, or an address of its own, leads to a port from outside, by this family.
pub fn is_led_to(document: &Document, port: &str, is_v4: bool) -> bool {
    let is_led_by = |forward: &Forward| {
        let to_port = forward.to.parse().is_ok_and(|target: Target| target.port == port);
        let listen: Option<Listen> = forward.listen.parse().ok();
        to_port && listen.is_some_and(|at| at.addr.is_none_or(|addr| addr.is_ipv4() == is_v4))
    };
    let is_paired =
        |nat: &Nat| nat.pair().is_some_and(|pair| pair.port == port && pair.addr.is_ipv4() == is_v4);
    document.forwards.iter().any(is_led_by) || document.nats.iter().any(is_paired)
}

fn asking(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "ARP" } else { "neighbor discovery" }
}

/// Nobody on an uplink's link finds the host there, unless it has spoken first.
fn no_arp(seen: &Seen<'_>, device: &str) -> Option<Finding> {
    let own = seen.device(device)?;
    let has_v4 = own.addresses.iter().any(|net| net.addr().is_ipv4());
    let has_ethernet = !matches!(own.kind, DeviceKind::Tunnel(_));
    let why = seen.survey.links.get(device)?.answers_no_arp.filter(|_| has_v4 && has_ethernet)?;
    let (found, remedy) = match why {
        NoArp::SwitchedOff => ("ARP is switched off there", format!("ip link set {device} arp on")),
        NoArp::Ignored => (
            "arp_ignore is 8 there",
            format!("sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{device}.arp_ignore=0"),
        ),
    };
    Some(finding(
        Step::Route,
        "no_arp",
        &format!("uplink {device}"),
        format_args!("{found}, so nobody on its link finds this host by an IPv4 address."),
        format!("Switch it on: {remedy}."),
    ))
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
