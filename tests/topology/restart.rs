//! The daemon dies and comes back: packets, counters, connections and configuration do not notice.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, number};
use fwd_tests::traffic::{Probe, ask_udp, http_get, http_whoami, udp_whoami};
use fwd_tests::{need, on_both_hooks, skip};

on_both_hooks!(
    not_one_packet_is_lost_when_the_daemon_is_killed_and_restarted,
    connections_and_configuration_outlive_the_daemon,
);

/// They cannot grow later, so the document is read before they are made.
#[test]
fn flow_tables_are_made_for_the_document_that_up_is_given() {
    need!(skip::bpf());
    let mut lab = Lab::empty(Hook::Tcx);
    lab.fwd.down(&lab.host).expect("fwd goes down");
    let document = lab.fwd.state_dir().with_file_name("sizes.yaml");
    fs::write(&document, "api: fwd/v1\nsettings: {flow_limit: 524288}\n").expect("the folder is the test's");
    lab.start_with(&["--config", &document.to_string_lossy()]);
    let metrics = lab.ok("metrics");
    for family in ["ipv4", "ipv6"] {
        let line = format!("fwd_flows_limit{{family=\"{family}\"}} 524288");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

const RATE: u64 = 100_000;

/// Packets that came in on the port, at the hook that sees them first.
fn received(lab: &Lab) -> u64 {
    let hook = if lab.hook == Hook::Xdp { "xdp" } else { "skb" };
    number(&lab.counters("red1")[hook]["received"], "packets")
}

fn not_one_packet_is_lost_when_the_daemon_is_killed_and_restarted(hook: Hook) {
    let mut lab = Lab::one_vm(hook);
    let server = format!("{OUTSIDE_V4}:4000");
    {
        let _udp = udp_whoami(&lab.outside, &server);
        let vm = lab.get("red1");
        ask_udp(&vm.netns, &format!("{}:4000", vm.v4), &server, "x").expect("the flow is established");
    }
    let before = received(&lab);
    let vm = lab.get("red1");
    let probe = Probe::start((&vm.netns, &format!("{}:4000", vm.v4)), &server, (&lab.outside, &server), RATE);
    thread::sleep(Duration::from_millis(500));
    let alive = received(&lab);
    assert!(alive > before, "the counters move");
    lab.fwd.kill();
    thread::sleep(Duration::from_millis(500));
    lab.start();
    assert!(received(&lab) > alive, "the counters went on without the daemon");
    thread::sleep(Duration::from_millis(500));
    let report = probe.stop();
    assert_eq!((report.lost_packets(), report.duplicates), (0, 0), "lost: {:?}", report.lost);
    assert!(report.sent > RATE, "{} packets are not {RATE} a second", report.sent);
    let counted = received(&lab) - before;
    assert!(counted >= report.sent, "{counted} of {} packets were counted", report.sent);
    lab.ok("status --check");
}

fn connections_and_configuration_outlive_the_daemon(hook: Hook) {
    let mut lab = Lab::one_vm(hook);
    lab.ok(&format!("forward add tcp {HOST_V4}:8080 red1:80"));
    lab.ok("policy add no-ssh --deny --to port:red1 --service tcp/22");
    let document = lab.ok("config show");
    let vm = lab.get("red1");
    let at = format!("{}:80", vm.v4);
    let listener = vm.netns.inside(|| TcpListener::bind(&at)).expect("the address is there");
    let mut client =
        lab.outside.inside(|| TcpStream::connect((HOST_V4, 8080))).expect("the forward leads in");
    let (mut server, _) = listener.accept().expect("the client is connected");
    drop(listener);
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("the timeout is not zero");
    }
    let mut talk = || {
        let mut heard = [0; 4];
        client.write_all(b"ping").expect("the client can send");
        server.read_exact(&mut heard).expect("the server hears it");
        server.write_all(b"pong").expect("the server can send");
        client.read_exact(&mut heard).expect("the client hears it");
        assert_eq!(&heard, b"pong");
    };
    talk();
    for signal in [fwd_tests::lab::Instance::kill, fwd_tests::lab::Instance::terminate] {
        signal(&mut lab.fwd);
        talk();
        assert_eq!(lab.fwd("status").code, 9, "no daemon runs");
        let vm = lab.get("red1");
        let _http = http_whoami(&vm.netns, &at);
        http_get(&lab.outside, &format!("{HOST_V4}:8080"))
            .expect("new flows are admitted without the daemon");
        lab.start();
        talk();
        assert_eq!(lab.ok("config show"), document);
    }
}
