//! Leases, as dnsmasq keeps them: one a line, `EXPIRY MAC ADDRESS NAME CLIENT-ID`, and behind a line
//! `duid …` those of DHCPv6, whose second word is no MAC.
//!
//! The file is rewritten in place, so a reader may find less than the whole: a lease that is missing holds
//! until it ends, or until another one takes its address or its guest's place.

use std::{net::IpAddr, path::Path};

use crate::{api::text::parse_mac, host::inventory::Lease};

/// The leases of a network's file that have not ended; none without a file.
pub(super) fn read(path: &Path, now_secs: u64) -> Vec<Lease> {
    std::fs::read_to_string(path).map_or_else(|_| Vec::new(), |text| parse(&text, now_secs))
}

/// What holds, after a look at the file.
pub(super) fn merge(known: &[Lease], found: Vec<Lease>, now_secs: u64) -> Vec<Lease> {
    let is_replaced = |old: &Lease| {
        found.iter().any(|new| {
            let same_guest = new.mac.is_some() && new.mac == old.mac;
            new.addr == old.addr || (same_guest && new.addr.is_ipv4() == old.addr.is_ipv4())
        })
    };
    let holds = |old: &&Lease| old.expires_secs > now_secs && !is_replaced(old);
    let kept: Vec<_> = known.iter().filter(holds).copied().collect();
    let mut all = found;
    all.extend(kept);
    all.sort_by_key(|lease| lease.addr);
    all
}

fn parse(text: &str, now_secs: u64) -> Vec<Lease> {
    let lease = |line: &str| {
        // A line that is not finished may have half an address.
        let mut words = line.strip_suffix('\n')?.split(' ');
        let (expiry, hardware, addr) = (words.next()?, words.next()?, words.next()?);
        let (_name, client) = (words.next()?, words.next()?);
        let addr: IpAddr = addr.parse().ok()?;
        let mac = if addr.is_ipv4() { parse_mac(hardware).ok() } else { mac_of_duid(client) };
        let expires_secs = match expiry.parse().ok()? {
            // It has no end.
            0 => u64::MAX,
            secs => secs,
        };
        (expires_secs > now_secs).then_some(Lease { addr, mac, expires_secs })
    };
    let mut leases: Vec<_> = text.split_inclusive('\n').filter_map(lease).collect();
    leases.sort_by_key(|lease| lease.addr);
    leases
}

/// The MAC in a DUID that is made from one (RFC 8415, 11.2 and 11.4): of type 1 behind a time, or of type 3.
fn mac_of_duid(text: &str) -> Option<fwd_common::addr::Mac> {
    let words: Vec<&str> = text.split(':').collect();
    let is_mac = match words.len() {
        14 => words.starts_with(&["00", "01", "00", "01"]),
        10 => words.starts_with(&["00", "03", "00", "01"]),
        _ => false,
    };
    is_mac.then(|| words[words.len() - 6..].join(":")).and_then(|mac| parse_mac(&mac).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "1000 52:54:00:00:00:11 10.10.0.100 web1 *\n\
                        0 52:54:00:00:00:12 10.10.0.101 * 01:52:54:00:00:00:12\n\
                        900 52:54:00:00:00:13 10.10.0.102 * *\n\
                        duid 00:01:00:01:30:ba:00:00:02:66:77:64:00:01\n\
                        1000 5505024 fd00:10::1000 web1 00:03:00:01:52:54:00:00:00:11\n\
                        1000 5505024 fd00:10::1001 * 00:04:aa:bb:cc:dd\n\
                        1000 52:54:00:00:00:14 10.10.0.10";

    fn shown(leases: &[Lease]) -> Vec<String> {
        leases
            .iter()
            .map(|l| format!("{} {:?} {}", l.addr, l.mac.map(|m| m.to_string()), l.expires_secs))
            .collect()
    }

    #[test]
    fn leases_of_both_families_are_read_but_for_ended_and_unfinished_ones() {
        assert_eq!(
            shown(&parse(FILE, 950)),
            [
                "10.10.0.100 Some(\"52:54:00:00:00:11\") 1000",
                &format!("10.10.0.101 Some(\"52:54:00:00:00:12\") {}", u64::MAX),
                "fd00:10::1000 Some(\"52:54:00:00:00:11\") 1000",
                "fd00:10::1001 None 1000",
            ]
        );
        assert_eq!(shown(&parse("", 0)), [""; 0]);
    }

    #[test]
    fn a_lease_that_is_missing_holds_until_it_ends_or_is_replaced() {
        let known = parse(FILE, 950);
        assert_eq!(merge(&known, Vec::new(), 950), known);
        assert_eq!(shown(&merge(&known, Vec::new(), 1000)).len(), 1, "all but the one without an end");
        let moved = parse("2000 52:54:00:00:00:11 10.10.0.150 * *\n", 950);
        let merged = shown(&merge(&known, moved, 950));
        assert!(merged.iter().any(|l| l.starts_with("10.10.0.150")), "{merged:?}");
        assert!(!merged.iter().any(|l| l.starts_with("10.10.0.100 ")), "{merged:?}");
        let taken = parse("2000 52:54:00:00:00:99 10.10.0.100 * *\n", 950);
        let merged = merge(&known, taken, 950);
        let holders: Vec<_> = merged.iter().filter(|l| l.addr == known[0].addr).collect();
        assert_eq!(holders.len(), 1);
        assert_ne!(holders[0].mac, known[0].mac);
    }
}
