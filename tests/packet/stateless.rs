//! Stateless rules: each permits exactly the packets that match it, and what answers them needs a rule of its own.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, FIN, Packet, RST, SYN, ip};
use fwd_tests::{need, skip};
use fwd_user::observe::Maps as _;
use fwd_user::plan::{Admitted, cut, keep};
use serde_json::{Value, json};

use crate::sent::{admitted, named, settled};
use crate::world::{ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

const VMS: [(char, &str, &str); 2] = [('4', "10.10.0.11", "10.10.0.12"), ('6', "fd00:10::11", "fd00:10::12")];
/// A VM, a server outside, eth0's own address.
const OUTSIDE: [(char, &str, &str, &str); 2] = [
    ('4', "10.10.0.11", "198.51.100.7", "203.0.113.10"),
    ('6', "fd00:10::11", "2001:db8:99::7", "2001:db8:113::10"),
];
const DEFAULT: DropReason = DropReason::PolicyDefaultDeny;
const BY_SENDER: (&str, Direction) = ("-", Direction::Egress);
const BY_RECEIVER: (&str, Direction) = ("-", Direction::Ingress);
const ANEW: (&str, i64) = ("rechecked", 1);

/// A rule that allows, stateless if it says so.
fn rule(name: &str, ends: (&str, &str), service: &str, stateless: bool) -> Value {
    json!({"name": name, "action": "allow", "from": ends.0, "to": ends.1, "services": service, "stateless": stateless})
}

fn with(rule: Value) -> impl FnOnce(&mut Value) {
    move |document| document["policies"].as_array_mut().expect("a list").push(rule)
}

fn without(name: &'static str) -> impl FnOnce(&mut Value) {
    move |document| document["policies"].as_array_mut().expect("a list").retain(|rule| rule["name"] != name)
}

/// Closes the network red, and permits one way in it.
fn closed(world: &mut World, ends: (&str, &str), service: &str) {
    world.edit(|document| {
        document["networks"][0]["default_policy"] = json!("closed");
        document["policies"] = json!([rule("way", ends, service, true)]);
    });
}

/// What admitting a flow moves by the rule `way`.
fn by_way(owner: &str, family: char) -> Vec<(String, i64)> {
    [admitted(owner, family), vec![("rule way flows".to_owned(), 1)]].concat()
}

/// What it moves that a rule permits the answers of a running flow, of which none has come.
fn opened_by(rule: &str, owner: &str, family: char) -> Vec<(String, i64)> {
    let counted = vec![(ANEW.0.to_owned(), 1), (format!("rule {rule} flows"), 1)];
    [counted, settled(owner, family)].concat()
}

/// A flow of syslog within red, and its answer.
fn syslog(red1: &str, red2: &str) -> (Packet, Packet) {
    let log = Packet::udp((red1, 4000), (red2, 514)).macs(RED1, RED2);
    (log, Packet::udp((red2, 514), (red1, 4000)).macs(RED2, RED1))
}

#[test]
fn what_matches_passes_and_answers_are_dropped_by_the_rule_that_denies_them() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            closed(world, ("port:red1", "port:red2"), "udp/514");
            let (log, answer) = syslog(red1, red2);
            world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", family)));
            for _ in 0..3 {
                world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
                world.send("red1", &log).forwards("red2", &log, &[]);
            }
            // Another packet of its own is as before, and so is one that spoofs.
            let other = answer.clone().from_end((red2, 515));
            world.send("red2", &other).drops_by(DEFAULT, BY_SENDER, &[]);
            world.send("red2", &answer.clone().from_mac(RED1)).drops(DropReason::SourceMacSpoofed);
            world.rule("no", "deny port:red2 - udp");
            let by = ("no", Direction::Egress);
            world.send("red2", &answer).drops_by(DropReason::PolicyDenied, by, &[ANEW]);
            world.send("red2", &answer).drops_by(DropReason::PolicyDenied, by, &[]);
            world.send("red1", &log).forwards("red2", &log, &[]);
        }
    });
}

