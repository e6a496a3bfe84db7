//! Masquerade: VM to outside and back.

use fwd_common::drop::DropReason;
use fwd_tests::frame::{ACK, Fault, Packet, SYN, ip};
use fwd_tests::{need, skip};

use crate::sent::{admitted, named, settled};
use crate::world::{BLUE1, ETH0, RED1, RED2, ROUTER, World, on_both_hooks};

/// An outside server and eth0's own address, by family.
const FAMILIES: [(char, &str, &str, &str, &str); 2] = [
    ('4', "10.10.0.11", "198.51.100.7", "203.0.113.10", "10.10.0.12"),
    ('6', "fd00:10::11", "2001:db8:99::7", "2001:db8:113::10", "fd00:10::12"),
];

fn outward(packet: Packet, world: &World, network: &str, mac: &str) -> Packet {
    packet.macs(mac, world.gateway(network))
}

/// The packet as it leaves by eth0.
fn left(packet: &Packet, source: &str) -> Packet {
    packet.clone().macs(ETH0, ROUTER).from_ip(ip(source)).hops(63)
}

#[test]
fn vm_reaches_outside_under_the_uplinks_address_and_gets_its_answer() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat, _) in FAMILIES {
            let out = outward(Packet::udp((vm, 4000), (server, 53)).payload("odd"), world, "red", RED1);
            world.send("red1", &out).forwards("eth0", &left(&out, nat), &named(&admitted("red1", family)));
            let back = Packet::udp((server, 53), (nat, 4000)).payload("answer").macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &back).forwards("red1", &to_vm, &named(&settled("red1", family)));
            world.send("red1", &out).forwards("eth0", &left(&out, nat), &[]);
        }
    });
}

#[test]
fn tcp_keeps_its_l4_port_and_is_established_by_its_third_packet() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat, _) in FAMILIES {
            let syn = outward(Packet::tcp((vm, 4000), (server, 443)).flags(SYN), world, "red", RED1);
            world.send("red1", &syn).forwards("eth0", &left(&syn, nat), &named(&admitted("red1", family)));
            let back = Packet::tcp((server, 443), (nat, 4000)).flags(SYN | ACK).macs(ROUTER, ETH0);
            let to_vm = back.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).hops(63);
            world.send("eth0", &back).forwards("red1", &to_vm, &[]);
            let ack = syn.clone().flags(ACK);
            world.send("red1", &ack).forwards("eth0", &left(&ack, nat), &named(&settled("red1", family)));
        }
    });
}

#[test]
fn one_l4_port_asked_for_by_two_vms_is_given_to_the_first() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat, vm2) in FAMILIES {
            let first = outward(Packet::udp((vm, 4000), (server, 53)), world, "red", RED1);
            world.send("red1", &first).forwards(
                "eth0",
                &left(&first, nat),
                &named(&admitted("red1", family)),
            );
            let out = outward(Packet::udp((vm2, 4000), (server, 53)), world, "red", RED2);
            let sent = world.send("red2", &out);
            let l4_port = sent.source_l4_port();
            assert!((20_000..=32_767).contains(&l4_port), "{l4_port} is not of nat_l4_ports");
            sent.forwards("eth0", &left(&out, nat).from_l4(l4_port), &named(&admitted("red2", family)));
            // The same address in another network is another VM.
            let blue = outward(Packet::udp((vm, 4000), (server, 53)), world, "blue", BLUE1);
            let sent = world.send("blue1", &blue);
            let third = sent.source_l4_port();
            assert!(third != l4_port && (20_000..=32_767).contains(&third), "{third}");
            sent.forwards("eth0", &left(&blue, nat).from_l4(third), &named(&admitted("blue1", family)));
            for (l4_port, network, device, mac, to) in [
                (4000, "red", "red1", RED1, vm),
                (l4_port, "red", "red2", RED2, vm2),
                (third, "blue", "blue1", BLUE1, vm),
            ] {
                let back = Packet::udp((server, 53), (nat, l4_port)).macs(ROUTER, ETH0);
                let to_vm = back.clone().macs(world.gateway(network), mac).to_end((to, 4000)).hops(63);
                world.send("eth0", &back).forwards(device, &to_vm, &named(&settled(device, family)));
            }
        }
    });
}

#[test]
fn an_l4_port_that_a_forward_has_is_not_given_to_a_flow() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat, _) in FAMILIES {
            let out = outward(Packet::udp((vm, 5353), (server, 53)), world, "red", RED1);
            let sent = world.send("red1", &out);
            let l4_port = sent.source_l4_port();
            assert_ne!(l4_port, 5353);
            sent.forwards("eth0", &left(&out, nat).from_l4(l4_port), &named(&admitted("red1", family)));
        }
    });
}

#[test]
fn echo_ids_are_translated_both_ways() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (family, vm, server, nat, _) in FAMILIES {
            let ping = outward(Packet::echo_request(vm, server, 7, 1).payload("ping"), world, "red", RED1);
            let sent = world.send("red1", &ping);
            let id = sent.echo_id();
            sent.forwards("eth0", &left(&ping, nat).from_l4(id), &named(&admitted("red1", family)));
            let pong = Packet::echo_reply(server, nat, id, 1).payload("ping").macs(ROUTER, ETH0);
            let to_vm = pong.clone().macs(world.gateway("red"), RED1).to_ip(ip(vm)).from_l4(7).hops(63);
            world.send("eth0", &pong).forwards("red1", &to_vm, &named(&settled("red1", family)));
        }
    });
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (family, vm, server, nat, _) = FAMILIES[0];
        let out = Packet::udp((vm, 4000), (server, 53)).payload("unsummed").fault(Fault::L4Checksum(0));
        let out = outward(out, world, "red", RED1);
        world.send("red1", &out).forwards("eth0", &left(&out, nat), &named(&admitted("red1", family)));
    });
}

#[test]
fn what_cannot_be_translated_is_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (_, vm, server, ..) in FAMILIES {
            let gre = Packet::ip(ip(vm), ip(server), fwd_tests::frame::L4::Other { protocol: 47 });
            let gre = outward(gre.payload([0; 16]), world, "red", RED1);
            world.send("red1", &gre).drops(DropReason::ProtocolUnsupported);
            let reply = outward(Packet::echo_reply(vm, server, 7, 1), world, "red", RED1);
            world.send("red1", &reply).drops(DropReason::ProtocolUnsupported);
        }
    });
}

#[test]
fn what_answers_no_flow_is_the_hosts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (_, _, server, nat, _) in FAMILIES {
            world.send("eth0", &Packet::udp((server, 53), (nat, 4000)).macs(ROUTER, ETH0)).passes();
            world.send("eth0", &Packet::tcp((server, 53), (nat, 4000)).macs(ROUTER, ETH0)).passes();
            world.send("eth0", &Packet::echo_reply(server, nat, 9, 9).macs(ROUTER, ETH0)).passes();
        }
    });
}

#[test]
fn a_translation_without_a_free_l4_port_is_refused() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        world.set("nat_l4_ports", serde_json::json!("20000-20063"));
        for (_, vm, server, _, vm2) in FAMILIES {
            for l4_port in 20_000..=20_063 {
                let packet = outward(Packet::udp((vm, l4_port), (server, 53)), world, "red", RED1);
                world.run_frame("red1", &packet.frame());
            }
            let packet = outward(Packet::udp((vm2, 20_001), (server, 53)), world, "red", RED2);
            let refused = [("refused nat_exhausted", 1)];
            world.send("red2", &packet).drops_counting(DropReason::NatExhausted, &refused);
        }
    });
}
