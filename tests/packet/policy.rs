//! Policy: both ends are asked, and drops name rule and side.

use fwd_common::counter::Totals;
use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{Mac, Packet, ip};
use fwd_tests::{need, skip};
use fwd_user::observe::Maps as _;
use serde_json::{Value, json};

use crate::sent::{admitted, named};
use crate::world::{ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

const VMS: [(char, &str, &str); 2] = [('4', "10.10.0.11", "10.10.0.12"), ('6', "fd00:10::11", "fd00:10::12")];

#[test]
fn a_closed_network_passes_what_a_rule_allows_and_nothing_else() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.edit(|document| document["networks"][0]["default_policy"] = json!("closed"));
        world.rule("dns", "allow port:red1 port:red2 udp/53");
        for (family, red1, red2) in VMS {
            let query = Packet::udp((red1, 4000), (red2, 53)).macs(RED1, RED2);
            let mut moved = admitted("red1", family);
            moved.push(("rule dns flows".to_owned(), 1));
            world.send("red1", &query).forwards("red2", &query, &named(&moved));
            let default = ("-", Direction::Egress);
            for refused in [
                Packet::udp((red1, 4000), (red2, 54)).macs(RED1, RED2),
                Packet::tcp((red1, 4000), (red2, 53)).macs(RED1, RED2),
                Packet::echo_request(red1, red2, 1, 1).macs(RED1, RED2),
            ] {
                world.send("red1", &refused).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
            }
            let other_way = Packet::udp((red2, 4000), (red1, 53)).macs(RED2, RED1);
            world.send("red2", &other_way).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
        }
    });
}

#[test]
fn a_rule_with_one_end_left_out_binds_at_the_other() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("out", "deny port:red1 - tcp/25");
        world.rule("in", "deny - port:red2 udp/69");
        world.rule("host", "deny - host udp/123");
        let gateway = world.gateway("red");
        for (family, red1, red2) in VMS {
            let refused = |rule| (rule, Direction::Egress);
            let mail = Packet::tcp((red1, 4000), (red2, 25)).macs(RED1, RED2);
            world.send("red1", &mail).drops_by(DropReason::PolicyDenied, refused("out"), &[]);
            let tftp = Packet::udp((red1, 4000), (red2, 69)).macs(RED1, RED2);
            world.send("red1", &tftp).drops_by(DropReason::PolicyDenied, refused("in"), &[]);
            let host = if family == '4' { "10.10.0.1" } else { "fd00:10::1" };
            let time = Packet::udp((red1, 4000), (host, 123)).macs(RED1, gateway);
            world.send("red1", &time).drops_by(DropReason::PolicyDenied, refused("host"), &[]);
        }
    });
}

#[test]
fn rules_on_forwards_see_the_client_and_the_vms_own_l4_port() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("bad", "deny 198.51.100.0/24 port:red1 udp/53");
        let query = |client: &str| Packet::udp((client, 4000), ("203.0.113.10", 5353)).macs(ROUTER, ETH0);
        let refused = ("bad", Direction::Ingress);
        world.send("eth0", &query("198.51.100.7")).drops_by(DropReason::PolicyDenied, refused, &[]);
        let good = query("192.0.2.7");
        let to_vm = good.clone().macs(world.gateway("red"), RED1).to_end(("10.10.0.11", 53)).hops(63);
        let mut moved = admitted("red1", '4');
        moved.push(("forward dns flows".to_owned(), 1));
        world.send("eth0", &good).forwards("red1", &to_vm, &named(&moved));
    });
}

#[test]
fn rules_on_nat_see_the_server() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("bad", "deny port:red1 198.51.100.0/24 any");
        let gateway = world.gateway("red");
        let refused = Packet::udp("10.10.0.11:4000", "198.51.100.7:53").macs(RED1, gateway);
        world.send("red1", &refused).drops_by(DropReason::PolicyDenied, ("bad", Direction::Egress), &[]);
        let good = Packet::udp("10.10.0.11:4000", "192.0.2.7:53").macs(RED1, gateway);
        let left = good.clone().macs(ETH0, ROUTER).from_ip(ip("203.0.113.10")).hops(63);
        world.send("red1", &good).forwards("eth0", &left, &named(&admitted("red1", '4')));
    });
}

/// Adds a staged rule.
fn stage(world: &mut World, name: &str, action: &str, ends: (&str, &str), service: &str) {
    let (from, to) = ends;
    let rule =
        json!({"name": name, "action": action, "from": from, "to": to, "services": service, "stage": true});
    world.edit(|document| document["policies"].as_array_mut().expect("a list").push(rule));
}

