//! The host's interfaces: seen, followed, made for networks, and given back.

use std::{
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use fwd_common::{addr::Mac, nat::L4Range};
use fwd_tests::{
    frame::Packet,
    lab::{Instance, eventually},
    link::VnetHeader,
    need,
    netns::Netns,
    skip,
    wire::{Link, Wire},
};
use fwd_user::host::{
    Change, Changes, Device, DeviceKind, Error, Follower, Host, HostPort, Journal, Uplink, Wanted,
    datapath_end, host_end,
};

/// Runs a task with the host that a namespace is.
fn within<T: Send, F: Future<Output = T>>(
    netns: &Netns,
    state: &Path,
    task: impl FnOnce(Host, Follower) -> F + Send,
) -> T {
    netns.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(async {
            let (host, news) = Host::open(state).unwrap_or_else(|error| panic!("{error}"));
            task(host, news.follower).await
        })
    })
}

fn device(netns: &Netns, name: &str) -> Device {
    let nowhere = Path::new("/nonexistent");
    let inventory = within(netns, nowhere, |mut host, _| async move { host.inventory(&[]).await });
    let mut devices = inventory.unwrap_or_else(|error| panic!("{error}")).devices;
    devices.remove(name).unwrap_or_else(|| panic!("{name} is not in {devices:?}"))
}

#[test]
fn interfaces_are_seen_as_they_are() {
    need!(skip::root());
    let (netns, peer) = (Netns::new("host"), Netns::new("peer"));
    netns.veth("veth0", &peer, "eth0");
    netns.tap("tap0", VnetHeader::Off);
    netns.tap("tap1", VnetHeader::On);
    netns.bridge("br0");
    netns.enslave("tap1", "br0");
    netns.address("veth0", "10.0.0.1/24");
    netns.address("veth0", "fd00::1/64");
    netns.set_mac("veth0", "02:00:00:00:00:07");
    netns.run("ip link set veth0 mtu 1400");

    let veth = device(&netns, "veth0");
    assert_eq!(veth.kind, DeviceKind::Veth);
    assert_eq!((veth.ifindex, veth.mtu, veth.is_up), (netns.ifindex("veth0"), 1400, true));
    assert_eq!(veth.mac, Mac([2, 0, 0, 0, 0, 7]));
    let addresses: Vec<String> = veth.addresses.iter().map(ToString::to_string).collect();
    assert!(addresses.contains(&"10.0.0.1/24".to_owned()), "{addresses:?}");
    assert!(addresses.contains(&"fd00::1/64".to_owned()), "{addresses:?}");
    assert_eq!(device(&netns, "tap0").kind, DeviceKind::Tap { vnet_header: false });
    let tap1 = device(&netns, "tap1");
    assert_eq!(tap1.kind, DeviceKind::Tap { vnet_header: true });
    assert_eq!(tap1.master.as_deref(), Some("br0"));
    assert_eq!(device(&netns, "br0").kind, DeviceKind::Bridge { vlan_filtering: false });
    assert_eq!(device(&netns, "lo").kind, DeviceKind::Other("loopback".to_owned()));
}

#[test]
fn changes_are_told_by_what_they_concern() {
    need!(skip::root());
    let (netns, peer) = (Netns::new("host"), Netns::new("peer"));
    netns.veth("veth0", &peer, "eth0");
    netns.address("veth0", "10.0.0.1/24");
    let ifindex = netns.ifindex("veth0");
    within(&netns, Path::new("/nonexistent"), |_, mut follower| async move {
        let mut told = async |line: &str| {
            // What is still on its way belongs to the step before.
            while tokio::time::timeout(Duration::from_millis(50), follower.next()).await.is_ok() {}
            let mut words = line.split(' ');
            let status = std::process::Command::new(words.next().expect("a command")).args(words).status();
            assert!(status.expect("ip runs").success(), "{line}");
            tokio::time::timeout(Duration::from_secs(2), follower.next()).await.ok().flatten()
        };
        let devices = Some(Changes { devices: true, ..Changes::default() });
        assert_eq!(told("ip tuntap add dev tap0 mode tap").await, devices);
        assert_eq!(told("ip link del tap0").await, devices);
        let route = told("ip route add 192.0.2.0/24 via 10.0.0.9").await;
        assert_eq!(route, Some(Changes { routes: true, ..Changes::default() }));
        let neighbor = |verb| format!("ip neigh {verb} 10.0.0.9 lladdr 02:00:00:00:00:0{verb} dev veth0");
        let first = neighbor("replace").replace("0replace", "01");
        let second = neighbor("replace").replace("0replace", "02");
        assert_eq!(told(&first).await, None, "a next hop that was found concerns no flow");
        let moved = told(&second).await.expect("its MAC changed");
        assert_eq!(moved.neighbors.into_iter().collect::<Vec<_>>(), [ifindex]);
    });
}