#[test]
fn a_rule_for_the_answers_opens_a_running_flow_at_the_next_packet_and_its_end_closes_it() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            closed(world, ("port:red1", "port:red2"), "udp/514");
            let (log, answer) = syslog(red1, red2);
            world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", family)));
            world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
            world.edit(with(rule("back", ("port:red2", "port:red1"), "udp/4000", true)));
            let opened = opened_by("back", "red1", family);
            world.send("red2", &answer).forwards("red1", &answer, &named(&opened));
            world.send("red2", &answer).forwards("red1", &answer, &[]);
            world.send("red1", &log).forwards("red2", &log, &[]);
            world.edit(without("back"));
            // Whichever direction comes first: each obeys.
            world.send("red1", &log).forwards("red2", &log, &[ANEW]);
            world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
            world.edit(with(rule("back", ("port:red2", "port:red1"), "udp", false)));
            let again = [ANEW, ("rule back flows", 1)];
            world.send("red1", &log).forwards("red2", &log, &again);
            world.send("red2", &answer).forwards("red1", &answer, &[]);
            world.edit(without("back"));
            world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[ANEW]);
        }
    });
}

#[test]
fn the_flag_of_a_rule_binds_running_flows_both_ways() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            closed(world, ("port:red1", "port:red2"), "udp/514");
            let stateless =
                |on: bool| move |document: &mut Value| document["policies"][0]["stateless"] = json!(on);
            world.edit(stateless(false));
            let (log, answer) = syslog(red1, red2);
            world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", family)));
            world.send("red2", &answer).forwards("red1", &answer, &named(&settled("red1", family)));
            world.edit(stateless(true));
            world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[ANEW]);
            world.edit(stateless(false));
            world.send("red2", &answer).forwards("red1", &answer, &[ANEW]);
        }
    });
}

#[test]
fn an_open_network_permits_answers_until_a_rule_denies_them() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            world.edit(|document| {
                document["policies"] = json!([rule("way", ("any", "port:red2"), "udp/514", true)])
            });
            let (log, answer) = syslog(red1, red2);
            world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", family)));
            world.send("red2", &answer).forwards("red1", &answer, &named(&settled("red1", family)));
            world.rule("no", "deny port:red2 - udp");
            let by = ("no", Direction::Egress);
            world.send("red2", &answer).drops_by(DropReason::PolicyDenied, by, &[ANEW]);
            world.send("red1", &log).forwards("red2", &log, &[]);
            // Of a stateful rule's flow the same denial lets answers pass.
            world.edit(|document| document["policies"][0]["stateless"] = json!(false));
            world.send("red2", &answer).forwards("red1", &answer, &[ANEW]);
        }
    });
}

#[test]
fn tcp_needs_no_syn_and_each_direction_is_judged_on_its_own() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            closed(world, ("port:red1", "port:red2"), "tcp/80");
            world.set("midstream_tcp", json!("deny"));
            let tcp = |from: u16, flags| Packet::tcp((red1, from), (red2, 80)).macs(RED1, RED2).flags(flags);
            let answer = |to: u16, flags| Packet::tcp((red2, 80), (red1, to)).macs(RED2, RED1).flags(flags);
            for (l4_port, first) in
                [(4000, ACK), (4001, SYN), (4002, SYN | ACK), (4003, FIN | ACK), (4004, RST)]
            {
                let packet = tcp(l4_port, first);
                world.send("red1", &packet).forwards("red2", &packet, &named(&by_way("red1", family)));
                for flags in [SYN | ACK, ACK, RST, FIN | ACK, SYN] {
                    world.send("red2", &answer(l4_port, flags)).drops_by(DEFAULT, BY_SENDER, &[]);
                }
                let next = tcp(l4_port, ACK);
                world.send("red1", &next).forwards("red2", &next, &[]);
            }
            // The other direction first, where a rule permits it: a flow of its own, the other way round.
            world.edit(with(rule("back", ("port:red2", "port:red1"), "tcp/5000", true)));
            let back = answer(5000, ACK);
            let mut moved = admitted("red2", family);
            moved.extend([("rule back flows".to_owned(), 1), ("rule way flows".to_owned(), 1)]);
            world.send("red2", &back).forwards("red1", &back, &named(&moved));
            let there = tcp(5000, ACK);
            world.send("red1", &there).forwards("red2", &there, &[]);
            // A stateful rule's flow does need one.
            world.edit(|document| {
                for rule in document["policies"].as_array_mut().expect("a list") {
                    rule["stateless"] = json!(false);
                }
            });
            world.send("red1", &tcp(6000, ACK)).drops(DropReason::TcpMidstream);
        }
    });
}

