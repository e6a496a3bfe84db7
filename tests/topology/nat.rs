//! NAT networks: VMs reach outside under the host's address, and nobody outside reaches them unasked.

use std::time::Duration;

use fwd_common::addr::Ip;
use fwd_common::id::NetworkId;
use fwd_common::prefix::Prefix;
use fwd_tests::frame::{Packet, ip};
use fwd_tests::lab::{BLUE, HOST_V4, HOST_V6, Hook, Lab, OUTSIDE_V4, OUTSIDE_V6, RED};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{BulkSource, ask_udp, http_get, http_whoami, ping, udp_whoami};
use fwd_tests::wire::{Link, Wire};

on_both_hooks!(
    outside_sees_the_hosts_address,
    the_source_l4_port_is_kept_and_two_vms_never_share_one,
    nothing_comes_in_unasked,
    the_host_keeps_its_own_connections,
    a_long_download_comes_through_whole,
    outside_sees_the_address_of_the_network,
    an_address_of_one_vm_leads_to_it_and_it_goes_out_under_it,
    an_exempt_destination_sees_the_vms_own_address,
    a_prefix_gives_every_vm_an_address_outside,
);

fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    for (network, vms) in [(&RED, [("red1", 11), ("red2", 12)]), (&BLUE, [("blue1", 11), ("blue2", 12)])] {
        lab.network(network, "");
        for (name, number) in vms {
            lab.vm(name, network, number);
        }
    }
    lab
}

fn outside_sees_the_hosts_address(hook: Hook) {
    let lab = lab(hook);
    for (server, seen) in [
        (format!("{OUTSIDE_V4}:80"), format!("{HOST_V4}:")),
        (format!("[{OUTSIDE_V6}]:80"), format!("[{HOST_V6}]:")),
    ] {
        let _http = http_whoami(&lab.outside, &server);
        for vm in ["red1", "red2", "blue1"] {
            let page = http_get(&lab.get(vm).netns, &server).expect("the VM gets out");
            assert!(page.starts_with(&seen), "outside saw {vm} as {page}");
        }
    }
    for address in [OUTSIDE_V4, OUTSIDE_V6] {
        ping(&lab.get("red1").netns, address).expect("echo gets out and back");
        ping(&lab.get("blue2").netns, address).expect("echo gets out and back");
    }
}

fn the_source_l4_port_is_kept_and_two_vms_never_share_one(hook: Hook) {
    let lab = lab(hook);
    let server = format!("{OUTSIDE_V4}:53");
    let _udp = udp_whoami(&lab.outside, &server);
    let mut seen = vec![];
    for name in ["red1", "red2", "blue1", "blue2"] {
        let vm = lab.get(name);
        let ask = || ask_udp(&vm.netns, &format!("{}:5555", vm.v4), &server, name).expect("the VM gets out");
        let answer = ask();
        assert_eq!(ask(), answer, "a flow keeps its translation");
        let (address, text) = answer.split_once(' ').expect("the answer is an address and the text");
        assert_eq!(text, name);
        seen.push(address.to_owned());
    }
    assert_eq!(seen[0], format!("{HOST_V4}:5555"), "the first VM keeps its L4 port");
    let rows = lab.items("nat table --proto udp");
    for (name, address) in ["red1", "red2", "blue1", "blue2"].iter().zip(&seen) {
        assert_eq!(
            seen.iter().filter(|other| *other == address).count(),
            1,
            "{seen:?} are not all different"
        );
        let row =
            rows.iter().find(|row| row["port"] == *name).unwrap_or_else(|| panic!("{name} in {rows:#?}"));
        let vm = lab.get(name);
        assert_eq!(row["network"], vm.network.name);
        assert_eq!(row["source"], format!("{}:5555", vm.v4));
        assert_eq!(row["destination"], server);
        assert_eq!(row["translated"], *address);
    }
}

fn nothing_comes_in_unasked(hook: Hook) {
    let lab = lab(hook);
    let vm = lab.get("red1");
    let server = format!("{OUTSIDE_V4}:53");
    let _udp = udp_whoami(&lab.outside, &server);
    ask_udp(&vm.netns, &format!("{}:5555", vm.v4), &server, "x").expect("the VM gets out");
    let (outer, inner) = (Wire::open(&lab.outside, "eth0"), Wire::open(&vm.netns, "eth0"));
    let (far, near) = (lab.outside.mac_of("eth0"), lab.host.mac_of("eth0"));
    let unasked = [
        // Another source L4 port than the one that was asked, the VM's address itself, an old TCP segment.
        Packet::udp(&format!("{OUTSIDE_V4}:54"), &format!("{HOST_V4}:5555")),
        Packet::udp(&format!("{OUTSIDE_V4}:53"), &format!("{}:5555", vm.v4)),
        Packet::tcp(&format!("{OUTSIDE_V4}:53"), &format!("{HOST_V4}:5555")),
        Packet::udp(&format!("[{OUTSIDE_V6}]:53"), &format!("[{}]:5555", vm.v6)),
    ];
    for packet in &unasked {
        outer.send(&packet.clone().payload("unasked").macs(far, near).frame());
    }
    inner.expect_none(Duration::from_millis(300), |frame| frame.windows(7).any(|part| part == b"unasked"));
    let asked = Packet::udp(server.as_str(), &format!("{HOST_V4}:5555")).payload("asked");
    outer.send(&asked.macs(far, near).frame());
    inner.expect(|frame| frame.windows(5).any(|part| part == b"asked"));
}