fn host_port(network: &str) -> HostPort {
    HostPort {
        network: network.to_owned(),
        mac: Mac([2, 0xf, 0, 0, 0, 1]),
        mtu: 1500,
        gateways: ["10.10.0.1/24", "fd00:10::1/64"].map(|text| text.parse().expect("a network")).to_vec(),
        namespace: None,
    }
}

fn prepare(netns: &Netns, state: &Path, wanted: &Wanted) -> Result<(), Error> {
    within(netns, state, |mut host, _| async move { host.prepare(wanted).await })
}

#[track_caller]
fn ensure(netns: &Netns, state: &Path, host_port: &HostPort) {
    let wanted = Wanted { host_ports: vec![host_port.clone()], ..Wanted::default() };
    prepare(netns, state, &wanted).unwrap_or_else(|error| panic!("{error}"));
}

#[track_caller]
fn give_back(netns: &Netns, state: &Path) {
    let errors = within(netns, state, |mut host, _| async move { host.restore().await });
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!state.join("host-changes.jsonl").exists(), "nothing is noted any more");
}

/// What `fwd down` must leave as it was.
fn view(netns: &Netns) -> String {
    let names = netns.run("ip -o link show");
    let sysctls = netns.run("sysctl -a --pattern net.ipv[46].(conf.(all|default|eth0)|ip_forward|ip_local)");
    let routes = netns.run("ip -6 route show default");
    format!("{names}{sysctls}{routes}")
}

#[test]
fn a_host_port_answers_at_once_and_goes_without_a_trace() {
    need!(skip::root());
    let netns = Netns::new("host");
    let state = Instance::new();
    let folder = state.folder().to_owned();
    let before = view(&netns);
    ensure(&netns, &folder, &host_port("vmnat"));

    let (far, near) = (device(&netns, "fwd-vmnat"), device(&netns, "fwp-vmnat"));
    assert_eq!(far.mac, Mac([2, 0xf, 0, 0, 0, 1]));
    let addresses: Vec<String> = far.addresses.iter().map(ToString::to_string).collect();
    assert!(
        addresses.contains(&"10.10.0.1/24".to_owned()) && addresses.contains(&"fd00:10::1/64".to_owned())
    );
    assert!(!netns.run("ip -6 address show dev fwd-vmnat").contains("tentative"));
    assert!(near.is_up && near.addresses.is_empty(), "{:?}", near.addresses);
    assert_eq!(netns.read_sysctl("net.ipv4.conf.fwp-vmnat.forwarding"), "1");
    assert_eq!(netns.read_sysctl("net.ipv6.conf.fwp-vmnat.forwarding"), "1");
    assert_eq!(netns.read_sysctl("net.ipv4.conf.fwd-vmnat.forwarding"), "0");
    assert_eq!(netns.read_sysctl("net.ipv6.conf.fwd-vmnat.forwarding"), "0");
    assert_eq!(netns.read_sysctl("net.ipv6.conf.default.forwarding"), "0");

    // Again, with another address and MTU: changed in place.
    let mut other = host_port("vmnat");
    other.gateways = vec!["10.10.0.254/24".parse().expect("a network")];
    other.mtu = 1400;
    ensure(&netns, &folder, &other);
    let changed = device(&netns, "fwd-vmnat");
    assert_eq!((changed.ifindex, changed.mtu), (far.ifindex, 1400));
    let text = netns.run("ip -4 -o address show dev fwd-vmnat");
    assert!(text.contains("10.10.0.254/24") && !text.contains("10.10.0.1/24"), "{text}");

    give_back(&netns, &folder);
    assert_eq!(view(&netns), before);
}

