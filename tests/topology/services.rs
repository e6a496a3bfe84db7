//! DHCP, router advertisements and DNS of a network: a real dnsmasq, and guests that ask it.

use std::net::IpAddr;
use std::path::PathBuf;

use fwd_tests::frame::Packet;
use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::traffic::{http_get, http_whoami, lease, lease6, ping, resolve};
use fwd_tests::wire::{Link, Wire};
use fwd_tests::{need, on_both_hooks, skip};

on_both_hooks!(
    a_guest_gets_its_address_and_its_forward_becomes_live,
    a_port_with_addresses_is_given_these,
    guests_make_ipv6_addresses_from_advertisements,
    a_guest_gets_an_ipv6_address_by_dhcp,
    doubles_of_private_networks_are_served_apart,
    an_isolated_network_is_served_from_a_namespace,
);

const MAC: &str = "52:54:00:00:04:01";

fn served(hook: Hook, options: &str) -> Lab {
    let lab = Lab::empty(hook);
    lab.ok(&format!("uplink add eth0 --hook {}", hook.name()));
    lab.ok(&format!("network add served --subnet 10.40.0.0/24 --subnet fd00:40::/64 {options}"));
    lab
}

/// A guest without addresses, and its port.
fn guest(lab: &Lab, name: &str, network: &str, options: &str) -> Netns {
    let netns = Netns::new(name);
    lab.host.veth(name, &netns, "eth0");
    if lab.hook == Hook::Xdp {
        netns.receive_from_xdp("eth0");
        netns.send_to_xdp("eth0");
    }
    let hook = lab.hook.name();
    lab.ok(&format!("port add {name} --device {name} --network {network} --hook {hook} {options}"));
    netns
}

fn a_guest_gets_its_address_and_its_forward_becomes_live(hook: Hook) {
    need!(skip::dnsmasq());
    let lab = served(
        hook,
        "--mode nat --uplink eth0 --dhcp 10.40.0.100-10.40.0.120 --mtu 1400 --ntp 192.0.2.123 --ntp fd00:40::123",
    );
    let web = guest(&lab, "web1", "served", "");
    lab.ok(&format!("forward add tcp {HOST_V4}:8080 web1:80"));
    assert_eq!(lab.json("forward show web1-tcp-8080")["state"], "pending");
    let leased = lease(&web, "eth0").expect("the network serves DHCP");
    let addr = leased.get("ip").expect("an address").to_owned();
    assert!(addr.starts_with("10.40.0.1"), "{leased:?}");
    for (name, value) in [
        ("router", "10.40.0.1"),
        ("dns", "10.40.0.1"),
        ("mtu", "1400"),
        ("domain", "served"),
        ("ntpsrv", "192.0.2.123"),
    ] {
        assert_eq!(leased.get(name), Some(value), "{leased:?}");
    }

    assert!(eventually(|| lab.json("forward show web1-tcp-8080")["state"] == "ready"));
    let _service = http_whoami(&web, &format!("{addr}:80"));
    let page = http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("the forward follows the lease");
    assert!(page.starts_with(&format!("{OUTSIDE_V4}:")), "{page}");
    let leases = lab.items("network leases served");
    assert_eq!(leases.len(), 1, "{leases:#?}");
    assert_eq!((&leases[0]["port"], &leases[0]["address"]), (&"web1".into(), &addr.as_str().into()));
    assert_eq!(lab.json("port show web1")["ips"][0], addr);
    lab.fwd("network leases nothing").fails(3);
    lab.ok("network set served --ntp");
    assert_eq!(lease(&web, "eth0").expect("a lease").get("ntpsrv"), None);

    let server = "10.40.0.1:53";
    let own: IpAddr = addr.parse().expect("an address");
    assert!(eventually(|| resolve(&web, server, "web1").is_ok_and(|found| found == [own])));
    assert_eq!(resolve(&web, server, "web1.served").expect("an answer"), [own]);
    assert_eq!(resolve(&web, server, "nobody.served").expect("an answer"), [] as [IpAddr; 0]);

    // Addresses come from leases: another one is a lie.
    web.address("eth0", "10.40.0.77/24");
    let lie =
        Packet::udp("10.40.0.77:9", "10.40.0.1:9").macs(web.mac_of("eth0"), lab.host.mac_of("fwd-served"));
    Wire::open(&web, "eth0").send(&lie.frame());
    let by_web1 = |row: &serde_json::Value| row["port"] == "web1";
    assert!(eventually(|| lab.drops("source_address_spoofed", by_web1) > 0));
}