#[test]
fn what_was_refused_a_moment_ago_hides_no_later_permission() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            closed(world, ("port:red1", "port:red2"), "udp/514");
            let (log, answer) = syslog(red1, red2);
            for _ in 0..2 {
                world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
            }
            world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", family)));
            world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
            world.edit(with(rule("back", ("port:red2", "port:red1"), "udp/4000", true)));
            let opened = opened_by("back", "red1", family);
            world.send("red2", &answer).forwards("red1", &answer, &named(&opened));
            // Without the flow: it is one of its own now.
            world.end_flows();
            let mut moved = admitted("red2", family);
            moved.extend([("rule back flows".to_owned(), 1), ("rule way flows".to_owned(), 1)]);
            world.send("red2", &answer).forwards("red1", &answer, &named(&moved));
        }
    });
}

#[test]
fn answers_from_outside_to_translated_flows_need_a_rule() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat) in OUTSIDE {
            closed(world, ("port:red1", "outside"), "udp/53");
            let query = Packet::udp((vm, 4000), (server, 53)).macs(RED1, world.gateway("red"));
            let left = query.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &query).forwards("eth0", &left, &named(&by_way("red1", family)));
            let answer = Packet::udp((server, 53), (nat, 4000)).macs(ROUTER, ETH0);
            let to_vm = answer.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &answer).drops_by(DEFAULT, BY_RECEIVER, &[]);
            // As rules see it: the VM's own address and L4 port.
            world.edit(with(json!({"name": "back", "action": "allow", "from": server, "to": "port:red1",
                                   "services": "udp/4000", "source_l4_ports": "53"})));
            world.send("eth0", &answer).forwards("red1", &to_vm, &named(&opened_by("back", "red1", family)));
            world.send("eth0", &answer).forwards("red1", &to_vm, &[]);
            world.edit(without("back"));
            world.send("eth0", &answer).drops_by(DEFAULT, BY_RECEIVER, &[ANEW]);
            world.send("red1", &query).forwards("eth0", &left, &[]);
        }
    });
}

#[test]
fn answers_to_forwarded_clients_need_a_rule() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, client, public) in OUTSIDE {
            closed(world, ("outside", "port:red1"), "udp/53");
            let query = Packet::udp((client, 4000), (public, 5353)).macs(ROUTER, ETH0);
            let to_vm = query.clone().macs(world.gateway("red"), RED1).to_end((vm, 53)).hops(63);
            let mut moved = by_way("red1", family);
            moved
                .push((if family == '4' { "forward dns flows" } else { "forward dns6 flows" }.to_owned(), 1));
            world.send("eth0", &query).forwards("red1", &to_vm, &named(&moved));
            let answer = Packet::udp((vm, 53), (client, 4000)).macs(RED1, world.gateway("red"));
            let left = answer.clone().macs(ETH0, ROUTER).from_end((public, 5353)).hops(63);
            world.send("red1", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
            world.edit(with(json!({"name": "back", "action": "allow", "from": "port:red1", "to": client,
                                   "services": "udp", "source_l4_ports": "53", "stateless": true})));
            world.send("red1", &answer).forwards("eth0", &left, &named(&opened_by("back", "red1", family)));
            world.send("red1", &answer).forwards("eth0", &left, &[]);
        }
    });
}

