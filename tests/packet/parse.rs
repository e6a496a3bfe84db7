//! Frames that cannot be read: a named drop on a VM port, the host's affair on a routed uplink.

use fwd_common::drop::DropReason;
use fwd_tests::frame::{Extension, Fault, Fragment, NdOption, Packet, header_end};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};

use crate::world::{ETH0, LAN1, LAN2, RED1, RED2, ROUTER, on, on_both_hooks};

/// The shortest frame that a test run takes: no XDP frame without an Ethernet header, no skb without the L3
/// header that it announces.
const fn shortest(hook: Hook, l4: usize) -> usize {
    match hook {
        Hook::Xdp => 14,
        Hook::Tcx => l4,
    }
}

/// A VM's packets of every kind, and as they would come in on the uplink.
fn samples() -> Vec<(Packet, Packet)> {
    let mut samples = Vec::new();
    for (vm, server, address) in [
        ("10.10.0.11", "198.51.100.7", "203.0.113.10"),
        ("fd00:10::11", "2001:db8:99::7", "2001:db8:113::10"),
    ] {
        samples.push((Packet::tcp((vm, 4000), (server, 80)), Packet::tcp((server, 4000), (address, 8080))));
        samples.push((Packet::udp((vm, 4000), (server, 80)), Packet::udp((server, 4000), (address, 5353))));
        samples.push((Packet::echo_request(vm, server, 1, 1), Packet::echo_request(server, address, 1, 1)));
    }
    samples
}

#[test]
fn a_frame_in_several_pieces_is_left_to_tcx() {
    need!(skip::bpf());
    // A test run of TCX takes no frames that are larger than a page.
    on(Hook::Xdp, |world| {
        for (vm, vm2) in [("10.10.0.11", "10.10.0.12"), ("fd00:10::11", "fd00:10::12")] {
            let jumbo = Packet::udp((vm, 1), (vm2, 2)).payload(vec![7; 8000]).macs(RED1, RED2);
            world.send("red1", &jumbo).passes();
        }
        world.send("lan1", &Packet::other(0x88b5, &[7; 8000]).macs(LAN1, LAN2)).passes();
    });
}

#[test]
fn a_packet_cut_at_any_byte_of_its_headers_is_dropped_or_the_hosts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (of_vm, of_outside) in samples() {
            let out = of_vm.macs(RED1, world.gateway("red")).frame();
            let l4 = if out[12..14] == [0x86, 0xdd] { 54 } else { 34 };
            let bad = if l4 == 54 { DropReason::BadIpv6Header } else { DropReason::BadIpv4Header };
            for cut in shortest(world.hook, l4)..header_end(&out) {
                let reason = if cut < l4 { DropReason::TruncatedHeader } else { bad };
                world.send_frame("red1", &out[..cut]).drops(reason);
            }
            let back = of_outside.macs(ROUTER, ETH0).frame();
            for cut in shortest(world.hook, l4)..header_end(&back) {
                world.send_frame("eth0", &back[..cut]).passes();
            }
        }
    });
}

/// The first `end` bytes of a frame, with the IP header's length to match.
fn shortened(frame: &[u8], end: usize) -> Vec<u8> {
    let mut short = frame[..end].to_vec();
    let (at, length) = if frame[12..14] == [0x86, 0xdd] { (18, end - 54) } else { (16, end - 14) };
    let length = u16::try_from(length).expect("frames are short");
    short[at..at + 2].copy_from_slice(&length.to_be_bytes());
    short
}

#[test]
fn a_packet_that_ends_inside_its_l4_header_is_dropped_or_the_hosts() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (of_vm, of_outside) in samples() {
            let out = of_vm.macs(RED1, world.gateway("red")).frame();
            let back = of_outside.macs(ROUTER, ETH0).frame();
            let l4 = if out[12..14] == [0x86, 0xdd] { 54 } else { 34 };
            for end in l4..header_end(&out) {
                world.send_frame("red1", &shortened(&out, end)).drops(DropReason::TruncatedHeader);
                world.send_frame("eth0", &shortened(&back, end)).passes();
                // Padded to the least that Ethernet sends: the bytes are there, but not the packet's.
                let mut padded = shortened(&out, end);
                padded.resize(out.len().max(60), 0);
                world.send_frame("red1", &padded).drops(DropReason::BadL4Header);
            }
        }
    });
}

