//! What this host refuses of an edit that is valid by itself: interfaces that are not there or are somebody
//! else's, L4 ports on which the host itself listens. Only what the edit adds or changes is looked at.

use std::net::IpAddr;

use ipnet::IpNet;

use super::sockets::{self, Socket};
use crate::{
    api::{
        error::{Code, Problem},
        object::Noun,
        spec::{Document, Forward, Hook, Mode, Network, Uplink},
        text::Listen,
    },
    compile::{Hold, Unfit, Use, device_name, unfit},
    host::{DeviceKind, Inventory},
    state::{Accepted, Change},
};

/// Whether the host has nothing to say against any edit of such an object.
pub const fn has_no_say(noun: Noun) -> bool {
    match noun {
        Noun::Uplink | Noun::Network | Noun::Port | Noun::Forward | Noun::Nat => false,
        Noun::Group | Noun::Set | Noun::Policy => true,
    }
}

/// All that is refused; empty if nothing is.
pub fn problems(accepted: &Accepted, inventory: &Inventory, sockets: &[Socket]) -> Vec<Problem> {
    let document = &accepted.desired.document;
    let mut out = Vec::new();
    for change in accepted.changes.iter().filter(|c| c.after.is_some()) {
        match change.kind.as_str() {
            "uplink" => out.extend(uplink(change, document, inventory)),
            "network" => out.extend(network(change, document, inventory)),
            "port" => out.extend(port(change, document, inventory)),
            "nat" => out.extend(nat(change, document, inventory)),
            "forward" => out.extend(forward(change, document, inventory, sockets)),
            _ => {}
        }
    }
    out
}

fn uplink(change: &Change, document: &Document, inventory: &Inventory) -> Option<Problem> {
    let index = document.uplinks.iter().position(|u| u.device == change.name)?;
    let (name, field) = (&change.name, "device");
    if !inventory.devices.contains_key(name) {
        return Some(Problem {
            path: format!("/uplinks/{index}/{field}"),
            code: Code::NoSuchDevice,
            kind: Code::NoSuchDevice.kind(),
            object: format!("uplink {name}"),
            message: format!("Uplink {name}: there is no interface {name} in this network namespace."),
            hints: vec!["List them: ip -br link.".to_owned()],
        });
    }
    // Whether it is bridged as well is for the network to say.
    if let Some(problem) = unserving((Noun::Uplink, index, name), (name, Use::Uplink), inventory)
        .or_else(|| without_xdp(&document.uplinks[index], index, inventory))
    {
        return Some(problem);
    }
    let hold = Hold::of(inventory, name, true)?;
    held((Noun::Uplink, index, name), hold, document.uplinks[index].take_over)
}

fn port(change: &Change, document: &Document, inventory: &Inventory) -> Option<Problem> {
    let index = document.ports.iter().position(|p| p.name == change.name)?;
    let port = &document.ports[index];
    let device = device_name(inventory, port)?;
    if let Some(problem) = unserving((Noun::Port, index, &change.name), (device, Use::Vm), inventory) {
        return Some(problem);
    }
    let hold = Hold::of(inventory, device, false)?;
    held((Noun::Port, index, &change.name), hold, port.take_over)
}

/// Subnets that are the host's already, and an uplink that cannot be bridged.
fn network(change: &Change, document: &Document, inventory: &Inventory) -> Option<Problem> {
    let index = document.networks.iter().position(|n| n.name == change.name)?;
    let network = &document.networks[index];
    let before: Option<Network> = change.before.as_ref().and_then(|before| before.read().ok());
    let was_so = before.is_some_and(|b| b.subnets == network.subnets && b.is_apart() == network.is_apart());
    if !was_so && let Some(problem) = overlap(network, index, inventory) {
        return Some(problem);
    }
    let device = network.uplink.as_deref().filter(|_| network.mode == Mode::Bridge)?;
    let problem = unserving((Noun::Network, index, &network.name), (device, Use::Bridge), inventory)?;
    Some(Problem { path: format!("/networks/{index}/uplink"), ..problem })
}

/// A subnet of which the host has addresses elsewhere: it would reach only one of the two.
fn overlap(network: &Network, index: usize, inventory: &Inventory) -> Option<Problem> {
    if network.is_apart() {
        return None;
    }
    let others = inventory.devices.iter().filter(|(_, device)| !device.is_own && !device.is_loopback());
    let nets = others.flat_map(|(name, device)| device.addresses.iter().map(move |net| (name, net.trunc())));
    let meets = |(n, subnet): (usize, &IpNet)| {
        let has_same = |(_, net): &(&String, IpNet)| net.contains(subnet) || subnet.contains(net);
        nets.clone().find(has_same).map(|(device, net)| (n, *subnet, device, net))
    };
    let (n, subnet, device, net) = network.subnets.iter().enumerate().find_map(meets)?;
    Some(Problem {
        path: format!("/networks/{index}/subnets/{n}"),
        code: Code::SubnetOverlap,
        kind: Code::SubnetOverlap.kind(),
        object: format!("network {}", network.name),
        message: format!("Network {}: its subnet {subnet} overlaps {net} of {device}.", network.name),
        hints: vec!["Choose another subnet, or make the network --private.".to_owned()],
    })
}

/// XDP reads Ethernet, and is asked for by name.
fn without_xdp(uplink: &Uplink, index: usize, inventory: &Inventory) -> Option<Problem> {
    let DeviceKind::Tunnel(kind) = &inventory.devices.get(&uplink.device)?.kind else { return None };
    let name = &uplink.device;
    (uplink.hook == Hook::Xdp).then(|| Problem {
        path: format!("/uplinks/{index}/hook"),
        code: Code::DriverLacks,
        kind: Code::DriverLacks.kind(),
        object: format!("uplink {name}"),
        message: format!(
            "Uplink {name}: packets of {name} ({kind}) have no Ethernet header, so XDP cannot read them."
        ),
        hints: vec!["TCX serves it: use --hook auto or --hook tcx.".to_owned()],
    })
}

