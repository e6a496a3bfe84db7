//! Bridge networks: VMs, the host, and machines on the LAN share one segment, and no other network hears it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use fwd_tests::frame::{Mac, NdOption, Packet};
use fwd_tests::lab::{HOST_LAN_V4, HOST_LAN_V6, Hook, LAN, LAN_V4, LAN_V6, Lab, RED, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::traffic::{BulkSource, DhcpServer, http_get, http_whoami, lease, ping};
use fwd_tests::wire::{Link, Wire};
use fwd_tests::{need, on_both_hooks, skip};
use serde_json::Value;

on_both_hooks!(
    vms_the_host_and_the_lan_reach_each_other,
    a_connection_of_the_host_outlives_its_uplink_joining,
    a_broadcast_reaches_everyone_once_and_stays_in_the_network,
    unknown_unicast_is_flooded_and_known_unicast_is_not,
    an_address_that_two_machines_use_is_told_with_both,
    a_vm_gets_its_address_from_the_lans_server,
    a_vm_has_what_the_lans_server_gives_and_for_as_long,
);

/// What crosses is told from other traffic by these bytes.
const MARK: &[u8] = b"marked for the bridge test";
const UNKNOWN: Mac = Mac([0x52, 0x54, 0, 0xee, 0xee, 0xee]);

fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    lab.network(&LAN, "");
    lab.vm("lan1", &LAN, 21);
    lab.vm("lan2", &LAN, 22);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab
}

fn is_marked(frame: &[u8]) -> bool {
    frame.windows(MARK.len()).any(|part| part == MARK)
}

fn vms_the_host_and_the_lan_reach_each_other(hook: Hook) {
    let lab = lab(hook);
    let (one, two) = (lab.get("lan1"), lab.get("lan2"));
    let machines = [
        (&one.netns, [one.v4.as_str(), one.v6.as_str()]),
        (&two.netns, [&two.v4, &two.v6]),
        (&lab.host, [HOST_LAN_V4, HOST_LAN_V6]),
        (&lab.lan, [LAN_V4, LAN_V6]),
    ];
    for (from, _) in &machines {
        for address in machines.iter().filter(|(to, _)| to.name() != from.name()).flat_map(|(_, to)| to) {
            ping(from, address).unwrap_or_else(|error| panic!("{} to {address}: {error:#}", from.name()));
        }
    }
    for (server, address) in [(&one.netns, one.v4.as_str()), (&lab.host, HOST_LAN_V4), (&lab.lan, LAN_V4)] {
        let _http = http_whoami(server, &format!("{address}:80"));
        let page = http_get(&two.netns, &format!("{address}:80")).expect("everyone is in one segment");
        assert!(page.starts_with(&format!("{}:", two.v4)), "{address} saw {page}");
    }
    let source = BulkSource::start(&lab.lan, &format!("{LAN_V4}:5000"), 50_000_000);
    source.download(&one.netns).expect("bulk reaches the VM whole");
    source.download(&lab.host).expect("bulk reaches the host whole");
}

fn a_connection_of_the_host_outlives_its_uplink_joining(hook: Hook) {
    let lab = Lab::empty(hook);
    let listener = lab.lan.inside(|| TcpListener::bind((LAN_V4, 80))).expect("the address is there");
    let mut host = lab.host.inside(|| TcpStream::connect((LAN_V4, 80))).expect("the LAN is reached");
    let (mut far, _) = listener.accept().expect("the host is connected");
    for stream in [&host, &far] {
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("the timeout is not zero");
    }
    let mut talk = |text: &[u8; 6]| {
        let mut heard = [0; 6];
        host.write_all(text).expect("the host can send");
        far.read_exact(&mut heard).expect("the LAN hears it");
        far.write_all(&heard).expect("the LAN can answer");
        host.read_exact(&mut heard).expect("the host hears the answer");
        assert_eq!(&heard, text);
    };
    talk(b"before");
    lab.network(&LAN, "");
    talk(b"during");
    lab.ok("network delete lan");
    talk(b"after ");
    ping(&lab.host, LAN_V6).expect("IPv6 as before");
}

fn a_broadcast_reaches_everyone_once_and_stays_in_the_network(hook: Hook) {
    let lab = lab(hook);
    let [one, two, red] = ["lan1", "lan2", "red1"].map(|name| lab.get(name));
    let members = [Wire::open(&two.netns, "eth0"), Wire::open(&lab.lan, "eth0")];
    let strangers = [Wire::open(&red.netns, "eth0"), Wire::open(&lab.outside, "eth0")];
    let sender = Wire::open(&one.netns, "eth0");
    for destination in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 0xfb])] {
        let packet = Packet::udp(&format!("{}:9", one.v4), "198.51.100.255:9").payload(MARK);
        let frame = packet.macs(one.mac, destination).frame();
        sender.send(&frame);
        for (name, wire) in ["lan2", "lan"].iter().zip(&members) {
            assert_eq!(wire.expect(is_marked), frame, "{name}");
            wire.expect_none(Duration::from_millis(100), is_marked);
        }
    }
    for wire in &strangers {
        wire.expect_none(Duration::from_millis(100), is_marked);
    }
    sender.expect_none(Duration::ZERO, is_marked);
    // The host hears a broadcast too: it answers ARP, which is asked by one.
    let ask = Packet::arp_request(one.mac, &one.v4, HOST_LAN_V4);
    sender.send(&ask.frame());
    let uplink = lab.host.mac_of("eth1");
    sender.expect_frame(&Packet::arp_reply(uplink, HOST_LAN_V4, one.mac, &one.v4).frame());
}