fn a_port_with_addresses_is_given_these(hook: Hook) {
    need!(skip::dnsmasq());
    let lab = served(hook, "--mode host");
    let vm = guest(&lab, "db1", "served", &format!("--mac {MAC} --ip 10.40.0.33 --ip fd00:40::33"));
    vm.set_mac("eth0", MAC);
    let leased = lease(&vm, "eth0").expect("the network serves DHCP");
    assert_eq!((leased.get("ip"), leased.get("hostname")), (Some("10.40.0.33"), Some("db1")), "{leased:?}");
    assert_eq!(leased.get("router"), None, "a host-only network is no way outside");
    let found = resolve(&vm, "10.40.0.1:53", "db1.served").expect("an answer");
    assert_eq!(found, ["10.40.0.33", "fd00:40::33"].map(|text| text.parse::<IpAddr>().expect("an address")));
    ping(&vm, "10.40.0.1").expect("the address is the port's");
}

fn guests_make_ipv6_addresses_from_advertisements(hook: Hook) {
    need!(skip::dnsmasq());
    let lab = served(hook, "--mode nat --uplink eth0");
    let vm = guest(&lab, "web1", "served", "");
    vm.run("ip link set eth0 down");
    vm.sysctl("net.ipv6.conf.eth0.router_solicitations", "5");
    vm.sysctl("net.ipv6.conf.eth0.router_solicitation_delay", "0");
    vm.up("eth0");
    let is_set = |text: String| text.contains("fd00:40::") && !text.contains("tentative");
    assert!(eventually(|| is_set(vm.run("ip -6 addr show dev eth0"))));
    ping(&vm, "fd00:40::1").expect("the address is learnt");
    let knows = || lab.ok("port show web1 -o json").contains("\"fd00:40::");
    assert!(eventually(knows), "{}", lab.ok("port show web1"));
    assert!(vm.run("ip -6 route show default").contains("proto ra"));
}

fn a_guest_gets_an_ipv6_address_by_dhcp(hook: Hook) {
    need!(skip::dhclient());
    let lab = served(hook, "--mode nat --uplink eth0 --dhcp fd00:40::1000-fd00:40::10ff");
    let web = guest(&lab, "web1", "served", "");
    let db = guest(&lab, "db1", "served", &format!("--mac {MAC} --ip fd00:40::33"));
    db.set_mac("eth0", MAC);
    for vm in [&web, &db] {
        // What they have is DHCP's alone.
        vm.sysctl("net.ipv6.conf.eth0.autoconf", "0");
    }
    let addresses = [&web, &db].map(|vm| {
        let leased = lease6(vm, "eth0").expect("the network serves DHCPv6");
        assert_eq!(leased.get("new_dhcp6_name_servers"), Some("fd00:40::1"), "{leased:?}");
        leased.get("new_ip6_address").expect("an address").to_owned()
    });
    assert!(addresses[0].starts_with("fd00:40::10"), "{addresses:?}");
    assert_eq!(addresses[1], "fd00:40::33");
    ping(&web, "fd00:40::1").expect("the address is the port's");
    ping(&web, "fd00:40::33").expect("and so is its neighbor's");
    let leases = || lab.items("network leases served");
    let is_there = |row: &serde_json::Value| row["address"] == addresses[0].as_str() && row["port"] == "web1";
    assert!(eventually(|| leases().iter().any(is_there)), "{:#?}", leases());
    let own: IpAddr = addresses[0].parse().expect("an address");
    assert!(eventually(|| resolve(&db, "[fd00:40::1]:53", "web1.served").is_ok_and(|found| found == [own])));
}

