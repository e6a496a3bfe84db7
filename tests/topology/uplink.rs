//! Uplinks as providers make them: addresses that change under what runs.

use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, Lab, OUTSIDE_V4, OUTSIDE_V6, RED, eventually};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{Talk, ask_udp, http_get, http_whoami, udp_whoami};

on_both_hooks!(flows_and_forwards_follow_an_address_that_changes);

const NEXT_V4: &str = "203.0.113.20";
const NEXT_V6: &str = "2001:db8:113::20";

fn end(address: &str, l4_port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{l4_port}") } else { format!("{address}:{l4_port}") }
}

fn cut_by_route(lab: &Lab) -> u64 {
    let metrics = lab.ok("metrics");
    let count = metrics.lines().find_map(|line| line.strip_prefix("fwd_flows_cut_total{cause=\"route\"} "));
    count.and_then(|count| count.parse().ok()).expect("it is counted from zero")
}

fn flows_and_forwards_follow_an_address_that_changes(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    let vm = lab.get("red1");
    lab.ok("forward add web --listen tcp:8080 --to red1:80");
    for (own, outside, old, new, bits) in
        [(&vm.v4, OUTSIDE_V4, HOST_V4, NEXT_V4, 24), (&vm.v6, OUTSIDE_V6, HOST_V6, NEXT_V6, 64)]
    {
        let server = end(outside, 53);
        let _udp = udp_whoami(&lab.outside, &server);
        let _http = http_whoami(&vm.netns, &end(own, 80));
        let seen = || ask_udp(&vm.netns, &end(own, 5555), &server, "x").expect("the VM gets out");
        assert_eq!(seen(), format!("{} x", end(old, 5555)));
        let connection = end(outside, 5000);
        let mut talk = Talk::open(&vm.netns, &connection, (&lab.outside, &connection));
        talk.say("before").expect("it is open");
        http_get(&lab.outside, &end(old, 8080)).expect("the forward is reached");
        let before = cut_by_route(&lab);

        // As a DHCP client does whose lease is another one now.
        lab.host.run(&format!("ip address del {old}/{bits} dev eth0"));
        lab.host.address("eth0", &format!("{new}/{bits}"));
        lab.host.run(&format!("ip route replace default via {outside} dev eth0"));
        assert!(eventually(|| lab.json("uplink show eth0").to_string().contains(new)), "fwd sees it");
        assert!(eventually(|| seen() == format!("{} x", end(new, 5555))), "flows begin anew under it");
        assert!(talk.say("after").is_err(), "no connection outlives its address");
        assert!(cut_by_route(&lab) >= before + 2, "both are told to have ended by the route");
        let mut again = Talk::open(&vm.netns, &end(outside, 5001), (&lab.outside, &end(outside, 5001)));
        again.say("again").expect("another one goes out");
        assert!(eventually(|| http_get(&lab.outside, &end(new, 8080)).is_ok()), "the forward follows");
    }
    lab.ok("status --check");
}
