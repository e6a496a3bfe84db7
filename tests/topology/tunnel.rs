//! An uplink that is a tunnel: its packets have no Ethernet header. It serves as any other does, on TCX.

use std::time::Duration;

use fwd_common::layout::ABI_VERSION;
use fwd_tests::frame::{Mac, Packet, checksum, ip, render};
use fwd_tests::lab::{Hook, LANE, Lab, Network, RED, eventually, number};
use fwd_tests::netns::Netns;
use fwd_tests::traffic::{BulkSource, ask_udp, http_get, http_whoami, ping, udp_whoami};
use fwd_tests::wire::{Link, Tun, Tunnel, Wire};
use fwd_tests::{need, on_both_hooks, skip};
use serde_json::{Value, json};

on_both_hooks!(
    vms_get_out_and_forwards_lead_in,
    a_routed_network_is_reached_under_its_own_addresses,
    packets_leave_and_come_whole_and_are_counted_one_by_one,
    what_cannot_pass_is_told_and_named,
    the_host_takes_its_tuple_back,
    a_daemon_that_comes_back_finds_its_programs,
);

const OWN_V4: &str = "192.0.2.1";
const OWN_V6: &str = "2001:db8:192::1";
const FAR_V4: &str = "192.0.2.2";
const FAR_V6: &str = "2001:db8:192::2";
/// Behind the far end.
const BEYOND_V4: &str = "198.18.0.9";
const BEYOND_V6: &str = "2001:db8:18::9";
/// WireGuard's.
const MTU: usize = 1420;

const TUNNELED: Network = RED.by("tun0");
const LANE_BY_TUNNEL: Network = LANE.by("tun0");

/// The host's only way out is `tun0`, and a VM is behind it.
fn served(lab: &mut Lab, network: &'static Network) {
    lab.host.run(&format!("ip link set tun0 mtu {MTU}"));
    for address in [format!("{OWN_V4}/30"), format!("{OWN_V6}/64")] {
        lab.host.address("tun0", &address);
    }
    lab.host.run("ip route replace default dev tun0");
    lab.host.run("ip -6 route replace default dev tun0");
    lab.ok("uplink add tun0");
    let mode = if network.name == "lane" { "routed" } else { "nat" };
    let subnets =
        format!("--subnet {}/24 --subnet {}/64", network.v4(0), network.v6(0).trim_end_matches('0'));
    lab.ok(&format!("network add {} --mode {mode} --uplink tun0 {subnets}", network.name));
    lab.vm("red1", network, 11);
}

/// The same with a machine at the other end.
fn joined(hook: Hook, network: &'static Network) -> (Lab, Netns, Tunnel) {
    let (mut lab, far) = (Lab::empty(hook), Netns::new("far"));
    let tunnel = Tunnel::between(&lab.host, &far, "tun0");
    for address in [format!("{FAR_V4}/30"), format!("{FAR_V6}/64")] {
        far.address("tun0", &address);
    }
    far.run(&format!("ip link set tun0 mtu {MTU}"));
    far.run("ip route add default dev tun0");
    far.run("ip -6 route add default dev tun0");
    served(&mut lab, network);
    (lab, far, tunnel)
}

fn end(address: &str, l4_port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{l4_port}") } else { format!("{address}:{l4_port}") }
}

fn is_exact(lab: &Lab) -> bool {
    eventually(|| lab.json("status --check")["exact"] == true)
}

