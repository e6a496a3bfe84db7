//! Looks at the host for a diagnosis: carriers, settings, default routes, filters, the packet filter, and who
//! answers ARP and neighbor discovery.
//!
//! Guarantees: no configuration is changed. Who is asked shows in the kernel's cache of neighbors, as after any
//! packet to them.

use std::{collections::BTreeMap, net::IpAddr, process::Command};

use futures::TryStreamExt;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
    tc::TcAttribute,
};
use rtnetlink::{RouteMessageBuilder, packet_route::AddressFamily};

use super::{
    driver, echo,
    error::{Error, Result, cause},
    link,
    neighborhood::{self, Neighborhood},
    netlink::{Netlink, connect_only},
    survey::{DefaultRoute, Firewall, LinkFacts, NoArp, Survey},
    sysctl,
};

/// A filter of the clsact qdisc, whosever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcFilter {
    pub device: String,
    pub is_ingress: bool,
    pub kind: String,
    pub handle: u32,
}

/// Looks around in this thread's network namespace; needs a tokio runtime. Besides those asked about, the
/// routers behind the uplinks are asked. Whose programs there are is left to
/// who knows which are fwd's.
///
/// # Errors
/// If the kernel does not answer.
pub async fn survey(uplinks: &[&str], mut asked: Vec<Neighborhood>) -> Result<Survey> {
    let netlink = connect_only()?;
    let links = netlink.links().await?;
    let names: BTreeMap<u32, String> =
        links.iter().filter_map(|found| Some((found.header.index, link::name(found)?))).collect();
    let facts = links.iter().filter_map(|found| Some((link::name(found)?, facts(found))));
    let default_routes = default_routes(&netlink, &names).await?;
    let next_hops = default_routes.iter().filter(|route| uplinks.contains(&route.device.as_str()));
    asked.extend(next_hops.map(|route| Neighborhood {
        device: route.device.clone(),
        namespace: None,
        addresses: route.gateway.into_iter().collect(),
        outside: Vec::new(),
    }));
    let silent = neighborhood::silent(&netlink, &asked).await?;
    let known = silent.clone();
    let cut_off = tokio::task::spawn_blocking(move || echo::cut_off(&asked, &known));
    Ok(Survey {
        links: facts.collect(),
        default_routes,
        silent,
        doubled: doubled(&netlink, &names).await?,
        detached: Vec::new(),
        cut_off: cut_off.await.unwrap_or_default(),
        programs: Vec::new(),
        // Without the programs that read it, there is nothing to read.
        firewall: tokio::task::spawn_blocking(firewall).await.unwrap_or_default(),
        bridges_filter: ["iptables", "ip6tables"]
            .iter()
            .any(|tables| is_on(&format!("net/bridge/bridge-nf-call-{tables}")) == Some(true)),
    })
}

/// The filters of some devices.
///
/// # Errors
/// If the kernel does not answer.
pub async fn tc_filters(devices: &BTreeMap<u32, String>) -> Result<Vec<TcFilter>> {
    let netlink = connect_only()?;
    let mut filters = Vec::new();
    for (ifindex, device) in devices {
        let handle = netlink.handle.traffic_filter(ifindex.cast_signed());
        for is_ingress in [true, false] {
            let request = handle.clone().get();
            let request = if is_ingress { request.ingress() } else { request.egress() };
            // Without the qdisc there is nothing to list, and the kernel says so as an error.
            let found: Vec<_> = request.execute().try_collect().await.unwrap_or_default();
            for filter in found.iter().filter(|filter| u32::from(filter.header.handle) != 0) {
                let kind = filter.attributes.iter().find_map(|attribute| match attribute {
                    TcAttribute::Kind(kind) => Some(kind.clone()),
                    _ => None,
                });
                filters.push(TcFilter {
                    device: device.clone(),
                    is_ingress,
                    kind: kind.unwrap_or_default(),
                    handle: filter.header.handle.into(),
                });
            }
        }
    }
    Ok(filters)
}