fn the_host_keeps_its_own_connections(hook: Hook) {
    let lab = lab(hook);
    let _service = http_whoami(&lab.outside, &format!("{OUTSIDE_V4}:80"));
    let _own = http_whoami(&lab.host, &format!("{HOST_V4}:80"));
    let page = http_get(&lab.host, &format!("{OUTSIDE_V4}:80")).expect("the host gets out as before");
    assert!(page.starts_with(&format!("{HOST_V4}:")), "{page}");
    let page = http_get(&lab.outside, &format!("{HOST_V4}:80")).expect("the host's services are reached");
    assert!(page.starts_with(&format!("{OUTSIDE_V4}:")), "{page}");
    for address in [OUTSIDE_V4, OUTSIDE_V6] {
        ping(&lab.host, address).expect("the host pings as before");
    }
    ping(&lab.get("red1").netns, &RED.v4(1)).expect("the gateway answers its VMs");
    ping(&lab.get("red1").netns, &RED.v6(1)).expect("the gateway answers its VMs");
}

fn a_long_download_comes_through_whole(hook: Hook) {
    let lab = lab(hook);
    let bytes = match hook {
        Hook::Tcx => 1_000_000_000, // offloads on: frames of 64 KiB with partial checksums
        Hook::Xdp => 100_000_000,
    };
    let source = BulkSource::start(&lab.outside, &format!("{OUTSIDE_V4}:5000"), bytes);
    source.download(&lab.get("red1").netns).expect("the hashes are equal");
}

const OTHER_V4: &str = "203.0.113.11";
const OTHER_V6: &str = "2001:db8:113::11";

/// The outside addresses that translations of their own have.
fn with_other_addresses(hook: Hook) -> Lab {
    let lab = lab(hook);
    lab.host.run(&format!("ip address add {OTHER_V4}/32 dev eth0"));
    lab.host.run(&format!("ip address add {OTHER_V6}/128 dev eth0 nodad preferred_lft 0"));
    lab
}

fn outside_sees_the_address_of_the_network(hook: Hook) {
    let lab = with_other_addresses(hook);
    lab.ok(&format!("nat add out --network red --address {OTHER_V4} --l4-ports 40000-40999"));
    lab.ok(&format!("nat add out6 --network red --address {OTHER_V6}"));
    let reserved = lab.host.run("cat /proc/sys/net/ipv4/ip_local_reserved_ports");
    assert_eq!(reserved.trim(), "20000-32767,40000-40999");
    for (server, red, blue) in [
        (format!("{OUTSIDE_V4}:80"), format!("{OTHER_V4}:40"), format!("{HOST_V4}:")),
        (format!("[{OUTSIDE_V6}]:80"), format!("[{OTHER_V6}]:"), format!("[{HOST_V6}]:")),
    ] {
        let _http = http_whoami(&lab.outside, &server);
        for (vm, seen) in [("red1", &red), ("red2", &red), ("blue1", &blue)] {
            let page = http_get(&lab.get(vm).netns, &server).expect("the VM gets out");
            assert!(page.starts_with(seen.as_str()), "outside saw {vm} as {page}");
        }
    }
    for nat in lab.items("nat list") {
        assert_eq!(nat["state"], "ready", "{nat}");
    }
    lab.ok("nat delete out");
    lab.ok("nat delete out6");
    let server = format!("{OUTSIDE_V4}:80");
    let _http = http_whoami(&lab.outside, &server);
    let page = http_get(&lab.get("red1").netns, &server).expect("the VM gets out");
    assert!(page.starts_with(&format!("{HOST_V4}:")), "outside saw red1 as {page}");
}

