//! Policy: both ends are asked, and drops name rule and side.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{Packet, ip};
use fwd_tests::{need, skip};
use serde_json::json;

use crate::sent::{admitted, named};
use crate::world::{ETH0, RED1, RED2, ROUTER, on_both_hooks};

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
