//! Guests that lie: no lie reaches the one it is about, each is a drop that names the port, and the liar's honest
//! traffic goes on.

use std::time::Duration;

use fwd_tests::frame::{Extension, Fragment, L4, Mac, NdOption, Packet, Vlan, ip};
use fwd_tests::lab::{Hook, LAN, LAN_V4, LAN_V6, Lab, RED, Vm, eventually};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{http_get, http_whoami, ping};
use fwd_tests::wire::{Link, Wire};

on_both_hooks!(
    no_lie_in_a_nat_network_reaches_its_victim,
    no_lie_in_a_bridge_network_reaches_its_victim,
    a_flood_of_macs_ends_at_its_port,
    a_loop_through_a_guest_ends_at_its_ports,
);

/// The last bytes of each lie; honest frames do not have them.
const MARK: &[u8] = b"a lie of the liars test";
const STRANGER: Mac = Mac([0x52, 0x54, 0, 0xee, 0xee, 0xee]);
const ALL_NODES: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// A frame that nobody but its sender may see, and the reason by which it is dropped.
struct Lie {
    told: &'static str,
    frame: Vec<u8>,
    reason: &'static str,
}

fn lie(told: &'static str, packet: &Packet, reason: &'static str) -> Lie {
    // Behind the packet's own length, so that it changes nothing in it.
    Lie { told, frame: [&packet.frame(), MARK].concat(), reason }
}

fn is_marked(frame: &[u8]) -> bool {
    frame.ends_with(MARK)
}

/// Frames in another's name.
fn spoofs(liar: &Vm, victim: &Vm, gateways: [&str; 2]) -> Vec<Lie> {
    let ends = |from: &str, to: &str| Packet::udp((from, 9), (to, 9)).macs(liar.mac, victim.mac);
    let own = [NdOption::TargetLink(liar.mac)];
    let mut lies = vec![];
    for (own, victims, gateway) in [(&liar.v4, &victim.v4, gateways[0]), (&liar.v6, &victim.v6, gateways[1])]
    {
        lies.extend([
            lie("source MAC", &ends(own, victims).from_mac(STRANGER), "source_mac_spoofed"),
            lie("victim's MAC", &ends(own, victims).from_mac(victim.mac), "source_mac_spoofed"),
            lie("address takeover", &ends(victims, victims), "source_address_spoofed"),
            lie("gateway's address", &ends(gateway, victims), "source_address_spoofed"),
            lie("broadcast", &ends(gateway, victims).to_mac(Mac::BROADCAST), "source_address_spoofed"),
            lie("tagged spoof", &ends(gateway, victims).vlan(7), "vlan_unsupported"),
            lie("double-tagged spoof", &double_tagged(ends(gateway, victims)), "vlan_unsupported"),
        ]);
    }
    for named in [gateways[0], &victim.v4] {
        lies.extend([
            lie("ARP reply", &Packet::arp_reply(liar.mac, named, victim.mac, &victim.v4), "arp_spoofed"),
            lie("ARP request", &Packet::arp_request(liar.mac, named, &victim.v4), "arp_spoofed"),
            lie("gratuitous ARP", &Packet::arp_request(liar.mac, named, named), "arp_spoofed"),
        ]);
    }
    for named in [gateways[1], &victim.v6] {
        let asks = [NdOption::SourceLink(liar.mac)];
        let solicits = Packet::neighbor_solicitation(liar.mac, named, &victim.v6, &asks);
        let adverts = Packet::neighbor_advertisement(named, &victim.v6, &own).macs(liar.mac, victim.mac);
        let from_self = adverts.clone().from_ip(ip(&liar.v6));
        let to_all = from_self.clone().to_ip(ip("ff02::1")).to_mac(ALL_NODES);
        let hidden = to_all.clone().extension(Extension::padding(Extension::DESTINATION));
        lies.extend([
            lie("NS", &solicits, "source_address_spoofed"),
            lie("NA", &adverts, "source_address_spoofed"),
            lie("NA from the liar's own address", &from_self, "nd_spoofed"),
            lie("NA to all nodes", &to_all, "nd_spoofed"),
            lie("NA behind a header", &hidden, "ipv6_extension_unsupported"),
        ]);
    }
    let stolen = [NdOption::SourceLink(victim.mac)];
    let solicits = Packet::neighbor_solicitation(liar.mac, &liar.v6, &victim.v6, &stolen);
    lies.push(lie("NS with another's MAC", &solicits, "nd_spoofed"));
    lies
}

fn double_tagged(packet: Packet) -> Packet {
    let mut packet = packet.vlan(7);
    packet.vlans.insert(0, Vlan { tpid: 0x88a8, tci: 8 });
    packet
}

