//! Prefix translation (RFC 6296): each address of a network has one outside, for all protocols, both ways and unasked.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{ACK, Fragment, L4, Mac, NdOption, Packet, RST, SYN, ip};
use fwd_tests::{need, skip};
use fwd_user::plan::keep;
use serde_json::{Value, json};

use crate::answer::about;
use crate::sent::{admitted, named, settled};
use crate::world::{BLUE1, ETH0, RED1, RED2, ROUTER, World, on_both_hooks, port_in};

const SERVER: &str = "2001:db8:99::7";
const PAIR: &str = "fd00:10::/64=2001:db8:6::/64";
/// red1's and red2's own, and their counterparts.
const VMS: [&str; 2] = ["fd00:10::11", "fd00:10::12"];
const OUT: [&str; 2] = ["2001:db8:6:0:cf51::11", "2001:db8:6:0:cf51::12"];
const PROHIBITED: [(u8, u8); 2] = [(3, 13), (1, 1)];
/// An edit that translates the flow otherwise: it ends, and its packet is the first one of another.
pub(crate) const AS_NEW: [(&str, i64); 5] =
    [("rechecked", 1), ("cut route", 1), ("admitted", 1), ("event FlowEnd", 1), ("event FlowStart", 1)];

fn translate(world: &mut World, nats: Value) {
    world.edit(|document| document["nats"] = nats);
}

fn by_prefix(pair: &str) -> Value {
    json!([{"name": "site", "network": "red", "prefix": pair}])
}

/// red1's packet to its gateway, and as it leaves by eth0.
fn out(world: &World, packet: &Packet) -> (Packet, Packet) {
    let sent = packet.clone().macs(RED1, world.gateway("red"));
    let left = sent.clone().macs(ETH0, ROUTER).from_ip(ip(OUT[0])).hops(63);
    (sent, left)
}

/// A packet from outside to red1's counterpart, and as red1 gets it.
fn back(world: &World, packet: &Packet) -> (Packet, Packet) {
    let sent = packet.clone().macs(ROUTER, ETH0);
    let came = sent.clone().macs(world.gateway("red"), RED1).to_ip(ip(VMS[0])).hops(63);
    (sent, came)
}

fn gre(from: &str, to: &str) -> Packet {
    Packet::ip(ip(from), ip(to), L4::Other { protocol: 47 }).payload(b"sixteen bytes: 1")
}

/// Packets of each protocol from one address to another.
fn of_each_protocol(from: &str, to: &str) -> [Packet; 6] {
    [
        Packet::udp((from, 4000), (to, 53)).payload("odd"),
        Packet::tcp((from, 4001), (to, 443)).flags(SYN),
        Packet::echo_request(from, to, 7, 1).payload("ping"),
        Packet::sctp((from, 4002), (to, 2905), 1),
        gre(from, to),
        // A node information query (RFC 4620): of ICMPv6, and no echo.
        Packet::icmp(from, to, 139, 0, [1, 2, 3, 4]).payload([5; 8]),
    ]
}

#[test]
fn addresses_are_exchanged_both_ways_and_nothing_else() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_prefix(PAIR));
        for (n, packet) in of_each_protocol(VMS[0], SERVER).iter().enumerate() {
            let (sent, left) = out(world, packet);
            assert_eq!(sent.frame()[54..], left.frame()[54..], "no checksum has to change");
            world.send("red1", &sent).forwards("eth0", &left, &named(&admitted("red1", '6')));
            if n == 0 {
                world.send("red1", &sent).forwards("eth0", &left, &[]);
            }
        }
        let answers = [
            (Packet::udp((SERVER, 53), (OUT[0], 4000)).payload("even"), true),
            // Established by its third packet.
            (Packet::tcp((SERVER, 443), (OUT[0], 4001)).flags(SYN | ACK), false),
            (Packet::echo_reply(SERVER, OUT[0], 7, 1).payload("ping"), true),
            (gre(SERVER, OUT[0]), true),
        ];
        for (packet, is_settled) in answers {
            let (sent, came) = back(world, &packet);
            let moved = if is_settled { settled("red1", '6') } else { Vec::new() };
            world.send("eth0", &sent).forwards("red1", &came, &named(&moved));
        }
    });
}

