//! Forwards: outside clients reach services in a VM, and the service sees the client's own address.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use fwd_tests::lab::{BLUE, HOST_V4, HOST_V6, Hook, LANE, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, eventually};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_udp, http_get, http_whoami, ping, udp_whoami};
use serde_json::Value;

use crate::trace::trace;

on_both_hooks!(
    tcp_and_udp_of_both_families_reach_the_vm_with_the_clients_address,
    a_range_maps_to_an_equal_range,
    no_address_means_every_address_of_the_uplinks,
    a_deleted_forward_takes_no_new_connection,
    an_l4_port_that_the_host_listens_on_is_refused,
    vms_reach_a_forward_from_everywhere,
    a_guest_that_has_not_spoken_is_reached,
    only_clients_that_a_forward_names_use_it,
    all_but_what_the_host_has_leads_to_one_vm,
    processes_of_the_host_reach_a_forward_by_its_addresses_and_by_loopback,
);

fn tcp_and_udp_of_both_families_reach_the_vm_with_the_clients_address(hook: Hook) {
    let lab = Lab::one_vm(hook);
    lab.ok(&format!("forward add web4 --listen tcp+udp:{HOST_V4}:8080 --to red1:80"));
    lab.ok(&format!("forward add web6 --listen tcp+udp:[{HOST_V6}]:8080 --to red1:80"));
    let vm = lab.get("red1");
    for (name, client, listen, service) in [
        ("web4", OUTSIDE_V4.to_owned(), format!("{HOST_V4}:8080"), format!("{}:80", vm.v4)),
        ("web6", format!("[{OUTSIDE_V6}]"), format!("[{HOST_V6}]:8080"), format!("[{}]:80", vm.v6)),
    ] {
        let _http = http_whoami(&vm.netns, &service);
        let _udp = udp_whoami(&vm.netns, &service);
        let page = http_get(&lab.outside, &listen).expect("the forward leads to the server");
        assert!(page.starts_with(&format!("{client}:")), "the server saw {page}");
        let answer = ask_udp(&lab.outside, &format!("{client}:5555"), &listen, "hello");
        assert_eq!(answer.expect("the forward leads to the server"), format!("{client}:5555 hello"));

        let flows = lab.items("flow list --port red1");
        let udp = flows.iter().find(|row| row["forward"] == name && row["protocol"] == "udp");
        let udp = udp.unwrap_or_else(|| panic!("no flow of forward {name} in {flows:#?}"));
        assert_eq!(udp["source"], format!("{client}:5555"));
        assert_eq!(udp["destination"], listen);
        assert_eq!(udp["translated"], service);
        assert_eq!(udp["path"], if hook == Hook::Xdp { "xdp" } else { "skb" });
    }
}

fn a_range_maps_to_an_equal_range(hook: Hook) {
    let lab = Lab::one_vm(hook);
    lab.ok(&format!("forward add range --listen udp:{HOST_V4}:9000-9009 --to red1:7000-7009"));
    let vm = lab.get("red1");
    for (outer, inner) in [(9000, 7000), (9004, 7004), (9009, 7009)] {
        let _service = udp_whoami(&vm.netns, &format!("{}:{inner}", vm.v4));
        ask_udp(&lab.outside, "0.0.0.0:0", &format!("{HOST_V4}:{outer}"), "x")
            .unwrap_or_else(|error| panic!("{outer} does not lead to {inner}: {error:#}"));
    }
    for (outer, inner) in [(8999, 6999), (9010, 7010)] {
        let _service = udp_whoami(&vm.netns, &format!("{}:{inner}", vm.v4));
        let answer = ask_udp(&lab.outside, "0.0.0.0:0", &format!("{HOST_V4}:{outer}"), "x");
        assert!(answer.is_err(), "{outer} is not in the range, and yet {answer:?}");
    }
}

