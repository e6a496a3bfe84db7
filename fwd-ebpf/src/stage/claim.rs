//! Duplicate addresses: whoever says, by ARP or neighbor discovery, that it has an address which somebody else of the
//! network has is remembered, for people to be told (RFC 5227, 2.4). What becomes of the frame is not decided here.

use fwd_common::{
    addr::{Ip, Mac},
    neighbor::{Claim, Neighbor, NetworkAddress},
};

use crate::{
    maps,
    report::{self, Ingress},
};

/// Notes that `mac`, behind the ingress port, says that it has `addr`.
#[inline(never)]
pub fn note(ingress: &Ingress, mac: Mac, addr: Ip) {
    let key = NetworkAddress { addr, network: ingress.port.network, _pad: 0 };
    let Some(owner) = owner(&key) else { return };
    if owner.port == ingress.id || owner.mac == mac || owner.mac == Mac::NONE {
        return;
    }
    let claim = Claim {
        last_seen_ns: report::now_ns(),
        owner: owner.mac,
        owner_port: owner.port,
        other: mac,
        other_port: ingress.id,
    };
    // Whether there is room or not, the frame goes its way.
    _ = maps::CLAIMS.insert(&key, &claim, 0);
}

#[inline(always)]
fn owner(key: &NetworkAddress) -> Option<Neighbor> {
    if let Some(owner) = maps::neighbor(key.network, key.addr) {
        return Some(*owner);
    }
    if !maps::is_host_address(key.network, key.addr) {
        return None;
    }
    let port = maps::network(key.network).ok()?.host_port;
    Some(Neighbor { port, mac: maps::port(port)?.mac, ..Neighbor::default() })
}