#[test]
fn an_echos_reply_is_permitted_apart_from_its_request() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            closed(world, ("port:red1", "port:red2"), "icmp/echo-request");
            let (request, reply) = (
                Packet::echo_request(red1, red2, 7, 1).macs(RED1, RED2),
                Packet::echo_reply(red2, red1, 7, 1).macs(RED2, RED1),
            );
            world.send("red1", &request).forwards("red2", &request, &named(&by_way("red1", family)));
            world.send("red2", &reply).drops_by(DEFAULT, BY_SENDER, &[]);
            // The same words the other way round permit requests only.
            world.edit(with(rule("ask", ("port:red2", "port:red1"), "icmp/echo-request", true)));
            world.send("red2", &reply).drops_by(DEFAULT, BY_SENDER, &[ANEW]);
            world.edit(with(rule("back", ("port:red2", "port:red1"), "icmp/echo-reply", true)));
            world.send("red2", &reply).forwards("red1", &reply, &named(&opened_by("back", "red1", family)));
        }
    });
}

#[test]
fn an_icmp_error_goes_with_a_stateless_flow_whose_answers_are_refused() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat) in OUTSIDE {
            closed(world, ("port:red1", "outside"), "udp/53");
            let query = Packet::udp((vm, 4000), (server, 53)).macs(RED1, world.gateway("red"));
            let left = query.clone().macs(ETH0, ROUTER).from_ip(ip(nat)).hops(63);
            world.send("red1", &query).forwards("eth0", &left, &named(&by_way("red1", family)));
            let (kind, code) = if family == '4' { (3, 4) } else { (2, 0) };
            let error = |quoted: &Packet, to: &str| {
                Packet::icmp(server, to, kind, code, [0, 0, 5, 20]).payload(&quoted.frame()[14..])
            };
            let came = error(&left, nat).macs(ROUTER, ETH0);
            let to_vm = error(&query.clone().hops(63), vm).macs(world.gateway("red"), RED1).hops(63);
            world.send("eth0", &came).switches(&to_vm, &[]);
            world.send("eth0", &came).switches(&to_vm, &[]);
            world.rule("other", "deny port:red1 - tcp/25");
            world.send("eth0", &came).switches(&to_vm, &[ANEW]);
            world.send("eth0", &came).switches(&to_vm, &[]);
            let answer = Packet::udp((server, 53), (nat, 4000)).macs(ROUTER, ETH0);
            world.send("eth0", &answer).drops_by(DEFAULT, BY_RECEIVER, &[]);
        }
    });
}

#[test]
fn a_refused_answer_that_is_rejected_is_told_so() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        closed(world, ("port:red1", "port:red2"), "udp/514");
        world.rule("no", "reject port:red2 port:red1 udp");
        let (log, answer) = syslog("10.10.0.11", "10.10.0.12");
        world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", '4')));
        let told = Packet::icmp("10.10.0.1", "10.10.0.12", 3, 13, [0; 4])
            .payload(&answer.frame()[14..])
            .macs(RED1, RED2);
        world.send("red2", &answer).rejects(("no", Direction::Egress), &told, &[]);
    });
}

#[test]
fn a_refused_answer_keeps_no_flow_alive() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        closed(world, ("port:red1", "port:red2"), "udp/514");
        world.set("udp_one_way_timeout", json!("1s"));
        let (log, answer) = syslog("10.10.0.11", "10.10.0.12");
        world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", '4')));
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(500));
            let _until_it_expires = world.run_frame("red2", &answer.frame());
        }
        // The flow has ended at one of them, and they go on being refused.
        world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", '4')));
    });
}

#[test]
fn an_edit_may_keep_the_answers_of_running_flows() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            closed(world, ("port:red1", "port:red2"), "udp/514");
            world.edit(with(rule("back", ("port:red2", "port:red1"), "udp", true)));
            let (log, answer) = syslog(red1, red2);
            let mut moved = by_way("red1", family);
            moved.push(("rule back flows".to_owned(), 1));
            world.send("red1", &log).forwards("red2", &log, &named(&moved));
            world.send("red2", &answer).forwards("red1", &answer, &named(&settled("red1", family)));
            let (plan, old, new) = world.plan(without("back"));
            world.apply(&keep(plan, old, new));
            world.send("red2", &answer).forwards("red1", &answer, &[]);
            world.send("red1", &log).forwards("red2", &log, &[]);
            let new = answer.clone().from_end((red2, 515));
            world.send("red2", &new).drops_by(DEFAULT, BY_SENDER, &[]);
            // Edits that say nothing new of it leave it alone; another rule binds.
            world.rule("other", "deny port:red1 - tcp/25");
            world.send("red2", &answer).forwards("red1", &answer, &[ANEW]);
            world.rule("no", "deny port:red2 - udp");
            let by = ("no", Direction::Egress);
            world.send("red2", &answer).drops_by(DropReason::PolicyDenied, by, &[ANEW]);
            world.send("red1", &log).forwards("red2", &log, &[]);
        }
    });
}

