//! Two networks with the same addresses: no frame crosses, and every view tells them apart.

use std::time::Duration;

use fwd_tests::frame::{Mac, Packet};
use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, http_get, http_whoami, ping, udp_whoami};
use fwd_tests::wire::{Link, Wire};

on_both_hooks!(
    a_vm_reaches_its_own_neighbor_and_not_its_double,
    no_frame_of_one_network_is_seen_in_another,
    the_nat_table_tells_equal_addresses_apart,
    a_forward_reaches_the_named_double,
);

/// Told from other traffic by these bytes.
const MARK: &[u8] = b"marked for the isolation test";

fn a_vm_reaches_its_own_neighbor_and_not_its_double(hook: Hook) {
    let lab = Lab::standard(hook);
    for (client, server, double) in [("red1", "red2", "blue2"), ("blue1", "blue2", "red2")] {
        let (client, server) = (lab.get(client), lab.get(server));
        let watch = Wire::open(&lab.get(double).netns, "eth0");
        let _http = http_whoami(&server.netns, &format!("{}:80", server.v4));
        let page =
            http_get(&client.netns, &format!("{}:80", server.v4)).expect("its own network's VM answers");
        assert!(page.starts_with(&format!("{}:", client.v4)), "{page}");
        ping(&client.netns, &server.v6).expect("its own network's VM answers");
        watch.expect_none(Duration::from_millis(100), |frame| frame[6..12] == client.mac.0);
    }
}

fn no_frame_of_one_network_is_seen_in_another(hook: Hook) {
    let lab = Lab::standard(hook);
    let red = lab.get("red1");
    let (blue, lan) = (lab.get("blue2"), lab.get("lan1"));
    let strangers = ["blue1", "blue2", "lan1", "lan2"].map(|name| &lab.get(name).netns);
    let wires = strangers.into_iter().chain([&lab.lan, &lab.outside]).map(|netns| Wire::open(netns, "eth0"));
    let wires: Vec<Wire> = wires.collect();
    let sender = Wire::open(&red.netns, "eth0");
    let own = format!("{}:9", red.v4);
    let udp = |to: &str| Packet::udp(own.as_str(), to).payload(MARK).from_mac(red.mac);
    for packet in [
        udp("255.255.255.255:9").to_mac(Mac::BROADCAST),
        udp("224.0.0.251:5353").to_mac([1, 0, 0x5e, 0, 0, 0xfb]),
        udp(&format!("{}:9", blue.v4)).to_mac(blue.mac),
        udp(&format!("{}:9", lan.v4)).to_mac(lan.mac),
        Packet::arp_request(red.mac, &red.v4, &blue.v4),
        Packet::arp_request(red.mac, &red.v4, &lan.v4),
        Packet::neighbor_solicitation(red.mac, &red.v6, &blue.v6, &[]),
        Packet::other(0x88b5, MARK).macs(red.mac, Mac::BROADCAST),
    ] {
        sender.send(&packet.frame());
    }
    let leaked = |frame: &[u8]| {
        frame.windows(MARK.len()).any(|part| part == MARK) || frame.windows(6).any(|part| part == red.mac.0)
    };
    for wire in &wires {
        wire.expect_none(Duration::from_millis(100), leaked);
    }
}

fn the_nat_table_tells_equal_addresses_apart(hook: Hook) {
    let lab = Lab::standard(hook);
    let server = format!("{OUTSIDE_V4}:53");
    let _udp = udp_whoami(&lab.outside, &server);
    for name in ["red1", "blue1"] {
        let vm = lab.get(name);
        ask_udp(&vm.netns, &format!("{}:5555", vm.v4), &server, name).expect("both get out");
    }
    for (name, network) in [("red1", "red"), ("blue1", "blue")] {
        let rows = lab.items(&format!("nat table --port {name} --proto udp"));
        let rows: Vec<_> = rows.iter().filter(|row| row["destination"] == server.as_str()).collect();
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!((&rows[0]["port"], &rows[0]["network"]), (&name.into(), &network.into()));
        assert_eq!(rows[0]["source"], format!("{}:5555", RED.v4(11)));
    }
}

fn a_forward_reaches_the_named_double(hook: Hook) {
    let lab = Lab::standard(hook);
    lab.ok("forward add tcp 203.0.113.10:8001 red1:80");
    lab.ok("forward add tcp 203.0.113.10:8002 blue1:80");
    let (red, blue) = (lab.get("red1"), lab.get("blue1"));
    let get = |l4_port: u16| http_get(&lab.outside, &format!("203.0.113.10:{l4_port}"));
    {
        let _red = http_whoami(&red.netns, &format!("{}:80", red.v4));
        get(8001).expect("red1 answers");
        assert!(get(8002).is_err(), "blue1 does not serve yet");
    }
    let _blue = http_whoami(&blue.netns, &format!("{}:80", blue.v4));
    get(8002).expect("blue1 answers");
    assert!(get(8001).is_err(), "red1 does not serve any more");
}
