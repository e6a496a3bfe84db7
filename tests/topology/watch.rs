//! Drops that are asked for afterwards: what is kept of each, by what they are narrowed, and what is shed. And what
//! `fwd trace --live` tells while packets come.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, eventually, number};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, udp_whoami};
use serde_json::{Value, json};

on_both_hooks!(
    drops_are_asked_for_afterwards,
    a_storm_of_drops_sheds_events_and_no_packets,
    packets_are_followed_as_they_come,
);

const DENY: &str = "policy add no-sip --deny --from port:red1 --to outside --service udp/5060";

/// Datagrams of one flow to the L4 port that is denied.
fn call(lab: &Lab, datagrams: usize, payload: &[u8]) {
    let vm = lab.get("red1");
    vm.netns.inside(|| {
        let socket = UdpSocket::bind((vm.v4.as_str(), 4000)).expect("it is free");
        for _ in 0..datagrams {
            socket.send_to(payload, (OUTSIDE_V4, 5060)).expect("there is a route");
        }
    });
}

/// What the daemon keeps of denied packets.
fn kept(lab: &Lab, options: &str) -> Vec<Value> {
    let all = "drop watch --reason policy_denied --since 5m --until 0s -o json";
    let text = lab.ok(&format!("{all} {options}"));
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn drops_are_asked_for_afterwards(hook: Hook) {
    let lab = Lab::one_vm(hook);
    lab.ok("group add phones --member red1");
    lab.ok("group add nobody");
    lab.ok(DENY);
    call(&lab, 1, b"x");
    call(&lab, 1, &[b'y'; 100]);
    assert!(eventually(|| kept(&lab, "").len() == 2));
    let vm = lab.get("red1");
    let [short, long] = &kept(&lab, "")[..] else { panic!("there are two") };
    for drop in [short, long] {
        assert_eq!((&drop["port"], &drop["rule"]), (&json!("red1"), &json!("no-sip")), "{drop}");
        assert_eq!((&drop["protocol"], &drop["direction"]), (&json!("udp"), &json!("egress")), "{drop}");
        let ends = (json!(format!("{}:4000", vm.v4)), json!(format!("{OUTSIDE_V4}:5060")));
        assert_eq!((&drop["source"], &drop["destination"]), (&ends.0, &ends.1), "{drop}");
        let head = drop["head"].as_str().expect("text");
        // From the ethertype on: IPv4 without options; then UDP's L4 ports.
        assert_eq!((&head[24..30], &head[68..76]), ("080045", "0fa013c4"), "{drop}");
    }
    assert_eq!((number(short, "bytes"), number(long, "bytes")), (43, 142));
    let digits = |drop: &Value| drop["head"].as_str().map(str::len);
    assert_eq!((digits(short), digits(long)), (Some(2 * 43), Some(2 * 64)));
    for (options, count) in [
        ("--port red1 --group phones --rule no-sip --proto udp --direction out", 2),
        ("--peer 203.0.113.0/24", 2),
        ("--limit 1", 1),
        ("--proto 17", 2),
        ("--proto tcp", 0),
        ("--peer 192.0.2.0/24", 0),
        ("--direction in", 0),
        ("--group nobody", 0),
        ("--port eth0", 0),
    ] {
        assert_eq!(kept(&lab, options).len(), count, "{options}");
    }
    // Without --until it goes on; here it has seen enough.
    let line = lab.ok("drop watch --since 5m --reason policy_denied --limit 2");
    assert_eq!(line.lines().count(), 2, "{line}");
    lab.ok("policy delete no-sip");
    assert_eq!(kept(&lab, "--rule no-sip").len(), 2, "what was deleted keeps its name");
    assert!(lab.fwd("drop watch --rule rain").fails(3).contains("rain"));
    assert!(lab.fwd("drop watch --group rain").fails(3).contains("rain"));
    assert!(lab.fwd("drop watch --proto rain").fails(6).contains("rain"));
    lab.fwd("drop watch --since 1m --until 2m").fails(2);
    assert_eq!(lab.items("drop list --group phones --direction out --limit 1").len(), 1);
    assert_eq!(lab.items("drop list --group nobody").len(), 0);
}

/// Events that the kernel shed.
fn shed(lab: &Lab) -> u64 {
    let metrics = lab.ok("metrics");
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("fwd_events_lost_total{consumer=\"kernel\"} "));
    line.and_then(|n| n.parse().ok()).expect("it is a number")
}