fn unknown_unicast_is_flooded_and_known_unicast_is_not(hook: Hook) {
    let lab = lab(hook);
    let (one, two) = (lab.get("lan1"), lab.get("lan2"));
    let sender = Wire::open(&one.netns, "eth0");
    let (other, far) = (Wire::open(&two.netns, "eth0"), Wire::open(&lab.lan, "eth0"));
    let to = |mac: Mac| {
        let packet = Packet::udp(&format!("{}:9", one.v4), "198.51.100.77:9").payload(MARK);
        packet.macs(one.mac, mac).frame()
    };
    sender.send(&to(UNKNOWN));
    assert_eq!(other.expect(is_marked), to(UNKNOWN));
    assert_eq!(far.expect(is_marked), to(UNKNOWN));

    // A machine behind the uplink speaks once, and from then on only the uplink gets its frames.
    let learnt = Packet::udp("198.51.100.77:9", &format!("{}:9", one.v4)).payload("hello");
    far.send(&learnt.macs(UNKNOWN, one.mac).frame());
    sender.expect(|frame| frame[6..12] == UNKNOWN.0);
    sender.send(&to(UNKNOWN));
    assert_eq!(far.expect(is_marked), to(UNKNOWN));
    other.expect_none(Duration::from_millis(200), is_marked);
}

/// What doctor says of addresses that two machines use, in one text.
fn duplicates(lab: &Lab) -> String {
    let reply = lab.fwd("doctor -o json");
    let answer: Value = serde_json::from_str(&reply.stdout).expect("json");
    let findings = answer["findings"].as_array().expect("a list").iter();
    let found =
        findings.filter(|row| row["check"] == "duplicate_address").map(|row| row["found"].to_string());
    found.collect()
}

fn an_address_that_two_machines_use_is_told_with_both(hook: Hook) {
    let lab = lab(hook);
    let (one, two) = (lab.get("lan1"), lab.get("lan2"));
    // A guest whose addresses nobody configured: they are those that it uses.
    let netns = Netns::new("lan3");
    let mac = Mac([0x52, 0x54, 0, 0, 2, 23]);
    lab.host.veth_with_mac("lan3", &netns, "eth0", mac);
    lab.ok(&format!("port add lan3 --device lan3 --network lan --mac {mac} --hook {}", hook.name()));
    let (far, near) = (Wire::open(&lab.lan, "eth0"), Wire::open(&netns, "eth0"));
    let (far_mac, host_mac) = (lab.lan.mac_of("eth0"), lab.host.mac_of("eth1"));
    let to_all = |mac, addr: &str| Packet::arp_reply(mac, addr, Mac::BROADCAST, addr).frame();
    let advert = Packet::neighbor_advertisement(&one.v6, &two.v6, &[NdOption::TargetLink(far_mac)]);
    assert_eq!(duplicates(&lab), "");
    // A machine of the LAN takes two addresses of a VM; a guest takes another one's, and the host's.
    far.send(&to_all(far_mac, &one.v4));
    far.send(&advert.macs(far_mac, two.mac).frame());
    near.send(&to_all(mac, &two.v4));
    near.send(&to_all(mac, HOST_LAN_V4));
    let told = [
        (one.v4.as_str(), (one.mac, "lan1"), (far_mac, "eth1")),
        (&one.v6, (one.mac, "lan1"), (far_mac, "eth1")),
        (&two.v4, (two.mac, "lan2"), (mac, "lan3")),
        (HOST_LAN_V4, (host_mac, "host:lan"), (mac, "lan3")),
    ];
    for (addr, owner, other) in told {
        let said = format!(
            "two machines use {addr}: {} (port {}) has it, and {} (port {}) said so too",
            owner.0, owner.1, other.0, other.1
        );
        assert!(eventually(|| duplicates(&lab).contains(&said)), "{said}: {}", duplicates(&lab));
    }
    // What a guest may not claim went nowhere: the host is still where it was.
    assert_eq!(lab.drops("arp_spoofed", |row| row["port"] == "lan3"), 2);
    ping(&lab.lan, HOST_LAN_V4).expect("the host has its address");
    assert!(lab.ok("metrics").contains("fwd_duplicate_addresses{network=\"lan\"} 4"));
}

/// A VM on the LAN without addresses.
fn unconfigured(lab: &Lab, name: &str, options: &str) -> Netns {
    let vm = Netns::new(name);
    lab.host.veth(name, &vm, "eth0");
    if lab.hook == Hook::Xdp {
        vm.receive_from_xdp("eth0");
        vm.send_to_xdp("eth0");
    }
    lab.ok(&format!("port add {name} --device {name} --network lan --hook {} {options}", lab.hook.name()));
    vm
}

