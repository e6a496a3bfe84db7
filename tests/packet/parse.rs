//! Frames that cannot be read: a named drop on a VM port, the host's affair on a routed uplink.

use fwd_common::drop::DropReason;
use fwd_tests::frame::{Extension, Fault, Fragment, Packet, header_end};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};

use crate::world::{ETH0, RED1, ROUTER, on_both_hooks};

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

#[test]
fn what_is_not_read_yet_is_named() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        let (v4, v6) = (("10.10.0.11:1", "198.51.100.7:2"), ("[fd00:10::11]:1", "[2001:db8:99::7]:2"));
        let udp = |(from, to): (&str, &str)| Packet::udp(from, to).payload([0; 16]);
        let tcp = |(from, to): (&str, &str)| Packet::tcp(from, to);
        let first = Fragment { id: 1, offset: 0, more: true };
        let later = Fragment { id: 1, offset: 64, more: false };
        for (packet, reason) in [
            (udp(v4).fault(Fault::Version(5)), DropReason::BadIpv4Header),
            (udp(v4).fault(Fault::HeaderWords(4)), DropReason::BadIpv4Header),
            (udp(v4).fault(Fault::IpLength(19)), DropReason::BadIpv4Header),
            (udp(v4).fault(Fault::IpLength(2000)), DropReason::BadIpv4Header),
            (udp(v4).ip_options(&[1, 1, 1]), DropReason::Ipv4Options),
            (udp(v4).fragment(first), DropReason::Fragment),
            (udp(v4).fragment(later), DropReason::Fragment),
            (udp(v4).fault(Fault::UdpLength(7)), DropReason::BadL4Header),
            (udp(v4).fault(Fault::UdpLength(200)), DropReason::BadL4Header),
            (tcp(v4).fault(Fault::TcpWords(4)), DropReason::BadL4Header),
            (tcp(v4).fault(Fault::TcpWords(15)), DropReason::BadL4Header),
            (udp(v4).vlan(7), DropReason::VlanTagged),
            (udp(v6).fault(Fault::Version(4)), DropReason::BadIpv6Header),
            (udp(v6).fault(Fault::IpLength(2000)), DropReason::BadIpv6Header),
            (udp(v6).extension(Extension::padding(Extension::HOP_BY_HOP)), DropReason::Ipv6Extension),
            (udp(v6).extension(Extension::padding(Extension::DESTINATION)), DropReason::Ipv6Extension),
            (udp(v6).fragment(first), DropReason::Fragment),
            (udp(v6).fragment(later), DropReason::Fragment),
            (udp(v6).fault(Fault::UdpLength(7)), DropReason::BadL4Header),
            (tcp(v6).fault(Fault::TcpWords(4)), DropReason::BadL4Header),
        ] {
            world.send("red1", &packet.clone().macs(RED1, world.gateway("red"))).drops(reason);
            world.send("eth0", &packet.macs(ROUTER, ETH0)).passes();
        }
    });
}