#[test]
fn who_sends_unasked_reaches_the_counterpart() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(
            world,
            json!([
                {"name": "site", "network": "red", "prefix": PAIR},
                {"name": "double", "network": "blue", "prefix": "fd00:10::/64=2001:db8:7::/64"},
            ]),
        );
        for packet in of_each_protocol(SERVER, OUT[0]) {
            let (sent, came) = back(world, &packet);
            world.send("eth0", &sent).forwards("red1", &came, &named(&admitted("red1", '6')));
        }
        let (sent, left) = out(world, &Packet::udp((VMS[0], 53), (SERVER, 4000)).payload("answer"));
        world.send("red1", &sent).forwards("eth0", &left, &named(&settled("red1", '6')));
        // The same addresses in another network have others outside.
        let packet = Packet::udp((SERVER, 4000), ("2001:db8:7:0:cf50::11", 53)).macs(ROUTER, ETH0);
        let came = packet.clone().macs(world.gateway("blue"), BLUE1).to_ip(ip(VMS[0])).hops(63);
        world.send("eth0", &packet).forwards("blue1", &came, &named(&admitted("blue1", '6')));
        // Nobody has it; it is a VM's own; it is not of the prefix.
        let to = |addr: &str| Packet::udp((SERVER, 4000), (addr, 53)).macs(ROUTER, ETH0);
        world.send("eth0", &to("2001:db8:6:0:cf51::99")).drops(DropReason::NoNeighbor);
        let spoofed = Packet::udp((VMS[1], 4000), (OUT[0], 53)).macs(ROUTER, ETH0);
        world.send("eth0", &spoofed).drops(DropReason::SourceAddressSpoofed);
        world.send("eth0", &to("2001:db8:6:1:cf51::11")).passes();
    });
}

#[test]
fn fragments_are_translated() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_prefix(PAIR));
        let whole = Packet::udp((VMS[0], 4000), (SERVER, 53)).payload([7; 200]);
        for (n, frame) in whole.fragments(9, 128).into_iter().enumerate() {
            let at = u16::try_from(n * 128).expect("short");
            let body = Packet::ip(ip(VMS[0]), ip(SERVER), L4::Other { protocol: 17 }).payload(&frame[62..]);
            let fragment = Fragment { id: 9, offset: at, more: n == 0 };
            let (sent, left) = out(world, &body.fragment(fragment));
            let moved = if n == 0 { admitted("red1", '6') } else { Vec::new() };
            world.send("red1", &sent).forwards_by_tcx("eth0", &left.frame(), &named(&moved));
        }
    });
}

#[test]
fn errors_are_translated_with_the_packets_that_they_quote() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_prefix(PAIR));
        for packet in of_each_protocol(VMS[0], SERVER) {
            let (sent, left) = out(world, &packet);
            world.send("red1", &sent).forwards("eth0", &left, &named(&admitted("red1", '6')));
            for len in [48, 1000] {
                let quoted = |packet: &Packet| {
                    let l3 = packet.clone().hops(60).frame()[14..].to_vec();
                    l3[..len.min(l3.len())].to_vec()
                };
                for from in ["2001:db8:66::99", SERVER] {
                    let error = Packet::icmp(from, OUT[0], 2, 0, [0, 0, 5, 20]);
                    let (error, came) = back(world, &error.payload(quoted(&left)));
                    world.send("eth0", &error).switches(&came.payload(quoted(&sent)), &[]);
                }
            }
        }
        // A guest's own, about what came in unasked.
        let (asked, came) = back(world, &Packet::udp((SERVER, 5000), (OUT[0], 7)).payload("odd"));
        world.send("eth0", &asked).forwards("red1", &came, &named(&admitted("red1", '6')));
        let quoted = |packet: &Packet| packet.clone().hops(63).frame()[14..].to_vec();
        let (error, left) = out(world, &Packet::icmp(VMS[0], SERVER, 1, 4, [0; 4]).payload(quoted(&came)));
        world.send("red1", &error).switches(&left.payload(quoted(&asked)), &[]);
    });
}