#[test]
fn what_lies_beyond_a_cut_is_never_read() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (v4, v6) = (("10.10.0.11:1", "198.51.100.7:2"), ("[fd00:10::11]:1", "[2001:db8:99::7]:2"));
        let udp = |(from, to): (&str, &str)| Packet::udp(from, to).payload([0; 16]);
        let fragment = Fragment { id: 1, offset: 0, more: true };
        let link = [NdOption::TargetLink(RED1.into())];
        let advert = Packet::neighbor_advertisement("fd00:10::11", "fd00:10::12", &link);
        let error = Packet::icmp("10.10.0.11", "10.10.0.12", 3, 1, [0; 4]);
        let error6 = Packet::icmp("fd00:10::11", "fd00:10::12", 1, 1, [0; 4]);
        // Left to TCX.
        for (packet, header, reason) in [
            (udp(v4).ip_options(&[1, 1, 1, 0]), 34..46, DropReason::BadIpv4Header),
            (udp(v4).fragment(fragment), 34..42, DropReason::BadIpv4Header),
            (udp(v6).fragment(fragment), 54..70, DropReason::BadIpv6Header),
            (udp(v6).extension(Extension::padding(Extension::HOP_BY_HOP)), 54..70, DropReason::BadIpv6Header),
        ] {
            let frame = packet.macs(RED1, RED2).frame();
            for cut in header {
                world.send_frame("red1", &frame[..cut]).drops_by_tcx(reason);
                world.send_frame("eth0", &frame[..cut]).passes();
            }
        }
        // The frame, where the header in question begins and ends, and the reason inside it.
        for (packet, header, reason) in [
            (udp(v4).vlan(7), 14..18, DropReason::VlanTagged),
            (advert, 54..86, DropReason::BadIpv6Header),
            (error, 34..42, DropReason::BadIpv4Header),
            (error6, 54..62, DropReason::BadIpv6Header),
            (Packet::arp_reply(RED1, "10.10.0.11", RED2, "10.10.0.12"), 14..42, DropReason::TruncatedHeader),
        ] {
            let frame = packet.macs(RED1, RED2).frame();
            for cut in header {
                world.send_frame("red1", &frame[..cut]).drops(reason);
                world.send_frame("eth0", &frame[..cut]).passes();
            }
        }
    });
}

/// Packets of [`FLOWS`] that are not read, and why.
fn unreadable() -> Vec<(Packet, DropReason)> {
    let [v4, v6] = FLOWS;
    let udp = |(from, to): (&str, &str)| Packet::udp(from, to).payload([0; 16]);
    let tcp = |(from, to): (&str, &str)| Packet::tcp(from, to);
    vec![
        (udp(v4).fault(Fault::Version(5)), DropReason::BadIpv4Header),
        (udp(v4).fault(Fault::HeaderWords(4)), DropReason::BadIpv4Header),
        (udp(v4).fault(Fault::IpLength(19)), DropReason::BadIpv4Header),
        (udp(v4).fault(Fault::IpLength(2000)), DropReason::BadIpv4Header),
        (udp(v4).fault(Fault::UdpLength(7)), DropReason::BadL4Header),
        (udp(v4).fault(Fault::UdpLength(200)), DropReason::BadL4Header),
        (tcp(v4).fault(Fault::TcpWords(4)), DropReason::BadL4Header),
        (tcp(v4).fault(Fault::TcpWords(15)), DropReason::BadL4Header),
        (udp(v4).vlan(7), DropReason::VlanTagged),
        (udp(v6).fault(Fault::Version(4)), DropReason::BadIpv6Header),
        (udp(v6).fault(Fault::IpLength(2000)), DropReason::BadIpv6Header),
        (udp(v6).fault(Fault::UdpLength(7)), DropReason::BadL4Header),
        (tcp(v6).fault(Fault::TcpWords(4)), DropReason::BadL4Header),
    ]
}

const FLOWS: [(&str, &str); 2] =
    [("10.10.0.11:1", "198.51.100.7:2"), ("[fd00:10::11]:1", "[2001:db8:99::7]:2")];

#[test]
fn what_is_not_read_yet_is_named() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        for (packet, reason) in unreadable() {
            world.send("red1", &packet.clone().macs(RED1, world.gateway("red"))).drops(reason);
            world.send("eth0", &packet.macs(ROUTER, ETH0)).passes();
        }
    });
}

#[test]
fn a_known_flow_excuses_no_header() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let gateway = world.gateway("red");
        for (from, to) in FLOWS {
            for packet in [Packet::udp(from, to).payload([0; 16]), Packet::tcp(from, to)] {
                world.run_frame("red1", &packet.macs(RED1, gateway).frame());
            }
        }
        for (packet, reason) in unreadable() {
            world.send("red1", &packet.macs(RED1, gateway)).drops(reason);
        }
    });
}