/// An interface that cannot serve as what it is to be.
fn unserving(
    (noun, index, name): (Noun, usize, &str),
    (device, use_of): (&str, Use),
    inventory: &Inventory,
) -> Option<Problem> {
    let Unfit { code, clause, hint } = unfit((device, inventory.devices.get(device)?), use_of)?;
    let object = format!("{noun} {name}");
    Some(Problem {
        path: format!("/{}/{index}/device", noun.list()),
        code,
        kind: code.kind(),
        message: format!("{}: the {clause}.", capitalized(&object)),
        object,
        hints: vec![hint.to_owned()],
    })
}

/// An interface that lies on a Linux bridge is taken from there only where that was asked for and does no harm.
fn held((noun, index, name): (Noun, usize, &str), hold: Hold, take_over: bool) -> Option<Problem> {
    let object = format!("{noun} {name}");
    (!take_over || !hold.yields()).then(|| Problem {
        path: format!("/{}/{index}/device", noun.list()),
        code: Code::DeviceEnslaved,
        kind: Code::DeviceEnslaved.kind(),
        message: format!("{}: the {}.", capitalized(&object), hold.clause()),
        object,
        hints: vec![hold.hint()],
    })
}

fn forward(
    change: &Change,
    document: &Document,
    inventory: &Inventory,
    sockets: &[Socket],
) -> Option<Problem> {
    let index = document.forwards.iter().position(|f| f.name == change.name)?;
    let forward = &document.forwards[index];
    if forward.force || before(change).is_some_and(|before| before.listen == forward.listen) {
        return None;
    }
    let socket = taken(forward, (document, inventory), sockets)?;
    let who = sockets::process_of(socket).unwrap_or_else(|| "a process of this host".to_owned());
    Some(Problem {
        path: format!("/forwards/{index}/listen"),
        code: Code::HostListens,
        kind: Code::HostListens.kind(),
        object: format!("forward {}", forward.name),
        message: format!("Forward {}: {who} listens on {} itself.", forward.name, socket.addr),
        hints: vec!["Choose another L4 port, or take it away from the host with --force.".to_owned()],
    })
}

/// The socket of this host that has a forward's L4 port. A forward of all of them leaves the host its own.
pub fn taken<'a>(
    forward: &Forward,
    (document, inventory): (&Document, &Inventory),
    sockets: &'a [Socket],
) -> Option<&'a Socket> {
    let listen = forward.listen.parse().ok().filter(|listen: &Listen| !listen.is_whole())?;
    let uplinks = document.uplinks.iter().filter_map(|u| inventory.devices.get(&u.device));
    let own: Vec<IpAddr> = uplinks.flat_map(|d| d.addresses.iter().map(|a| a.addr())).collect();
    sockets.iter().find(|socket| takes(&listen, socket, &own))
}

/// The only address under which this host itself goes out by an uplink is not for one port to have.
fn nat(change: &Change, document: &Document, inventory: &Inventory) -> Option<Problem> {
    let index = document.nats.iter().position(|n| n.name == change.name)?;
    let addr = document.nats[index].pair()?.addr;
    let taken: Vec<IpAddr> = document.nats.iter().filter_map(|nat| Some(nat.pair()?.addr)).collect();
    let is_last = |device: &&Uplink| {
        let own = inventory.devices.get(&device.device);
        let own: Vec<_> = own.into_iter().flat_map(|d| d.outside_addresses(addr.is_ipv4())).collect();
        own.contains(&addr) && own.iter().all(|addr| taken.contains(addr))
    };
    let Uplink { device, .. } = document.uplinks.iter().find(is_last)?;
    Some(Problem {
        path: format!("/nats/{index}/one_to_one"),
        code: Code::HostAddress,
        kind: Code::HostAddress.kind(),
        object: format!("nat {}", change.name),
        message: format!(
            "Nat {}: {addr} is the only address that this host itself has on {device}.",
            change.name
        ),
        hints: vec![format!("Use another one: ip address add ADDR dev {device}.")],
    })
}

fn before(change: &Change) -> Option<Forward> {
    change.before.as_ref()?.read().ok()
}

/// Whether a forward would take packets that are a socket's. `own` are the addresses of the uplinks.
fn takes(listen: &Listen, socket: &Socket, own: &[IpAddr]) -> bool {
    let (addr, l4_port) = (socket.addr.ip(), socket.addr.port());
    let is_in_range = (listen.l4_ports.low..=listen.l4_ports.high).contains(&l4_port);
    let is_there = match listen.addr {
        Some(at) => addr.is_unspecified() || addr == at,
        None => addr.is_unspecified() || own.contains(&addr),
    };
    is_in_range && is_there && listen.protocols.list().contains(&socket.proto)
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_takes_what_comes_to_its_addresses_only() {
        let own = ["203.0.113.10".parse().expect("an address")];
        let takes = |listen: &str, socket: &str| {
            takes(&listen.parse().expect("a listen"), &Socket::tcp(socket.parse().expect("one")), &own)
        };
        assert!(takes("tcp:22", "0.0.0.0:22"));
        assert!(takes("tcp:20-30", "203.0.113.10:22"));
        assert!(takes("tcp:203.0.113.11:22", "[::]:22"));
        assert!(!takes("tcp:22", "127.0.0.1:22"));
        assert!(!takes("udp:22", "0.0.0.0:22"));
        assert!(!takes("tcp:203.0.113.11:22", "203.0.113.10:22"));
    }
}