fn facts(found: &LinkMessage) -> LinkFacts {
    let name = link::name(found).unwrap_or_default();
    let reverse_path = |of: &str| sysctl::read(&format!("net/ipv4/conf/{of}/rp_filter")).ok();
    // The kernel takes the higher of the two.
    let modes = [reverse_path("all"), reverse_path(&name)];
    LinkFacts {
        ifindex: found.header.index,
        has_carrier: found.header.flags.contains(LinkFlags::LowerUp),
        forwards4: is_on(&format!("net/ipv4/conf/{name}/forwarding")),
        forwards6: is_on(&format!("net/ipv6/conf/{name}/forwarding")),
        is_strict_reverse_path: modes.into_iter().flatten().max().as_deref() == Some("1"),
        answers_no_arp: no_arp(found, &name),
        strips_vlan: driver::strips_vlan(&name).unwrap_or(false),
        has_lro: driver::has_lro(&name).unwrap_or(false),
    }
}

fn no_arp(found: &LinkMessage, name: &str) -> Option<NoArp> {
    /// To answer for no address.
    const NONE: &str = "8";
    let ignores = |of: &str| sysctl::read(&format!("net/ipv4/conf/{of}/arp_ignore")).is_ok_and(|v| v == NONE);
    match () {
        () if found.header.flags.contains(LinkFlags::Noarp) => Some(NoArp::SwitchedOff),
        () if ignores("all") || ignores(name) => Some(NoArp::Ignored),
        () => None,
    }
}

/// Addresses of which duplicate address detection (RFC 4862) has found that others have them.
async fn doubled(netlink: &Netlink, names: &BTreeMap<u32, String>) -> Result<Vec<(String, IpAddr)>> {
    let failed = |e| Error::Netlink { action: "listing addresses", source: cause(e) };
    let all: Vec<AddressMessage> =
        netlink.handle.address().get().execute().try_collect().await.map_err(failed)?;
    let has_failed = |message: &&AddressMessage| {
        let is = |one: &AddressAttribute| matches!(one, AddressAttribute::Flags(f) if f.contains(AddressFlags::Dadfailed));
        message.attributes.iter().any(is)
    };
    let found = all.iter().filter(has_failed).filter_map(|message| {
        let address = message.attributes.iter().find_map(|one| match one {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        Some((names.get(&message.header.index)?.clone(), address?))
    });
    Ok(found.collect())
}

fn is_on(key: &str) -> Option<bool> {
    sysctl::exists(key).then(|| sysctl::read(key).is_ok_and(|value| value == "1"))
}

async fn default_routes(netlink: &Netlink, names: &BTreeMap<u32, String>) -> Result<Vec<DefaultRoute>> {
    let failed = |e| Error::Netlink { action: "listing routes", source: cause(e) };
    let mut routes = Vec::new();
    for question in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let all: Vec<RouteMessage> =
            netlink.handle.route().get(question).execute().try_collect().await.map_err(failed)?;
        routes.extend(all.iter().filter_map(|route| default_route(route, names)));
    }
    Ok(routes)
}

fn default_route(route: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<DefaultRoute> {
    let is_main = route.header.table == libc::RT_TABLE_MAIN;
    if !is_main || route.header.destination_prefix_length != 0 {
        return None;
    }
    let (mut device, mut gateway) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => device = names.get(index).cloned(),
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => gateway = Some((*v4).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => gateway = Some((*v6).into()),
            _ => {}
        }
    }
    Some(DefaultRoute { is_v4: route.header.address_family == AddressFamily::Inet, device: device?, gateway })
}

fn firewall() -> Firewall {
    let nft = run("nft", &["-j", "list", "ruleset"]);
    let nft = nft.and_then(|text| serde_json::from_str(&text).ok());
    let families =
        [("ip_tables_names", "iptables-legacy-save"), ("ip6_tables_names", "ip6tables-legacy-save")];
    let in_use = families.into_iter().filter(|(names, _)| {
        let names = std::fs::read_to_string(format!("/proc/thread-self/net/{names}"));
        names.is_ok_and(|names| !names.trim().is_empty())
    });
    Firewall { nft, legacy: in_use.filter_map(|(_, save)| run(save, &[])).collect() }
}

/// What a program of the host's prints; none where it is missing or fails.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