#[test]
fn flows_are_cut_by_the_stateless_rule_that_admitted_them() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        closed(world, ("port:red1", "port:red2"), "udp/514");
        let (log, answer) = syslog("10.10.0.11", "10.10.0.12");
        world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", '4')));
        world.apply(&cut(
            Vec::new(),
            &std::collections::BTreeSet::from([Admitted::ByRule(world.rule_id("way"))]),
        ));
        world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
        world.send("red1", &log).forwards("red2", &log, &named(&by_way("red1", '4')));
    });
}

#[test]
fn a_sweep_closes_and_opens_answers_and_cuts_no_flow() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        use fwd_common::sweep::{Command, MAX_SLOTS, Op};
        let sweep = Command { op: Op::Recheck as u32, slots: MAX_SLOTS, ..Command::default() };
        closed(world, ("port:red1", "port:red2"), "udp/514");
        world.edit(with(rule("back", ("port:red2", "port:red1"), "udp", true)));
        let (log, answer) = syslog("10.10.0.11", "10.10.0.12");
        let mut moved = by_way("red1", '4');
        moved.push(("rule back flows".to_owned(), 1));
        world.send("red1", &log).forwards("red2", &log, &named(&moved));
        world.send("red2", &answer).forwards("red1", &answer, &named(&settled("red1", '4')));
        world.edit(without("back"));
        assert_eq!(world.sweep(sweep).cut, 0);
        world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
        world.send("red1", &log).forwards("red2", &log, &[]);
        world.edit(with(rule("back", ("port:red2", "port:red1"), "udp", true)));
        assert_eq!(world.sweep(sweep).cut, 0);
        world.send("red2", &answer).forwards("red1", &answer, &[]);
    });
}

#[test]
fn staged_rules_count_what_they_would_do_to_answers_and_do_nothing() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        closed(world, ("port:red1", "port:red2"), "udp/514");
        let mut back = rule("back", ("port:red2", "port:red1"), "udp/4000", true);
        back["stage"] = json!(true);
        world.edit(with(back));
        let (log, answer) = syslog("10.10.0.11", "10.10.0.12");
        let mut moved = by_way("red1", '4');
        // It would permit the answers of this flow.
        moved.push(("rule back flows".to_owned(), 1));
        world.send("red1", &log).forwards("red2", &log, &named(&moved));
        for _ in 0..2 {
            world.send("red2", &answer).drops_by(DEFAULT, BY_SENDER, &[]);
        }
        let id = world.rule_id("back");
        let rows = world.maps.rule_totals().expect("the map is readable");
        let totals = rows.into_iter().find(|(rule, _)| *rule == id).expect("it has counted").1;
        assert_eq!((totals.flows, totals.out.packets), (1, 2));
        // In force, it opens the flow.
        world.edit(|document| document["policies"][1]["stage"] = json!(false));
        world.send("red2", &answer).forwards("red1", &answer, &named(&opened_by("back", "red1", '4')));
        // A stateless rule that is staged permits nothing, and closes nothing.
        world.edit(|document| {
            document["policies"][0]["stateless"] = json!(false);
            document["policies"][1]["enabled"] = json!(false);
        });
        let mut one_way = rule("one-way", ("port:red1", "port:red2"), "udp", true);
        (one_way["stage"], one_way["priority"]) = (json!(true), json!(2000));
        world.edit(with(one_way));
        let counted = [ANEW, ("rule one-way flows", 1)];
        world.send("red2", &answer).forwards("red1", &answer, &counted);
        world.send("red1", &log).forwards("red2", &log, &[]);
    });
}