fn no_address_means_every_address_of_the_uplinks(hook: Hook) {
    let lab = Lab::one_vm(hook);
    lab.ok("forward add tcp :8080 red1:80");
    let vm = lab.get("red1");
    let _v4 = http_whoami(&vm.netns, &format!("{}:80", vm.v4));
    let _v6 = http_whoami(&vm.netns, &format!("[{}]:80", vm.v6));
    for listen in [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")] {
        http_get(&lab.outside, &listen).expect("every address of the uplink listens");
    }
    let names: Vec<_> = lab.items("forward list").iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["red1-tcp-8080"]);
}

fn a_deleted_forward_takes_no_new_connection(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let vm = lab.get("red1");
    let _service = http_whoami(&vm.netns, &format!("{}:80", vm.v4));
    let get = || http_get(&lab.outside, &format!("{HOST_V4}:8080"));
    assert!(get().is_err(), "nothing listens yet");
    lab.ok(&format!("forward add tcp {HOST_V4}:8080 red1:80"));
    get().expect("the forward leads to the server");
    lab.ok("forward delete red1-tcp-8080");
    assert!(get().is_err(), "the forward is gone");
    lab.ok(&format!("forward add tcp {HOST_V4}:8080 red1:80"));
    get().expect("a forward can come back");
}

fn an_l4_port_that_the_host_listens_on_is_refused(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let own = lab.host.inside(|| TcpListener::bind((HOST_V4, 8080))).expect("the address is the host's");
    let line = format!("forward add tcp {HOST_V4}:8080 red1:80");
    let message = lab.fwd(&line).fails(5);
    assert!(message.contains("8080"), "{message}");
    drop(own);
    lab.ok(&line);
}

fn vms_reach_a_forward_from_everywhere(hook: Hook) {
    let mut lab = Lab::one_vm(hook);
    lab.network(&LANE, "");
    lab.network(&BLUE, "");
    lab.ok("network add other --mode nat --uplink eth0 --subnet 10.30.0.0/24 --subnet fd00:30::/64");
    for (name, network, number) in [("red2", &RED, 12), ("lane1", &LANE, 11), ("blue1", &BLUE, 11)] {
        lab.vm(name, network, number);
    }
    lab.ok("forward add tcp+udp :8080 red1:80");
    let target = lab.get("red1");
    let families = [
        (format!("{HOST_V4}:8080"), format!("{}:80", target.v4), "10.10.0.1:", "10.20.0.11:"),
        (format!("[{HOST_V6}]:8080"), format!("[{}]:80", target.v6), "[fd00:10::1]:", "[fd00:20::11]:"),
    ];
    for (listen, service, gateway, lane) in &families {
        let _http = http_whoami(&target.netns, service);
        let _udp = udp_whoami(&target.netns, service);
        for (client, seen) in [("lane1", lane), ("red2", gateway), ("red1", gateway), ("blue1", gateway)] {
            let client = &lab.get(client).netns;
            let page = http_get(client, listen).unwrap_or_else(|e| panic!("{}: {e:#}", client.name()));
            assert!(page.starts_with(seen), "{}: the target saw {page}", client.name());
            let any = if listen.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let answer = ask_udp(client, any, listen, "hello").unwrap_or_else(|e| panic!("{e:#}"));
            assert!(answer.starts_with(seen), "{}: the target saw {answer}", client.name());
        }
    }
    let shown = lab.json("forward show red1-tcp-udp-8080");
    assert_eq!(shown["client_ip"], "kept");
    assert!(shown["client_ip_except"].as_str().is_some_and(|text| text.contains("network red")), "{shown}");

    // A rule for the target binds these flows as any other.
    lab.ok("policy add no-lane --deny --from network:lane --to port:red1 --service tcp/80");
    let _http = http_whoami(&target.netns, &families[0].1);
    assert!(http_get(&lab.get("lane1").netns, &families[0].0).is_err());
    http_get(&lab.get("red2").netns, &families[0].0).expect("only lane is denied");
}

