//! Jumbo frames: a network whose MTU is 9000 carries them from end to end, and says where something does not.

use std::net::UdpSocket;
use std::time::Duration;

use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{BulkSource, http_get, http_whoami, udp_whoami};
use fwd_tests::wire::{Link, Wire};

on_both_hooks!(frames_of_9000_bytes_pass_whole_and_who_cannot_is_named);

const ETHERNET: usize = 14;

fn widen(netns: &Netns, device: &str) {
    netns.run(&format!("ip link set {device} mtu 9000"));
}

/// A lab whose every link is wide, but for red2's end on the host.
fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    widen(&lab.outside, "eth0");
    widen(&lab.host, "eth0");
    lab.network(&RED, "--mtu 9000");
    for (name, number) in [("red1", 11), ("red2", 12), ("red3", 13)] {
        lab.vm(name, &RED, number);
        widen(&lab.get(name).netns, "eth0");
        if name != "red2" {
            widen(&lab.host, name);
        }
    }
    lab
}

fn end(address: &str, l4_port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{l4_port}") } else { format!("{address}:{l4_port}") }
}

/// Sends a datagram that fills a frame of 9000 bytes to the last, and holds that it arrives in one.
#[track_caller]
fn fills_a_frame(from: &Netns, to: &str, receiver: &Netns) {
    let _service = udp_whoami(receiver, &end(to, 53));
    let wire = Wire::open(receiver, "eth0");
    let (any, headers) = if to.contains(':') { ("[::]:0", 48) } else { ("0.0.0.0:0", 28) };
    from.inside(|| {
        let socket = UdpSocket::bind(any).expect("a socket");
        socket.connect(end(to, 53)).expect("there is a way");
        socket.set_read_timeout(Some(Duration::from_secs(3))).expect("a socket");
        let send = || socket.send(&vec![b'x'; 9000 - headers]);
        // The first one may wait for a neighbor for too long.
        send().expect("it fits");
        wire.expect(|frame| frame.len() == ETHERNET + 9000);
    });
}

fn frames_of_9000_bytes_pass_whole_and_who_cannot_is_named(hook: Hook) {
    let lab = lab(hook);
    let [red1, red2, red3] = ["red1", "red2", "red3"].map(|name| lab.get(name));
    for name in ["red1", "red3"] {
        let port = lab.json(&format!("port show {name}"));
        assert_eq!(port["hook"], hook.name(), "{port}");
    }
    for (vm, peer, outside) in [(&red1.v4, &red3.v4, OUTSIDE_V4), (&red1.v6, &red3.v6, OUTSIDE_V6)] {
        fills_a_frame(&red1.netns, peer, &red3.netns);
        fills_a_frame(&red1.netns, outside, &lab.outside);
        let bytes = if hook == Hook::Tcx { 50_000_000 } else { 10_000_000 };
        let source = BulkSource::start(&lab.outside, &end(outside, 5000), bytes);
        let wire = Wire::open(&red1.netns, "eth0");
        source.download(&red1.netns).expect("the hashes are equal");
        wire.expect(|frame| frame.len() > ETHERNET + 8900);
        let source = BulkSource::start(&red3.netns, &end(peer, 5000), bytes);
        source.download(&red1.netns).expect("the hashes are equal");
        let host = if vm.contains(':') { HOST_V6 } else { HOST_V4 };
        lab.ok(&format!("forward add f{} --listen tcp:{} --to red1:80", host.len(), end(host, 8080)));
        let _http = http_whoami(&red1.netns, &end(vm, 80));
        http_get(&lab.outside, &end(host, 8080)).expect("the forward is reached");
    }

    // Whose end is narrow is told so, and by name.
    let reason = "The interface red2 carries 1500 bytes, and network red promises 9000. Raise it: ip link set red2 mtu \
                  9000; or lower the network's: fwd network set red --mtu 1500.";
    let port = lab.json("port show red2");
    assert_eq!(port["state"], "degraded", "{port}");
    assert!(port["state_reason"].as_str().is_some_and(|why| why.ends_with(reason)), "{port}");
    for (own, narrow) in [(&red1.v4, &red2.v4), (&red1.v6, &red2.v6)] {
        let source = BulkSource::start(&red1.netns, &end(own, 5001), 3_000_000);
        source.download(&red2.netns).expect("the download comes through");
        let knows = || red1.netns.run(&format!("ip route get {narrow}")).contains("mtu 1500");
        assert!(eventually(knows), "red1 is told the MTU of {narrow}");
    }
    widen(&lab.host, "red2");
    let is_named = || lab.json("port show red2")["state_reason"].to_string().contains("promises");
    assert!(eventually(|| !is_named()), "it is wide now");
    lab.ok("status --check");
}
