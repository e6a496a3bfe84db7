//! Routed networks: reached from outside and from other networks under their own addresses, by the host's routes.

use std::path::Path;
use std::process::Child;

use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, LANE, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::traffic::{ask_udp, http_get, http_whoami, ping, udp_whoami};
use fwd_tests::{need, on_both_hooks, skip};

on_both_hooks!(
    a_routed_network_and_the_outside_reach_each_other_untranslated,
    a_nat_and_a_routed_network_reach_each_other_untranslated,
    rules_bind_what_comes_in_from_outside,
    a_live_flow_follows_its_network_to_another_mode,
    a_route_that_a_routing_daemon_learns_moves_a_live_flow,
);

fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    lab.network(&LANE, "");
    lab.vm("lane1", &LANE, 11);
    lab.outside.run(&format!("ip route add 10.20.0.0/24 via {HOST_V4}"));
    lab.outside.run(&format!("ip route add fd00:20::/64 via {HOST_V6}"));
    lab
}

fn a_routed_network_and_the_outside_reach_each_other_untranslated(hook: Hook) {
    let lab = lab(hook);
    let vm = lab.get("lane1");
    for (client, inside, outside) in [
        (OUTSIDE_V4.to_owned(), format!("{}:80", vm.v4), format!("{OUTSIDE_V4}:80")),
        (format!("[{OUTSIDE_V6}]"), format!("[{}]:80", vm.v6), format!("[{OUTSIDE_V6}]:80")),
    ] {
        let _vm = http_whoami(&vm.netns, &inside);
        let page = http_get(&lab.outside, &inside).expect("the VM is reached from outside");
        assert!(page.starts_with(&format!("{client}:")), "the VM saw {page}");
        let _server = http_whoami(&lab.outside, &outside);
        let page = http_get(&vm.netns, &outside).expect("the VM reaches the outside");
        let own = inside.strip_suffix("80").expect("an L4 port");
        assert!(page.starts_with(own), "the server saw {page}");
    }
    ping(&lab.outside, &vm.v4).expect("echoes pass");
    ping(&vm.netns, OUTSIDE_V6).expect("both ways");
    ping(&lab.host, &vm.v4).expect("the host reaches it too");
    assert!(ping(&lab.outside, "10.20.0.99").is_err(), "nobody has this address");
    assert!(lab.drops("no_neighbor", |row| row["port"] == "eth0") > 0);
    ping(&lab.outside, "10.20.0.1").expect("the gateway is the host");
    assert!(lab.items("nat table").is_empty(), "nothing is translated");
}

