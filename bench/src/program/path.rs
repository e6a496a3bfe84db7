//! The packets whose cost is measured, and what must become of each.

use fwd_common::counter::HookLedger;
use fwd_tests::frame::{Mac, Packet};

use super::walker::End;
use super::world::{LAN1, LAN2, ROUTER, UPLINK, VM1};
use crate::result::Family;

/// A way through fwd.
#[derive(Clone, Copy)]
pub struct Path {
    pub name: &'static str,
    /// On which the packet comes in.
    pub device: &'static str,
    pub family: Family,
    /// Whose flows are walked.
    pub end: End,
    /// The column of the device's ledger that each packet adds one to.
    pub outcome: fn(&HookLedger) -> u64,
    packet: fn(Family, Mac) -> Packet,
}

impl Path {
    /// The first flow's packet; the network's gateway is known only once there is a network.
    pub fn packet(&self, gateway: Mac) -> Packet {
        (self.packet)(self.family, gateway)
    }

    pub const fn of(self, family: Family) -> Self {
        Self { family, ..self }
    }
}

const fn client(family: Family) -> &'static str {
    match family {
        Family::V4 => "198.18.0.1",
        Family::V6 => "2001:db8:18::1",
    }
}

const fn public(family: Family) -> &'static str {
    match family {
        Family::V4 => "203.0.113.10",
        Family::V6 => "2001:db8:113::10",
    }
}

const fn vm1(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.10.0.11",
        Family::V6 => "fd00:10::11",
    }
}

const fn server(family: Family) -> &'static str {
    match family {
        Family::V4 => "198.19.0.1",
        Family::V6 => "2001:db8:19::1",
    }
}

const fn forwarded(ledger: &HookLedger) -> u64 {
    ledger.forwarded.packets
}

const fn dropped(ledger: &HookLedger) -> u64 {
    ledger.dropped.packets
}

/// The first L4 port of a walk.
const FIRST: u16 = 1024;

const fn path(
    name: &'static str,
    (device, end): (&'static str, End),
    outcome: fn(&HookLedger) -> u64,
    packet: fn(Family, Mac) -> Packet,
) -> Path {
    Path { name, device, family: Family::V4, end, outcome, packet }
}

/// From a client to a VM by a forward, and what the VM answers.
pub const FORWARD_IN: Path = path("forward in", ("eth0", End::Source), forwarded, |family, _| {
    Packet::udp((client(family), FIRST), (public(family), 5353)).macs(ROUTER, UPLINK)
});
pub const FORWARD_OUT: Path = path("forward out", ("vm1", End::Destination), forwarded, |family, gateway| {
    Packet::udp((vm1(family), 53), (client(family), FIRST)).macs(VM1, gateway)
});

/// From a VM to a server outside, its source translated, and what the server answers.
pub const NAT_OUT: Path = path("NAT out", ("vm1", End::Source), forwarded, |family, gateway| {
    Packet::udp((vm1(family), FIRST), (server(family), 53)).macs(VM1, gateway)
});
pub const NAT_IN: Path = path("NAT in", ("eth0", End::Destination), forwarded, |family, _| {
    Packet::udp((server(family), 53), (public(family), FIRST)).macs(ROUTER, UPLINK)
});

/// Between two ports of one bridge network.
pub const BRIDGE: Path = path("bridge", ("lan1", End::Source), forwarded, |family, _| {
    Packet::udp((client(family), FIRST), (server(family), 53)).macs(LAN1, LAN2)
});
pub const BRIDGE_BACK: Path = path("bridge back", ("lan2", End::Destination), forwarded, |family, _| {
    Packet::udp((server(family), 53), (client(family), FIRST)).macs(LAN2, LAN1)
});

/// What no rule of a closed network allows.
pub const DENIED: Path = path("drop by policy", ("vm1", End::Source), dropped, |family, gateway| {
    Packet::udp((vm1(family), FIRST), (server(family), 7)).macs(VM1, gateway)
});
/// An address that is not the VM's.
pub const SPOOFED: Path = path("drop by source guard", ("vm1", End::Source), dropped, |family, gateway| {
    Packet::udp((client(family), FIRST), (server(family), 53)).macs(VM1, gateway)
});
/// A broadcast in a bridge network, to three other ports.
pub const FLOOD: Path = path("flood to 3", ("lan1", End::Source), forwarded, |_, _| {
    Packet::udp((client(Family::V4), FIRST), ("198.18.255.255", 137)).macs(LAN1, "ff:ff:ff:ff:ff:ff")
});