fn vms_get_out_and_forwards_lead_in(hook: Hook) {
    let (lab, far, _tunnel) = joined(hook, &TUNNELED);
    let vm = lab.get("red1");
    lab.ok("forward add web --listen tcp+udp::8080 --to red1:80");
    let text = "0123456789".repeat(3000);
    // Else the first large datagram would be told what its sender's way carries.
    vm.netns.run(&format!("ip link set eth0 mtu {MTU}"));
    for (own, host, outside) in [(&vm.v4, OWN_V4, FAR_V4), (&vm.v6, OWN_V6, FAR_V6)] {
        let _far = (http_whoami(&far, &end(outside, 80)), udp_whoami(&far, &end(outside, 53)));
        let _near = (http_whoami(&vm.netns, &end(own, 80)), udp_whoami(&vm.netns, &end(own, 80)));
        let _host = http_whoami(&lab.host, &end(host, 81));
        for (client, to, seen) in [
            (&vm.netns, end(outside, 80), host),
            (&far, end(host, 8080), outside),
            // The host's own, both ways.
            (&lab.host, end(outside, 80), host),
            (&far, end(host, 81), outside),
        ] {
            let page = http_get(client, &to).unwrap_or_else(|error| panic!("{to}: {error:#}"));
            assert!(page.starts_with(&end(seen, 0)[..end(seen, 0).len() - 1]), "{to} saw {page}");
        }
        // In fragments.
        for (client, any, to) in
            [(&vm.netns, own.as_str(), end(outside, 53)), (&far, outside, end(host, 8080))]
        {
            let answer = ask_udp(client, &end(any, 0), &to, &text).unwrap_or_else(|e| panic!("{to}: {e:#}"));
            assert!(answer.ends_with(&text), "{to}: {} bytes", answer.len());
        }
        ping(&vm.netns, outside).expect("echo gets out and back");
        ping(&lab.host, outside).expect("the host's echo gets out and back");
        ping(&far, host).expect("the host answers");
        // Frames that the kernel has yet to cut, and that owe their checksum.
        let bytes = 20 << 20;
        for (server, at, client, by) in [
            (&far, end(outside, 90), &vm.netns, end(outside, 90)),
            (&lab.host, end(host, 90), &far, end(host, 90)),
        ] {
            let transfer = BulkSource::start(server, &at, bytes).download_at(client, &by);
            assert_eq!(transfer.unwrap_or_else(|e| panic!("{by}: {e:#}")).bytes, bytes);
        }
    }
    let uplink = lab.json("uplink show tun0");
    assert_eq!((&uplink["hook"], &uplink["state"]), (&json!("tcx"), &json!("ready")), "{uplink:#}");
    assert_eq!(uplink["hook_reason"], "Packets of tun have no Ethernet header, which XDP needs.");
    assert!(is_exact(&lab));
    let found = lab.fwd("doctor -o json").into_result();
    assert!(!found.as_ref().is_ok_and(|text| text.contains("tun0")), "{found:?}");
}

fn a_routed_network_is_reached_under_its_own_addresses(hook: Hook) {
    let (lab, far, _tunnel) = joined(hook, &LANE_BY_TUNNEL);
    let vm = lab.get("red1");
    for (own, outside) in [(&vm.v4, FAR_V4), (&vm.v6, FAR_V6)] {
        let _far = http_whoami(&far, &end(outside, 80));
        let _near = http_whoami(&vm.netns, &end(own, 80));
        let page = http_get(&vm.netns, &end(outside, 80)).expect("the VM gets out");
        assert!(page.contains(own.as_str()), "{page}");
        let page = http_get(&far, &end(own, 80)).expect("the VM is reached");
        assert!(page.contains(outside), "{page}");
    }
    assert!(is_exact(&lab));
}

/// A world whose tunnel ends in this test.
fn ended(hook: Hook) -> (Lab, Tun) {
    let mut lab = Lab::empty(hook);
    let tun = Tun::open(&lab.host, "tun0");
    served(&mut lab, &TUNNELED);
    (lab, tun)
}

/// The packet without Ethernet, as it leaves by a tunnel or comes by it.
fn bare(packet: Packet) -> Vec<u8> {
    packet.macs(Mac([0; 6]), Mac([0; 6])).frame()
}

/// Packets that came in on a port and what became of them, at the hook that has them.
fn ledger(lab: &Lab, port: &str, hook: &str) -> [u64; 4] {
    let noun = if port == "tun0" { "uplink" } else { "port" };
    let counters = lab.json(&format!("{noun} show {port}"))["counters"].take();
    ["received", "forwarded", "host", "dropped"].map(|name| number(&counters[hook][name], "packets"))
}

