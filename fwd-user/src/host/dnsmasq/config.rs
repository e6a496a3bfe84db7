//! The files that a server reads. Pure.

use std::{fmt::Write as _, net::IpAddr, path::Path};

use super::{Dns, Range, Service};

/// How long a lease lasts.
const LEASE: &str = "1h";
/// Between router advertisements.
const ADVERTISEMENT_SECS: u32 = 60;
/// Room for leases, more than a network has ports.
const MOST_LEASES: u32 = 16_384;

/// The files' texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// A change needs a new process.
    pub config: String,
    /// Read again at SIGHUP.
    pub hosts: String,
    /// Likewise.
    pub bindings: String,
}

/// Where a server runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub folder: &'a Path,
    /// The host's end of the network's veth. With its number: a server holds on to an interface, and one of
    /// the same name is another.
    pub device: (&'a str, u32),
    pub user: &'a str,
}

/// Names of the files in a network's folder.
pub(super) mod file {
    pub const CONFIG: &str = "dnsmasq.conf";
    pub const HOSTS: &str = "hosts";
    pub const BINDINGS: &str = "bindings";
    pub const LEASES: &str = "leases";
    pub const PID: &str = "dnsmasq.pid";
}

/// The texts for a service.
pub(super) fn files(service: &Service, place: Place<'_>) -> Files {
    Files { config: config(service, place), hosts: hosts(service), bindings: bindings(service) }
}

fn config(service: &Service, place: Place<'_>) -> String {
    let Service { network, mtu, .. } = service;
    let (device, ifindex) = place.device;
    let home = service.namespace.as_deref().unwrap_or("the host's own");
    let at = |name: &str| place.folder.join(name).display().to_string();
    let mut lines = vec![
        format!("# Written by fwd for network {network}; changes are lost."),
        format!("# Interface {ifindex}, namespace {home}."),
        format!("interface={device}"),
        "except-interface=lo".to_owned(),
        "bind-dynamic".to_owned(),
        format!("user={}", place.user),
        format!("pid-file={}", at(file::PID)),
        "no-hosts".to_owned(),
    ];
    lines.extend(dns(service, &at(file::HOSTS)));
    if !service.ranges.is_empty() {
        lines.extend([
            "dhcp-authoritative".to_owned(),
            // One guest, one lease: neither a client id of its choice nor a name gets it more.
            "dhcp-ignore-clid".to_owned(),
            "dhcp-ignore-names".to_owned(),
            // Who has an address is known without asking around.
            "no-ping".to_owned(),
            format!("dhcp-lease-max={MOST_LEASES}"),
            format!("dhcp-leasefile={}", at(file::LEASES)),
            format!("dhcp-hostsfile={}", at(file::BINDINGS)),
            format!("dhcp-option=option:mtu,{mtu}"),
        ]);
        if !service.is_router {
            lines.push("dhcp-option=option:router".to_owned());
        }
        lines.extend(ntp(service));
        lines.extend(service.ranges.iter().enumerate().flat_map(|(n, range)| dhcp_range(service, n, range)));
    }
    if service.ranges.iter().any(|range| range.subnet.addr().is_ipv6()) {
        let lifetime = if service.is_router { "" } else { ",0" };
        lines.push("enable-ra".to_owned());
        lines.push(format!("ra-param={device},mtu:{mtu},{ADVERTISEMENT_SECS}{lifetime}"));
    }
    lines.join("\n") + "\n"
}

fn dns(service: &Service, hosts: &str) -> Vec<String> {
    if service.dns == Dns::Off {
        return vec!["port=0".to_owned()];
    }
    let network = &service.network;
    let mut lines = vec![
        format!("addn-hosts={hosts}"),
        format!("domain={network}"),
        format!("local=/{network}/"),
        "domain-needed".to_owned(),
        "bogus-priv".to_owned(),
    ];
    if service.dns == Dns::Inside {
        lines.push("no-resolv".to_owned());
    }
    lines
}

/// In DHCP's option 42 and DHCPv6's option 56.
fn ntp(service: &Service) -> impl Iterator<Item = String> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = service.ntp.iter().partition(|addr| addr.is_ipv4());
    let v4: String = v4.iter().map(|addr| format!(",{addr}")).collect();
    let v6: String = v6.iter().map(|addr| format!(",[{addr}]")).collect();
    [("option", v4), ("option6", v6)]
        .into_iter()
        .filter(|(_, servers)| !servers.is_empty())
        .map(|(option, servers)| format!("dhcp-option={option}:ntp-server{servers}"))
}

