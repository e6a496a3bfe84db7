//! What each mode lets through: host-only, isolated, hybrid VMs, isolated ports, several subnets.

use fwd_tests::lab::{HOST_V4, Hook, LAN, LAN_V4, Lab, Network, OUTSIDE_V4, RED, Vm, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, http_get, http_whoami, ping, udp_whoami};

on_both_hooks!(
    a_host_only_network_reaches_the_host_and_nothing_outside,
    vms_of_an_isolated_network_reach_each_other_and_nobody_else,
    a_hybrid_vm_works_on_both_networks_at_once,
    isolated_ports_reach_the_gateway_and_not_each_other,
    several_subnets_of_one_network_reach_each_other_and_outside,
);

const DEN: Network = RED.of_mode("den", "host");
const CELL: Network = RED.of_mode("cell", "isolated");

fn a_host_only_network_reaches_the_host_and_nothing_outside(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&DEN, "");
    for (name, number) in [("den1", 11), ("den2", 12)] {
        lab.vm(name, &DEN, number);
    }
    let (one, two) = (lab.get("den1"), lab.get("den2"));
    let _host = http_whoami(&lab.host, &format!("{}:80", DEN.v4(1)));
    let page = http_get(&one.netns, &format!("{}:80", DEN.v4(1))).expect("the host serves its guests");
    assert!(page.starts_with(&one.v4), "{page}");
    let _guest = http_whoami(&one.netns, &format!("[{}]:80", one.v6));
    http_get(&lab.host, &format!("[{}]:80", one.v6)).expect("guests serve the host");
    ping(&one.netns, &two.v4).expect("VMs reach each other");
    ping(&one.netns, HOST_V4).expect("the host's other addresses are the host");
    assert!(ping(&one.netns, OUTSIDE_V4).is_err());
    lab.outside.run(&format!("ip route add 10.10.0.0/24 via {HOST_V4}"));
    assert!(ping(&lab.outside, &one.v4).is_err());
    assert!(lab.drops("mode_forbids", |row| row["port"] == "den1") > 0);
}

fn vms_of_an_isolated_network_reach_each_other_and_nobody_else(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&CELL, "");
    for (name, number) in [("cell1", 11), ("cell2", 12)] {
        lab.vm(name, &CELL, number);
    }
    let (one, two) = (lab.get("cell1"), lab.get("cell2"));
    for to in [&two.v4, &two.v6] {
        ping(&one.netns, to).expect("VMs reach each other");
    }
    let _service = http_whoami(&two.netns, &format!("{}:80", two.v4));
    http_get(&one.netns, &format!("{}:80", two.v4)).expect("by TCP too");
    for to in [CELL.v4(1).as_str(), HOST_V4, OUTSIDE_V4] {
        assert!(ping(&one.netns, to).is_err(), "{to}");
    }
    assert!(ping(&lab.host, &one.v4).is_err());
}

fn a_hybrid_vm_works_on_both_networks_at_once(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.network(&LAN, "");
    lab.vm("red1", &RED, 11);
    let vm = lab.get("red1");
    let (mac, addr) = ("52:54:00:00:03:15", LAN.v4(21));
    lab.host.veth("lan1", &vm.netns, "eth1");
    vm.netns.set_mac("eth1", mac);
    vm.netns.address("eth1", &format!("{addr}/24"));
    if hook == Hook::Xdp {
        vm.netns.receive_from_xdp("eth1");
        vm.netns.send_to_xdp("eth1");
    }
    lab.ok(&format!("port add lan1 --device lan1 --network lan --mac {mac} --hook {}", hook.name()));
    lab.ok(&format!("forward add tcp {HOST_V4}:8080 red1:80"));
    let _service = http_whoami(&vm.netns, "0.0.0.0:80");
    let page = http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("by its NAT port");
    assert!(page.starts_with(OUTSIDE_V4), "{page}");
    let page = http_get(&lab.lan, &format!("{addr}:80")).expect("by its bridged port");
    assert!(page.starts_with(LAN_V4), "{page}");
    let _out = udp_whoami(&lab.outside, &format!("{OUTSIDE_V4}:53"));
    let _lan = udp_whoami(&lab.lan, &format!("{LAN_V4}:53"));
    let answer = ask_udp(&vm.netns, "0.0.0.0:0", &format!("{OUTSIDE_V4}:53"), "x").expect("out by NAT");
    assert!(answer.starts_with(HOST_V4), "{answer}");
    let answer = ask_udp(&vm.netns, "0.0.0.0:0", &format!("{LAN_V4}:53"), "x").expect("out by the bridge");
    assert!(answer.starts_with(&addr), "{answer}");
    assert!(lab.items("flow list --port lan1").iter().any(|row| row["network"] == "lan"));
}

fn isolated_ports_reach_the_gateway_and_not_each_other(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "--isolate-ports");
    for (name, number) in [("red1", 11), ("red2", 12)] {
        lab.vm(name, &RED, number);
    }
    let (one, two) = (lab.get("red1"), lab.get("red2"));
    ping(&one.netns, &RED.v4(1)).expect("the gateway is reached");
    ping(&one.netns, OUTSIDE_V4).expect("and the outside");
    for to in [&two.v4, &two.v6] {
        assert!(ping(&one.netns, to).is_err(), "{to}");
    }
    // Nor by way of the gateway.
    one.netns.run(&format!("ip route add {}/32 via {}", two.v4, RED.v4(1)));
    assert!(ping(&one.netns, &two.v4).is_err());
    assert!(lab.drops("mode_forbids", |row| row["port"] == "red1") > 0);
    lab.ok("network set red --isolate-ports false");
    assert!(eventually(|| ping(&one.netns, &two.v6).is_ok()), "an edit binds");
}

fn several_subnets_of_one_network_reach_each_other_and_outside(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "--subnet 10.11.0.0/24");
    lab.vm("red1", &RED, 11);
    let two = Netns::new("red2");
    lab.host.veth("red2", &two, "eth0");
    two.set_mac("eth0", "52:54:00:00:01:12");
    two.address("eth0", "10.11.0.12/24");
    two.default_route("10.11.0.1");
    if hook == Hook::Xdp {
        two.receive_from_xdp("eth0");
        two.send_to_xdp("eth0");
    }
    let hook = hook.name();
    lab.ok(&format!(
        "port add red2 --device red2 --network red --mac 52:54:00:00:01:12 --ip 10.11.0.12 --hook {hook}"
    ));
    let one: &Vm = lab.get("red1");
    let _service = http_whoami(&one.netns, &format!("{}:80", one.v4));
    let page = http_get(&two, &format!("{}:80", one.v4)).expect("by the gateway of their network");
    assert!(page.starts_with("10.11.0.12:"), "{page}");
    ping(&two, "10.11.0.1").expect("each subnet has its gateway");
    ping(&two, OUTSIDE_V4).expect("and the outside");
}
