//! Addresses that two machines of a network use.

use fwd_common::{
    addr::Mac,
    neighbor::{Claim, NetworkAddress},
};

use super::{ReadError, View};
use crate::api::status::{ClaimEnd, DuplicateAddress};

/// So long after it was last claimed, an address counts as its owner's alone again. Stacks ask for a neighbor
/// that they talk to every minute or so.
const FRESH_SECS: u64 = 600;

/// Those of late, in order.
///
/// # Errors
/// [`ReadError`] names the map.
pub fn duplicates(view: &View<'_>) -> Result<Vec<DuplicateAddress>, ReadError> {
    let end = |mac: Mac, port| Some(ClaimEnd { mac: mac.to_string(), port: view.names.port(port)? });
    let told = |(key, claim): (NetworkAddress, Claim)| {
        let ago_secs = view.now.boot_ns.saturating_sub(claim.last_seen_ns) / 1_000_000_000;
        (ago_secs <= FRESH_SECS).then_some(())?;
        Some(DuplicateAddress {
            network: view.names.network_of_port(claim.other_port)?,
            addr: key.addr.to_std(),
            owner: end(claim.owner, claim.owner_port)?,
            other: end(claim.other, claim.other_port)?,
            ago_secs,
        })
    };
    let mut found: Vec<_> = view.maps.claims()?.into_iter().filter_map(told).collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{DB1, WEB1, maps, names, now};
    use fwd_common::{
        addr::Ip,
        id::{NetworkId, PortId},
    };
    use std::net::IpAddr;

    #[test]
    fn claims_of_late_are_told_with_both_macs() {
        let mut maps = maps();
        let macs = [Mac([0x52, 0x54, 0, 0, 0, 1]), Mac([0x52, 0x54, 0, 0, 0, 2])];
        let mut claim = |last: u8, ago_secs: u64, other_port| {
            let addr = Ip::from(IpAddr::from([10, 10, 0, last]));
            let key = NetworkAddress { addr, network: NetworkId(1), _pad: 0 };
            let last_seen_ns = now().boot_ns - ago_secs * 1_000_000_000;
            let [owner, other] = macs;
            maps.claims.insert(key, Claim { last_seen_ns, owner, owner_port: WEB1, other, other_port });
        };
        claim(11, 5, DB1);
        claim(12, 601, DB1);
        claim(13, 5, PortId(99));
        let names = names();
        let view = View::new(&maps, &names, now()).expect("maps in memory");
        let [owner, other] = [("web1", macs[0]), ("db1", macs[1])]
            .map(|(port, mac)| ClaimEnd { mac: mac.to_string(), port: port.to_owned() });
        let (network, addr) = ("left".to_owned(), IpAddr::from([10, 10, 0, 11]));
        assert_eq!(
            duplicates(&view).expect("maps in memory"),
            [DuplicateAddress { network, addr, owner, other, ago_secs: 5 }]
        );
    }
}
