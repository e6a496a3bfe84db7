//! DHCP of a bridged network: what its servers say reaches guests whatever the rules, and what they give is noted.

use std::collections::BTreeMap;

use fwd_common::addr::Mac as Address;
use fwd_tests::frame::{Mac, Packet};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};
use fwd_user::host::Lease;
use serde_json::json;

use crate::world::{LAN1, LAN2, World, on, on_both_hooks};

/// A server on the LAN behind eth1.
const SERVER: &str = "52:54:00:00:02:67";
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;
/// Options (RFC 2132): message type, lease time of an hour, and what stands around them.
const HOUR: &[u8] = &[51, 4, 0, 0, 14, 16];
const MASK: &[u8] = &[1, 4, 255, 255, 255, 0];
const END: &[u8] = &[255];

fn of_type(message: u8) -> Vec<u8> {
    vec![53, 1, message]
}

/// A server's message to a client.
fn says(chaddr: &str, yiaddr: [u8; 4], options: &[&[u8]]) -> Vec<u8> {
    let Mac(mac) = chaddr.into();
    let cookie: &[u8] = &[0x63, 0x82, 0x53, 0x63];
    let fields = [&[2, 1, 6, 0][..], &[0; 12], &yiaddr, &[0; 8], &mac, &[0; 202], cookie].concat();
    [&fields, options.concat().as_slice()].concat()
}

fn to_guest(message: Vec<u8>) -> Packet {
    Packet::udp("198.51.100.67:67", "198.51.100.21:68").payload(message).macs(SERVER, LAN1)
}

/// Reaches lan1 without a flow; XDP hands over.
#[track_caller]
fn reaches(world: &mut World, packet: &Packet) {
    let sent = world.send("eth1", packet);
    if world.hook() == Hook::Xdp { sent.passes() } else { sent.switches(packet, &[]) }
}

/// Likewise, and user space is told that a guest has another address.
#[track_caller]
fn gives(world: &mut World, packet: &Packet) {
    world.send("eth1", packet).switches(packet, &[("event Learnt", 1)]);
}

/// The leases of lan: address and MAC, with their time in seconds.
fn leases(world: &World) -> BTreeMap<String, (String, u64)> {
    let row = |lease: Lease| {
        let mac: Address = lease.mac.expect("it was given to one");
        (lease.addr.to_string(), (mac.to_string(), lease.expires_secs))
    };
    world.leases("lan").into_iter().map(row).collect()
}

fn given(addr: &str, mac: &str) -> (String, String) {
    (addr.to_owned(), mac.to_owned())
}

fn held(world: &World) -> Vec<(String, String)> {
    leases(world).into_iter().map(|(addr, (mac, _))| (addr, mac)).collect()
}

/// The server's MAC is known, and the network closed.
fn closed(world: &mut World) {
    world.edit(|document| document["networks"][2]["default_policy"] = json!("closed"));
    let hello = Packet::arp_reply(SERVER, "198.51.100.67", LAN1, "198.51.100.21");
    world.send("eth1", &hello).switches(&hello, &[("eth1 holds macs", 1)]);
}

#[test]
fn what_a_server_says_reaches_the_guest_whatever_the_rules() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        closed(world);
        let (ack, offer) = (of_type(ACK), of_type(OFFER));
        for options in [vec![&ack[..], MASK, END], vec![&offer, HOUR, END], vec![]] {
            reaches(world, &to_guest(says(LAN1, [198, 51, 100, 21], &options)));
        }
        reaches(world, &to_guest(vec![2, 1, 6]));
        let v6 = Packet::udp("[fe80::67]:547", "[fe80::21]:546").payload([7, 0, 0, 0]).macs(SERVER, LAN1);
        reaches(world, &v6);
    });
}

#[test]
fn what_a_server_gives_to_a_guest_is_noted_until_it_takes_it_back() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        closed(world);
        let (ack, offer, nak) = (of_type(ACK), of_type(OFFER), of_type(NAK));
        let own = [198, 51, 100, 21];
        for (chaddr, yiaddr, options) in [
            (LAN1, own, vec![&offer[..], HOUR, END]),
            // Settings for one that has an address (DHCPINFORM).
            (LAN1, own, vec![&ack, MASK, END]),
            (LAN1, [0; 4], vec![&ack, HOUR, END]),
            // Nobody's behind a port, and the LAN's own.
            ("52:54:00:00:02:77", own, vec![&ack, HOUR, END]),
            (SERVER, own, vec![&ack, HOUR, END]),
            // Behind the end nothing counts, and what is cut says nothing.
            (LAN1, own, vec![END, &ack, HOUR]),
            (LAN1, own, vec![HOUR, &ack[..2]]),
        ] {
            reaches(world, &to_guest(says(chaddr, yiaddr, &options)));
            assert_eq!(held(world), [], "{options:?}");
        }
        let mut no_cookie = says(LAN1, own, &[&ack, HOUR, END]);
        no_cookie[236] = 0;
        reaches(world, &to_guest(no_cookie));
        assert_eq!(held(world), []);

        // Wherever the type stands, up to the message's very end.
        gives(world, &to_guest(says(LAN1, own, &[&[0, 0, 0], MASK, HOUR, &[12, 40], &[b'x'; 40], &ack])));
        let [(addr, (mac, secs))] = leases(world).into_iter().collect::<Vec<_>>().try_into().expect("one");
        assert_eq!((addr, mac), given("198.51.100.21", LAN1));
        assert!(secs >= 3600, "an hour from some time after boot: {secs}");
        // The same once more is nothing new.
        reaches(world, &to_guest(says(LAN1, own, &[&ack, HOUR, END])));
        // Another one takes its place; broadcast it is noted too.
        let other = says(LAN1, [198, 51, 100, 31], &[&ack, HOUR, END]);
        let other = Packet::udp("198.51.100.67:67", "255.255.255.255:68").payload(other);
        world.send("eth1", &other.macs(SERVER, Mac::BROADCAST)).floods_and_goes_on(
            "eth1",
            2,
            &[("event Learnt", 1)],
        );
        assert_eq!(held(world), [given("198.51.100.31", LAN1)]);
        // An address that two were given is the later one's.
        gives(world, &to_guest(says(LAN2, [198, 51, 100, 31], &[&ack, HOUR, END])));
        assert_eq!(held(world), [given("198.51.100.31", LAN2)]);
        reaches(world, &to_guest(says(LAN2, [0; 4], &[&nak, END])));
        assert_eq!(held(world), [given("198.51.100.31", LAN1)]);
    });
}
