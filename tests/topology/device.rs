//! Devices come, go, and come back as others; the port is the same.

use fwd_tests::frame::{Mac, Packet};
use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, RED, eventually};
use fwd_tests::link::VnetHeader;
use fwd_tests::traffic::{Talk, ping};
use fwd_tests::wire::{Link, Tap};
use fwd_tests::{need, on_both_hooks, skip};

on_both_hooks!(
    a_port_waits_for_its_device,
    a_port_takes_up_its_device_when_it_comes_back,
    a_pattern_takes_each_device_that_comes,
    a_device_is_taken_from_its_bridge_and_given_back
);

fn is_ready(lab: &Lab, port: &str) -> bool {
    lab.json(&format!("port show {port}"))["state"] == "ready"
}

fn a_port_waits_for_its_device(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    let addresses = format!("--ip {} --ip {}", RED.v4(11), RED.v6(11));
    lab.ok(&format!("port add late --device late --network red {addresses} --hook {}", hook.name()));
    let status = lab.json("port show late");
    assert_eq!((&status["state"], &status["ifindex"]), (&"pending".into(), &serde_json::Value::Null));
    lab.plug("late", &RED, 11);
    assert!(eventually(|| ping(&lab.get("late").netns, OUTSIDE_V4).is_ok()), "the port takes up its device");
    // What is so is told after it is so.
    assert!(eventually(|| lab.json("port show late")["state"] != "pending"), "{}", lab.ok("port show late"));
    assert_eq!(lab.json("port show late")["hook"], hook.name());
}

fn a_port_takes_up_its_device_when_it_comes_back(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.vm("red2", &RED, 12);
    ping(&lab.get("red1").netns, OUTSIDE_V4).expect("the VM gets out");
    let first = lab.host.ifindex("red1");
    lab.unplug("red1");
    assert!(eventually(|| lab.json("port show red1")["state"] == "pending"), "the device is gone");
    ping(&lab.get("red2").netns, OUTSIDE_V4).expect("the other VM is untouched");
    lab.plug("red1", &RED, 11);
    assert_ne!(lab.host.ifindex("red1"), first, "it is another interface");
    assert!(eventually(|| ping(&lab.get("red1").netns, OUTSIDE_V4).is_ok()), "the VM gets out again");
    ping(&lab.get("red2").netns, &RED.v4(11)).expect("and is reached");
    assert!(
        eventually(|| lab.json("port show red1")["ifindex"] == lab.host.ifindex("red1")),
        "and it is told"
    );
    // Connections of a VM that lives on go on, those that it opened and those that a forward led to it.
    lab.ok(&format!("forward add tcp {HOST_V4}:8080 red2:80"));
    let red2 = lab.get("red2");
    let server = format!("{OUTSIDE_V4}:5000");
    let mut opened = Talk::open(&red2.netns, &server, (&lab.outside, &server));
    let at = format!("{}:80", red2.v4);
    let mut led = Talk::open(&lab.outside, &format!("{HOST_V4}:8080"), (&red2.netns, &at));
    for talk in [&mut opened, &mut led] {
        talk.say("before").expect("it is open");
    }
    lab.recable("red2", || {
        assert!(eventually(|| lab.json("port show red2")["state"] == "pending"), "the device is gone");
    });
    for talk in [&mut opened, &mut led] {
        talk.say("after").expect("it goes on");
    }
    lab.ok("status --check");
}

#[test]
fn auto_chooses_by_what_the_guest_may_leave_undone() {
    need!(skip::bpf());
    let lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    let mac = Mac::from("52:54:00:00:01:33");
    lab.host.tap("tap0", VnetHeader::Off);
    lab.ok(&format!("port add vm --device tap0 --network red --mac {mac} --ip {}", RED.v4(33)));
    for (header, hook) in [(VnetHeader::Off, "xdp"), (VnetHeader::On, "tcx"), (VnetHeader::Off, "xdp")] {
        let vm = Tap::open(&lab.host, "tap0", header);
        assert!(
            eventually(|| lab.json("port show vm")["hook"] == hook),
            "{header:?}: {}",
            lab.ok("port show vm")
        );
        assert!(is_ready(&lab, "vm"), "{}", lab.ok("port show vm"));
        vm.drain();
        vm.send(&Packet::arp_request(mac, &RED.v4(33), &RED.v4(1)).frame());
        let gateway = lab.host.mac_of("fwd-red");
        vm.expect_frame(&Packet::arp_reply(gateway, &RED.v4(1), mac, &RED.v4(33)).frame());
    }
}

#[test]
fn a_device_in_a_linux_bridge_is_refused_by_the_bridges_name() {
    need!(skip::bpf());
    let lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    lab.host.tap("tap0", VnetHeader::Off);
    lab.host.bridge("virbr7");
    lab.host.enslave("tap0", "virbr7");
    let line = format!("port add vm --device tap0 --network red --ip {}", RED.v4(33));
    let message = lab.fwd(&line).fails(5);
    assert!(message.contains("virbr7"), "{message}");
    assert!(lab.host.run("ip link show tap0").contains("master virbr7"));
    assert_eq!(lab.items("port list").len(), 0, "nothing was added");
}

