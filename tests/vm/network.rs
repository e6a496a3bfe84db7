//! Two guests of one network: what is allowed passes, what is denied does not, broadcasts stay inside.

use std::time::Duration;

use fwd_tests::frame::Mac;
use fwd_tests::guest::Offloads;
use fwd_tests::lab::{Hook, LAN, Lab, RED, eventually};
use fwd_tests::wire::{Link, Wire};
use fwd_tests::{need, skip};

use crate::Plan;

#[test]
fn guest_to_guest_is_allowed_and_denied_by_rule() {
    need!(skip::bpf());
    need!(skip::qemu());
    let lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    let plans = [("one", 31, Offloads::NoHeader), ("two", 32, Offloads::On)]
        .map(|(name, number, offloads)| Plan { name, network: &RED, number, offloads, hook: "auto" });
    plans.iter().for_each(|plan| plan.add_port(&lab));
    let [mut one, mut two] = plans.map(|plan| plan.boot(&lab));
    two.serve_whoami(80).expect("httpd starts");
    let get = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {} 80", RED.v4(32));
    let answer = one.exec(&get).expect("the network is open");
    assert!(answer.contains(&format!("{}:", RED.v4(31))), "{answer}");

    lab.ok("policy add no-web --deny --from port:one --to port:two --service tcp/80");
    assert_ne!(one.exec_code(&get).expect("the agent answers").0, 0, "the rule denies it");
    one.exec(&format!("ping -c 1 -W 5 {}", RED.v4(32))).expect("only the web is denied");
    one.exec(&format!("ping -c 1 -W 5 {}", RED.v6(32))).expect("in both families");
    let named = |row: &serde_json::Value| row["rule"] == "no-web" && row["port"] == "one";
    assert!(eventually(|| lab.drops("policy_denied", named) > 0), "{}", lab.ok("drop list"));
    lab.ok("policy delete no-web");
    one.exec(&get).expect("without the rule it passes");
}

#[test]
fn a_guests_broadcast_reaches_its_network_and_no_other() {
    need!(skip::bpf());
    need!(skip::qemu());
    let mut lab = Lab::empty(Hook::Tcx);
    lab.network(&LAN, "");
    lab.network(&RED, "");
    lab.vm("lan1", &LAN, 21);
    lab.vm("red1", &RED, 11);
    let plans = [("one", 31, Offloads::NoHeader), ("two", 32, Offloads::On)]
        .map(|(name, number, offloads)| Plan { name, network: &LAN, number, offloads, hook: "auto" });
    plans.iter().for_each(|plan| plan.add_port(&lab));
    let mac = plans[0].mac();
    let [mut one, mut two] = plans.map(|plan| plan.boot(&lab));
    two.exec("ip neigh flush dev eth0; true").expect("the agent answers");
    let members = [Wire::open(&lab.get("lan1").netns, "eth0"), Wire::open(&lab.lan, "eth0")];
    let strangers = [Wire::open(&lab.get("red1").netns, "eth0"), Wire::open(&lab.outside, "eth0")];
    // Nobody has this address, so the guest asks for it by broadcasts, and gets no answer.
    one.exec_code(&format!("ping -c 1 -W 1 {}", LAN.v4(99))).expect("the agent answers");
    let asks = |frame: &[u8]| frame[..6] == Mac::BROADCAST.0 && frame[6..12] == mac.0;
    for wire in &members {
        wire.expect(asks);
    }
    for wire in &strangers {
        wire.expect_none(Duration::from_millis(200), asks);
    }
    // The other guest hears the broadcast too: only so can it answer.
    one.exec(&format!("ping -c 1 -W 5 {}", LAN.v4(32))).expect("the other guest was asked and answers");
    one.exec(&format!("ping -c 1 -W 5 {}", LAN.v6(21))).expect("a namespace on the same segment too");
}