/// Its MAC is nobody's configuration, and it says nothing by itself: the gateway asks.
fn a_guest_that_has_not_spoken_is_reached(hook: Hook) {
    let lab = Lab::one_vm(hook);
    let vm = lab.get("red1");
    lab.ok("port delete red1");
    // IPv6 solicits routers and reports its groups.
    vm.netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    lab.ok(&format!("port add red1 --device red1 --network red --ip {}", vm.v4));
    lab.ok("forward add tcp :8080 red1:80");
    let ready = || lab.json("forward show red1-tcp-8080")["state"] == "ready";
    assert!(eventually(ready), "{:#}", lab.json("forward show red1-tcp-8080"));
    let _http = http_whoami(&vm.netns, &format!("{}:80", vm.v4));
    http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("the forward leads to the server");
}

/// Its document with other clients; how many flows that cut.
fn limit(lab: &Lab, from: &[&str]) -> Value {
    let mut document = lab.json("config show");
    document["forwards"][0]["from"] = from.into();
    let path = lab.fwd.folder().join("limited.json");
    std::fs::write(&path, document.to_string()).expect("the folder is the lab's own");
    lab.json(&format!("config apply -f {} --wait", path.display()))["cut"].take()
}

fn only_clients_that_a_forward_names_use_it(hook: Hook) {
    let mut lab = Lab::one_vm(hook);
    lab.vm("red2", &RED, 12);
    let (vm, neighbor) = (lab.get("red1"), lab.get("red2"));
    lab.ok(&format!("forward add tcp+udp :8080 red1:80 --from {OUTSIDE_V4} --from {OUTSIDE_V6}"));
    for (own, client, listen, service, other) in [
        (
            OUTSIDE_V4,
            OUTSIDE_V4.to_owned(),
            format!("{HOST_V4}:8080"),
            format!("{}:80", vm.v4),
            "192.0.2.0/24",
        ),
        (
            OUTSIDE_V6,
            format!("[{OUTSIDE_V6}]"),
            format!("[{HOST_V6}]:8080"),
            format!("[{}]:80", vm.v6),
            "2001:db8:77::/48",
        ),
    ] {
        let _http = http_whoami(&vm.netns, &service);
        let _udp = udp_whoami(&vm.netns, &service);
        let ask = || ask_udp(&lab.outside, &format!("{client}:5555"), &listen, "hello");
        let denied = || {
            lab.drops("forward_client_denied", |row| {
                row["forward"] == "red1-tcp-udp-8080" && row["rule"].is_null()
            })
        };
        http_get(&lab.outside, &listen).expect("it is for this client");
        assert_eq!(ask().expect("it is for this client"), format!("{client}:5555 hello"));
        let before = denied();
        assert!(http_get(&neighbor.netns, &listen).is_err(), "a VM that it is not for");
        assert!(denied() > before, "{:#?}", lab.items("drop list"));

        // An edit binds the flow that is under way, and one that lets it be does not.
        assert_eq!(limit(&lab, &[other, own]), 0);
        assert_eq!(ask().expect("it is still for this client"), format!("{client}:5555 hello"));
        let cut = limit(&lab, &[other]).as_u64();
        assert!(cut >= Some(1), "{cut:?} flows were cut");
        assert!(ask().is_err() && http_get(&lab.outside, &listen).is_err(), "it is for others now");
        let packet = format!("udp {client}:5555 > {listen}");
        let (code, traced) = trace(&lab, "outside", &packet);
        assert_eq!(
            (code, &traced["verdict"], &traced["reason"]),
            (21, &"drop".into(), &"forward_client_denied".into())
        );
        assert_eq!(
            (&traced["forward"], &traced["rule"]),
            (&"red1-tcp-udp-8080".into(), &Value::Null),
            "{traced:#}"
        );
        limit(&lab, &[OUTSIDE_V4, OUTSIDE_V6]);
    }
    limit(&lab, &[&neighbor.v4]);
    let _http = http_whoami(&vm.netns, &format!("{}:80", vm.v4));
    http_get(&neighbor.netns, &format!("{HOST_V4}:8080")).expect("a VM is a client by its own address");
    let _left = lab.fwd("status --check").ok();
}

