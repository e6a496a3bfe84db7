//! Namespaces, links, wires, and taps.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use fwd_tests::frame::{Mac, Packet, render};
use fwd_tests::link::VnetHeader;
use fwd_tests::netns::{Netns, ensure_inside_private_namespace};
use fwd_tests::wire::{Link, Tap, Wire};
use fwd_tests::{need, skip};

/// Two machines on a Linux bridge in a third namespace.
fn bridged() -> [Netns; 3] {
    let (left, switch, right) = (Netns::new("left"), Netns::new("switch"), Netns::new("right"));
    switch.bridge("br0");
    for (netns, port, address) in [(&left, "p0", "10.0.0.1/24"), (&right, "p1", "10.0.0.2/24")] {
        switch.veth(port, netns, "eth0");
        switch.enslave(port, "br0");
        netns.address("eth0", address);
    }
    [left, switch, right]
}

#[test]
fn tcp_passes_a_veth_and_a_bridge() {
    need!(skip::root());
    let [left, _switch, right] = bridged();
    let listener = right.inside(|| TcpListener::bind("10.0.0.2:80")).expect("the address is there");
    let client = left.inside(|| TcpStream::connect("10.0.0.2:80")).expect("the bridge forwards");
    let (_, peer) = listener.accept().expect("the client is connected");
    assert_eq!(Ok(peer), client.local_addr().map_err(|error| error.to_string()));
}

#[test]
fn a_frame_sent_is_the_frame_received() {
    need!(skip::root());
    let [left, _switch, right] = bridged();
    let (out, into) = (Wire::open(&left, "eth0"), Wire::open(&right, "eth0"));
    for packet in [
        Packet::udp("10.0.0.1:1000", "10.0.0.2:2000").payload("whole"),
        Packet::udp("10.0.0.1:1000", "10.0.0.2:2000").payload("tagged").vlan(30),
        Packet::arp_request("02:00:00:00:00:01", "10.0.0.1", "10.0.0.2"),
    ] {
        let packet = packet.macs("02:00:00:00:00:01", Mac::BROADCAST);
        out.send(&packet.frame());
        into.expect_frame(&packet.frame());
    }
    out.expect_none(Duration::from_millis(50), |frame| render(frame).contains("> 10.0.0.2.2000"));
}

#[test]
fn taps_carry_frames_with_and_without_a_header() {
    need!(skip::root());
    for header in [VnetHeader::Off, VnetHeader::On] {
        let netns = Netns::new("vm");
        netns.tap("tap0", header);
        let (vm, host) = (Tap::open(&netns, "tap0", header), Wire::open(&netns, "tap0"));
        let frame =
            Packet::udp("10.0.0.1:1000", "10.0.0.2:2000").macs("02:00:00:00:00:01", Mac::BROADCAST).frame();
        vm.send(&frame);
        host.expect_frame(&frame);
        host.send(&frame);
        vm.expect_frame(&frame);
    }
}

#[test]
fn nothing_is_left_when_a_test_panics() {
    need!(skip::root());
    let netns = Netns::new("panics");
    let path = netns.path();
    assert!(path.exists());
    let panicked = std::thread::spawn(move || {
        let _owned = netns;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!path.exists(), "{} is still there", path.display());
}

#[test]
fn the_machines_own_namespace_is_refused() {
    need!(skip::root());
    let netns = Netns::new("private");
    assert!(netns.ensure_private().is_ok());
    assert!(netns.inside(ensure_inside_private_namespace).is_ok());
    let refusal = ensure_inside_private_namespace().expect_err("tests start in the machine's own");
    assert!(refusal.to_string().starts_with("refused:"), "{refusal}");
}

#[test]
fn sysctls_are_those_of_the_namespace() {
    need!(skip::root());
    let (one, two) = (Netns::new("one"), Netns::new("two"));
    one.sysctl("net.ipv4.ip_forward", "1");
    assert_eq!(one.read_sysctl("net.ipv4.ip_forward"), "1");
    assert_eq!(two.read_sysctl("net.ipv4.ip_forward"), "0");
}