fn packets_leave_and_come_whole_and_are_counted_one_by_one(hook: Hook) {
    let (lab, tun) = ended(hook);
    let vm = lab.get("red1");
    let wire = Wire::open(&vm.netns, "eth0");
    let gateway = lab.host.mac_of("fwd-red");
    lab.ok("forward add dns --listen udp::53 --to red1:5353");
    // The guest itself sends nothing.
    vm.netns.sysctl("net.ipv6.conf.eth0.disable_ipv6", "1");
    vm.netns.run("ip address flush dev eth0");
    for (own, host, beyond) in [(&vm.v4, OWN_V4, BEYOND_V4), (&vm.v6, OWN_V6, BEYOND_V6)] {
        let before = (ledger(&lab, "tun0", "skb"), ledger(&lab, "red1", "skb"));
        let out = |text: &str| Packet::udp((own.as_str(), 5000), (beyond, 9)).hops(64).payload(text);
        for text in ["first", "second"] {
            wire.send(&out(text).macs(vm.mac, gateway).frame());
            tun.expect_frame(&bare(out(text).from_end((host, 5000)).hops(63)));
        }
        let back = |text: &str| Packet::udp((beyond, 9), (host, 5000)).hops(61).payload(text);
        for text in ["answer", "another"] {
            tun.send(&bare(back(text)));
            wire.expect_frame(
                &back(text).to_end((own.as_str(), 5000)).hops(60).macs(gateway, vm.mac).frame(),
            );
        }
        // By the forward, and back.
        let asked = Packet::udp((beyond, 777), (host, 53)).hops(61).payload("question");
        tun.send(&bare(asked.clone()));
        wire.expect_frame(&asked.to_end((own.as_str(), 5353)).hops(60).macs(gateway, vm.mac).frame());
        let told = Packet::udp((own.as_str(), 5353), (beyond, 777)).hops(64).payload("told");
        wire.send(&told.clone().macs(vm.mac, gateway).frame());
        tun.expect_frame(&bare(told.from_end((host, 53)).hops(63)));
        let after = (ledger(&lab, "tun0", "skb"), ledger(&lab, "red1", "skb"));
        let moved = |after: [u64; 4], before: [u64; 4]| [0, 1, 2, 3].map(|n| after[n] - before[n]);
        assert_eq!(moved(after.0, before.0), [3, 3, 0, 0]);
        // XDP has passed up what only TCX can put into the tunnel.
        assert_eq!(moved(after.1, before.1), [3, 3, 0, 0]);
        // What no flow, no forward has is the host's.
        tun.send(&bare(Packet::udp((beyond, 9), (host, 4444)).payload("nobody")));
        assert!(eventually(|| ledger(&lab, "tun0", "skb")[2] == after.0[2] + 1));
    }
    assert!(is_exact(&lab));
    let packet = format!("udp {}:5000 > {BEYOND_V4}:9", vm.v4);
    traced(&lab, &["red1", &packet], "red1", "tun0");
    traced(&lab, &["outside", &format!("udp {BEYOND_V4}:778 > {OWN_V4}:53")], "tun0", "red1");
}

#[test]
fn a_packet_that_the_kernel_gives_no_header_is_named() {
    need!(skip::bpf());
    let (lab, tun) = ended(Hook::Tcx);
    lab.host.run("ip link set tun0 mtu 60000");
    let before = ledger(&lab, "tun0", "skb");
    for (own, beyond) in [(OWN_V4, BEYOND_V4), (OWN_V6, BEYOND_V6)] {
        tun.send(&bare(Packet::udp((beyond, 9), (own, 4444)).payload([b'x'; 20_000])));
    }
    let refused = || lab.drops("rewrite_failed", |row| row["port"] == "tun0");
    assert!(eventually(|| refused() == 2));
    let after = ledger(&lab, "tun0", "skb");
    assert_eq!([0, 1, 2, 3].map(|n| after[n] - before[n]), [2, 0, 0, 2]);
    assert!(is_exact(&lab));
}

/// Holds that a packet would go from one port to another.
#[track_caller]
fn traced(lab: &Lab, words: &[&str], from: &str, to: &str) {
    let told = lab.fwd.run(&lab.host, &[&["trace", "-o", "json"], words].concat()).ok();
    let told: Value = serde_json::from_str(&told).expect("json");
    assert_eq!(told["verdict"], "forward", "{told:#}");
    assert_eq!((&told["port"], &told["egress"]), (&json!(from), &json!(to)), "{told:#}");
}

/// Type and code of an ICMP message.
fn message(frame: &[u8]) -> Option<[u8; 2]> {
    let (proto, at) = if frame[12..14] == [0x08, 0] { (frame[23] == 1, 34) } else { (frame[20] == 58, 54) };
    if proto { frame.get(at..at + 2).map(|bytes| [bytes[0], bytes[1]]) } else { None }
}