fn a_vm_gets_its_address_from_the_lans_server(hook: Hook) {
    need!(skip::dnsmasq());
    let lab = Lab::empty(hook);
    lab.network(&LAN, "");
    let vm = unconfigured(&lab, "vm", "");
    let _server = DhcpServer::start(&lab.lan, "eth0", &format!("{},{}", LAN.v4(100), LAN.v4(120)));
    let leased = lease(&vm, "eth0").expect("the LAN's server is heard");
    let addr = leased.get("ip").expect("an address").to_owned();
    assert!(addr.starts_with(&LAN.v4(1)), "{leased:?}");
    for (from, to) in
        [(&vm, LAN_V4), (&vm, HOST_LAN_V4), (&lab.lan, addr.as_str()), (&lab.host, addr.as_str())]
    {
        ping(from, to).unwrap_or_else(|error| panic!("{} to {to}: {error:#}", from.name()));
    }
    assert!(eventually(|| lab.json("port show vm")["ips"][0] == addr.as_str()), "it is seen on the port");
    // It reaches nobody under the address of the host.
    vm.run(&format!("ip address add {HOST_LAN_V4}/32 dev eth0"));
    assert!(vm.try_run(&format!("busybox ping -c 1 -W 1 -I {HOST_LAN_V4} {LAN_V4}")).is_err());
    let lies = lab.drops("source_address_spoofed", |d| d["port"] == "vm")
        + lab.drops("arp_spoofed", |d| d["port"] == "vm");
    assert!(lies > 0, "{}", lab.ok("drop list"));
    ping(&vm, LAN_V4).expect("its own goes on");
    lab.ok("status --check");
}

fn a_vm_has_what_the_lans_server_gives_and_for_as_long(hook: Hook) {
    need!(skip::dnsmasq());
    let lab = Lab::empty(hook);
    // What its servers say needs no rule.
    lab.network(&LAN, "--dhcp snoop --default-policy closed");
    lab.ok("policy add allow network:lan any");
    let vm = unconfigured(&lab, "vm", "");
    let lies = || {
        let of_vm = |drop: &Value| drop["port"] == "vm";
        lab.drops("source_address_spoofed", of_vm) + lab.drops("arp_spoofed", of_vm)
    };
    vm.address("eth0", &format!("{}/24", LAN.v4(77)));
    assert!(ping(&vm, LAN_V4).is_err(), "nobody gave it that address");
    assert!(lies() > 0, "{}", lab.ok("drop list"));
    vm.run("ip address flush dev eth0");

    let server = DhcpServer::start(&lab.lan, "eth0", &format!("{},{}", LAN.v4(100), LAN.v4(120)));
    let leased = lease(&vm, "eth0").expect("the LAN's server is heard in a closed network");
    let addr = leased.get("ip").expect("an address").to_owned();
    assert!(eventually(|| ping(&vm, LAN_V4).is_ok()), "it is the port's as soon as it is given");
    let leases = lab.items("network leases lan");
    assert_eq!(leases.len(), 1, "{leases:#?}");
    assert_eq!((&leases[0]["port"], &leases[0]["address"]), (&"vm".into(), &addr.as_str().into()));
    assert_eq!(lab.json("port show vm")["ips"][0], addr.as_str());
    let before = lies();
    vm.address("eth0", &format!("{}/32", LAN.v4(77)));
    assert!(vm.try_run(&format!("busybox ping -c 1 -W 1 -I {} {LAN_V4}", LAN.v4(77))).is_err());
    assert!(lies() > before, "{}", lab.ok("drop list"));

    // Another server gives another one, for two seconds.
    drop(server);
    let (far, message) = (Wire::open(&lab.lan, "eth0"), ack(vm.mac_of("eth0"), [198, 51, 100, 88], 2));
    let to = format!("{}:68", LAN.v4(88));
    let given = Packet::udp(&format!("{LAN_V4}:67"), &to).payload(message);
    far.send(&given.macs(lab.lan.mac_of("eth0"), vm.mac_of("eth0")).frame());
    let held =
        || lab.items("network leases lan").iter().map(|row| row["address"].clone()).collect::<Vec<_>>();
    assert!(eventually(|| held() == [LAN.v4(88)]), "{:?}", held());
    assert!(eventually(|| held().is_empty()), "{:?}", held());
    assert!(ping(&vm, LAN_V4).is_err(), "neither is it its own any more, nor what it had before");
    lab.ok("status --check");
}

/// A DHCP server's word that a client has an address for so long (RFC 2131, 2; RFC 2132).
fn ack(Mac(mac): Mac, addr: [u8; 4], seconds: u32) -> Vec<u8> {
    let options = [&[0x63, 0x82, 0x53, 0x63, 53, 1, 5, 51, 4][..], &seconds.to_be_bytes(), &[255]].concat();
    [&[2, 1, 6, 0][..], &[0; 12], &addr, &[0; 8], &mac, &[0; 202], &options].concat()
}