fn an_address_of_one_vm_leads_to_it_and_it_goes_out_under_it(hook: Hook) {
    let lab = with_other_addresses(hook);
    lab.ok(&format!("nat add one --one-to-one {OTHER_V4}=red1"));
    lab.ok(&format!("nat add one6 --one-to-one {OTHER_V6}=red1"));
    let vm = lab.get("red1");
    for (server, other, own, client, host) in [
        (
            format!("{OUTSIDE_V4}:80"),
            format!("{OTHER_V4}:8000"),
            format!("{}:8000", vm.v4),
            OUTSIDE_V4,
            HOST_V4,
        ),
        (
            format!("[{OUTSIDE_V6}]:80"),
            format!("[{OTHER_V6}]:8000"),
            format!("[{}]:8000", vm.v6),
            OUTSIDE_V6,
            HOST_V6,
        ),
    ] {
        let _http = http_whoami(&lab.outside, &server);
        let page = http_get(&vm.netns, &server).expect("the VM gets out");
        let address = other.trim_end_matches("8000");
        assert!(page.starts_with(address), "outside saw red1 as {page}");
        let page = http_get(&lab.get("red2").netns, &server).expect("the VM gets out");
        assert!(page.contains(host), "outside saw red2 as {page}");
        let _service = http_whoami(&vm.netns, &own);
        let page = http_get(&lab.outside, &other).expect("outside gets in");
        assert!(page.contains(client), "red1 saw outside as {page}");
        http_get(&lab.get("blue1").netns, &other).expect("VMs of other networks get there");
    }
    for address in [OTHER_V4, OTHER_V6] {
        ping(&lab.outside, address).expect("the VM answers under its address");
        ping(&vm.netns, if address == OTHER_V4 { OUTSIDE_V4 } else { OUTSIDE_V6 }).expect("echo gets out");
    }
    for address in [OUTSIDE_V4, OUTSIDE_V6] {
        ping(&lab.host, address).expect("the host pings as before");
    }
    let refused = lab.fwd(&format!("nat add all --one-to-one {HOST_V4}=red2")).fails(5);
    assert!(refused.contains("FWD-E510"), "{refused}");
}

fn an_exempt_destination_sees_the_vms_own_address(hook: Hook) {
    let lab = lab(hook);
    let vm = lab.get("red1");
    lab.outside.run(&format!("ip route add {}/32 via {HOST_V4}", vm.v4));
    lab.outside.run(&format!("ip route add {}/128 via {HOST_V6}", vm.v6));
    lab.ok(&format!("nat add site --exempt {OUTSIDE_V4}/32"));
    lab.ok(&format!("nat add site6 --network red --exempt {OUTSIDE_V6}/128"));
    for (server, own, host) in
        [(format!("{OUTSIDE_V4}:80"), &vm.v4, HOST_V4), (format!("[{OUTSIDE_V6}]:80"), &vm.v6, HOST_V6)]
    {
        let _http = http_whoami(&lab.outside, &server);
        let page = http_get(&vm.netns, &server).expect("the VM gets out");
        assert!(page.contains(own.as_str()), "outside saw red1 as {page}");
        let page = http_get(&lab.get("blue1").netns, &server).expect("the VM gets out");
        assert!(page.contains(host), "outside saw blue1, of a private network, as {page}");
    }
}

/// What an address has outside, where two prefixes of 64 bits are translated into each other.
fn counterpart(own: &str, inside: &str, outside: &str) -> String {
    let [own, inside, outside] = [own, inside, outside].map(|text| Ip::from(ip(text)));
    Prefix::new((inside, outside), 64, NetworkId(1)).translate(own).to_std().to_string()
}

fn a_prefix_gives_every_vm_an_address_outside(hook: Hook) {
    let lab = lab(hook);
    let inside = RED.v6(0);
    let server = format!("[{OUTSIDE_V6}]:80");
    let _http = http_whoami(&lab.outside, &server);
    let vms = ["red1", "red2"].map(|name| lab.get(name));
    let services = vms.map(|vm| http_whoami(&vm.netns, &format!("[{}]:8000", vm.v6)));
    let bytes = if hook == Hook::Tcx { 100_000_000 } else { 20_000_000 };
    let source = BulkSource::start(&lab.outside, &format!("[{OUTSIDE_V6}]:5000"), bytes);
    // On the uplink's own link, where fwd answers for the addresses; then routed to the host.
    for outside in ["2001:db8:113::", "2001:db8:6::"] {
        if outside == "2001:db8:6::" {
            lab.ok("nat delete site");
            lab.outside.run(&format!("ip route add {outside}/64 via {HOST_V6}"));
        }
        lab.ok(&format!("nat add site --network red --prefix {inside}/64={outside}/64"));
        for vm in vms {
            let other = counterpart(&vm.v6, &inside, outside);
            let page = http_get(&vm.netns, &server).expect("the VM gets out");
            assert!(page.starts_with(&format!("[{other}]:")), "outside saw {} as {page}", vm.v6);
            let page = http_get(&lab.outside, &format!("[{other}]:8000")).expect("outside gets in");
            assert!(page.contains(OUTSIDE_V6), "{} saw outside as {page}", vm.v6);
            ping(&lab.outside, &other).expect("the VM answers by its counterpart");
        }
        let [own, other] = vms.map(|vm| counterpart(&vm.v6, &inside, outside));
        let page = http_get(&vms[0].netns, &format!("[{other}]:8000")).expect("VMs meet outside");
        assert!(page.contains(&own), "red2 saw red1 as {page}");
        source.download(&vms[0].netns).expect("the hashes are equal");
        let rows = lab.items("nat table --port red1 --proto tcp");
        let is_own = |row: &serde_json::Value| row["translated"].as_str().is_some_and(|t| t.contains(&own));
        assert!(rows.iter().any(is_own), "{rows:#?}");
    }
    let page = http_get(&lab.get("blue1").netns, &server).expect("another network gets out");
    assert!(page.starts_with(&format!("[{HOST_V6}]:")), "outside saw blue1 as {page}");
    drop(services);
}