#[test]
fn a_default_route_learnt_from_a_router_survives_host_ports() {
    need!(skip::root());
    let (netns, router) = (Netns::new("host"), Netns::new("router"));
    netns.sysctl("net.ipv6.conf.default.accept_ra", "1");
    netns.veth("eth0", &router, "eth0");
    netns.veth("other", &router, "other");
    let mac = router.mac_of("eth0");
    Wire::open(&router, "eth0").send(&Packet::router_advertisement(mac, "fe80::1", &[]).frame());
    let learnt = || netns.run("ip -6 route show default").contains("fe80::1");
    assert!(eventually(learnt), "the advertisement was not taken");
    let state = Instance::new();
    ensure(&netns, state.folder(), &host_port("vmnat"));
    assert_eq!(netns.read_sysctl("net.ipv6.conf.fwp-vmnat.forwarding"), "1");
    assert!(learnt());
    // What the host port must not do, and this test would see.
    netns.sysctl("net.ipv6.conf.other.forwarding", "1");
    assert!(!learnt());
}

#[test]
fn a_private_network_lives_in_a_namespace_of_its_own() {
    need!(skip::root());
    let netns = Netns::new("host");
    let state = Instance::new();
    let folder = state.folder().to_owned();
    let name = format!("fwd-test{}-blue", std::process::id());
    let wanted = HostPort { namespace: Some(name.clone()), ..host_port("blue") };
    ensure(&netns, &folder, &wanted);
    ensure(&netns, &folder, &wanted);
    assert!(netns.try_run(&format!("ip link show {}", host_end("blue"))).is_err());
    assert!(device(&netns, &datapath_end("blue")).is_up);
    let inside = netns.run(&format!("ip -n {name} address show"));
    assert!(inside.contains("10.10.0.1/24") && inside.contains("fd00:10::1/64"), "{inside}");
    give_back(&netns, &folder);
    assert!(!PathBuf::from("/run/netns").join(&name).exists());
    assert!(netns.try_run(&format!("ip link show {}", datapath_end("blue"))).is_err());
}

#[test]
fn an_interface_of_somebody_else_is_not_taken() {
    need!(skip::root());
    let netns = Netns::new("host");
    netns.run("ip link add fwp-vmnat type veth peer name other");
    netns.run("ip link set fwp-vmnat alias mine");
    let state = Instance::new();
    let folder = state.folder().to_owned();
    let wanted = Wanted { host_ports: vec![host_port("vmnat")], ..Wanted::default() };
    let made = prepare(&netns, &folder, &wanted);
    let text = made.expect_err("it is in the way").to_string();
    assert!(text.starts_with("Device fwp-vmnat: it is not fwd's own"), "{text}");
    assert_eq!(device(&netns, "fwp-vmnat").ifindex, netns.ifindex("fwp-vmnat"));
}

#[test]
fn what_a_dead_daemon_noted_is_restored() {
    need!(skip::root());
    let netns = Netns::new("host");
    let state = Instance::new();
    let folder = state.folder().to_owned();
    let key = "net/ipv6/conf/default/forwarding".to_owned();
    netns.inside(|| {
        let mut journal = Journal::open(&folder).expect("there is none yet");
        journal.note(Change::Sysctl { key, was: "0".to_owned() }).expect("the directory is there");
    });
    netns.sysctl("net.ipv6.conf.default.forwarding", "1");
    give_back(&netns, &folder);
    assert_eq!(netns.read_sysctl("net.ipv6.conf.default.forwarding"), "0");
}

#[test]
fn what_no_network_needs_any_more_is_removed() {
    need!(skip::root());
    let netns = Netns::new("host");
    let state = Instance::new();
    let name = format!("fwd-test{}-gone", std::process::id());
    let private = HostPort { namespace: Some(name.clone()), ..host_port("gone") };
    let both = Wanted { host_ports: vec![private, host_port("stays")], ..Wanted::default() };
    prepare(&netns, state.folder(), &both).unwrap_or_else(|error| panic!("{error}"));
    let ifindex = netns.ifindex("fwp-stays");
    ensure(&netns, state.folder(), &host_port("stays"));
    assert_eq!(netns.ifindex("fwp-stays"), ifindex);
    assert!(netns.try_run("ip link show fwp-gone").is_err());
    assert!(!PathBuf::from("/run/netns").join(&name).exists());
}