#[test]
fn guests_meet_by_their_counterparts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_prefix(PAIR));
        let gateway = world.gateway("red");
        let ask = Packet::udp((VMS[0], 4000), (OUT[1], 53)).payload("odd").macs(RED1, gateway);
        let came = ask.clone().macs(gateway, RED2).from_ip(ip(OUT[0])).to_ip(ip(VMS[1])).hops(63);
        world.send("red1", &ask).forwards("red2", &came, &named(&admitted("red1", '6')));
        let answer = Packet::udp((VMS[1], 53), (OUT[0], 4000)).payload("even").macs(RED2, gateway);
        let came = answer.clone().macs(gateway, RED1).from_ip(ip(OUT[1])).to_ip(ip(VMS[0])).hops(63);
        world.send("red2", &answer).forwards("red1", &came, &named(&settled("red1", '6')));
    });
}

#[test]
fn rules_forwards_and_exemptions_go_before() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_prefix(PAIR));
        world.rule("shut", "deny outside port:red1 tcp/22");
        let (ssh, _) = back(world, &Packet::tcp((SERVER, 40_000), (OUT[0], 22)).flags(SYN));
        world.send("eth0", &ssh).drops_by(DropReason::PolicyDenied, ("shut", Direction::Ingress), &[]);
        let (http, came) = back(world, &Packet::tcp((SERVER, 40_000), (OUT[0], 80)).flags(SYN));
        world.send("eth0", &http).forwards("red1", &came, &named(&admitted("red1", '6')));
        // A rule added later binds the flow that runs.
        world.rule("off", "deny outside port:red1 tcp/80");
        let told = [("rechecked", 1), ("cut policy", 1), ("table6 flows", -1), ("table6 half_open", -1)];
        let told =
            [&told[..], &[("red1 holds flows", -1), ("red1 holds half_open", -1), ("event FlowEnd", 1)]];
        let told = told.concat();
        world.send("eth0", &http).drops_by(DropReason::PolicyDenied, ("off", Direction::Ingress), &told);

        world.edit(|document| {
            let forwards = document["forwards"].as_array_mut().expect("a list");
            forwards
                .push(json!({"name": "mail", "listen": format!("tcp:[{}]:25", OUT[0]), "to": "red2:2525"}));
            let nats = document["nats"].as_array_mut().expect("a list");
            nats.push(json!({"name": "near", "network": "red", "exempt": "2001:db8:99::/125"}));
        });
        let mail = Packet::tcp((SERVER, 40_000), (OUT[0], 25)).flags(SYN).macs(ROUTER, ETH0);
        let came = mail.clone().macs(world.gateway("red"), RED2).to_end((VMS[1], 2525)).hops(63);
        let mut moved = admitted("red2", '6');
        moved.push(("forward mail flows".to_owned(), 1));
        world.send("eth0", &mail).forwards("red2", &came, &named(&moved));
        let (near, _) = out(world, &Packet::udp((VMS[0], 4000), (SERVER, 53)));
        let left = near.clone().macs(ETH0, ROUTER).hops(63);
        world.send("red1", &near).forwards("eth0", &left, &named(&admitted("red1", '6')));
    });
}

#[test]
fn an_edit_binds_the_flows_that_run() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (sent, left) = out(world, &Packet::udp((VMS[0], 4000), (SERVER, 53)).payload("odd"));
        let under = |source: &str| left.clone().from_ip(ip(source));
        let masqueraded = under("2001:db8:113::10");
        world.send("red1", &sent).forwards("eth0", &masqueraded, &named(&admitted("red1", '6')));
        translate(world, by_prefix(PAIR));
        world.send("red1", &sent).switches(&left, &AS_NEW);
        // An edit of something else leaves it as it is.
        world.rule("other", "deny outside port:red1 tcp/22");
        world.send("red1", &sent).forwards("eth0", &left, &[("rechecked", 1)]);
        let moved = under("2001:db8:7:0:cf50::11");
        translate(world, by_prefix("fd00:10::/64=2001:db8:7::/64"));
        world.send("red1", &sent).forwards("eth0", &moved, &AS_NEW);
        let (plan, before, after) = world.plan(|document| document["nats"] = by_prefix(PAIR));
        world.apply(&keep(plan, before, after));
        world.send("red1", &sent).forwards("eth0", &moved, &[]);
        translate(world, json!([]));
        world.end_flows();

        // In, too: without the prefix nobody has the address.
        translate(world, by_prefix(PAIR));
        let (sent, came) = back(world, &Packet::udp((SERVER, 4000), (OUT[0], 53)));
        world.send("eth0", &sent).forwards("red1", &came, &named(&admitted("red1", '6')));
        world.rule("another", "deny outside port:red1 tcp/23");
        world.send("eth0", &sent).forwards("red1", &came, &[("rechecked", 1)]);
        translate(world, json!([]));
        let gone = [("rechecked", 1), ("cut route", 1), ("table6 flows", -1), ("table6 half_open", -1)];
        let gone =
            [&gone[..], &[("red1 holds flows", -1), ("red1 holds half_open", -1), ("event FlowEnd", 1)]];
        world.send("eth0", &sent).passes_counting(&gone.concat());
    });
}