/// What a server or a router sends, and what starves one.
fn rogues(liar: &Vm, victim: &Vm) -> Vec<Lie> {
    let to_all = |from: &str, to: &str| Packet::udp(from, to).macs(liar.mac, Mac::BROADCAST);
    let offer = to_all(&format!("{}:67", liar.v4), "255.255.255.255:68").payload(message(2, victim.mac));
    let advert = Packet::udp(&format!("[{}]:547", liar.v6), &format!("[{}]:546", victim.v6));
    let router = Packet::router_advertisement(liar.mac, &liar.v6, &[NdOption::SourceLink(liar.mac)]);
    let hop_by_hop = router.clone().extension(Extension::padding(Extension::HOP_BY_HOP));
    let redirect = Packet::icmp(&liar.v4, &victim.v4, 5, 1, [10, 10, 0, 11]).payload([0x45; 28]);
    let redirect = redirect.macs(liar.mac, victim.mac);
    let redirect6 = Packet::icmp(&liar.v6, &victim.v6, 137, 0, [0; 4]).payload([0; 32]);
    let mut lies = vec![
        lie("DHCP offer", &offer, "rogue_server"),
        lie("DHCP offer to one", &offer.clone().to_ip(ip(&victim.v4)).to_mac(victim.mac), "rogue_server"),
        lie("DHCP offer behind options", &offer.ip_options(&[1, 1, 1, 0]), "rogue_server"),
        lie("DHCPv6 advertise", &advert.payload([2; 40]).macs(liar.mac, victim.mac), "rogue_server"),
        lie("RA", &router, "rogue_server"),
        lie("RA to one", &router.to_ip(ip(&victim.v6)).to_mac(victim.mac), "rogue_server"),
        lie("RA behind a header", &hop_by_hop, "ipv6_extension_unsupported"),
        lie("redirect", &redirect, "icmp_redirect"),
        lie("redirect to a group MAC", &redirect.to_mac(Mac::BROADCAST), "icmp_redirect"),
        lie("redirect of IPv6", &redirect6.hops(255).macs(liar.mac, victim.mac), "nd_spoofed"),
    ];
    for n in 0..20 {
        let client = Mac([0x52, 0x54, 0, 0xdd, 0, n]);
        let discover = to_all("0.0.0.0:68", "255.255.255.255:67").payload(message(1, client));
        lies.push(lie("DHCP starvation by chaddr", &discover, "source_mac_spoofed"));
        lies.push(lie("DHCP starvation by MAC", &discover.from_mac(client), "source_mac_spoofed"));
    }
    lies
}

/// A DHCP message (RFC 2131, 2): its kind, and whom it is about.
fn message(kind: u8, client: Mac) -> Vec<u8> {
    [&[kind, 1, 6, 0][..], &[0; 24], &client.0, &[0; 202]].concat()
}

/// What hides its L4 header.
fn hidden(liar: &Vm, victim: &Vm) -> Vec<Lie> {
    let mut lies = vec![];
    for (own, victims) in [(&liar.v4, &victim.v4), (&liar.v6, &victim.v6)] {
        let part = |offset, more, bytes: usize| {
            let part = Packet::ip(ip(own), ip(victims), L4::Other { protocol: 6 }).payload(vec![0; bytes]);
            part.macs(liar.mac, victim.mac).fragment(Fragment { id: 7, offset, more })
        };
        lies.extend([
            lie("first fragment too short", &part(0, true, 8), "fragment_tiny"),
            lie("later fragment", &part(8, false, 16), "fragment_before_first"),
        ]);
        if ip(own).is_ipv6() {
            let udp = Packet::udp((own.as_str(), 9), (victims.as_str(), 9)).macs(liar.mac, victim.mac);
            let chained = (0..8).fold(udp, |p, _| p.extension(Extension::padding(Extension::DESTINATION)));
            lies.push(lie("header chain", &chained, "ipv6_extension_unsupported"));
        }
    }
    lies
}

/// Sends each lie, and finds it on no other wire and in the drops of the liar's port.
#[track_caller]
fn judge(lab: &Lab, (liar, victim): (&Vm, &Vm), others: &[Wire], gateways: [&str; 2]) {
    let sender = Wire::open(&liar.netns, "eth0");
    let watch = Wire::open(&victim.netns, "eth0");
    // What is marked is seen where it arrives.
    let honest = Packet::udp((liar.v4.as_str(), 9), (victim.v4.as_str(), 9)).macs(liar.mac, victim.mac);
    sender.send(&[&honest.frame(), MARK].concat());
    watch.expect(is_marked);
    let dropped = |reason| lab.drops(reason, |row| row["port"] == liar.name.as_str());
    let lies = [spoofs(liar, victim, gateways), rogues(liar, victim), hidden(liar, victim)];
    for Lie { told, frame, reason } in lies.into_iter().flatten() {
        let before = dropped(reason);
        sender.send(&frame);
        assert!(eventually(|| dropped(reason) > before), "{told}: no {reason} of {}", liar.name);
    }
    for wire in others.iter().chain([&watch]) {
        wire.expect_none(Duration::from_millis(100), is_marked);
    }
    is_honest(liar, victim);
}

