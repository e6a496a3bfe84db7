//! Classes of addresses: an address's class is the exact set of CIDR and set ends that contain it, found by
//! its longest prefix among all CIDRs that rules name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use fwd_common::{addr::Ip, id::ClassId, policy::ClassKey};
use ipnet::{IpNet, Ipv4Net};

use super::{
    number::Numbering,
    rules::{EndId, Rules},
};
use crate::{
    api::{spec::Set, text::End},
    compile::{World, neighbors::mapped_prefix},
};

/// The prefixes with the ends that contain all their addresses.
#[derive(Debug, Default)]
pub(super) struct Classes {
    prefixes: BTreeMap<IpNet, BTreeSet<EndId>>,
    ids: BTreeMap<BTreeSet<EndId>, ClassId>,
}

impl Classes {
    pub fn of(world: &World<'_>, rules: &Rules) -> Self {
        let mut own: BTreeMap<IpNet, BTreeSet<EndId>> = BTreeMap::new();
        let sets: HashMap<&str, &Set> =
            world.document.sets.iter().map(|set| (set.name.as_str(), set)).collect();
        for (id, end) in rules.ends() {
            let nets: &[IpNet] = match end {
                End::Cidr(net) => std::slice::from_ref(net),
                End::Set(name) => sets.get(name.as_str()).map_or(&[], |set| &set.cidrs),
                _ => &[],
            };
            for net in nets {
                own.entry(*net).or_default().insert(id);
            }
        }
        // Rows hold IPv4 inside of IPv6: a prefix of IPv6 around it must not mean IPv4 addresses.
        let mapped = IpNet::from(IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()));
        if own.keys().any(|net| net.contains(&mapped)) {
            own.entry(IpNet::V4(Ipv4Net::default())).or_default();
        }
        let prefixes = with_inherited(&own);
        let mut numbering = Numbering::default();
        let mut ids = BTreeMap::from([(BTreeSet::new(), ClassId(0))]);
        for ends in prefixes.values() {
            let texts = ends.iter().map(|end| rules.end(*end).to_string());
            ids.entry(ends.clone()).or_insert_with(|| ClassId(numbering.number(texts)));
        }
        Self { prefixes, ids }
    }

    /// Every class with its ends, the one of no end included.
    pub fn all(&self) -> impl Iterator<Item = (ClassId, &BTreeSet<EndId>)> {
        self.ids.iter().map(|(ends, id)| (*id, ends))
    }

    /// The ends that contain an address.
    pub fn ends(&self, addr: IpAddr) -> BTreeSet<EndId> {
        let host = IpNet::from(addr);
        let lens = (0..=host.max_prefix_len()).rev();
        let prefixes = lens.filter_map(|len| IpNet::new(addr, len).ok()).map(|net| net.trunc());
        prefixes.filter_map(|net| self.prefixes.get(&net)).next().cloned().unwrap_or_default()
    }

    /// Rows of `IDENTITIES`.
    pub fn rows(&self) -> BTreeMap<(ClassKey, u32), ClassId> {
        let row = |(net, ends): (&IpNet, &BTreeSet<EndId>)| {
            let (addr, bits): (Ip, u32) = mapped_prefix(*net);
            ((ClassKey { epoch: 0, addr }, ClassKey::prefix(bits)), self.ids[ends])
        };
        self.prefixes.iter().map(row).collect()
    }
}

/// Each prefix with the ends of those that contain it added. Networks sort before what they contain.
fn with_inherited(own: &BTreeMap<IpNet, BTreeSet<EndId>>) -> BTreeMap<IpNet, BTreeSet<EndId>> {
    let mut sorted: Vec<&IpNet> = own.keys().collect();
    sorted.sort_by_key(|net| (net.network(), net.prefix_len()));
    let mut around: Vec<(IpNet, BTreeSet<EndId>)> = Vec::new();
    let mut all = BTreeMap::new();
    for net in sorted {
        while around.last().is_some_and(|(outer, _)| !outer.contains(net)) {
            around.pop();
        }
        let mut ends = own[net].clone();
        if let Some((_, outer)) = around.last() {
            ends.extend(outer.iter().copied());
        }
        all.insert(*net, ends.clone());
        around.push((*net, ends));
    }
    all
}
