//! What becomes of flows that live when an edit binds, where they are not just decided anew.

use std::collections::BTreeSet;

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{Packet, ip};
use fwd_tests::{need, skip};
use fwd_user::plan::{Admitted, MapOp, cut, keep};
use serde_json::{Value, json};

use crate::sent::{admitted, named};
use crate::world::{ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

const CUT: [(&str, i64); 7] = [
    ("rechecked", 1),
    ("cut policy", 1),
    ("event FlowEnd", 1),
    ("table4 flows", -1),
    ("table4 half_open", -1),
    ("red1 holds flows", -1),
    ("red1 holds half_open", -1),
];

fn denial(name: &str, service: &str, priority: u16) -> impl FnOnce(&mut Value) {
    let rule = json!({"name": name, "action": "deny", "from": "port:red1", "services": service,
                      "priority": priority});
    move |document| document["policies"].as_array_mut().expect("a list").push(rule)
}

fn apply_keeping(world: &mut World, change: impl FnOnce(&mut Value)) {
    let (plan, old, new) = world.plan(change);
    world.apply(&keep(plan, old, new));
}

/// A masqueraded flow, and its packet as it leaves.
fn admit(world: &mut World) -> (Packet, Packet) {
    let packet = Packet::udp("10.10.0.11:4000", "198.51.100.7:53").macs(RED1, world.gateway("red"));
    let left = packet.clone().macs(ETH0, ROUTER).from_ip(ip("203.0.113.10")).hops(63);
    world.send("red1", &packet).forwards("eth0", &left, &named(&admitted("red1", '4')));
    (packet, left)
}

#[test]
fn a_kept_flow_lives_on_until_another_rule_denies_it() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (packet, left) = admit(world);
        apply_keeping(world, denial("dns", "udp/53", 1000));
        world.send("red1", &packet).forwards("eth0", &left, &[]);
        let new = packet.clone().from_end(("10.10.0.11", 4001));
        let by = |rule| (rule, Direction::Egress);
        world.send("red1", &new).drops_by(DropReason::PolicyDenied, by("dns"), &[]);
        // Edits that say nothing new of it leave it alone.
        world.edit(denial("mail", "tcp/25", 1000));
        world.send("red1", &packet).forwards("eth0", &left, &[("rechecked", 1)]);
        world.send("red1", &packet).forwards("eth0", &left, &[]);
        world.edit(denial("udp", "udp/1-1000", 2000));
        world.send("red1", &packet).drops_by(DropReason::PolicyDenied, by("udp"), &CUT);
    });
}

#[test]
fn a_flow_that_is_permitted_again_is_kept_from_nothing_any_more() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (packet, left) = admit(world);
        apply_keeping(world, denial("dns", "udp/53", 1000));
        world.edit(|document| document["policies"][0]["enabled"] = json!(false));
        world.send("red1", &packet).forwards("eth0", &left, &[("rechecked", 1)]);
        world.edit(|document| document["policies"][0]["enabled"] = json!(true));
        world.send("red1", &packet).drops_by(DropReason::PolicyDenied, ("dns", Direction::Egress), &CUT);
    });
}

/// The packets that race with an edit that keeps flows: after each of its steps one comes.
#[test]
fn no_packet_cuts_a_flow_while_the_edit_that_keeps_it_is_applied() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (packet, left) = admit(world);
        let (plan, old, new) = world.plan(denial("dns", "udp/53", 1000));
        let plan = keep(plan, old, new);
        let bumped = plan.iter().rposition(|op| matches!(op, MapOp::Bump(_))).expect("red1 is bumped");
        world.apply(&plan[..=bumped]);
        world.send("red1", &packet).forwards("eth0", &left, &[("rechecked", 1)]);
        world.apply(&plan[bumped + 1..]);
        world.send("red1", &packet).forwards("eth0", &left, &[]);
        let bump = MapOp::Bump(world.desired_port("red1"));
        world.apply(&[bump]);
        world.send("red1", &packet).forwards("eth0", &left, &[("rechecked", 1)]);
    });
}

#[test]
fn a_flow_is_kept_without_its_forward_and_still_obeys_rules() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let query = Packet::udp(("192.0.2.7", 4000), ("203.0.113.10", 5353)).macs(ROUTER, ETH0);
        let to_vm = query.clone().macs(world.gateway("red"), RED1).to_end(("10.10.0.11", 53)).hops(63);
        let mut moved = admitted("red1", '4');
        moved.push(("forward dns flows".to_owned(), 1));
        world.send("eth0", &query).forwards("red1", &to_vm, &named(&moved));
        apply_keeping(world, |document| document["forwards"] = json!([]));
        world.send("eth0", &query).forwards("red1", &to_vm, &[]);
        world.edit(denial("mail", "tcp/25", 1000));
        world.send("eth0", &query).forwards("red1", &to_vm, &[("rechecked", 1)]);
        world.rule("clients", "deny 192.0.2.0/24 port:red1 udp/53");
        let by = ("clients", Direction::Ingress);
        let mut cut = CUT.to_vec();
        // The forward's name is gone with it.
        cut.push(("forward ? cut", 1));
        world.send("eth0", &query).drops_by(DropReason::PolicyDenied, by, &cut);
    });
}

#[test]
fn flows_are_cut_by_what_admitted_them() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("web", "allow port:red1 port:red2 udp/80");
        let web = Packet::udp("10.10.0.11:4000", "10.10.0.12:80").macs(RED1, RED2);
        let dns = Packet::udp("10.10.0.11:4000", "10.10.0.12:53").macs(RED1, RED2);
        let mut by_rule = admitted("red1", '4');
        by_rule.push(("rule web flows".to_owned(), 1));
        let by_default = admitted("red1", '4');
        world.send("red1", &web).forwards("red2", &web, &named(&by_rule));
        world.send("red1", &dns).forwards("red2", &dns, &named(&by_default));
        let end = |flows| cut(Vec::new(), &BTreeSet::from([flows]));
        world.apply(&end(Admitted::ByRule(world.rule_id("web"))));
        world.send("red1", &dns).forwards("red2", &dns, &[]);
        world.send("red1", &web).forwards("red2", &web, &named(&by_rule));
        world.apply(&end(Admitted::AtPort(world.desired_port("blue1"))));
        world.send("red1", &dns).forwards("red2", &dns, &[]);
        for port in ["red1", "red2"] {
            world.apply(&end(Admitted::AtPort(world.desired_port(port))));
            world.send("red1", &dns).forwards("red2", &dns, &named(&by_default));
        }
    });
}