fn what_cannot_pass_is_told_and_named(hook: Hook) {
    let (lab, tun) = ended(hook);
    let vm = lab.get("red1");
    let wire = Wire::open(&vm.netns, "eth0");
    let gateway = lab.host.mac_of("fwd-red");
    lab.ok("forward add dns --listen udp::53 --to red1:5353");
    lab.ok("forward add off --listen udp::54 --to red1:5454");
    lab.ok("policy add no-off --deny --from outside --to port:red1 --service udp/5454");
    for (own, host, beyond, is_v6) in [(&vm.v4, OWN_V4, BEYOND_V4, false), (&vm.v6, OWN_V6, BEYOND_V6, true)]
    {
        let out = |text: &[u8]| Packet::udp((own.as_str(), 5000), (beyond, 9)).hops(64).payload(text);
        let (too_big, exceeded, unreachable) =
            if is_v6 { ([2, 0], [3, 0], [1, 4]) } else { ([3, 4], [11, 0], [3, 3]) };
        // Too big for the tunnel: the VM is told its MTU.
        wire.send(&out(&[b'x'; 1450]).macs(vm.mac, gateway).frame());
        let told = wire.expect(|frame| message(frame) == Some(too_big));
        let at = if is_v6 { 58 } else { 38 };
        let mtu = u32::from_be_bytes([told[at], told[at + 1], told[at + 2], told[at + 3]]);
        assert_eq!(mtu as usize, MTU);
        // The hop behind ends here: who sent into the tunnel is told through it, from the uplink's address.
        let late = Packet::udp((beyond, 777), (host, 53)).hops(1).payload("late");
        tun.send(&bare(late));
        let told = tun.expect(|frame| message(frame) == Some(exceeded));
        let source = if is_v6 { &told[22..38] } else { &told[26..30] };
        match ip(host) {
            std::net::IpAddr::V4(v4) => assert_eq!(source, v4.octets()),
            std::net::IpAddr::V6(v6) => assert_eq!(source, v6.octets()),
        }
        assert!(is_v6 || checksum(&told[14..34]) == 0, "{}", render(&told));
        // An error from beyond reaches the VM with its own packet quoted.
        wire.send(&out(b"ping").macs(vm.mac, gateway).frame());
        let sent = tun.expect(|frame| frame.ends_with(b"ping"));
        let kind = if is_v6 { 1 } else { 3 };
        let mut error = Packet::icmp(beyond, host, kind, unreachable[1], [0; 4]);
        error = error.payload(&sent[14..]);
        tun.send(&bare(error));
        let told = wire.expect(|frame| message(frame) == Some(unreachable));
        let quoted = out(b"ping").hops(63).macs(vm.mac, gateway).frame();
        let at = if is_v6 { 62 } else { 42 };
        assert_eq!(told[at..], quoted[14..]);
        // A rule's drop is named.
        let denied = || lab.drops("policy_denied", |row| row["port"] == "tun0" && row["rule"] == "no-off");
        let before = denied();
        tun.send(&bare(Packet::udp((beyond, 778), (host, 54)).payload("denied")));
        assert!(eventually(|| denied() == before + 1));
        wire.expect_none(Duration::from_millis(50), |frame| frame.ends_with(b"denied"));
    }
    assert!(is_exact(&lab));
}

fn rows(lab: &Lab) -> Vec<Value> {
    lab.items("nat table --port red1 --proto udp")
}

fn the_host_takes_its_tuple_back(hook: Hook) {
    let (lab, far, _tunnel) = joined(hook, &TUNNELED);
    let vm = lab.get("red1");
    for (own, host, outside) in [(&vm.v4, OWN_V4, FAR_V4), (&vm.v6, OWN_V6, FAR_V6)] {
        let server = end(outside, 53);
        let _udp = udp_whoami(&far, &server);
        let answer = ask_udp(&vm.netns, &end(own, 5555), &server, "vm").expect("the VM gets out");
        assert_eq!(answer, format!("{} vm", end(host, 5555)));
        assert_eq!(rows(&lab).len(), 1);
        // The first answer may still go to the VM: it is the host's packet that ends the flow.
        let answer = ask_udp(&lab.host, &end(host, 5555), &server, "host").expect("the host wins");
        assert_eq!(answer, format!("{} host", end(host, 5555)));
        assert_eq!(rows(&lab), Vec::<Value>::new());
    }
    assert!(is_exact(&lab));
}

fn a_daemon_that_comes_back_finds_its_programs(hook: Hook) {
    let (mut lab, far, _tunnel) = joined(hook, &TUNNELED);
    let server = end(FAR_V4, 80);
    let _http = http_whoami(&far, &server);
    let links = lab.fwd.bpffs().join(format!("v{ABI_VERSION}/links"));
    let index = lab.host.ifindex("tun0");
    let pinned = |point: &str| links.join(format!("{index}-{point}")).exists();
    let points = || ["tunnel-ingress", "tunnel-egress", "ingress", "egress"].map(pinned);
    for _ in 0..2 {
        let page = http_get(&lab.get("red1").netns, &server).expect("the VM gets out");
        assert!(page.starts_with(OWN_V4), "{page}");
        lab.fwd.kill();
        let page = http_get(&lab.get("red1").netns, &server).expect("the VM gets out without the daemon");
        assert!(page.starts_with(OWN_V4), "{page}");
        lab.start();
        assert_eq!(points(), [true, true, false, false]);
    }
}
