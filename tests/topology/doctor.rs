//! `fwd doctor` and `fwd forward test`: faults are planted one after the other, each is named at its step, and
//! once it is mended nothing is found.

use std::io::Read as _;
use std::net::TcpListener;

use fwd_common::layout::ABI_VERSION;
use fwd_tests::lab::{BLUE, HOST_V4, Hook, Instance, Lab, RED, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::traffic::{ask_udp, http_get, http_whoami, ping};
use fwd_tests::{need, skip};
use serde_json::Value;

/// A fault: what plants it, what mends it, and how it is named.
struct Fault {
    plant: &'static [Act],
    mend: &'static [Act],
    /// Step, check and object of the doctor's finding.
    doctor: Option<(&'static str, &'static str, &'static str)>,
    /// The step of `forward test web` that fails, and a word of what it says.
    test: Option<(&'static str, &'static str)>,
}

/// A command line, and where it runs.
enum Act {
    Host(&'static str),
    Guest(&'static str),
    Outside(&'static str),
    Fwd(&'static str),
}

use Act::{Fwd, Guest, Host, Outside};

const FAULTS: &[Fault] = &[
    Fault {
        plant: &[Guest("ip link set eth0 down")],
        // The kernel takes IPv6 addresses and routes away with the carrier.
        mend: &[
            Guest("ip link set eth0 up"),
            Guest("ip address add fd00:10::11/64 dev eth0 nodad"),
            Guest("ip route replace default via 10.10.0.1"),
            Guest("ip -6 route replace default via fd00:10::1"),
        ],
        doctor: Some(("link", "no_carrier", "port red1")),
        test: Some(("link", "carrier")),
    },
    Fault {
        plant: &[Host("ip link set red1 down")],
        mend: &[Host("ip link set red1 up")],
        doctor: Some(("link", "device_down", "port red1")),
        test: Some(("link", "is down")),
    },
    Fault {
        plant: &[
            Host("ip link set red1 down"),
            Host("ip link set red1 name gone"),
            Host("ip link set gone up"),
        ],
        mend: &[
            Host("ip link set gone down"),
            Host("ip link set gone name red1"),
            Host("ip link set red1 up"),
        ],
        doctor: Some(("link", "no_device", "port red1")),
        test: Some(("link", "does not exist")),
    },
    Fault {
        plant: &[Host("ip link add br7 type bridge"), Host("ip link set red1 master br7")],
        mend: &[Host("ip link set red1 nomaster"), Host("ip link del br7")],
        doctor: Some(("link", "enslaved", "port red1")),
        test: Some(("link", "br7")),
    },
    Fault {
        plant: &[Host("ip link set red1 mtu 1400")],
        mend: &[Host("ip link set red1 mtu 1500")],
        doctor: Some(("link", "mtu", "port red1")),
        test: Some(("link", "1400")),
    },
    Fault {
        plant: &[Fwd("uplink set eth0 --hook xdp"), Host("ethtool -K eth0 rxvlan on")],
        mend: &[Fwd("uplink set eth0 --hook tcx")],
        doctor: Some(("link", "offload_rxvlan", "uplink eth0")),
        test: None,
    },
    Fault {
        plant: &[Guest("ip address del 10.10.0.11/24 dev eth0")],
        mend: &[
            Guest("ip address add 10.10.0.11/24 dev eth0"),
            Guest("ip route replace default via 10.10.0.1"),
        ],
        doctor: Some(("route", "no_neighbor", "port red1")),
        test: Some(("route", "does not answer ARP")),
    },
    Fault {
        plant: &[Guest("ip route del default via 10.10.0.1")],
        mend: &[Guest("ip route add default via 10.10.0.1")],
        doctor: Some(("route", "no_way_back", "port red1")),
        test: Some(("route", "no default route")),
    },
    Fault {
        plant: &[Guest("ip route replace default via 10.10.0.254")],
        mend: &[Guest("ip route replace default via 10.10.0.1")],
        doctor: Some(("route", "no_way_back", "port red1")),
        test: Some(("route", "leads elsewhere")),
    },
    Fault {
        plant: &[Guest("ip neigh replace 10.10.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent")],
        mend: &[Guest("ip neigh del 10.10.0.1 dev eth0")],
        doctor: None,
        test: Some(("transport", "no route back")),
    },
    Fault {
        plant: &[Host("ip link set eth0 arp off")],
        mend: &[Host("ip link set eth0 arp on")],
        doctor: Some(("route", "no_arp", "uplink eth0")),
        test: Some(("route", "ARP is switched off")),
    },
    Fault {
        plant: &[Host("sysctl -w net.ipv4.conf.eth0.arp_ignore=8")],
        mend: &[Host("sysctl -w net.ipv4.conf.eth0.arp_ignore=0")],
        doctor: Some(("route", "no_arp", "uplink eth0")),
        test: Some(("route", "arp_ignore")),
    },
    Fault {
        plant: &[
            Outside("ip address add 2001:db8:113::66/64 dev eth0 nodad"),
            Host("sysctl -w net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=1"),
            Host("ip address add 2001:db8:113::66/64 dev eth0"),
        ],
        mend: &[
            Outside("ip address del 2001:db8:113::66/64 dev eth0"),
            Host("ip address del 2001:db8:113::66/64 dev eth0"),
            Host("sysctl -w net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.dad_transmits=0"),
        ],
        doctor: Some(("address", "doubled_address", "uplink eth0")),
        test: Some(("address", "2001:db8:113::66")),
    },
    Fault {
        plant: &[Host("ip -6 route del default")],
        mend: &[Host("ip -6 route add default via 2001:db8:113::2")],
        doctor: Some(("route", "no_route", "network red")),
        test: None,
    },
    Fault {
        plant: &[Host("ip route del default via 203.0.113.2")],
        mend: &[Host("ip route add default via 203.0.113.2")],
        doctor: Some(("route", "no_route", "network red")),
        test: Some(("route", "no default route")),
    },
    Fault {
        plant: &[Outside("ip link set eth0 arp off"), Host("ip neigh flush dev eth0")],
        mend: &[Outside("ip link set eth0 arp on")],
        doctor: Some(("route", "no_next_hop", "uplink eth0")),
        test: Some(("route", "203.0.113.2")),
    },
    Fault {
        plant: &[Host("sysctl -w net.ipv4.ip_forward=1"), Host("sysctl -w net.ipv4.ip_forward=0")],
        mend: &[Host("sysctl -w net.ipv4.conf.fwp-red.forwarding=1")],
        doctor: Some(("route", "ip_forward", "network red")),
        test: Some(("route", "forwarding is off")),
    },
    Fault {
        plant: &[Host("sysctl -w net.ipv4.conf.all.rp_filter=1")],
        mend: &[Host("sysctl -w net.ipv4.conf.all.rp_filter=0")],
        doctor: Some(("route", "rp_filter", "uplink eth0")),
        test: None,
    },
    Fault {
        plant: &[Fwd("policy add no-web --deny --from outside --to port:red1 --service tcp/80")],
        mend: &[Fwd("policy delete no-web")],
        doctor: Some(("transport", "rule_denies", "forward web")),
        test: Some(("transport", "no-web")),
    },
    Fault {
        plant: &[Fwd("network set red --default-policy closed")],
        mend: &[Fwd("network set red --default-policy open")],
        doctor: Some(("transport", "rule_denies", "forward web")),
        test: Some(("transport", "closed")),
    },
    Fault {
        plant: &[
            Fwd("forward delete web"),
            Fwd("forward add web --listen tcp:203.0.113.77:8080 --to red1:80"),
        ],
        mend: &[
            Fwd("forward delete web"),
            Fwd("forward add web --listen tcp:203.0.113.10:8080 --to red1:80"),
        ],
        doctor: Some(("address", "not_on_uplink", "forward web")),
        test: Some(("address", "203.0.113.77")),
    },
    Fault {
        plant: &[
            Fwd("forward delete web"),
            Fwd("forward add web --listen tcp:203.0.113.10:8080 --to red1:81"),
        ],
        mend: &[
            Fwd("forward delete web"),
            Fwd("forward add web --listen tcp:203.0.113.10:8080 --to red1:80"),
        ],
        doctor: None,
        test: Some(("transport", "Nothing listens on TCP 10.10.0.11:81")),
    },
    Fault {
        plant: &[
            Guest("nft add table inet f"),
            Guest("nft add chain inet f i { type filter hook input priority 0 ; }"),
            Guest("nft add rule inet f i tcp dport 80 drop"),
        ],
        mend: &[Guest("nft delete table inet f")],
        doctor: None,
        test: Some(("transport", "firewall")),
    },
    Fault {
        plant: &[
            Guest("nft add table inet f"),
            Guest("nft add chain inet f i { type filter hook input priority 0 ; }"),
            Guest("nft add rule inet f i tcp dport 80 reject with icmpx admin-prohibited"),
        ],
        mend: &[Guest("nft delete table inet f")],
        doctor: None,
        test: Some(("transport", "answers by ICMP")),
    },
    Fault {
        plant: &[
            Host("nft add table ip early"),
            Host("nft add chain ip early pre { type filter hook prerouting priority -300 ; }"),
            Host("nft add rule ip early pre udp dport 67 drop"),
        ],
        mend: &[Host("nft delete table ip early")],
        doctor: Some(("application", "firewall_blocks_services", "network red")),
        test: None,
    },
    Fault {
        plant: &[
            Host("nft add table inet late"),
            Host("nft add chain inet late out { type filter hook output priority 0 ; }"),
            Host("nft add rule inet late out oifname fwd-red udp sport 67 drop"),
        ],
        mend: &[Host("nft delete table inet late")],
        doctor: Some(("application", "firewall_blocks_services", "network red")),
        test: None,
    },
    Fault {
        plant: &[
            Host("nft add table inet strict"),
            Host("nft add chain inet strict input { type filter hook input priority 0 ; policy drop ; }"),
            Host("nft add rule inet strict input ct state established accept"),
            Host("nft add rule inet strict input meta nfproto ipv6 accept"),
            Host("nft add rule inet strict input tcp dport 22 accept"),
        ],
        mend: &[Host("nft delete table inet strict")],
        doctor: Some(("application", "firewall_blocks_services", "network red")),
        test: None,
    },
    Fault {
        plant: &[
            Host("nft add table ip filter"),
            Host("nft add chain ip filter DOCKER"),
            Host("nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }"),
            Host("nft add rule ip filter FORWARD jump DOCKER"),
        ],
        mend: &[Host("nft delete table ip filter")],
        doctor: Some(("transport", "firewall_bypassed", "host")),
        test: None,
    },
    Fault {
        plant: &[
            Host("tc qdisc add dev red1 clsact"),
            Host("tc filter add dev red1 ingress bpf bytecode 1,6\u{a0}0\u{a0}0\u{a0}0"),
        ],
        mend: &[Host("tc qdisc del dev red1 clsact")],
        doctor: Some(("transport", "foreign_program", "port red1")),
        test: Some(("transport", "TC ingress program bpf filter")),
    },
];

fn lab() -> Lab {
    let mut lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.ok(&format!("forward add web --listen tcp:{HOST_V4}:8080 --to red1:80"));
    lab
}

fn act(lab: &Lab, acts: &[Act]) {
    for act in acts {
        let (netns, line): (&Netns, &str) = match act {
            Host(line) => (&lab.host, line),
            Guest(line) => (&lab.get("red1").netns, line),
            Outside(line) => (&lab.outside, line),
            Fwd(line) => {
                lab.ok(line);
                continue;
            }
        };
        let words: Vec<String> = line.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
        let output = netns.command(&words[0]).args(&words[1..]).output().expect("it can be started");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What the doctor finds, with the exit code that it must have for it.
fn findings(lab: &Lab) -> Vec<Value> {
    let reply = lab.fwd("doctor -o json");
    let answer: Value = serde_json::from_str(&reply.stdout).unwrap_or_else(|e| panic!("{e}: {reply:?}"));
    let findings = answer["findings"].as_array().cloned().expect("a list");
    assert_eq!(answer["healthy"], findings.is_empty());
    assert_eq!(reply.code, if findings.is_empty() { 0 } else { 20 });
    findings
}

fn finds(lab: &Lab, (step, check, object): (&str, &str, &str)) -> bool {
    findings(lab).iter().any(|one| one["step"] == step && one["check"] == check && one["object"] == object)
}

#[track_caller]
fn tests(lab: &Lab, (step, words): (&str, &str)) {
    let reply = lab.fwd("forward test web -o json");
    assert_eq!(reply.code, 21, "{reply:?}");
    let answer: Value = serde_json::from_str(&reply.stdout).expect("json");
    let steps = answer["steps"].as_array().expect("a list");
    let first = steps.iter().find(|row| row["state"] == "failed").expect("a step failed");
    assert_eq!(first["step"], step, "{steps:#?}");
    assert!(first["found"].to_string().contains(words), "{first:#}");
    assert_ne!(first["remedies"].as_array().map(Vec::len), Some(0), "{first:#}");
}

#[test]
fn each_planted_fault_is_named_and_a_healthy_host_has_none() {
    need!(skip::bpf());
    need!(skip::dnsmasq());
    let lab = lab();
    let _service = http_whoami(&lab.get("red1").netns, "10.10.0.11:80");
    http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("the forward leads to the server");
    assert_eq!(findings(&lab), [] as [Value; 0]);
    let before = lab.ok("config show");
    for fault in FAULTS {
        act(&lab, fault.plant);
        if let Some(named) = fault.doctor {
            assert!(eventually(|| finds(&lab, named)), "{named:?} is not in {:#?}", findings(&lab));
        }
        if let Some(failed) = fault.test {
            tests(&lab, failed);
        }
        act(&lab, fault.mend);
        let mut left = vec![];
        let is_mended = eventually(|| {
            left = findings(&lab);
            left.is_empty()
        });
        assert!(is_mended, "after mending {:?} {:?}: {left:#?}", fault.doctor, fault.test);
        assert_eq!(lab.fwd("forward test web").code, 0, "{}", lab.fwd("forward test web").stdout);
    }
    assert_eq!(lab.ok("config show"), before, "looking changes nothing");
}

#[test]
fn what_the_host_drops_of_its_own_probe_is_not_the_guests_fault() {
    need!(skip::bpf());
    let lab = lab();
    let _service = http_whoami(&lab.get("red1").netns, "10.10.0.11:80");
    lab.host.run("nft add table inet out");
    lab.host.run("nft add chain inet out o { type filter hook output priority 0 ; }");
    lab.host.run("nft add rule inet out o ip daddr 10.10.0.0/24 tcp dport 80 drop");
    http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("clients outside do not pass those rules");
    let told = lab.fwd("forward test web").ok();
    assert!(told.contains("table out of this host drops what it sends to 10.10.0.11:80 itself"), "{told}");
}

#[test]
fn a_program_that_somebody_detached_and_a_range_without_a_free_address_are_named() {
    need!(skip::bpf());
    need!(skip::dnsmasq());
    let lab = lab();
    let link = lab.host.run("ip -o link show dev red1");
    let ifindex = link.split(':').next().expect("a number, a colon");
    let pin = lab.fwd.bpffs().join(format!("v{ABI_VERSION}/links/{ifindex}-ingress"));
    lab.host.run(&format!("bpftool link detach pinned {}", pin.display()));
    assert!(finds(&lab, ("link", "detached", "port red1")), "{:#?}", findings(&lab));
    tests(&lab, ("link", "no longer on red1"));
    lab.ok("port set red1 --label touched=yes");

    lab.ok("network set red --dhcp 10.10.0.11-10.10.0.11");
    let netns = Netns::new("lazy");
    lab.host.veth("lazy", &netns, "eth0");
    lab.ok("port add lazy --device lazy --network red");
    assert!(eventually(|| finds(&lab, ("address", "no_lease", "port lazy"))));
    // One that has asked.
    netns.try_run("busybox udhcpc -i eth0 -n -q -t 1 -T 1 -s /bin/true").expect_err("there is none left");
    let said = lab.fwd("doctor").stdout;
    assert!(said.contains("all of 10.10.0.11-10.10.0.11 are taken"), "{said}");
}

#[test]
fn a_guest_without_a_lease_and_one_with_another_address_are_told() {
    need!(skip::bpf());
    need!(skip::dnsmasq());
    let lab = lab();
    let netns = Netns::new("lazy");
    lab.host.veth("lazy", &netns, "eth0");
    lab.ok("port add lazy --device lazy --network red");
    lab.ok(&format!("forward add lazy --listen tcp:{HOST_V4}:8081 --to lazy:80"));
    assert!(eventually(|| finds(&lab, ("address", "no_lease", "port lazy"))));
    let text = lab.fwd("forward test lazy");
    assert_eq!(text.code, 21);
    assert!(text.stdout.contains("address      failed"), "{}", text.stdout);

    netns.address("eth0", "10.10.0.12/24");
    ping(&netns, "10.10.0.1").expect("a guest may choose its address where DHCP gives out the whole subnet");
    assert!(eventually(|| !finds(&lab, ("address", "no_lease", "port lazy"))));

    let guest = &lab.get("red1").netns;
    guest.address("eth0", "10.10.0.99/24");
    assert!(ask_udp(guest, "10.10.0.99:0", "203.0.113.2:9", "x").is_err());
    assert!(eventually(|| finds(&lab, ("address", "wrong_address", "port red1"))));
}

#[test]
fn programs_and_sockets_in_the_way_are_named() {
    need!(skip::bpf());
    let mut lab = lab();
    let _service = http_whoami(&lab.get("red1").netns, "10.10.0.11:80");
    let own = lab.host.inside(|| TcpListener::bind((HOST_V4, 8080))).expect("the address is the host's");
    assert!(finds(&lab, ("transport", "host_listens", "forward web")));
    tests(&lab, ("transport", "listens on tcp:203.0.113.10:8080 itself"));
    drop(own);
    assert_eq!(findings(&lab), [] as [Value; 0]);

    // Another instance's program is foreign to this one.
    let (elsewhere, mut other) = (Netns::new("elsewhere"), Instance::new());
    other.start_with(&elsewhere, &["--metrics", "off"]).expect("instances do not meet");
    let program = other.bpffs().join(format!("v{ABI_VERSION}/programs/fwd_xdp"));
    lab.host.run(&format!("bpftool net attach xdpgeneric pinned {} dev red1", program.display()));
    assert!(finds(&lab, ("transport", "foreign_program", "port red1")));
    lab.host.run("bpftool net detach xdpgeneric dev red1");
    assert_eq!(findings(&lab), [] as [Value; 0]);
    other.down(&elsewhere).expect("it ends");

    // A bridge as uplink, whose frames pass the host's rules.
    lab.host.bridge("br0");
    lab.host.veth("p0", &lab.lan, "p1");
    lab.host.enslave("p0", "br0");
    lab.ok("uplink add br0");
    let has_filter = lab.host.try_run("sysctl -w net.bridge.bridge-nf-call-iptables=1").is_ok();
    lab.host.run("nft add table ip f");
    lab.host.run("nft add chain ip f c { type filter hook forward priority 0 ; policy drop ; }");
    assert_eq!(finds(&lab, ("transport", "br_netfilter", "uplink br0")), has_filter);
    let left = lab.down().expect("fwd down works");
    assert!(!left.iter().any(|line| line.contains("fwd")), "{left:#?}");
}

#[test]
fn a_service_that_hangs_up_and_a_private_network_are_looked_at_from_inside() {
    need!(skip::bpf());
    let mut lab = lab();
    lab.network(&BLUE, "");
    lab.vm("blue1", &BLUE, 11);
    lab.ok(&format!("forward add blue --listen tcp+udp:{HOST_V4}:9090 --to blue1:90"));
    let refused = lab.fwd("forward test blue");
    assert_eq!(refused.code, 21, "{}", refused.stdout);
    assert!(refused.stdout.contains("Nothing listens on TCP 10.10.0.11:90"), "{}", refused.stdout);
    assert!(refused.stdout.contains("Nothing listens on UDP 10.10.0.11:90"), "{}", refused.stdout);

    let listener = lab.get("red1").netns.inside(|| TcpListener::bind("10.10.0.11:80")).expect("it is there");
    let closing = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the probe comes");
        let _nothing = stream.set_nonblocking(true).map(|()| stream.read(&mut [0]));
    });
    let hung_up = lab.fwd("forward test web");
    closing.join().expect("it accepted once");
    assert_eq!(hung_up.code, 21, "{}", hung_up.stdout);
    assert!(hung_up.stdout.contains("accepts, and closes at once"), "{}", hung_up.stdout);
    lab.fwd("forward test nobody").fails(3);
}