fn a_nat_and_a_routed_network_reach_each_other_untranslated(hook: Hook) {
    let mut lab = lab(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    let (lane, red) = (lab.get("lane1"), lab.get("red1"));
    for (from, to) in [(lane, red), (red, lane)] {
        let _v4 = http_whoami(&to.netns, &format!("{}:80", to.v4));
        let page = http_get(&from.netns, &format!("{}:80", to.v4)).expect("a routed network is involved");
        assert!(page.starts_with(&format!("{}:", from.v4)), "{page}");
        let _v6 = http_whoami(&to.netns, &format!("[{}]:80", to.v6));
        let page = http_get(&from.netns, &format!("[{}]:80", to.v6)).expect("a routed network is involved");
        assert!(page.starts_with(&format!("[{}]:", from.v6)), "{page}");
    }
    lab.ok("network add other --mode nat --uplink eth0 --subnet 10.30.0.0/24");
    assert!(ping(&lab.outside, "10.30.0.11").is_err());
}

fn a_live_flow_follows_its_network_to_another_mode(hook: Hook) {
    let lab = lab(hook);
    let vm = lab.get("lane1");
    let servers = [(OUTSIDE_V4.to_owned(), "0.0.0.0"), (format!("[{OUTSIDE_V6}]"), "[::]")];
    let _servers = servers.each_ref().map(|(server, _)| udp_whoami(&lab.outside, &format!("{server}:53")));
    let seen = || {
        servers.each_ref().map(|(server, any)| {
            let answer = ask_udp(&vm.netns, &format!("{any}:4001"), &format!("{server}:53"), "x");
            answer
                .expect("the server answers")
                .rsplit_once(':')
                .expect("an address and an L4 port")
                .0
                .to_owned()
        })
    };
    let own = [vm.v4.clone(), format!("[{}]", vm.v6)];
    assert_eq!(seen(), own);
    lab.ok("network set lane --mode nat");
    assert_eq!(seen(), [HOST_V4.to_owned(), format!("[{HOST_V6}]")]);
    lab.ok("network set lane --mode routed");
    assert_eq!(seen(), own);
    lab.ok("status --check");
}

fn rules_bind_what_comes_in_from_outside(hook: Hook) {
    let lab = lab(hook);
    let vm = lab.get("lane1");
    let _service = http_whoami(&vm.netns, &format!("{}:80", vm.v4));
    let get = || http_get(&lab.outside, &format!("{}:80", vm.v4));
    get().expect("the network is open");
    lab.ok("policy add no-web --deny --from outside --to port:lane1 --service tcp/80");
    assert!(get().is_err(), "the rule denies it");
    assert!(lab.drops("policy_denied", |row| row["rule"] == "no-web") > 0);
    ping(&lab.outside, &vm.v4).expect("only the web is denied");
    lab.ok("policy delete no-web");
    get().expect("without the rule it passes");
}

/// BIRD in a namespace, until dropped.
struct Bird(Child);

impl Bird {
    #[track_caller]
    fn start(netns: &Netns, folder: &Path, config: &str) -> Self {
        let at = |what: &str| folder.join(format!("{}.{what}", netns.name()));
        std::fs::write(at("conf"), config).expect("the folder is there");
        let mut command = netns.command("bird");
        command.arg("-f").arg("-c").arg(at("conf")).arg("-s").arg(at("ctl")).arg("-P").arg(at("pid"));
        Self(command.spawn().expect("bird is installed"))
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.0.kill().expect("a child that was not waited for can be killed");
        self.0.wait().expect("a child can be waited for");
    }
}

/// OSPF on one interface, with what else the router does.
fn ospf(router: &str, interface: &str, more: &str) -> String {
    format!(
        "router id {router};\nprotocol device {{ scan time 1; }}\n{more}\n\
         protocol ospf v2 {{ ipv4 {{ import all; export all; }};\n\
         area 0 {{ interface \"{interface}\" {{ type pointopoint; hello 1; dead count 4; }}; }}; }}\n"
    )
}

fn a_route_that_a_routing_daemon_learns_moves_a_live_flow(hook: Hook) {
    need!(skip::bird());
    const SERVICE: &str = "192.0.2.1";
    let lab = lab(hook);
    lab.ok(&format!("uplink add eth1 --hook {}", hook.name()));
    for machine in [&lab.outside, &lab.lan] {
        machine.run(&format!("ip addr add {SERVICE}/32 dev lo"));
    }
    lab.lan.run("ip route add 10.20.0.0/24 via 198.51.100.10");
    let vm = lab.get("lane1");
    let (own, to) = (format!("{}:5555", vm.v4), format!("{SERVICE}:53"));
    let _far = udp_whoami(&lab.outside, &to);
    ask_udp(&vm.netns, &own, &to, "x").expect("the default route leads outside");
    let way = || lab.items("flow list --port lane1 --proto udp").len();
    assert_eq!(way(), 1);

    let _near = udp_whoami(&lab.lan, &to);
    let counters = |device: &str| lab.json(&format!("uplink show {device}"))["counters"].take();
    let before = counters("eth1");
    let router = Bird::start(
        &lab.lan,
        lab.fwd.folder(),
        &ospf("198.51.100.2", "eth0", "protocol static { ipv4; route 192.0.2.0/24 blackhole; }"),
    );
    let _host = Bird::start(
        &lab.host,
        lab.fwd.folder(),
        &ospf("198.51.100.10", "eth1", "protocol kernel { ipv4 { export all; }; }"),
    );
    assert!(eventually(|| lab.host.run("ip route show 192.0.2.0/24").contains("bird")), "OSPF converges");
    ask_udp(&vm.netns, &own, &to, "x").expect("the learnt route leads to the other machine");
    let after = counters("eth1");
    let received = |counters: &serde_json::Value| {
        ["xdp", "skb"].iter().filter_map(|hook| counters[hook]["forwarded"]["packets"].as_u64()).sum::<u64>()
    };
    assert!(received(&after) > received(&before), "the answer came by eth1: {after:#}");

    // The route goes, and the flow goes back.
    drop(router);
    assert!(eventually(|| lab.host.run("ip route show 192.0.2.0/24").is_empty()), "OSPF notices");
    let before = received(&counters("eth0"));
    ask_udp(&vm.netns, &own, &to, "x").expect("the default route leads outside again");
    assert!(received(&counters("eth0")) > before);
}
