//! Edits without end over one API connection, under traffic that they do not concern and traffic that they do:
//! nothing permitted is lost, and nothing denied passes once its edit was answered.
//!
//! Small where nothing else is said: `FWD_STORM_FLOWS` (10,000), `FWD_STORM_EDITS` (60,000) and
//! `FWD_STORM_CONCERNED` (100) make it the storm that is promised.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::Probe;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

on_both_hooks!(an_edit_storm_loses_nothing_permitted_and_passes_nothing_denied);

/// Packets a second of the flows that no edit concerns.
const RATE: u64 = 4_000;
/// Under way at once.
const PARALLEL: usize = 100;
const SETTLE: Duration = Duration::from_millis(500);

fn size(name: &str, small: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

fn an_edit_storm_loses_nothing_permitted_and_passes_nothing_denied(hook: Hook) {
    let (flows, edits) = (size("FWD_STORM_FLOWS", 200), size("FWD_STORM_EDITS", 1_500));
    // A descriptor for each flow.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be asked for");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the soft limit may be the hard one");
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.ok("policy add gate --deny --from port:red1 --to outside --service udp/9001 --reason open");
    lab.ok("policy disable gate");
    for n in 0..PARALLEL {
        lab.ok(&format!(
            "policy add other{n} --deny --from port:red1 --to outside --service tcp/{}",
            1000 + n
        ));
    }
    let vm = lab.get("red1");
    let permitted = Probe::start_over(
        flows,
        (&vm.netns, "0.0.0.0:0"),
        &format!("{OUTSIDE_V4}:9000"),
        (&lab.outside, &format!("{OUTSIDE_V4}:9000")),
        RATE,
    );
    let concerned = Concerned::new(&lab, size("FWD_STORM_CONCERNED", 20));
    let begun = Instant::now();
    let storm = storm(&lab, edits);
    let mut rounds = 0;
    while !storm.is_finished() {
        lab.ok("policy enable gate");
        concerned.send(&format!("denied {rounds}"));
        lab.ok("policy disable gate");
        concerned.send(&format!("permitted {rounds}"));
        rounds += 1;
    }
    let answered = storm.join().expect("curl is started");
    let took = begun.elapsed();
    let report = permitted.stop();
    eprintln!("{edits} edits in {took:?}, {rounds} rounds of the gate, {} packets", report.sent);
    assert_eq!(answered, edits, "each edit was answered with a revision");
    assert_eq!(report.lost_packets(), 0, "{report:?}");
    assert!(rounds > 0 && report.sent > 0, "there was traffic: {rounds} rounds, {report:?}");
    concerned.judge(rounds);
}

/// Changes of rules that concern nobody's traffic, over one connection; how many were answered well.
fn storm(lab: &Lab, edits: usize) -> JoinHandle<usize> {
    let folder = lab.fwd.folder();
    let mut config = format!("parallel\nparallel-max = {PARALLEL}\nhttp2-prior-knowledge\nsilent\n");
    for n in 0..edits {
        let next = if n == 0 { "" } else { "next\n" };
        let (rule, enabled) = (n % PARALLEL, (n / PARALLEL).is_multiple_of(2));
        write!(
            config,
            "{next}url = http://fwd/v1/policies/other{rule}\nrequest = PATCH\nunix-socket = {}\n\
             data = \"{{\\\"enabled\\\": {enabled}}}\"\noutput = /dev/null\nwrite-out = \"%{{http_code}}\\n\"\n",
            lab.fwd.socket().display()
        )
        .expect("text can be added to");
    }
    let file = folder.join("storm");
    fs::write(&file, config).expect("our own folder");
    let mut curl = lab.host.command("curl");
    curl.arg("--config").arg(file);
    std::thread::spawn(move || {
        let output = curl.output().expect("curl is installed");
        String::from_utf8_lossy(&output.stdout).lines().filter(|code| *code == "200").count()
    })
}

/// Flows that the gate stops, and all that came through.
struct Concerned {
    clients: Vec<UdpSocket>,
    ends: Arc<AtomicBool>,
    heard: JoinHandle<BTreeSet<String>>,
}

impl Concerned {
    fn new(lab: &Lab, flows: usize) -> Self {
        let at = format!("{OUTSIDE_V4}:9001");
        let server = lab.outside.inside(|| UdpSocket::bind(&at)).expect("the address is there");
        setsockopt(&server, sockopt::RcvBufForce, &(64 << 20)).expect("root may have large buffers");
        server.set_read_timeout(Some(SETTLE)).expect("the timeout is not zero");
        let client = |_| {
            let client = UdpSocket::bind("0.0.0.0:0").expect("there are L4 ports");
            client.connect(&at).expect("UDP connects");
            client
        };
        let clients = lab.get("red1").netns.inside(|| (0..flows).map(client).collect());
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let hear = move || {
            let (mut heard, mut buffer) = (BTreeSet::new(), [0; 64]);
            loop {
                match server.recv(&mut buffer) {
                    Ok(length) => _ = heard.insert(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                    Err(_) if until.load(Ordering::Relaxed) => return heard,
                    Err(_) => {}
                }
            }
        };
        let heard = lab.outside.spawn(hear);
        Self { clients, ends, heard }
    }

    fn send(&self, what: &str) {
        for (n, client) in self.clients.iter().enumerate() {
            let text = format!("{what} {n}");
            // An error is one that came back for an earlier packet; then this one was not sent yet.
            client.send(text.as_bytes()).or_else(|_| client.send(text.as_bytes())).expect("it is sent");
        }
    }

    /// All that was permitted came, and nothing that was denied.
    fn judge(self, rounds: usize) {
        self.ends.store(true, Ordering::Relaxed);
        let heard = self.heard.join().expect("the listener does not panic");
        let flows = self.clients.len();
        let all = |what: &'static str| {
            (0..rounds).flat_map(move |round| (0..flows).map(move |n| format!("{what} {round} {n}")))
        };
        let lost: Vec<_> = all("permitted").filter(|text| !heard.contains(text)).collect();
        let passed: Vec<_> = all("denied").filter(|text| heard.contains(text)).collect();
        assert!(lost.is_empty() && passed.is_empty(), "lost {lost:?}, passed {passed:?}");
    }
}
