//! Every frame is accounted for: a million of them, a fifth junk, against the generator's own count.
//!
//! The frames go in by a tap, into which nothing else writes, so the count is exact. Flows expire and come
//! again on the way, and a part is sent while the daemon is dead.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fwd_tests::frame::{Extension, Fault, Fragment, Mac, Packet};
use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED, eventually, number};
use fwd_tests::link::VnetHeader;
use fwd_tests::on_both_hooks;
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
    let fragment = Fragment { id: 9, offset: 64, more: false };
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
        ("ipv4_options_unsupported", local().ip_options(&[131, 3, 4, 0]).frame()),
        (
            "ipv6_extension_unsupported",
            udp(&vm6, &peer6)
                .macs(VM, PEER)
                .extension(Extension { number: 253, content: vec![0; 6] })
                .frame(),
        ),
        ("fragment_before_first", local().fragment(fragment).frame()),
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

/// Frames that the host itself puts into the sink, from its first one on: its gateway's ARP and MLD, which are
/// flooded, and the MLD of the tap's own stack.
struct Foreign {
    tcpdump: Child,
    lines: PathBuf,
}

impl Foreign {
    fn watch(lab: &Lab) -> Self {
        let lines = lab.fwd.folder().join("foreign.txt");
        let mut tcpdump = lab.host.command("tcpdump");
        tcpdump.args(["-Z", "root", "-i", "sink", "-n", "-e", "-l", "--immediate-mode"]);
        tcpdump.arg(format!("not ether src {VM}"));
        tcpdump.stdout(File::create(&lines).expect("our own folder")).stderr(Stdio::piped());
        let mut tcpdump = tcpdump.spawn().expect("tcpdump is installed");
        let told = BufReader::new(tcpdump.stderr.take().expect("it was asked for")).lines();
        let is_ready = told.map_while(Result::ok).any(|line| line.starts_with("listening on"));
        assert!(is_ready, "tcpdump does not listen");
        Self { tcpdump, lines }
    }

    fn sent(&self) -> u64 {
        let lines = fs::read_to_string(&self.lines).expect("our own folder");
        lines.lines().count().try_into().expect("they are few")
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Err(error) = self.tcpdump.kill().and_then(|()| self.tcpdump.wait().map(drop)) {
            eprintln!("tcpdump: {error}");
        }
    }
}

/// Ends whoever asks, however the scope is left.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
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
    lab.host.tap("gen", VnetHeader::Off);
    lab.host.tap("sink", VnetHeader::Off);
    // Before the tap is opened, without which nothing is sent into it.
    let foreign = Foreign::watch(&lab);
    let [source, sink] = [("gen", VM, 41), ("sink", PEER, 42)].map(|(name, mac, number)| {
        let tap = Tap::open(&lab.host, name, VnetHeader::Off);
        let addresses = format!("--ip {} --ip {}", RED.v4(number), RED.v6(number));
        let hook = hook.name();
        lab.ok(&format!(
            "port add {name} --device {name} --network red --mac {mac} {addresses} --hook {hook}"
        ));
        tap
    });
    // Known without asking, for the flood of another test can fill the backlog that is each CPU's.
    let outside = lab.outside.mac_of("eth0");
    lab.host.run(&format!("ip neigh replace {OUTSIDE_V4} lladdr {outside} dev eth0 nud permanent"));
    let frames = frames(lab.host.mac_of("fwd-red"));
    let (done, delivered, others) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut sent = Sent::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Some(frame) = sink.receive(Duration::from_millis(100)) {
                    let count = if frame[6..12] == VM.0 { &delivered } else { &others };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let _done = Done(&done);
        thread::scope(|scope| {
            scope.spawn(|| (0..20).for_each(|_| _ = lab.ok("status --check")));
            send(&source, &frames, 400_000, &mut sent);
        });
        check(&lab, &sent);
        thread::sleep(Duration::from_millis(1500)); // every flow expires, and is admitted again
        send(&source, &frames, 400_000, &mut sent);
        check(&lab, &sent);
        lab.fwd.kill();
        send(&source, &frames, 200_000, &mut sent);
        lab.start();
        check(&lab, &sent);
        // What was handed to the other tap was read from it, or is named as lost there; so is what the host sent.
        let sum = || {
            let read = delivered.load(Ordering::Relaxed) + others.load(Ordering::Relaxed);
            (read + number(&lab.counters("sink"), "egress_lost"), sent.to_sink + foreign.sent())
        };
        let is_exact = eventually(|| {
            let (got, wanted) = sum();
            got == wanted
        });
        let (got, wanted) = sum();
        assert!(is_exact, "{got} read or lost of {wanted}, {} of them the host's", foreign.sent());
    });
    let arrived = delivered.load(Ordering::Relaxed);
    assert!(arrived <= sent.to_sink, "{arrived} arrived of {}", sent.to_sink);
}