fn all_but_what_the_host_has_leads_to_one_vm(hook: Hook) {
    let mut lab = Lab::one_vm(hook);
    lab.vm("red2", &RED, 12);
    let (vm, neighbor) = (lab.get("red1"), lab.get("red2"));
    let shell = lab.host.inside(|| TcpListener::bind((HOST_V4, 2200))).expect("the address is the host's");
    let mut operator = lab.outside.inside(|| TcpStream::connect((HOST_V4, 2200))).expect("the host listens");
    let (mut session, _) = shell.accept().expect("the client is connected");
    lab.ok("forward add tcp :8080 red2:80");
    lab.ok("forward add any * red1");

    // The host's own: what is under way, what comes anew, from outside and from VMs, and what it begins itself.
    operator.write_all(b"still here").expect("the connection lives");
    let mut said = [0; 10];
    session.read_exact(&mut said).expect("the connection lives");
    assert_eq!(&said, b"still here");
    for (any, outside, host, own) in [
        ("0.0.0.0", OUTSIDE_V4.to_owned(), HOST_V4.to_owned(), &vm.v4),
        ("[::]", format!("[{OUTSIDE_V6}]"), format!("[{HOST_V6}]"), &vm.v6),
    ] {
        let bare = |addr: &str| addr.trim_matches(['[', ']']).to_owned();
        let at_vm = |l4_port: u16| match any {
            "[::]" => format!("[{own}]:{l4_port}"),
            _ => format!("{own}:{l4_port}"),
        };
        let _ssh = http_whoami(&lab.host, &format!("{any}:2222"));
        let _ntp = udp_whoami(&lab.host, &format!("{host}:2222"));
        for client in [&lab.outside, &neighbor.netns] {
            http_get(client, &format!("{host}:2222")).expect("the host has it");
            ask_udp(client, &format!("{any}:0"), &format!("{host}:2222"), "x").expect("the host has it");
        }
        let _web = http_whoami(&lab.outside, &format!("{outside}:80"));
        let _dns = udp_whoami(&lab.outside, &format!("{outside}:53"));
        for client in [&lab.host, &neighbor.netns, &vm.netns] {
            http_get(client, &format!("{outside}:80")).expect("its answers come back");
            ask_udp(client, &format!("{any}:0"), &format!("{outside}:53"), "x")
                .expect("its answers come back");
            ping(client, &bare(&outside)).expect("its answers come back");
        }

        // Whatever else comes is the VM's, under the client's address, but for what a forward of its own has.
        let _http = http_whoami(&vm.netns, &at_vm(7000));
        let _udp = udp_whoami(&vm.netns, &at_vm(7000));
        let page = http_get(&lab.outside, &format!("{host}:7000")).expect("the VM listens");
        assert!(page.starts_with(&format!("{outside}:")), "the VM saw {page}");
        let answer = ask_udp(&lab.outside, &format!("{outside}:5555"), &format!("{host}:7000"), "hello");
        assert_eq!(answer.expect("the VM listens"), format!("{outside}:5555 hello"));
        http_get(&neighbor.netns, &format!("{host}:7000")).expect("VMs reach it too");
        assert!(http_get(&lab.outside, &format!("{host}:8080")).is_err(), "nobody listens in red2");
        ping(&lab.outside, &bare(&host)).expect("the VM answers");
        let (ignore, family) = match any {
            "[::]" => ("net.ipv6.icmp.echo_ignore_all", "icmpv6"),
            _ => ("net.ipv4.icmp_echo_ignore_all", "icmp"),
        };
        let pings = lab.items(&format!("flow list --port red1 --proto {family}"));
        assert!(pings.iter().any(|flow| flow["forward"] == "red1-any"), "{pings:#?}");
        vm.netns.sysctl(ignore, "1");
        assert!(ping(&lab.outside, &bare(&host)).is_err(), "nobody but the VM answers");
    }
    assert_eq!(lab.json("forward show red1-any")["state"], "ready");
    lab.ok("status --check");
}

/// What answers to processes of the host need of `lo`.
fn lo(lab: &Lab) -> [String; 2] {
    let read = |key| lab.host.run(&format!("cat /proc/sys/net/ipv4/conf/lo/{key}")).trim().to_owned();
    ["accept_local", "route_localnet"].map(read)
}