fn a_pattern_takes_each_device_that_comes(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    let hook = hook.name();
    lab.ok(&format!("port add guests --device vnet* --network red --label role=guest --hook {hook}"));
    assert_eq!(lab.json("port show guests")["state"], "pending");
    for (device, number) in [("vnet1", 12), ("vnet2", 13)] {
        lab.plug(device, &RED, number);
        assert!(eventually(|| ping(&lab.get(device).netns, OUTSIDE_V4).is_ok()), "{device} is a port");
    }
    ping(&lab.get("vnet1").netns, &RED.v4(13)).expect("they reach each other");
    ping(&lab.get("red1").netns, &RED.v4(12)).expect("and others reach them");
    assert!(eventually(|| is_ready(&lab, "guests")), "{}", lab.ok("port show guests"));
    let port = lab.json("port show guests.vnet1");
    assert_eq!((&port["device"], &port["labels"]["role"]), (&"vnet1".into(), &"guest".into()));
    assert_eq!(port["ips"][0], RED.v4(12));
    // A rule with the pattern's name, or its label, is for all of them.
    for end in ["port:guests", "group:guests"] {
        lab.ok("group add guests --selector role=guest --may-exist");
        lab.ok(&format!("policy add shut --deny --from {end} --to outside --wait"));
        for device in ["vnet1", "vnet2"] {
            assert!(ping(&lab.get(device).netns, OUTSIDE_V4).is_err(), "{end}: {device} is denied");
            assert!(lab.drops("policy_denied", |d| d["port"] == format!("guests.{device}")) > 0);
        }
        ping(&lab.get("red1").netns, OUTSIDE_V4).expect("others are not concerned");
        lab.ok("policy delete shut --wait");
    }
    // The document says what was asked; edits and daemons come and go.
    assert_eq!(lab.json("config show")["ports"].as_array().map(Vec::len), Some(2));
    let before = lab.json("port show guests.vnet1")["ifindex"].clone();
    lab.fwd.terminate();
    lab.start();
    ping(&lab.get("vnet1").netns, OUTSIDE_V4).expect("a restart changes nothing");
    assert_eq!(lab.json("port show guests.vnet1")["ifindex"], before);
    lab.unplug("vnet1");
    assert!(eventually(|| lab.fwd("port show guests.vnet1").into_result().is_err()), "its port goes with it");
    ping(&lab.get("vnet2").netns, &RED.v4(11)).expect("others are untouched");
    lab.ok("status --check");
    // Its devices are nobody's when it goes; what leads to one guest cannot lead to a pattern.
    let message = lab.fwd("forward add tcp 8080 guests:80").fails(6);
    assert!(message.contains("port guests stands for all that match vnet*"), "{message}");
    lab.ok("port delete guests");
    assert!(ping(&lab.get("vnet2").netns, &RED.v4(11)).is_err(), "it is no port any more");
    lab.ok("status --check");
}

fn a_device_is_taken_from_its_bridge_and_given_back(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.host.bridge("virbr7");
    lab.plug("tap7", &RED, 12);
    lab.host.enslave("tap7", "virbr7");
    let hook = hook.name();
    let line = format!("port add vm --device tap7 --network red --ip {} --hook {hook}", RED.v4(12));
    let message = lab.fwd(&line).fails(5);
    assert!(message.contains("tap7 belongs to virbr7") && message.contains("--take-over"), "{message}");
    lab.ok(&format!("{line} --take-over"));
    let lies_on_bridge = || lab.host.run("ip -o link show tap7").contains("master virbr7");
    assert!(!lies_on_bridge());
    ping(&lab.get("tap7").netns, &RED.v4(11)).expect("it is a port");
    // Whoever puts it back, as libvirt does at each start, does not keep it.
    for _ in 0..10 {
        // Also while the daemon is just about to look at what it did itself.
        for _ in 0..5 {
            lab.host.run("ip link set tap7 master virbr7");
        }
        assert!(eventually(|| !lies_on_bridge()), "it is taken again");
    }
    assert!(eventually(|| ping(&lab.get("tap7").netns, &RED.v4(11)).is_ok()));
    lab.ok("port set vm --take-over false --label a=b");
    assert!(lies_on_bridge(), "it is not wanted any more");
    assert_eq!(lab.json("port show vm")["state"], "conflict");
    lab.ok("port set vm --take-over");
    assert!(!lies_on_bridge());
    // Where the host would be cut off, it is refused.
    lab.host.bridge("br0");
    lab.host.run("ip link add nic0 type veth peer name nic1");
    lab.host.run("ip link set nic0 master br0");
    lab.host.run("ip address add 192.0.2.1/24 dev br0");
    let message = lab.fwd("uplink add nic0 --take-over").fails(5);
    assert!(message.contains("br0, on which this host has its addresses"), "{message}");
    lab.host.run("ip address del 192.0.2.1/24 dev br0");
    lab.ok("uplink add nic0 --take-over");
    assert!(!lab.host.run("ip -o link show nic0").contains("master"));
    drop(lab.fwd.down(&lab.host));
    assert!(lab.host.run("ip -o link show nic0").contains("master br0"));
    assert!(lab.host.run("ip -o link show tap7").contains("master virbr7"));
}
