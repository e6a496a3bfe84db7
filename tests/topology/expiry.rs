//! Flows end by themselves: their space is given back without a packet that asks for it.

use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED, eventually};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, ping, udp_whoami};

on_both_hooks!(expired_flows_are_swept_while_nothing_happens);

fn expired_flows_are_swept_while_nothing_happens(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    for timeout in ["udp_timeout", "udp_one_way_timeout", "icmp_timeout"] {
        lab.ok(&format!("config set {timeout} 1s"));
    }
    let server = format!("{OUTSIDE_V4}:53");
    let _udp = udp_whoami(&lab.outside, &server);
    let vm = &lab.get("red1").netns;
    ask_udp(vm, "0.0.0.0:0", &server, "x").expect("the VM gets out");
    ping(vm, fwd_tests::lab::OUTSIDE_V6).expect("the VM gets out");
    let held = |what: &str| lab.counters("red1")[what].clone();
    assert!(eventually(|| held("flows") == 0 && held("half_open") == 0), "{} flows are held", held("flows"));
}