/// What a rule has counted.
fn totals(world: &World, name: &str) -> Totals {
    let id = world.rule_id(name);
    let rows = world.maps.rule_totals().expect("the map is readable");
    rows.into_iter().find(|(rule, _)| *rule == id).map(|(_, totals)| totals).unwrap_or_default()
}

#[test]
fn a_staged_denial_drops_nothing_and_counts_each_flow_once() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            let rule = format!("no-web{family}");
            let web = Packet::udp((red1, 4000), (red2, 80)).macs(RED1, RED2);
            let dns = Packet::udp((red1, 4000), (red2, 53)).macs(RED1, RED2);
            // A flow that was there before the rule is decided by it too.
            world.send("red1", &web).forwards("red2", &web, &named(&admitted("red1", family)));
            stage(world, &rule, "deny", ("port:red1", "port:red2"), "udp/80");
            let counted = (format!("rule {rule} flows"), 1);
            let anew = ("rechecked", 1);
            world.send("red1", &web).forwards("red2", &web, &[anew, (&counted.0, counted.1)]);
            world.rule("other", "deny port:red1 port:red2 tcp/25");
            world.send("red1", &web).forwards("red2", &web, &[anew]);
            let mut moved = admitted("red1", family);
            world.send("red1", &dns).forwards("red2", &dns, &named(&moved));
            let next = Packet::udp((red1, 4001), (red2, 80)).macs(RED1, RED2);
            moved.push(counted);
            world.send("red1", &next).forwards("red2", &next, &named(&moved));
            // Packets of both flows that it would decide, once they have ended.
            world.end_flows();
            assert_eq!((totals(world, &rule).flows, totals(world, &rule).out.packets), (2, 4));
            world.remove("policies", &rule);
            world.remove("policies", "other");
        }
    });
}

#[test]
fn a_staged_permit_passes_nothing_and_counts_what_it_would_pass() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.edit(|document| document["networks"][0]["default_policy"] = json!("closed"));
        stage(world, "web", "allow", ("port:red1", "port:red2"), "tcp/80");
        world.rule("no-mail", "deny port:red1 - tcp/25");
        stage(world, "mail", "allow", ("port:red1", "any"), "tcp/25");
        for (_, red1, red2) in VMS {
            let web = Packet::tcp((red1, 4000), (red2, 80)).macs(RED1, RED2);
            let default = ("-", Direction::Egress);
            for _ in 0..2 {
                world.send("red1", &web).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
            }
            // At equal priority the denial wins over what is staged, too.
            let mail = Packet::tcp((red1, 4000), (red2, 25)).macs(RED1, RED2);
            let refused = ("no-mail", Direction::Egress);
            world.send("red1", &mail).drops_by(DropReason::PolicyDenied, refused, &[]);
        }
        assert_eq!((totals(world, "web").flows, totals(world, "web").out.packets), (0, 4));
        assert_eq!(totals(world, "mail"), Totals::default());
        assert!(totals(world, "web").last_hit_ns > 0);
    });
}

#[test]
fn a_group_mac_is_no_way_around_the_receivers_rules() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("in", "deny - port:red2 udp/69");
        for (_, red1, red2) in VMS {
            for group in [Mac::BROADCAST, Mac([0x33, 0x33, 0, 0, 0, 1])] {
                let tftp = Packet::udp((red1, 4000), (red2, 69)).macs(RED1, group);
                // The rule is on both ends: the sender's is asked first.
                let refused = ("in", Direction::Egress);
                world.send("red1", &tftp).drops_by_tcx_for(DropReason::PolicyDenied, refused);
                let other = Packet::udp((red1, 4000), (red2, 70)).macs(RED1, group);
                world.send("red1", &other).floods("red1", 4);
            }
        }
    });
}

#[test]
fn a_rule_on_a_message_is_about_its_type_and_code_in_its_family_alone() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.edit(|document| document["networks"][0]["default_policy"] = json!("closed"));
        world.rule("stamp", "allow port:red1 port:red2 icmp/timestamp-request");
        world.rule("code", "allow port:red1 port:red2 icmp/42/7");
        world.rule("other", "allow port:red1 port:red2 icmp/200");
        world.rule("node", "allow port:red1 port:red2 icmpv6/139");
        let default = ("-", Direction::Egress);
        for (family, passes) in
            [('4', vec![(13, 0, "stamp"), (42, 7, "code")]), ('6', vec![(139, 1, "node")])]
        {
            let (_, red1, red2) = VMS[usize::from(family == '6')];
            let message = |kind, code| Packet::icmp(red1, red2, kind, code, [0, 7, 0, 1]).macs(RED1, RED2);
            for (kind, code, rule) in passes {
                let mut moved = admitted("red1", family);
                moved.push((format!("rule {rule} flows"), 1));
                let sent = message(kind, code);
                world.send("red1", &sent).forwards("red2", &sent, &named(&moved));
                world.send("red1", &sent).forwards("red2", &sent, &[]);
            }
            // With those flows alive: other types, other codes, the other family's number, and echoes.
            let others = [[(42, 8), (17, 0), (139, 0)], [(140, 1), (141, 0), (200, 0)]];
            for (kind, code) in others[usize::from(family == '6')] {
                world.send("red1", &message(kind, code)).drops_by(
                    DropReason::PolicyDefaultDeny,
                    default,
                    &[],
                );
            }
            let echo = Packet::echo_request(red1, red2, 7, 1).macs(RED1, RED2);
            world.send("red1", &echo).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
        }
    });
}