/// The liar's own traffic goes on, both families.
#[track_caller]
fn is_honest(liar: &Vm, victim: &Vm) {
    for (own, victims) in [(liar.v4.clone(), victim.v4.clone()), (liar.v6.clone(), victim.v6.clone())] {
        ping(&liar.netns, &victims).unwrap_or_else(|error| panic!("{victims}: {error:#}"));
        let own = if ip(&own).is_ipv6() { format!("[{own}]") } else { own };
        let victims = if ip(&victims).is_ipv6() { format!("[{victims}]") } else { victims };
        let _http = http_whoami(&victim.netns, &format!("{victims}:80"));
        let page = http_get(&liar.netns, &format!("{victims}:80")).expect("honest traffic goes on");
        assert!(page.starts_with(&format!("{own}:")), "{page}");
    }
}

fn no_lie_in_a_nat_network_reaches_its_victim(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.vm("red2", &RED, 12);
    let (liar, victim) = (lab.get("red1"), lab.get("red2"));
    is_honest(liar, victim);
    let host = Wire::open(&lab.host, "fwd-red");
    let gateways = [RED.v4(1), RED.v6(1)];
    judge(&lab, (liar, victim), &[host], [&gateways[0], &gateways[1]]);
}

fn no_lie_in_a_bridge_network_reaches_its_victim(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&LAN, "");
    lab.vm("lan1", &LAN, 21);
    lab.vm("lan2", &LAN, 22);
    let (liar, victim) = (lab.get("lan1"), lab.get("lan2"));
    is_honest(liar, victim);
    let far = Wire::open(&lab.lan, "eth0");
    // On a bridge the router is a machine of the LAN.
    judge(&lab, (liar, victim), &[far], [LAN_V4, LAN_V6]);
}

fn a_flood_of_macs_ends_at_its_port(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&LAN, "");
    lab.vm("lan1", &LAN, 21);
    lab.vm("lan2", &LAN, 22);
    let (liar, victim) = (lab.get("lan1"), lab.get("lan2"));
    let flood = (0..2_000_u16).map(|n| {
        let [high, low] = n.to_be_bytes();
        let packet = Packet::udp((liar.v4.as_str(), 9), (victim.v4.as_str(), 9));
        lie("MAC flood", &packet.macs([0x52, 0x54, 0, 0xcc, high, low], Mac::BROADCAST), "source_mac_spoofed")
    });
    let sender = Wire::open(&liar.netns, "eth0");
    let watches = [Wire::open(&victim.netns, "eth0"), Wire::open(&lab.lan, "eth0")];
    flood.for_each(|lie| sender.send(&lie.frame));
    let dropped = || lab.drops("source_mac_spoofed", |row| row["port"] == "lan1");
    assert!(eventually(|| dropped() == 2_000), "{} of 2,000", dropped());
    for wire in &watches {
        wire.expect_none(Duration::from_millis(100), is_marked);
    }
    is_honest(liar, victim);
}

/// A guest that bridges its two ports: others' broadcasts do not come back, and its own have a limit.
fn a_loop_through_a_guest_ends_at_its_ports(hook: Hook) {
    let mut lab = Lab::empty(hook);
    lab.network(&LAN, "");
    for (name, number) in [("lan1", 21), ("lan2", 22), ("lan3", 23)] {
        lab.vm(name, &LAN, number);
    }
    lab.ok("config set flood_limit_per_port 2000");
    let [looping, one, two] = ["lan1", "lan2", "lan3"].map(|name| lab.get(name));
    is_honest(one, two);
    lab.host.veth("lan4", &looping.netns, "eth1");
    lab.ok(&format!("port add lan4 --device lan4 --network lan --mac {STRANGER} --hook {}", hook.name()));
    looping.netns.bridge("br0");
    for device in ["eth0", "eth1"] {
        looping.netns.enslave(device, "br0");
        looping.netns.up(device);
    }
    let of_the_loop = |reason: &str| lab.drops(reason, |row| row["port"] == "lan1" || row["port"] == "lan4");
    let asker = lab.lan.mac_of("eth0");
    Wire::open(&lab.lan, "eth0").send(&Packet::arp_request(asker, LAN_V4, &one.v4).frame());
    assert!(eventually(|| of_the_loop("source_mac_spoofed") > 0), "a guest sends its own frames only");
    let own = Packet::arp_request(looping.mac, &looping.v4, &one.v4).frame();
    Wire::open(&looping.netns, "eth0").send(&own);
    assert!(eventually(|| of_the_loop("flood_limit") > 0), "its own frame came back, again and again");
    is_honest(one, two);
}
