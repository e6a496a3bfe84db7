//! Refusals: packets alike are dropped without a decision, and are counted and told as if there had been one.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::Packet;
use fwd_tests::{need, skip};
use serde_json::json;

use crate::sent::{admitted, named};
use crate::world::{BLUE1, ETH0, RED1, RED2, ROUTER, on_both_hooks, port_in};

const VMS: [(char, &str, &str); 2] = [('4', "10.10.0.11", "10.10.0.12"), ('6', "fd00:10::11", "fd00:10::12")];

#[test]
fn each_packet_of_a_refusal_is_counted_for_its_rule() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("mail", "deny port:red1 - tcp/25");
        for (_, red1, red2) in VMS {
            for l4_port in [4000, 4000, 4001, 4002, 4000] {
                let mail = Packet::tcp((red1, l4_port), (red2, 25)).macs(RED1, RED2);
                world.send("red1", &mail).drops_by(
                    DropReason::PolicyDenied,
                    ("mail", Direction::Egress),
                    &[],
                );
                let spoofed = Packet::udp(("192.0.2.1", l4_port), ("10.10.0.12", 25)).macs(RED1, RED2);
                world.send("red1", &spoofed).drops(DropReason::SourceAddressSpoofed);
            }
        }
        let outside = |client: &str| Packet::udp((client, 4000), ("203.0.113.10", 5353)).macs(ROUTER, ETH0);
        world.rule("bad", "deny 198.51.100.0/24 port:red1 udp/53");
        for client in ["198.51.100.7", "198.51.100.7", "198.51.100.8", "198.51.100.7"] {
            let refused = ("bad", Direction::Ingress);
            world.send("eth0", &outside(client)).drops_by(DropReason::PolicyDenied, refused, &[]);
        }
    });
}

#[test]
fn an_edit_binds_what_was_refused_at_the_next_packet() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, red1, red2) in VMS {
            let query = Packet::udp((red1, 4000), (red2, 53)).macs(RED1, RED2);
            world.rule("first", "deny port:red1 - udp/53");
            for _ in 0..2 {
                let first = ("first", Direction::Egress);
                world.send("red1", &query).drops_by(DropReason::PolicyDenied, first, &[]);
            }
            world.rule("second", "deny port:red1 - udp/53");
            world.remove("policies", "first");
            for _ in 0..2 {
                let second = ("second", Direction::Egress);
                world.send("red1", &query).drops_by(DropReason::PolicyDenied, second, &[]);
            }
            world.remove("policies", "second");
            world.send("red1", &query).forwards("red2", &query, &named(&admitted("red1", family)));
        }
    });
}

#[test]
fn an_address_given_to_a_port_is_its_own_at_the_next_packet() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let query = Packet::udp("192.0.2.9:4000", "10.10.0.12:53").macs(RED1, RED2);
        for _ in 0..2 {
            world.send("red1", &query).drops(DropReason::SourceAddressSpoofed);
        }
        world.edit(|document| port_in(document, "red1")["allow_addresses"] = json!(["192.0.2.0/24"]));
        world.send("red1", &query).forwards("red2", &query, &named(&admitted("red1", '4')));
        // All of IPv6 is none of IPv4.
        world.edit(|document| port_in(document, "red1")["allow_addresses"] = json!(["::/0"]));
        let other = Packet::udp("192.0.2.9:4001", "10.10.0.12:53").macs(RED1, RED2);
        world.send("red1", &other).drops(DropReason::SourceAddressSpoofed);
        let other = Packet::udp("[2001:db8::9]:4001", "[fd00:10::12]:53").macs(RED1, RED2);
        world.send("red1", &other).forwards("red2", &other, &named(&admitted("red1", '6')));
    });
}

#[test]
fn what_differs_where_it_matters_is_decided_on_its_own() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.rule("dns", "deny port:red1 - udp/53");
        let query =
            |from: u16, to: u16| Packet::udp(("10.10.0.11", from), ("10.10.0.12", to)).macs(RED1, RED2);
        let refused = ("dns", Direction::Egress);
        world.send("red1", &query(4000, 53)).drops_by(DropReason::PolicyDenied, refused, &[]);
        // A server's L4 port, another service, another source MAC.
        world.send("red1", &query(67, 53)).drops(DropReason::RogueServer);
        world.send("red1", &query(4000, 53).macs(BLUE1, RED2)).drops(DropReason::SourceMacSpoofed);
        let other = query(4000, 54);
        world.send("red1", &other).forwards("red2", &other, &named(&admitted("red1", '4')));
    });
}