#[test]
fn a_message_comes_back_only_as_the_answer_to_one_that_a_rule_let_pass() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.edit(|document| document["networks"][0]["default_policy"] = json!("closed"));
        world.rule("ask", "allow port:red1 port:red2 icmp");
        for ((family, red1, red2), (asks, answers)) in VMS.into_iter().zip([(13, 14), (139, 140)]) {
            let back = |kind| Packet::icmp(red2, red1, kind, 0, [0, 7, 0, 1]).macs(RED2, RED1);
            let default = ("-", Direction::Egress);
            world.send("red2", &back(answers)).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
            let asked = Packet::icmp(red1, red2, asks, 0, [0, 7, 0, 1]).macs(RED1, RED2);
            let mut moved = admitted("red1", family);
            moved.push(("rule ask flows".to_owned(), 1));
            world.send("red1", &asked).forwards("red2", &asked, &named(&moved));
            let settled = [("red1 holds half_open", -1), (&*format!("table{family} half_open"), -1)];
            world.send("red2", &back(answers)).forwards("red1", &back(answers), &settled);
            world.send("red2", &back(asks)).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
            // Decided anew as what it is, and permitted still; then not any more.
            world.rule("other", "deny port:red1 port:red2 tcp/25");
            world.send("red1", &asked).forwards("red2", &asked, &[("rechecked", 1)]);
            world.remove("policies", "other");
            world.rule(
                "no",
                &format!(
                    "deny port:red1 port:red2 {}/{asks}",
                    ["icmp", "icmpv6"][usize::from(family == '6')]
                ),
            );
            let moved = [
                ("rechecked", 1),
                ("cut policy", 1),
                ("rule ask cut", 1),
                ("event FlowEnd", 1),
                (&*format!("table{family} flows"), -1),
                ("red1 holds flows", -1),
            ];
            world.send("red1", &asked).drops_by(DropReason::PolicyDenied, ("no", Direction::Egress), &moved);
            world.remove("policies", "no");
        }
    });
}

#[test]
fn rules_of_the_operators_tier_decide_before_those_of_tenants() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let between = |name: &str, action: &str, service: &str, more: Value| {
            let mut rule = json!({"name": name, "action": action, "from": "port:red1", "to": "port:red2", "services": service});
            rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            rule
        };
        world.edit(|document| {
            document["policies"] = json!([
                between("keep-out", "deny", "udp/53", json!({"tier": "operator", "priority": 0})),
                between("let-in", "allow", "udp/53", json!({"priority": 65535})),
                between("backup", "allow", "udp/54", json!({"tier": "operator", "priority": 0})),
                between("nothing", "deny", "udp", json!({"priority": 65535})),
            ]);
        });
        for (family, red1, red2) in VMS {
            let query = |l4_port: u16| Packet::udp((red1, 4000), (red2, l4_port)).macs(RED1, RED2);
            let refused = |rule| (rule, Direction::Egress);
            world.send("red1", &query(53)).drops_by(DropReason::PolicyDenied, refused("keep-out"), &[]);
            world.send("red1", &query(55)).drops_by(DropReason::PolicyDenied, refused("nothing"), &[]);
            let mut moved = admitted("red1", family);
            moved.push(("rule backup flows".to_owned(), 1));
            world.send("red1", &query(54)).forwards("red2", &query(54), &named(&moved));
        }
        // A live flow is bound by a rule that only changes its tier.
        world.edit(|document| {
            let rules = document["policies"].as_array_mut().expect("a list");
            rules.iter_mut().find(|rule| rule["name"] == "backup").expect("a rule")["tier"] = json!("tenant");
        });
        let (_, red1, red2) = VMS[0];
        let query = Packet::udp((red1, 4000), (red2, 54)).macs(RED1, RED2);
        world.send("red1", &query).drops_by(
            DropReason::PolicyDenied,
            ("nothing", Direction::Egress),
            &[
                ("rechecked", 1),
                ("cut policy", 1),
                ("rule backup cut", 1),
                ("event FlowEnd", 1),
                ("red1 holds flows", -1),
                ("red1 holds half_open", -1),
                ("table4 flows", -1),
                ("table4 half_open", -1),
            ],
        );
    });
}