fn dhcp_range(service: &Service, n: usize, served: &Range) -> Vec<String> {
    let Range { subnet, range, gateway, has_slaac } = served;
    let ends = format!("{},{}", range.first, range.last);
    let bits = subnet.prefix_len();
    if subnet.addr().is_ipv4() {
        let mut lines = vec![format!("dhcp-range=set:s{n},{ends},{},{LEASE}", subnet.netmask())];
        if service.is_router {
            lines.push(format!("dhcp-option=tag:s{n},option:router,{gateway}"));
        }
        return lines;
    }
    let slaac = if *has_slaac { "slaac," } else { "" };
    vec![format!("dhcp-range={ends},{slaac}{bits},{LEASE}")]
}

/// hosts(5): each port's addresses, by its name alone and within its network.
fn hosts(service: &Service) -> String {
    let mut out = String::new();
    for guest in &service.guests {
        for addr in &guest.addresses {
            _ = writeln!(out, "{addr} {name} {name}.{}", service.network, name = guest.name);
        }
    }
    out
}

/// The values of `dhcp-host`, one a line: MAC, addresses, name. A name alone would bind the guest to what the
/// name stands for, which is the address that it happens to have.
fn bindings(service: &Service) -> String {
    let mut out = String::new();
    for guest in service.guests.iter().filter(|guest| !guest.bindings.is_empty()) {
        let Some(mac) = guest.mac else { continue };
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = guest.bindings.iter().partition(|addr| addr.is_ipv4());
        let v6: String = v6.iter().map(|addr| format!(",[{addr}]")).collect();
        let v4: Vec<_> = v4.iter().map(|addr| format!(",{addr}")).collect();
        // A line has room for one IPv4 address; the one whose subnet is asked for is used.
        let first = v4.first().map_or("", String::as_str);
        _ = writeln!(out, "{mac}{first}{v6},{}", guest.name);
        for more in v4.iter().skip(1) {
            _ = writeln!(out, "{mac}{more},{}", guest.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use fwd_common::addr::Mac;

    use super::{super::Guest, *};

    fn service() -> Service {
        let range = |subnet: &str, range: &str, gateway: &str| Range {
            subnet: subnet.parse().expect("a subnet"),
            range: range.parse().expect("a range"),
            gateway: gateway.parse().expect("an address"),
            has_slaac: true,
        };
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
        let guest = |name: &str, last: u8, texts: &[&str]| Guest {
            name: name.to_owned(),
            mac: Some(Mac([0x52, 0x54, 0, 0, 0, last])),
            bindings: addresses(texts),
            addresses: addresses(texts),
        };
        Service {
            network: "vmnat".to_owned(),
            namespace: None,
            ranges: vec![
                range("10.10.0.0/24", "10.10.0.100-10.10.0.200", "10.10.0.1"),
                range("fd00:10::/64", "fd00:10::1000-fd00:10::ffff", "fd00:10::1"),
            ],
            mtu: 1400,
            ntp: Vec::new(),
            is_router: true,
            dns: Dns::InsideAndOutside,
            guests: vec![
                guest("web1", 0x11, &["10.10.0.11", "10.11.0.11", "fd00:10::11"]),
                guest("late", 0x12, &[]),
                Guest { mac: None, ..guest("unseen", 0, &[]) },
            ],
        }
    }

    fn check(service: &Service, expected: Expect) {
        let place = Place { folder: Path::new("/state/vmnat"), device: ("fwd-vmnat", 7), user: "dnsmasq" };
        let Files { config, hosts, bindings } = files(service, place);
        expected.assert_eq(&format!("{config}--- hosts\n{hosts}--- bindings\n{bindings}"));
    }

    #[test]
    fn a_nat_network_is_served_whole() {
        let ntp = ["10.10.0.1", "fd00:10::123", "192.0.2.123"];
        let ntp = ntp.map(|text| text.parse().expect("an address")).to_vec();
        check(
            &Service { ntp, ..service() },
            expect![[r#"
                # Written by fwd for network vmnat; changes are lost.
                # Interface 7, namespace the host's own.
                interface=fwd-vmnat
                except-interface=lo
                bind-dynamic
                user=dnsmasq
                pid-file=/state/vmnat/dnsmasq.pid
                no-hosts
                addn-hosts=/state/vmnat/hosts
                domain=vmnat
                local=/vmnat/
                domain-needed
                bogus-priv
                dhcp-authoritative
                dhcp-ignore-clid
                dhcp-ignore-names
                no-ping
                dhcp-lease-max=16384
                dhcp-leasefile=/state/vmnat/leases
                dhcp-hostsfile=/state/vmnat/bindings
                dhcp-option=option:mtu,1400
                dhcp-option=option:ntp-server,10.10.0.1,192.0.2.123
                dhcp-option=option6:ntp-server,[fd00:10::123]
                dhcp-range=set:s0,10.10.0.100,10.10.0.200,255.255.255.0,1h
                dhcp-option=tag:s0,option:router,10.10.0.1
                dhcp-range=fd00:10::1000,fd00:10::ffff,slaac,64,1h
                enable-ra
                ra-param=fwd-vmnat,mtu:1400,60
                --- hosts
                10.10.0.11 web1 web1.vmnat
                10.11.0.11 web1 web1.vmnat
                fd00:10::11 web1 web1.vmnat
                --- bindings
                52:54:00:00:00:11,10.10.0.11,[fd00:10::11],web1
                52:54:00:00:00:11,10.11.0.11,web1
            "#]],
        );
    }

    #[test]
    fn a_network_without_a_way_outside_gives_no_router_and_no_names_outside() {
        let mut service = service();
        (service.is_router, service.dns) = (false, Dns::Inside);
        service.ranges[1].has_slaac = false;
        check(
            &service,
            expect![[r#"
            # Written by fwd for network vmnat; changes are lost.
            # Interface 7, namespace the host's own.
            interface=fwd-vmnat
            except-interface=lo
            bind-dynamic
            user=dnsmasq
            pid-file=/state/vmnat/dnsmasq.pid
            no-hosts
            addn-hosts=/state/vmnat/hosts
            domain=vmnat
            local=/vmnat/
            domain-needed
            bogus-priv
            no-resolv
            dhcp-authoritative
            dhcp-ignore-clid
            dhcp-ignore-names
            no-ping
            dhcp-lease-max=16384
            dhcp-leasefile=/state/vmnat/leases
            dhcp-hostsfile=/state/vmnat/bindings
            dhcp-option=option:mtu,1400
            dhcp-option=option:router
            dhcp-range=set:s0,10.10.0.100,10.10.0.200,255.255.255.0,1h
            dhcp-range=fd00:10::1000,fd00:10::ffff,64,1h
            enable-ra
            ra-param=fwd-vmnat,mtu:1400,60,0
            --- hosts
            10.10.0.11 web1 web1.vmnat
            10.11.0.11 web1 web1.vmnat
            fd00:10::11 web1 web1.vmnat
            --- bindings
            52:54:00:00:00:11,10.10.0.11,[fd00:10::11],web1
            52:54:00:00:00:11,10.11.0.11,web1
        "#]],
        );
    }

    #[test]
    fn dhcp_and_dns_go_without_each_other() {
        let mut service = service();
        service.guests.clear();
        service.dns = Dns::Off;
        service.ranges.pop();
        check(
            &service,
            expect![[r#"
            # Written by fwd for network vmnat; changes are lost.
            # Interface 7, namespace the host's own.
            interface=fwd-vmnat
            except-interface=lo
            bind-dynamic
            user=dnsmasq
            pid-file=/state/vmnat/dnsmasq.pid
            no-hosts
            port=0
            dhcp-authoritative
            dhcp-ignore-clid
            dhcp-ignore-names
            no-ping
            dhcp-lease-max=16384
            dhcp-leasefile=/state/vmnat/leases
            dhcp-hostsfile=/state/vmnat/bindings
            dhcp-option=option:mtu,1400
            dhcp-range=set:s0,10.10.0.100,10.10.0.200,255.255.255.0,1h
            dhcp-option=tag:s0,option:router,10.10.0.1
            --- hosts
            --- bindings
        "#]],
        );
        service.ranges.clear();
        service.dns = Dns::InsideAndOutside;
        check(
            &service,
            expect![[r#"
            # Written by fwd for network vmnat; changes are lost.
            # Interface 7, namespace the host's own.
            interface=fwd-vmnat
            except-interface=lo
            bind-dynamic
            user=dnsmasq
            pid-file=/state/vmnat/dnsmasq.pid
            no-hosts
            addn-hosts=/state/vmnat/hosts
            domain=vmnat
            local=/vmnat/
            domain-needed
            bogus-priv
            --- hosts
            --- bindings
        "#]],
        );
    }
}