#[test]
fn nat_l4_ports_are_reserved_beside_those_of_others() {
    need!(skip::root());
    let netns = Netns::new("host");
    let state = Instance::new();
    let reserved = || netns.read_sysctl("net.ipv4.ip_local_reserved_ports");
    let want = |low, high| {
        let wanted = Wanted { nat_l4_ports: vec![L4Range { low, high }], ..Wanted::default() };
        prepare(&netns, state.folder(), &wanted).unwrap_or_else(|error| panic!("{error}"));
        reserved()
    };
    netns.sysctl("net.ipv4.ip_local_reserved_ports", "8080,25000-25010");
    assert_eq!(want(20_000, 32_767), "8080,20000-32767");
    assert_eq!(want(20_000, 21_000), "8080,20000-21000,25000-25010");
    // Somebody else adds one meanwhile.
    netns.sysctl("net.ipv4.ip_local_reserved_ports", "8080,9090,20000-21000,25000-25010");
    give_back(&netns, state.folder());
    assert_eq!(reserved(), "8080,9090,25000-25010");
}

#[test]
fn a_bridged_uplink_accepts_frames_to_the_macs_behind_it() {
    need!(skip::root());
    let (netns, peer) = (Netns::new("host"), Netns::new("peer"));
    netns.veth("eth0", &peer, "eth0");
    let state = Instance::new();
    // Groups that the stack joins by itself come and go.
    let is_group = |line: &&str| line.starts_with("33:33") || line.starts_with("01:00:5e");
    let filter = || {
        let text = netns.run("bridge fdb show dev eth0");
        text.lines().filter(|line| !is_group(line)).collect::<Vec<_>>().join("\n")
    };
    let view = || (filter(), netns.run("ip -d link show dev eth0"));
    netns.settle();
    let before = view();
    let want = |macs: &[Mac]| {
        let uplink =
            Uplink { device: "eth0".into(), xdp: false, bridged_macs: Some(macs.to_vec()), answers: false };
        // An uplink that is not there yet hinders nobody.
        let missing =
            Uplink { device: "eth9".into(), xdp: true, bridged_macs: Some(macs.to_vec()), answers: false };
        let wanted = Wanted { uplinks: vec![uplink, missing], ..Wanted::default() };
        prepare(&netns, state.folder(), &wanted).unwrap_or_else(|error| panic!("{error}"));
    };
    let (one, two) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    want(&[one]);
    want(&[one, two]);
    let (filter, link) = view();
    assert!(
        filter.contains("02:00:00:00:00:01 self") && filter.contains("02:00:00:00:00:02 self"),
        "{filter}"
    );
    assert!(link.contains("ALLMULTI"), "{link}");
    want(&[two]);
    assert!(!view().0.contains("02:00:00:00:00:01"));
    give_back(&netns, state.folder());
    assert_eq!(view(), before);
}

#[test]
fn a_taken_interface_is_given_back_to_its_bridge_with_its_options() {
    need!(skip::root());
    let netns = Netns::new("host");
    for line in [
        "ip link add br0 type bridge",
        "ip tuntap add tap0 mode tap",
        "ip link set tap0 master br0 up",
        "bridge link set dev tap0 isolated on learning off flood off hairpin on cost 7 priority 3",
    ] {
        netns.run(line);
    }
    let state = Instance::new();
    let view = || netns.run("bridge -d link show dev tap0");
    let before = view();
    assert!(before.contains("isolated on") && before.contains("master br0"), "{before}");
    let want = |taken: &[&str]| {
        let taken_over = taken.iter().map(|name| (*name).to_owned()).collect();
        let wanted = Wanted { taken_over, ..Wanted::default() };
        prepare(&netns, state.folder(), &wanted).unwrap_or_else(|error| panic!("{error}"));
    };
    // One that is not there hinders nobody.
    want(&["tap0", "tap9"]);
    assert_eq!(view(), "", "no bridge has it");
    want(&["tap0"]);
    want(&[]);
    assert_eq!(view(), before, "no longer wanted");
    want(&["tap0"]);
    give_back(&netns, state.folder());
    assert_eq!(view(), before, "fwd goes");
    // Of one that came anew its options then are given back; of one that somebody else has by now nothing is.
    want(&["tap0"]);
    netns.run("ip link set tap0 master br0");
    let anew = view();
    assert_ne!(anew, before);
    want(&["tap0"]);
    give_back(&netns, state.folder());
    assert_eq!(view(), anew);
    want(&["tap0"]);
    netns.run("ip link add br1 type bridge");
    netns.run("ip link set tap0 master br1");
    give_back(&netns, state.folder());
    assert!(view().contains("master br1"), "{}", view());
    want(&["tap0"]);
    netns.run("ip link del br1");
    give_back(&netns, state.folder());
    assert_eq!(view(), "");
}