fn a_storm_of_drops_sheds_events_and_no_packets(hook: Hook) {
    const STORM: usize = 20_000;
    let lab = Lab::one_vm(hook);
    let server = format!("{OUTSIDE_V4}:53");
    let _dns = udp_whoami(&lab.outside, &server);
    let ask = || ask_udp(&lab.get("red1").netns, "0.0.0.0:4001", &server, "x").expect("it is permitted");
    lab.ok("config set events_per_tick 16");
    lab.ok(DENY);
    ask();
    let before = shed(&lab);
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| call(&lab, STORM, b"x"));
        let mut answers = 0;
        while !storm.is_finished() || answers == 0 {
            ask();
            answers += 1;
        }
        storm.join().expect("it sends all");
    });
    let counted = || lab.drops("policy_denied", |row| row["rule"] == "no-sip");
    assert!(eventually(|| counted() == STORM as u64), "{} counted", counted());
    let (kept, shed) = (kept(&lab, "").len(), shed(&lab) - before);
    assert!(kept > 0 && shed > STORM as u64 / 2, "{kept} kept, {shed} shed");
    assert_eq!(lab.json("status --check")["residue"], 0, "every packet is accounted for");
}

/// A `fwd trace --live` that runs, and what it tells.
struct Followed {
    child: Child,
    events: Receiver<Value>,
}

impl Followed {
    fn start(lab: &Lab, filter: &str) -> Self {
        let mut command = lab.fwd.command(&lab.host).expect("fwd is built");
        command.args(["trace", "--live", "-o", "json", "--filter", filter]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let (tell, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("an object a line");
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, events }
    }

    /// The first event of a kind, while something is done again and again.
    #[track_caller]
    fn wait_for(&self, kind: &str, mut act: impl FnMut()) -> Value {
        let mut found = None;
        let is_told = eventually(|| {
            act();
            found = self.events.try_iter().find(|event| event["event"] == kind);
            found.is_some()
        });
        assert!(is_told, "{kind} is told");
        found.expect("it was just found")
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn packets_are_followed_as_they_come(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let server = format!("{OUTSIDE_V4}:53");
    let _dns = udp_whoami(&lab.outside, &server);
    let vm = lab.get("red1");
    let ask = || _ = ask_udp(&vm.netns, "0.0.0.0:4001", &server, "x").expect("it is permitted");
    lab.ok(DENY);
    let followed = Followed::start(&lab, &format!("udp and host {OUTSIDE_V4} and not port 9"));
    let dropped = followed.wait_for("drop", || call(&lab, 1, b"x"));
    assert_eq!((&dropped["reason"], &dropped["rule"]), (&json!("policy_denied"), &json!("no-sip")));
    assert_eq!(dropped["stage"], "policy");
    let started = followed.wait_for("flow_start", ask);
    assert_eq!((&started["port"], &started["source"]), (&json!("red1"), &json!(format!("{}:4001", vm.v4))));
    assert_eq!((&started["destination"], &started["protocol"]), (&json!(server), &json!("udp")));
    assert!(started["translated"].as_str().is_some_and(|to| to.starts_with(HOST_V4)), "{started}");
    assert_eq!(started["stage"], "admit");
    let moved = followed.wait_for("packets", ask);
    assert_eq!(moved["name"], started["name"], "it is the same flow");
    assert!(number(&moved["packets"], "out") > 0 && number(&moved["packets"], "in") > 0, "{moved}");
    assert_eq!(moved["path"], if hook == Hook::Xdp { "xdp" } else { "skb" });
    lab.ok("flow delete --port red1");
    let ended = followed.wait_for("flow_end", || ());
    assert_eq!((&ended["name"], &ended["reason"]), (&started["name"], &json!("delete")));
    // What it is not asked for it does not tell; a limit ends it; a wrong filter has its place told.
    assert_eq!(lab.ok("trace --live --limit 0"), "");
    assert!(lab.fwd("trace --live --filter prot").fails(2).contains("word 1, `prot`"));
    lab.fwd("trace --live red1").fails(2);
    lab.fwd("trace --filter tcp").fails(2);
}