fn doubles_of_private_networks_are_served_apart(hook: Hook) {
    need!(skip::dnsmasq());
    let lab = served(hook, "--mode nat --uplink eth0");
    lab.ok("network add double --mode nat --uplink eth0 --private --subnet 10.40.0.0/24");
    let (one, two) = (guest(&lab, "one", "served", ""), guest(&lab, "two", "double", ""));
    for (vm, network, name) in [(&one, "served", "one"), (&two, "double", "two")] {
        let leased = lease(vm, "eth0").expect("the network serves DHCP");
        let addr: IpAddr = leased.get("ip").expect("an address").parse().expect("an address");
        assert!(eventually(|| lab.items(&format!("network leases {network}")).len() == 1), "{network}");
        let found = || resolve(vm, "10.40.0.1:53", name).is_ok_and(|found| found == [addr]);
        assert!(eventually(found), "{name}");
    }
    assert_eq!(resolve(&two, "10.40.0.1:53", "one").expect("an answer"), [] as [IpAddr; 0]);
}

fn an_isolated_network_is_served_from_a_namespace(hook: Hook) {
    need!(skip::dnsmasq());
    let lab = served(hook, "--mode isolated --dhcp 10.40.0.50-10.40.0.60");
    let (one, two) = (guest(&lab, "one", "served", ""), guest(&lab, "two", "served", ""));
    let addresses = [&one, &two].map(|vm| {
        let leased = lease(vm, "eth0").expect("the network serves DHCP");
        assert_eq!(leased.get("router"), None);
        leased.get("ip").expect("an address").to_owned()
    });
    ping(&one, &addresses[1]).expect("VMs reach each other");
    one.default_route("10.40.0.1");
    assert!(ping(&one, HOST_V4).is_err() && ping(&one, OUTSIDE_V4).is_err(), "and nobody else");
    assert!(lab.host.try_run("ip -4 route get 10.40.0.1").is_ok_and(|way| !way.contains("fwd-")));
}

/// The process id of a network's server, if one runs.
fn server(lab: &Lab, network: &str) -> Option<u32> {
    let folder = lab.fwd.state_dir().join("services").join(network);
    let pid = std::fs::read_to_string(folder.join("dnsmasq.pid")).ok()?.trim().parse().ok()?;
    let line = std::fs::read(PathBuf::from(format!("/proc/{pid}/cmdline"))).ok()?;
    String::from_utf8_lossy(&line).contains(folder.to_str()?).then_some(pid)
}

#[test]
fn a_server_outlives_the_daemon_and_is_adopted_and_its_end_is_mended() {
    need!(skip::bpf());
    need!(skip::dnsmasq());
    let mut lab = served(Hook::Tcx, "--mode nat --uplink eth0");
    let vm = guest(&lab, "web1", "served", "");
    let addr = lease(&vm, "eth0").expect("a lease").get("ip").expect("an address").to_owned();
    let first = server(&lab, "served").expect("a server runs");
    lab.fwd.kill();
    lease(&vm, "eth0").expect("it serves on without the daemon");
    lab.start();
    assert_eq!(server(&lab, "served"), Some(first), "the same process");
    assert_eq!(lab.json("port show web1")["ips"][0], addr);
    ping(&vm, "10.40.0.1").expect("its lease holds");

    lab.ok("network set served --dhcp 10.40.0.200-10.40.0.210");
    let second = server(&lab, "served").expect("a server runs");
    assert_ne!(second, first, "another configuration is another process");
    vm.run("ip addr flush dev eth0 scope global");
    let moved = lease(&vm, "eth0").expect("the new range is served");
    assert!(moved.get("ip").is_some_and(|ip| ip.starts_with("10.40.0.2")), "{moved:?}");
    let pid = nix::unistd::Pid::from_raw(second.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the process is there");
    assert!(eventually(|| server(&lab, "served").is_some_and(|pid| pid != second)), "it is started again");

    lab.ok("port delete web1");
    lab.ok("network delete served");
    assert_eq!(server(&lab, "served"), None);
    lab.ok("network add served --mode nat --subnet 10.40.0.0/24");
    assert!(server(&lab, "served").is_some());
    lab.host.run("ip link del web1");
    let left = lab.down().expect("fwd goes down");
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(server(&lab, "served"), None, "`fwd down` ends it");
}
