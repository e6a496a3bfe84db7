//! Every frame is accounted for: a million of them, a fifth junk, against the generator's own count.
//!
//! The frames go in by a tap, into which nothing else writes, so the count is exact. Flows expire and come
//! again on the way, and a part is sent while the daemon is dead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fwd_tests::frame::{Extension, Fault, Fragment, Mac, Packet};
use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED, eventually, number};
use fwd_tests::link::VnetHeader;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::ping;
use fwd_tests::wire::{Link, Tap};
use serde_json::Value;

on_both_hooks!(a_million_frames_are_accounted_for_one_by_one);

const VM: Mac = Mac([0x52, 0x54, 0, 0, 1, 41]);
const PEER: Mac = Mac([0x52, 0x54, 0, 0, 1, 42]);
const FLOWS: u16 = 64;

/// Frames that must pass, and for each drop reason frames that must be dropped for it.
struct Frames {
    good: Vec<Vec<u8>>,
    junk: Vec<(&'static str, Vec<u8>)>,
}

fn frames(gateway: Mac) -> Frames {
    let (vm, vm6) = (RED.v4(41), RED.v6(41));
    let (peer, peer6) = (RED.v4(42), RED.v6(42));
    let udp = |from: &str, to: &str| Packet::udp((from, 1000), (to, 2000)).payload("payload");
    let local = || udp(&vm, &peer).macs(VM, PEER);
    let tcp = || Packet::tcp((vm.as_str(), 1000), (peer.as_str(), 2000)).macs(VM, PEER);
    let mut good = vec![Packet::echo_request(&vm, &RED.v4(1), 7, 7).macs(VM, gateway).frame()];
    for l4_port in 3000..3000 + FLOWS {
        good.push(local().from_l4(l4_port).frame());
        good.push(udp(&vm6, &peer6).from_l4(l4_port).macs(VM, PEER).frame());
        good.push(udp(&vm, OUTSIDE_V4).from_l4(l4_port).macs(VM, gateway).frame());
    }
    let fragment = Fragment { id: 9, offset: 0, more: true };
    let junk = vec![
        ("source_mac_spoofed", local().from_mac("52:54:00:00:99:99").frame()),
        ("source_address_spoofed", udp(&RED.v4(43), &peer).macs(VM, PEER).frame()),
        ("source_address_spoofed", udp(&RED.v6(43), &peer6).macs(VM, PEER).frame()),
        ("arp_spoofed", Packet::arp_request(VM, &RED.v4(43), &peer).frame()),
        ("bad_ipv4_header", local().fault(Fault::HeaderWords(4)).frame()),
        ("bad_ipv4_header", local().fault(Fault::IpLength(1000)).frame()),
        ("bad_ipv6_header", udp(&vm6, &peer6).macs(VM, PEER).fault(Fault::IpLength(1000)).frame()),
        ("truncated_header", local().frame()[..30].to_vec()),
        ("truncated_header", Packet::other(0x0800, &[]).macs(VM, PEER).frame()),
        ("ipv4_options_unsupported", local().ip_options(&[1, 1, 1, 0]).frame()),
        (
            "ipv6_extension_unsupported",
            udp(&vm6, &peer6).macs(VM, PEER).extension(Extension::padding(Extension::DESTINATION)).frame(),
        ),
        ("fragment_unsupported", local().fragment(fragment).frame()),
        ("vlan_unsupported", local().vlan(20).frame()),
        ("ether_type_unsupported", Packet::other(0x88b5, &[0; 46]).macs(VM, PEER).frame()),
        ("bad_l4_header", tcp().fault(Fault::TcpWords(3)).frame()),
        ("bad_l4_header", local().fault(Fault::UdpLength(3)).frame()),
    ];
    Frames { good, junk }
}

/// What was written into the tap.
#[derive(Default)]
struct Sent {
    good: u64,
    junk: BTreeMap<String, u64>,
    /// Those of the good ones that go to the other tap.
    to_sink: u64,
}

impl Sent {
    fn junk_packets(&self) -> u64 {
        self.junk.values().sum()
    }
}

fn send(tap: &Tap, frames: &Frames, count: usize, sent: &mut Sent) {
    for n in 0..count {
        if n % 5 == 4 {
            let (reason, frame) = &frames.junk[n / 5 % frames.junk.len()];
            tap.send(frame);
            *sent.junk.entry((*reason).to_owned()).or_default() += 1;
        } else {
            let frame = &frames.good[n % frames.good.len()];
            tap.send(frame);
            sent.good += 1;
            sent.to_sink += u64::from(frame[..6] == PEER.0);
        }
    }
}

fn packets(ledger: &Value, outcome: &str) -> u64 {
    number(&ledger[outcome], "packets")
}

fn check(lab: &Lab, sent: &Sent) {
    let counters = lab.counters("gen");
    let (xdp, skb) = (&counters["xdp"], &counters["skb"]);
    let both = |outcome: &str| packets(xdp, outcome) + packets(skb, outcome);
    let first = if lab.hook == Hook::Xdp { xdp } else { skb };
    let all = sent.good + sent.junk_packets();
    assert_eq!(packets(first, "received"), all, "{counters:#}");
    assert_eq!(both("dropped"), sent.junk_packets(), "{counters:#}");
    assert_eq!(both("forwarded") + both("host") + both("answered"), sent.good, "{counters:#}");
    assert_eq!(number(&counters, "unaccounted"), 0);
    if lab.hook == Hook::Xdp {
        let arrived = packets(skb, "received") + number(&counters, "lost_between_hooks");
        assert_eq!(packets(xdp, "passed_up"), arrived, "{counters:#}");
    }
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for row in lab.items("drop list --port gen") {
        let reason = row["reason"].as_str().expect("a row has a reason").to_owned();
        *reasons.entry(reason).or_default() += number(&row, "packets");
    }
    assert_eq!(reasons, sent.junk);
    let check = lab.json("status --check");
    let check = check.get("check").unwrap_or(&check);
    assert_eq!((&check["exact"], &check["residue"]), (&true.into(), &0.into()), "{check:#}");
}

fn a_million_frames_are_accounted_for_one_by_one(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.ok("config set udp_timeout 1s");
    let [source, sink] = [("gen", VM, 41), ("sink", PEER, 42)].map(|(name, mac, number)| {
        lab.host.tap(name, VnetHeader::Off);
        let tap = Tap::open(&lab.host, name, VnetHeader::Off);
        let addresses = format!("--ip {} --ip {}", RED.v4(number), RED.v6(number));
        let hook = hook.name();
        lab.ok(&format!(
            "port add {name} --device {name} --network red --mac {mac} {addresses} --hook {hook}"
        ));
        tap
    });
    ping(&lab.host, OUTSIDE_V4).expect("the host knows its neighbor from here on");
    let frames = frames(lab.host.mac_of("fwd-red"));
    let (done, delivered) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut sent = Sent::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if sink.receive(Duration::from_millis(100)).is_some_and(|frame| frame[6..12] == VM.0) {
                    delivered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        send(&source, &frames, 400_000, &mut sent);
        check(&lab, &sent);
        thread::sleep(Duration::from_millis(1500)); // every flow expires, and is admitted again
        send(&source, &frames, 400_000, &mut sent);
        check(&lab, &sent);
        lab.fwd.kill();
        send(&source, &frames, 200_000, &mut sent);
        lab.start();
        check(&lab, &sent);
        thread::sleep(Duration::from_millis(500)); // the last ones are read
        done.store(true, Ordering::Relaxed);
    });
    // What was handed to the other tap was read from it, or is named as lost there; so are the few frames
    // of others, such as the host's own multicast, that found its queue full.
    let lost = || number(&lab.counters("sink"), "egress_lost");
    let arrived = delivered.load(Ordering::Relaxed);
    let all = || (sent.to_sink..sent.to_sink + 100).contains(&(arrived + lost()));
    assert!(arrived <= sent.to_sink, "{arrived} arrived of {}", sent.to_sink);
    assert!(eventually(all), "{arrived} arrived and {} are lost of {}", lost(), sent.to_sink);
}