fn processes_of_the_host_reach_a_forward_by_its_addresses_and_by_loopback(hook: Hook) {
    let mut lab = Lab::one_vm(hook);
    lab.network(&BLUE, "");
    lab.vm("blue1", &BLUE, 11);
    lab.ok("forward add tcp+udp :8080 red1:80");
    lab.ok("forward add tcp+udp :8081 blue1:80");
    lab.ok("forward add tcp :9090 red1:80");
    lab.ok(&format!("forward add tcp {HOST_V4}:7070 red1:80"));
    // As strict as distributions set it.
    let filter = lab.host.run("cat /proc/sys/net/ipv4/conf/all/rp_filter");
    lab.host.sysctl("net.ipv4.conf.all.rp_filter", "1");
    for vm in ["red1", "blue1"].map(|name| lab.get(name)) {
        let l4_port = if vm.name == "red1" { 8080 } else { 8081 };
        for (at, service, own, gateway, loopback, any) in [
            (HOST_V4.to_owned(), format!("{}:80", vm.v4), HOST_V4, "10.10.0.1", "127.0.0.1", "0.0.0.0:0"),
            (
                format!("[{HOST_V6}]"),
                format!("[{}]:80", vm.v6),
                &format!("[{HOST_V6}]"),
                "[fd00:10::1]",
                "[::1]",
                "[::]:0",
            ),
        ] {
            // A private network may have the host's address itself.
            let own = if vm.name == "blue1" { gateway } else { own };
            let _http = http_whoami(&vm.netns, &service);
            let _udp = udp_whoami(&vm.netns, &service);
            for (to, seen) in [(at.as_str(), own), (loopback, gateway)] {
                let to = format!("{to}:{l4_port}");
                let page = http_get(&lab.host, &to).unwrap_or_else(|e| panic!("{to}: {e:#}"));
                assert!(page.starts_with(&format!("{seen}:")), "{to}: the VM saw {page}");
                let answer = ask_udp(&lab.host, any, &to, "hello").unwrap_or_else(|e| panic!("{to}: {e:#}"));
                assert!(answer.starts_with(&format!("{seen}:")), "{to}: the VM saw {answer}");
            }
        }
    }
    // A listener of the host keeps what it has, and a forward of one of its addresses is reached by loopback too.
    let vm = lab.get("red1");
    let _http = http_whoami(&vm.netns, &format!("{}:80", vm.v4));
    http_get(&lab.host, "127.0.0.1:7070").expect("the forward leads to the server");
    let own = http_whoami(&lab.host, "127.0.0.1:9090");
    let page = http_get(&lab.host, "127.0.0.1:9090").expect("the host listens");
    assert!(page.starts_with("127.0.0.1:"), "the server saw {page}");
    drop(own);
    // Rules for the target bind the host as well, and the edit binds what runs.
    let flows = lab.items("flow list --port red1 --proto tcp");
    assert!(flows.iter().any(|flow| flow["destination"] == "127.0.0.1:7070"), "{flows:#?}");
    lab.ok("policy add no-host --deny --from host --to port:red1 --service tcp/80");
    assert!(http_get(&lab.host, &format!("{HOST_V4}:8080")).is_err());
    assert!(lab.drops("policy_denied", |row| row["rule"] == "no-host" && row["port"] == "host/lo") > 0);
    http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("only the host is denied");
    lab.ok("policy delete no-host");
    lab.ok("status --check");
    assert_eq!(lo(&lab), ["1", "1"]);
    lab.host.sysctl("net.ipv4.conf.all.rp_filter", filter.trim());
    for name in ["red1-tcp-udp-8080", "blue1-tcp-udp-8081", "red1-tcp-9090", "red1-tcp-7070"] {
        lab.ok(&format!("forward delete {name}"));
    }
    assert_eq!(lo(&lab), ["0", "0"]);
    assert!(http_get(&lab.host, "127.0.0.1:8080").is_err(), "nobody listens");
    assert_eq!(lab.down().expect("fwd goes down"), Vec::<String>::new());
}