#[test]
fn an_edit_of_something_else_leaves_a_global_prefix_translated() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let own = "2001:db8:10::11";
        world.edit(|document| {
            document["networks"][0]["subnets"] = json!(["10.10.0.0/24", "2001:db8:10::/64"]);
            port_in(document, "red1")["ips"] = json!(["10.10.0.11", own]);
            port_in(document, "red2")["ips"] = json!(["10.10.0.12"]);
            document["nats"] = by_prefix("2001:db8:10::/64=2001:db8:6::/64");
        });
        let packet = Packet::udp((own, 4000), (SERVER, 53)).macs(RED1, world.gateway("red"));
        let left = packet.clone().macs(ETH0, ROUTER).from_ip(ip("2001:db8:6:0:a::11")).hops(63);
        world.send("red1", &packet).forwards("eth0", &left, &named(&admitted("red1", '6')));
        world.rule("other", "deny outside port:red1 tcp/22");
        world.send("red1", &packet).forwards("eth0", &left, &[("rechecked", 1)]);
    });
}

#[test]
fn an_address_without_a_counterpart_is_named() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        translate(world, by_prefix(PAIR));
        let ones = "fd00:10::ffff:ffff:ffff:ffff";
        world.edit(|document| port_in(document, "red1")["ips"] = json!(["10.10.0.11", ones]));
        let packet = Packet::udp((ones, 4000), (SERVER, 53)).macs(RED1, world.gateway("red"));
        let answer = about(&packet, "fd00:10::1", ones, PROHIBITED, [0; 4]);
        world.send("red1", &packet).answers(&answer);
        let reset = Packet::tcp((ones, 4000), (SERVER, 53)).flags(RST).macs(RED1, world.gateway("red"));
        world.send("red1", &reset).drops_by_tcx(DropReason::PrefixUnmapped);
        let inward = Packet::tcp((SERVER, 53), ("2001:db8:6::", 4000)).flags(RST).macs(ROUTER, ETH0);
        world.send("eth0", &inward).drops_by_tcx(DropReason::PrefixUnmapped);
    });
}

#[test]
fn questions_for_counterparts_are_answered_on_an_uplink() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        // On eth0's own link.
        translate(world, by_prefix("fd00:10::/64=2001:db8:113::/64"));
        let (vm, asker) = ("2001:db8:113:0:ce44::11", "2001:db8:113::1");
        let link = |mac: &str| NdOption::SourceLink(Mac::from(mac));
        let ask = |target: &str| Packet::neighbor_solicitation(ROUTER, asker, target, &[link(ROUTER)]);
        let octets = |addr: &str| match ip(addr) {
            std::net::IpAddr::V6(v6) => v6.octets(),
            std::net::IpAddr::V4(_) => panic!("{addr} is one of IPv6"),
        };
        let own = [&[2, 1][..], &Mac::from(ETH0).0].concat();
        let answer = Packet::icmp(vm, asker, 136, 0, [0x40, 0, 0, 0])
            .hops(255)
            .payload([&octets(vm)[..], &own].concat())
            .macs(ETH0, ROUTER);
        world.send("eth0", &ask(vm)).answers(&answer);
        // Whether its neighbor is still there.
        world.send("eth0", &ask(vm).to_ip(ip(vm)).to_mac(ETH0)).answers(&answer);
        // Nobody has it; the host has it; nobody asks.
        world.send("eth0", &ask("2001:db8:113:0:ce44::99")).passes();
        world.send("eth0", &ask("2001:db8:113::10")).passes();
        world.send("eth0", &Packet::neighbor_solicitation(ROUTER, "::", vm, &[])).passes();
        translate(world, json!([]));
        world.send("eth0", &ask(vm)).passes();
    });
}
