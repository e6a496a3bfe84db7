//! What senders are told: by this host about its own limits and rules, and by routers behind it about theirs.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{BulkSource, ask_udp, ping, udp_whoami};
use fwd_tests::wire::{Link, Wire};
use nix::sys::socket::{setsockopt, sockopt};

on_both_hooks!(
    traceroute_names_the_gateway_and_the_router_behind_it,
    the_path_mtu_behind_a_narrow_hop_is_found_through_nat_and_forward,
    the_mtu_of_a_narrow_port_is_found,
    the_mtu_of_a_narrow_uplink_is_found,
    large_datagrams_pass_a_narrow_hop_through_nat_and_forward,
    what_a_rule_rejects_is_told_at_once,
);

/// A machine two hops behind the outside one; the first of them carries 1300 bytes.
const FAR_V4: &str = "198.18.2.2";
const FAR_V6: &str = "2001:db8:182::2";

fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.vm("red2", &RED, 12);
    lab
}

/// outside ── 1300 ── middle ── far
fn far(lab: &Lab) -> [Netns; 2] {
    let (middle, far) = (Netns::new("middle"), Netns::new("far"));
    lab.outside.veth("mid", &middle, "out");
    middle.veth("far", &far, "eth0");
    for (netns, device, addresses) in [
        (&lab.outside, "mid", ["198.18.1.1/24", "2001:db8:181::1/64"]),
        (&middle, "out", ["198.18.1.2/24", "2001:db8:181::2/64"]),
        (&middle, "far", ["198.18.2.1/24", "2001:db8:182::1/64"]),
        (&far, "eth0", ["198.18.2.2/24", "2001:db8:182::2/64"]),
    ] {
        addresses.iter().for_each(|address| netns.address(device, address));
    }
    for netns in [&lab.outside, &middle] {
        netns.sysctl("net.ipv4.ip_forward", "1");
        netns.sysctl("net.ipv6.conf.all.forwarding", "1");
    }
    lab.outside.run("ip link set mid mtu 1300");
    middle.run("ip link set out mtu 1300");
    lab.outside.run("ip route add 198.18.2.0/24 via 198.18.1.2");
    lab.outside.run("ip -6 route add 2001:db8:182::/64 via 2001:db8:181::2");
    middle.default_route("198.18.1.1");
    middle.default_route("2001:db8:181::1");
    far.default_route("198.18.2.1");
    far.default_route("2001:db8:182::1");
    [middle, far]
}

/// Sends one datagram with a hop limit.
fn probe(netns: &Netns, from: SocketAddr, to: SocketAddr, hops: u8) {
    netns.inside(|| {
        let socket = UdpSocket::bind(from).expect("the address is the machine's");
        if to.is_ipv4() {
            socket.set_ttl(hops.into()).expect("a hop limit");
        } else {
            setsockopt(&socket, sockopt::Ipv6Ttl, &hops.into()).expect("a hop limit");
        }
        socket.send_to(b"probe", to).expect("there is a route");
    });
}

fn end(address: &str, l4_port: u16) -> SocketAddr {
    SocketAddr::new(fwd_tests::frame::ip(address), l4_port)
}

/// Whether a frame is a time exceeded from `router` that quotes a packet from `from`.
fn is_exceeded(frame: &[u8], router: &str, from: SocketAddr) -> bool {
    let bytes = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    };
    let (kind, kind_at, source, quoted, l4) =
        if from.is_ipv4() { (11, 34, 26, 54, 62) } else { (3, 54, 22, 70, 102) };
    let (router, sender) = (bytes(end(router, 0)), bytes(from));
    let protocol = if from.is_ipv4() { frame.get(23) == Some(&1) } else { frame.get(20) == Some(&58) };
    frame.len() > l4 + 2
        && protocol
        && frame[kind_at] == kind
        && frame[source..].starts_with(&router)
        && frame[quoted..].starts_with(&sender)
        && frame[l4..].starts_with(&from.port().to_be_bytes())
}

fn traceroute_names_the_gateway_and_the_router_behind_it(hook: Hook) {
    let lab = lab(hook);
    let _far = far(&lab);
    lab.ok(&format!("forward add four --listen udp:{HOST_V4}:8080 --to red1:80"));
    lab.ok(&format!("forward add six --listen udp:[{HOST_V6}]:8080 --to red1:80"));
    let vm = lab.get("red1");
    let (inner, outer) = (Wire::open(&vm.netns, "eth0"), Wire::open(&lab.outside, "eth0"));
    for (own, far, hops) in [
        (&vm.v4, FAR_V4, [RED.v4(1), OUTSIDE_V4.to_owned()]),
        (&vm.v6, FAR_V6, [RED.v6(1), OUTSIDE_V6.to_owned()]),
    ] {
        for (hop, router) in (1..).zip(&hops) {
            let from = end(own, 40_000 + u16::from(hop));
            probe(&vm.netns, from, end(far, 33_434), hop);
            inner.expect(|frame| is_exceeded(frame, router, from));
        }
    }
    for (client, host) in [(OUTSIDE_V4, HOST_V4), (OUTSIDE_V6, HOST_V6)] {
        let from = end(client, 40_000);
        probe(&lab.outside, from, end(host, 8080), 1);
        outer.expect(|frame| is_exceeded(frame, host, from));
    }
    lab.ok("status --check");
}