#[test]
fn a_rule_on_source_l4_ports_is_about_what_comes_from_them_alone() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.edit(|document| {
            document["networks"][0]["default_policy"] = json!("closed");
            document["policies"] = json!([
                {"name": "time", "action": "allow", "from": "port:red1", "to": "port:red2",
                 "services": ["udp/123", "tcp/100-200"], "source_l4_ports": ["123", "1024-2047"]},
                {"name": "web", "action": "allow", "from": "port:red1", "to": "port:red2", "services": "tcp/80"},
            ]);
        });
        let default = ("-", Direction::Egress);
        for (family, red1, red2) in VMS {
            let udp = |from, to| Packet::udp((red1, from), (red2, to)).macs(RED1, RED2);
            let tcp = |from, to| Packet::tcp((red1, from), (red2, to)).macs(RED1, RED2);
            // What is refused is refused again without a decision, and yet what comes from another L4 port is not.
            for sent in [udp(2048, 123), udp(122, 123), tcp(40_000, 150), udp(123, 124)] {
                world.send("red1", &sent).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
                world.send("red1", &sent).drops_by(DropReason::PolicyDefaultDeny, default, &[]);
            }
            for (sent, rule) in [
                (udp(123, 123), "time"),
                (udp(2047, 123), "time"),
                (tcp(1024, 150), "time"),
                (tcp(40_000, 80), "web"),
            ] {
                let mut moved = admitted("red1", family);
                moved.push((format!("rule {rule} flows"), 1));
                world.send("red1", &sent).forwards("red2", &sent, &named(&moved));
            }
            // Decided anew as it came: from the L4 port that it had.
            world.rule("other", "deny port:red1 port:red2 tcp/25");
            let sent = udp(123, 123);
            world.send("red1", &sent).forwards("red2", &sent, &[("rechecked", 1)]);
            world.remove("policies", "other");
        }
    });
}

#[test]
fn a_forward_and_nat_are_decided_by_the_source_l4_port_that_the_client_has() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let rule = |name: &str, from: &str, to: &str| {
            json!({"name": name, "action": "deny", "from": from, "to": to, "services": "udp",
                   "source_l4_ports": "1-1023"})
        };
        world.edit(|document| {
            document["policies"] =
                json!([rule("in", "outside", "port:red1"), rule("out", "port:red1", "outside")])
        });
        let query =
            |from: u16| Packet::udp(("198.51.100.7", from), ("203.0.113.10", 5353)).macs(ROUTER, ETH0);
        let refused = ("in", Direction::Ingress);
        world.send("eth0", &query(1023)).drops_by(DropReason::PolicyDenied, refused, &[]);
        let good = query(1024);
        let to_vm = good.clone().macs(world.gateway("red"), RED1).to_end(("10.10.0.11", 53)).hops(63);
        let mut moved = admitted("red1", '4');
        moved.push(("forward dns flows".to_owned(), 1));
        world.send("eth0", &good).forwards("red1", &to_vm, &named(&moved));
        let gateway = world.gateway("red");
        let asked = |from: u16| Packet::udp(("10.10.0.11", from), ("198.51.100.7", 53)).macs(RED1, gateway);
        world.send("red1", &asked(53)).drops_by(DropReason::PolicyDenied, ("out", Direction::Egress), &[]);
        let left = asked(4000).macs(ETH0, ROUTER).from_ip(ip("203.0.113.10")).hops(63);
        world.send("red1", &asked(4000)).forwards("eth0", &left, &named(&admitted("red1", '4')));
    });
}

#[test]
fn a_staged_rule_on_source_l4_ports_counts_what_comes_from_them() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (_, red1, red2) = VMS[0];
        world.edit(|document| {
            document["policies"] = json!([{"name": "low", "action": "deny", "from": "port:red1", "to": "port:red2",
                "services": "udp", "source_l4_ports": ["1-1023"], "stage": true}]);
        });
        let sent = |from| Packet::udp((red1, from), (red2, 53)).macs(RED1, RED2);
        let mut moved = admitted("red1", '4');
        world.send("red1", &sent(1024)).forwards("red2", &sent(1024), &named(&moved));
        moved.push(("rule low flows".to_owned(), 1));
        world.send("red1", &sent(1023)).forwards("red2", &sent(1023), &named(&moved));
    });
}

#[test]
fn isolated_ports_do_not_meet_by_their_gateway_either() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let packet = Packet::udp(("10.30.0.31", 4000), ("10.30.0.32", 53))
            .macs("52:54:00:00:03:31", world.gateway("den"));
        world.send("den1", &packet).drops(DropReason::ModeForbids);
    });
}
