//! Source guard: MAC, IP, ARP and neighbor discovery of a VM port.

use fwd_common::drop::DropReason;
use fwd_tests::frame::{Extension, L4, Mac, NdOption, Packet, ip};
use fwd_tests::{need, skip};

use crate::sent::{admitted, named};
use crate::world::{BLUE1, RED1, RED2, RED4, on_both_hooks};

#[test]
fn spoofed_source_mac_is_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (from, to) in [("10.10.0.11:1", "10.10.0.12:2"), ("[fd00:10::11]:1", "[fd00:10::12]:2")] {
            let spoofed = Packet::udp(from, to).macs(BLUE1, RED2);
            world.send("red1", &spoofed).drops(DropReason::SourceMacSpoofed);
        }
    });
}

#[test]
fn spoofed_source_address_is_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        for (from, to) in [
            ("10.10.0.12:1", "10.10.0.11:2"),
            ("10.10.0.1:1", "10.10.0.12:2"),
            ("192.0.2.1:1", "10.10.0.12:2"),
            ("[fd00:10::12]:1", "[fd00:10::11]:2"),
            ("[2001:db8::1]:1", "[fd00:10::12]:2"),
        ] {
            world
                .send("red1", &Packet::udp(from, to).macs(RED1, RED2))
                .drops(DropReason::SourceAddressSpoofed);
            world
                .send("red1", &Packet::udp(from, to).macs(RED1, gateway))
                .drops(DropReason::SourceAddressSpoofed);
        }
    });
}

#[test]
fn sources_that_no_host_may_use_are_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (from, to) in [
            ("255.255.255.255:1", "10.10.0.12:2"),
            ("224.0.0.1:1", "10.10.0.12:2"),
            ("127.0.0.1:1", "10.10.0.12:2"),
            ("[ff02::1]:1", "[fd00:10::12]:2"),
            ("[::1]:1", "[fd00:10::12]:2"),
            ("[::]:1", "[fd00:10::12]:2"),
            ("[::]:546", "[fd00:10::12]:547"),
            // The port's own one of IPv4.
            ("[::ffff:10.10.0.11]:1", "[fd00:10::12]:2"),
        ] {
            world
                .send("red1", &Packet::udp(from, to).macs(RED1, RED2))
                .drops(DropReason::SourceAddressInvalid);
        }
    });
}

#[test]
fn an_open_port_learns_its_mac_and_addresses_first_come_first_served() {
    need!(skip::bpf());
    const MAC: &str = "52:54:00:00:00:99";
    on_both_hooks(|world| {
        let first = Packet::udp("10.10.0.13:1", "10.10.0.12:2").macs(MAC, RED2);
        let mut moved = admitted("red3", '4');
        // The MAC is learnt by the source guard, and once more by the FDB.
        moved.extend([
            ("red3 holds addresses".into(), 1),
            ("red3 holds macs".into(), 1),
            ("event Learnt".into(), 2),
        ]);
        world.send("red3", &first).forwards("red2", &first, &named(&moved));
        let other_mac = Packet::udp("10.10.0.13:1", "10.10.0.12:3").macs("52:54:00:00:00:98", RED2);
        world.send("red3", &other_mac).drops(DropReason::SourceMacSpoofed);
        let taken = Packet::udp("10.10.0.12:1", "10.10.0.11:3").macs(MAC, RED1);
        world.send("red3", &taken).drops(DropReason::SourceAddressSpoofed);
        let gateways = Packet::udp("10.10.0.1:1", "10.10.0.11:3").macs(MAC, RED1);
        world.send("red3", &gateways).drops(DropReason::SourceAddressSpoofed);
    });
}

#[test]
fn a_trusted_port_is_not_guarded() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let packet = Packet::udp("192.0.2.1:1", "10.10.0.12:2").macs(RED4, RED2);
        world.send("red4", &packet).forwards("red2", &packet, &named(&admitted("red4", '4')));
    });
}

#[test]
fn arp_speaks_for_its_port_only() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let reply = Packet::arp_reply(RED1, "10.10.0.11", RED2, "10.10.0.12");
        world.send("red1", &reply).switches(&reply, &[]);
        for spoofed in [
            Packet::arp_reply(RED1, "10.10.0.12", RED2, "10.10.0.12"),
            Packet::arp_reply(RED1, "10.10.0.1", RED2, "10.10.0.12"),
            Packet::arp_reply(RED2, "10.10.0.11", RED2, "10.10.0.12").from_mac(RED1),
            Packet::arp_request(RED1, "10.10.0.1", "10.10.0.12"),
        ] {
            world.send("red1", &spoofed).drops(DropReason::ArpSpoofed);
        }
        let mut forged = reply.frame();
        forged[14] = 7;
        world.send_frame("red1", &forged).drops(DropReason::BadArp);
        world.send_frame("red1", &reply.frame()[..41]).drops(DropReason::TruncatedHeader);
        let foreign = Packet::arp_reply(BLUE1, "10.10.0.11", RED2, "10.10.0.12");
        world.send("red1", &foreign).drops(DropReason::SourceMacSpoofed);
    });
}

#[test]
fn neighbor_discovery_speaks_for_its_port_only() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let own = [NdOption::TargetLink(RED1.into())];
        let other = [NdOption::TargetLink(RED2.into())];
        let advert = |target: &str, options: &[NdOption]| {
            Packet::neighbor_advertisement(target, "fd00:10::12", options).macs(RED1, RED2)
        };
        let good = advert("fd00:10::11", &own);
        world.send("red1", &good).switches(&good, &[]);
        world.send("red1", &advert("fd00:10::11", &other)).drops(DropReason::NdSpoofed);
        // The source is not the port's either: the first guard that looks names it.
        world.send("red1", &advert("fd00:10::12", &own)).drops(DropReason::SourceAddressSpoofed);
        let foreign = advert("fd00:10::12", &own).from_ip("fd00:10::11".parse().expect("an address"));
        world.send("red1", &foreign).drops(DropReason::NdSpoofed);
    });
}

