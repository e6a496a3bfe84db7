//! Datagrams of 60,000 bytes: in fragments through NAT, forwards, routed and bridge networks, both ways.

use std::time::Duration;

use fwd_tests::frame::Packet;
use fwd_tests::lab::{
    HOST_V4, HOST_V6, Hook, LAN, LAN_V4, LAN_V6, LANE, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, eventually,
};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, udp_whoami};
use fwd_tests::wire::{Link, Wire};

on_both_hooks!(
    large_datagrams_cross_nat_and_forwards_both_ways,
    large_datagrams_cross_networks_untranslated,
    a_datagram_whose_fragments_come_in_the_wrong_order_is_named,
);

/// Asks a service with 60,000 bytes, which it answers with as many.
#[track_caller]
fn crosses(client: &Netns, from: &str, server: &Netns, (at, by): (&str, &str), seen: &str) {
    let text = "0123456789".repeat(6000);
    let _service = udp_whoami(server, at);
    let any = if from.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let answer = ask_udp(client, any, by, &text).unwrap_or_else(|error| panic!("{by}: {error:#}"));
    let (peer, echo) = answer.split_once(' ').expect("the client's address, and the datagram");
    assert!(peer.contains(seen), "{by} saw {peer}");
    assert!(echo == text, "{by}: {} bytes came back", echo.len());
}

fn end(address: &str, l4_port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{l4_port}") } else { format!("{address}:{l4_port}") }
}

fn large_datagrams_cross_nat_and_forwards_both_ways(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.vm("red2", &RED, 12);
    lab.ok(&format!("forward add four --listen udp:{HOST_V4}:8080 --to red1:80"));
    lab.ok(&format!("forward add six --listen udp:[{HOST_V6}]:8080 --to red1:80"));
    let (one, two) = (lab.get("red1"), lab.get("red2"));
    for (outside, host, own, other) in
        [(OUTSIDE_V4, HOST_V4, &one.v4, &two.v4), (OUTSIDE_V6, HOST_V6, &one.v6, &two.v6)]
    {
        let server = end(outside, 53);
        crosses(&one.netns, own, &lab.outside, (&server, &server), host);
        crosses(&lab.outside, outside, &one.netns, (&end(own, 80), &end(host, 8080)), outside);
        crosses(&two.netns, other, &one.netns, (&end(own, 80), &end(host, 8080)), "10");
        crosses(&two.netns, other, &one.netns, (&end(own, 81), &end(own, 81)), other);
        crosses(&lab.host, host, &one.netns, (&end(own, 82), &end(own, 82)), "10");
    }
    assert_eq!(lab.drops("fragment_before_first", |_| true), 0);
    assert!(eventually(|| lab.json("status --check")["exact"] == true), "the ledgers add up");
}

fn large_datagrams_cross_networks_untranslated(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&LANE, "");
    lab.vm("lane1", &LANE, 11);
    lab.network(&LAN, "");
    lab.vm("lan1", &LAN, 21);
    lab.outside.run(&format!("ip route add 10.20.0.0/24 via {HOST_V4}"));
    lab.outside.run(&format!("ip route add fd00:20::/64 via {HOST_V6}"));
    let (lane, lan) = (lab.get("lane1"), lab.get("lan1"));
    for (outside, own) in [(OUTSIDE_V4, &lane.v4), (OUTSIDE_V6, &lane.v6)] {
        crosses(&lane.netns, own, &lab.outside, (&end(outside, 53), &end(outside, 53)), own);
        crosses(&lab.outside, outside, &lane.netns, (&end(own, 53), &end(own, 53)), outside);
    }
    for (far, own) in [(LAN_V4, &lan.v4), (LAN_V6, &lan.v6)] {
        crosses(&lan.netns, own, &lab.lan, (&end(far, 53), &end(far, 53)), own);
        crosses(&lab.lan, far, &lan.netns, (&end(own, 53), &end(own, 53)), far);
        crosses(&lab.host, far, &lan.netns, (&end(own, 54), &end(own, 54)), "10");
    }
    assert!(eventually(|| lab.json("status --check")["exact"] == true), "the ledgers add up");
}

fn a_datagram_whose_fragments_come_in_the_wrong_order_is_named(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    let vm = lab.get("red1");
    let (inner, outer) = (Wire::open(&vm.netns, "eth0"), Wire::open(&lab.outside, "eth0"));
    let gateway = lab.host.mac_of("fwd-red");
    for (own, server) in [(&vm.v4, OUTSIDE_V4), (&vm.v6, OUTSIDE_V6)] {
        let before = lab.drops("fragment_before_first", |row| row["port"] == "red1");
        let packet =
            Packet::udp((own.as_str(), 4000), (server, 53)).payload([b'x'; 4000]).macs(vm.mac, gateway);
        let fragments = packet.fragments(77, 1448);
        let reversed: Vec<_> = fragments.iter().rev().collect();
        reversed.iter().for_each(|frame| inner.send(frame));
        assert!(eventually(|| lab.drops("fragment_before_first", |row| row["port"] == "red1") == before + 2));
        // The first one passed, and the datagram comes through when it is sent again.
        let crossed = |frame: &[u8]| frame.windows(200).any(|part| part.iter().all(|byte| *byte == b'x'));
        outer.expect(crossed);
        for frame in &fragments {
            inner.send(frame);
            outer.expect(crossed);
        }
        outer.expect_none(Duration::from_millis(100), crossed);
    }
}