/// Whether the machine knows that packets to there may have 1300 bytes only.
fn knows_path_mtu(netns: &Netns, to: &str) -> bool {
    eventually(|| {
        netns.inside(|| {
            let any = if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).expect("an L4 port is free");
            // Refused where the path's MTU is known and the datagram would not fit: then there is no need.
            let _ = socket.send_to(&[7; 1400], end(to, 9));
        });
        netns.run(&format!("ip route get {to}")).contains("mtu 1300")
    })
}

fn the_path_mtu_behind_a_narrow_hop_is_found_through_nat_and_forward(hook: Hook) {
    let lab = lab(hook);
    let [_middle, far] = far(&lab);
    let (red1, red2) = (lab.get("red1"), lab.get("red2"));
    for to in [FAR_V4, FAR_V6] {
        assert!(knows_path_mtu(&red2.netns, to), "red2 learns the path's MTU to {to}");
    }
    for (number, (own, host)) in [(&red1.v4, HOST_V4), (&red1.v6, HOST_V6)].into_iter().enumerate() {
        let l4_port = 5000 + u16::try_from(number).expect("two");
        lab.ok(&format!("forward add bulk{number} --listen tcp:{} --to red1:{l4_port}", end(host, l4_port)));
        let source = BulkSource::start(&red1.netns, &end(own, l4_port).to_string(), 3_000_000);
        source.download_at(&far, &end(host, l4_port).to_string()).expect("the download comes through");
    }
}

fn the_mtu_of_a_narrow_port_is_found(hook: Hook) {
    let lab = lab(hook);
    let (red1, red2) = (lab.get("red1"), lab.get("red2"));
    lab.host.run("ip link set red2 mtu 1300");
    for (own, to) in [(&red1.v4, &red2.v4), (&red1.v6, &red2.v6)] {
        let source = BulkSource::start(&red1.netns, &end(own, 5000).to_string(), 3_000_000);
        source.download(&red2.netns).expect("the download comes through");
        assert!(knows_path_mtu(&red1.netns, to), "red1 learns the MTU to {to}");
    }
    lab.ok("status --check");
}

/// Both where the host has to find the next hop's MAC, and where it knows it.
fn the_mtu_of_a_narrow_uplink_is_found(hook: Hook) {
    let lab = lab(hook);
    for netns in [&lab.outside, &lab.host] {
        netns.run("ip link set eth0 mtu 1300");
    }
    for (vm, is_known) in [("red1", false), ("red2", true)] {
        if is_known {
            for to in [OUTSIDE_V4, OUTSIDE_V6] {
                ping(&lab.host, to).expect("the outside answers");
            }
        }
        let vm = lab.get(vm);
        for to in [OUTSIDE_V4, OUTSIDE_V6] {
            assert!(knows_path_mtu(&vm.netns, to), "{} learns the MTU to {to}", vm.name);
        }
    }
    assert_eq!(lab.items("drop list --reason no_route"), Vec::<serde_json::Value>::new());
    lab.ok("status --check");
}

fn large_datagrams_pass_a_narrow_hop_through_nat_and_forward(hook: Hook) {
    let lab = lab(hook);
    let [_middle, far] = far(&lab);
    let vm = lab.get("red1");
    let text = "0123456789".repeat(6000);
    for (own, there, host) in [(&vm.v4, FAR_V4, HOST_V4), (&vm.v6, FAR_V6, HOST_V6)] {
        let _far = udp_whoami(&far, &end(there, 53).to_string());
        let _vm = udp_whoami(&vm.netns, &end(own, 53).to_string());
        lab.ok(&format!("forward add f{} --listen udp:{} --to red1:53", host.len(), end(host, 8053)));
        let any = if own.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        for (from, to) in [(&vm.netns, end(there, 53)), (&far, end(host, 8053))] {
            // The first datagrams find out how small their fragments have to be.
            let asked =
                || ask_udp(from, any, &to.to_string(), &text).is_ok_and(|answer| answer.ends_with(&text));
            assert!(eventually(asked), "60,000 bytes to {to}, and back");
        }
    }
    lab.ok("status --check");
}

fn what_a_rule_rejects_is_told_at_once(hook: Hook) {
    let lab = lab(hook);
    lab.ok("policy add reject port:red1 any");
    let vm = lab.get("red1");
    for to in [OUTSIDE_V4, OUTSIDE_V6, &lab.get("red2").v4, &lab.get("red2").v6] {
        let refused = vm.netns.inside(|| TcpStream::connect_timeout(&end(to, 80), Duration::from_secs(5)));
        let kind = refused.expect_err("the rule rejects it").kind();
        assert_eq!(kind, ErrorKind::ConnectionRefused, "TCP to {to}");
        let error = vm.netns.inside(|| {
            let socket = UdpSocket::bind(if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" })?;
            socket.connect(end(to, 53))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.send(b"query")?;
            socket.recv(&mut [0; 8])
        });
        let kind = error.expect_err("the rule rejects it").kind();
        let told = [ErrorKind::HostUnreachable, ErrorKind::PermissionDenied, ErrorKind::ConnectionRefused];
        assert!(told.contains(&kind), "UDP to {to}: {kind:?}");
    }
    let dropped = lab.drops("policy_rejected", |row| row["rule"] == "policy-1" && row["port"] == "red1");
    assert!(dropped >= 8, "{dropped} packets were rejected by the rule");
    lab.ok("status --check");
}