#[test]
fn rogue_routers_are_dropped() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let unicast = Packet::router_advertisement(RED1, "fd00:10::11", &[]).to_mac(RED2);
        world.send("red1", &unicast).drops(DropReason::RogueServer);
    });
}

#[test]
fn nothing_that_the_guard_looks_for_hides_behind_options() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let advert = Packet::router_advertisement(RED1, "fd00:10::11", &[]);
        let own = [NdOption::TargetLink(RED1.into())];
        let spoofed = Packet::neighbor_advertisement("fd00:10::12", "ff02::1", &own);
        let spoofed = spoofed.from_ip(ip("fd00:10::11")).macs(RED1, "33:33:00:00:00:01");
        for lie in [advert, spoofed] {
            for number in [Extension::HOP_BY_HOP, Extension::DESTINATION] {
                let hidden = lie.clone().extension(Extension::padding(number));
                world.send("red1", &hidden).drops_by_tcx(DropReason::Ipv6Extension);
                let deeper = hidden.extension(Extension::padding(Extension::DESTINATION));
                world.send("red1", &deeper).drops_by_tcx(DropReason::Ipv6Extension);
            }
        }
        let offer = Packet::udp("10.10.0.11:67", "255.255.255.255:68").payload(asks(RED2));
        let offer = offer.ip_options(&[1, 1, 1, 0]).macs(RED1, Mac::BROADCAST);
        world.send("red1", &offer).drops_by_tcx(DropReason::RogueServer);
    });
}

#[test]
fn membership_reports_pass_behind_their_router_alert() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let alert = Extension { number: Extension::HOP_BY_HOP, content: vec![5, 2, 0, 0, 1, 0] };
        let mld = Packet::icmp("fd00:10::11", "ff02::16", 143, 0, [0, 0, 0, 0]).hops(1).extension(alert);
        let mld = mld.macs(RED1, "33:33:00:00:00:16");
        world.send("red1", &mld).floods("red1", 4);
        let igmp = Packet::ip(ip("10.10.0.11"), ip("224.0.0.22"), L4::Other { protocol: 2 });
        let igmp = igmp.ip_options(&[0x94, 4, 0, 0]).payload([0x22; 16]).macs(RED1, "01:00:5e:00:00:16");
        world.send("red1", &igmp).floods("red1", 4);
        let spoofed = igmp.from_ip(ip("10.10.0.12"));
        world.send("red1", &spoofed).drops_by_tcx(DropReason::SourceAddressSpoofed);
    });
}

#[test]
fn no_icmp_error_goes_to_a_group() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let quoted = Packet::udp("10.10.0.12:1", "198.51.100.7:2").frame()[14..].to_vec();
        let redirect = Packet::icmp("10.10.0.11", "10.10.0.12", 5, 1, [10, 10, 0, 11]).payload(&quoted);
        let redirect = redirect.macs(RED1, Mac::BROADCAST);
        world.send("red1", &redirect).drops_by_tcx(DropReason::IcmpRedirect);
        let unreachable = Packet::icmp("10.10.0.11", "10.10.0.12", 3, 1, [0; 4]).payload(&quoted);
        let unreachable = unreachable.macs(RED1, Mac::BROADCAST);
        world.send("red1", &unreachable).drops_by_tcx(DropReason::IcmpErrorUnrelated);
    });
}

/// A DHCP client's message, in the name of a MAC.
fn asks(chaddr: &str) -> Vec<u8> {
    let Mac(mac) = chaddr.into();
    [&[1, 1, 6, 0][..], &[0; 24], &mac, &[0; 202]].concat()
}

#[test]
fn guests_serve_no_dhcp() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (from, to) in [("10.10.0.11:67", "10.10.0.12:68"), ("[fd00:10::11]:547", "[fd00:10::12]:546")] {
            let offer = Packet::udp(from, to).payload(asks(RED2)).macs(RED1, RED2);
            world.send("red1", &offer).drops(DropReason::RogueServer);
        }
        let broadcast = Packet::udp("10.10.0.11:67", "255.255.255.255:68").payload(asks(RED2));
        let broadcast = broadcast.macs(RED1, "ff:ff:ff:ff:ff:ff");
        world.send("red1", &broadcast).drops_by_tcx(DropReason::RogueServer);
    });
}

#[test]
fn guests_ask_dhcp_for_themselves_alone() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        let renewal = |chaddr| Packet::udp("10.10.0.11:68", "10.10.0.1:67").payload(asks(chaddr));
        let starving = renewal("52:54:00:00:00:77").macs(RED1, gateway);
        world.send("red1", &starving).drops(DropReason::SourceMacSpoofed);
        let discover = Packet::udp("0.0.0.0:68", "255.255.255.255:67").payload(asks(BLUE1));
        let discover = discover.macs(RED1, "ff:ff:ff:ff:ff:ff");
        world.send("red1", &discover).drops_by_tcx(DropReason::SourceMacSpoofed);
        let cut = Packet::udp("10.10.0.11:68", "10.10.0.1:67").payload([1, 1, 6]).macs(RED1, gateway);
        world.send("red1", &cut).drops(DropReason::TruncatedHeader);
    });
}
