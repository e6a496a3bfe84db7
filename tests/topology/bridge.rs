//! Bridge networks: VMs, the host, and machines on the LAN share one segment, and no other network hears it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use fwd_tests::frame::{Mac, Packet};
use fwd_tests::lab::{HOST_LAN_V4, HOST_LAN_V6, Hook, LAN, LAN_V4, LAN_V6, Lab, RED};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{BulkSource, http_get, http_whoami, ping};
use fwd_tests::wire::{Link, Wire};

on_both_hooks!(
    vms_the_host_and_the_lan_reach_each_other,
    a_connection_of_the_host_outlives_its_uplink_joining,
    a_broadcast_reaches_everyone_once_and_stays_in_the_network,
    unknown_unicast_is_flooded_and_known_unicast_is_not,
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
