//! Classes of addresses: an address's class is the exact set of CIDR and set ends that contain it, found by
//! its longest prefix among all CIDRs that rules name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use fwd_common::{addr::Ip, id::ClassId, policy::ClassKey};
use imbl::OrdMap;
use ipnet::{IpNet, Ipv4Net};

use super::{
    number::Numbering,
    rules::{EndId, Ends, Rules},
};
use crate::{
    api::{spec::Set, text::End},
    compile::{
        World,
        neighbors::{is_around_ipv4, mapped_prefix},
    },
};

/// First address and length: networks sort before what they contain.
type NetKey = (IpAddr, u8);

/// A prefix with the ends that name it, and those that contain all its addresses.
#[derive(Clone, Debug)]
struct Prefix {
    own: Ends,
    all: Ends,
}

/// The prefixes that rules name, and the classes that they come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    prefixes: OrdMap<NetKey, Prefix>,
    /// With how many prefixes it has. No end at all is class 0, and not here.
    ids: OrdMap<Ends, (ClassId, u32)>,
    numbers: Numbering,
    /// Rows of `IDENTITIES`.
    pub rows: OrdMap<(ClassKey, u32), ClassId>,
    /// IPv4's place inside of IPv6 has a row of its own, which no end named.
    is_split: bool,
}

/// What an edit did to classes.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub new: Vec<(ClassId, Ends)>,
    pub gone: Vec<ClassId>,
    touched: BTreeSet<Ends>,
}

impl Classes {
    pub fn of(world: &World<'_>, rules: &Rules) -> Self {
        let mut own: BTreeMap<NetKey, BTreeSet<EndId>> = BTreeMap::new();
        let sets: HashMap<&str, &Set> =
            world.document.sets.iter().map(|set| (set.name.as_str(), set)).collect();
        for (id, end) in rules.ends() {
            let nets: &[IpNet] = match end {
                End::Cidr(net) => std::slice::from_ref(net),
                End::Set(name) => sets.get(name.as_str()).map_or(&[], |set| &set.cidrs),
                _ => &[],
            };
            for net in nets {
                own.entry(key(net)).or_default().insert(id);
            }
        }
        // Rows hold IPv4 inside of IPv6: a prefix of IPv6 around it must not mean IPv4 addresses.
        let is_split = own.keys().any(|key| is_around_ipv4(&net(*key)));
        if is_split {
            own.entry(key(&IpNet::V4(Ipv4Net::default()))).or_default();
        }
        let mut classes = Self { is_split, ..Self::default() };
        let mut changed = Changed::default();
        let mut around: Vec<(IpNet, Ends)> = Vec::new();
        for (key, own) in own {
            let net = net(key);
            while around.last().is_some_and(|(outer, _)| !outer.contains(&net)) {
                around.pop();
            }
            let own: Ends = own.into_iter().collect();
            let all = around.last().map_or_else(|| Ends::clone(&own), |(_, outer)| union(&own, outer));
            around.push((net, Ends::clone(&all)));
            classes.set(key, Some(Prefix { own, all }), rules, &mut changed);
        }
        classes
    }

    /// Whether an edit can name a CIDR, or no longer name it, without looking at everything.
    pub fn takes(&self, net: &IpNet) -> bool {
        !self.is_split && !is_around_ipv4(net)
    }

    /// An end that is a CIDR is named for the first time.
    pub fn name(&mut self, cidr: &IpNet, id: EndId, rules: &Rules, changed: &mut Changed) {
        let own = self.prefixes.get(&key(cidr)).map_or_else(Ends::default, |prefix| Ends::clone(&prefix.own));
        let own = union(&own, &[id].into());
        self.change(cidr, own, rules, changed);
    }

    /// An end that is a CIDR is named no longer.
    pub fn unname(&mut self, cidr: &IpNet, id: EndId, rules: &Rules, changed: &mut Changed) {
        let own = self.prefixes.get(&key(cidr)).map_or_else(Ends::default, |prefix| Ends::clone(&prefix.own));
        let own: Ends = own.iter().copied().filter(|end| *end != id).collect();
        self.change(cidr, own, rules, changed);
    }

    /// What is new, and what is gone for good.
    pub fn settle(&mut self, changed: &mut Changed) {
        for ends in std::mem::take(&mut changed.touched) {
            if let Some((class, 0)) = self.ids.get(&ends).copied() {
                self.ids.remove(&ends);
                self.numbers.give_back(class.0);
                changed.gone.push(class);
            }
        }
        let gone = &changed.gone;
        changed.new.retain(|(class, _)| !gone.contains(class));
    }

    /// Every class with its ends, the one of no end included.
    pub fn all(&self) -> impl Iterator<Item = (ClassId, Ends)> {
        let ids = self.ids.iter().map(|(ends, (id, _))| (*id, Ends::clone(ends)));
        [(ClassId(0), Ends::default())].into_iter().chain(ids)
    }

    /// The ends that contain an address.
    pub fn ends(&self, addr: IpAddr) -> Ends {
        let host = IpNet::from(addr);
        self.around(&host, host.prefix_len()).map_or_else(Ends::default, |prefix| Ends::clone(&prefix.all))
    }

    /// The longest prefix of at most so many bits that contains a network.
    fn around(&self, net: &IpNet, bits: u8) -> Option<&Prefix> {
        let lens = (0..=bits).rev().filter_map(|len| IpNet::new(net.network(), len).ok());
        lens.filter_map(|net| self.prefixes.get(&key(&net))).next()
    }

    fn change(&mut self, cidr: &IpNet, own: Ends, rules: &Rules, changed: &mut Changed) {
        let at = key(cidr);
        let inside = self.prefixes.range(at..=(cidr.broadcast(), cidr.max_prefix_len()));
        let inside: Vec<(NetKey, Ends)> = inside
            .filter(|(key, _)| **key != at)
            .map(|(key, prefix)| (*key, Ends::clone(&prefix.own)))
            .collect();
        let all = [(at, own)].into_iter().chain(inside);
        for (key, own) in all {
            if key == at && own.is_empty() {
                self.set(key, None, rules, changed);
                continue;
            }
            let net = net(key);
            let outer = net.prefix_len().checked_sub(1).and_then(|bits| self.around(&net, bits));
            let all = outer.map_or_else(|| Ends::clone(&own), |outer| union(&own, &outer.all));
            self.set(key, Some(Prefix { own, all }), rules, changed);
        }
    }

    fn set(&mut self, at: NetKey, prefix: Option<Prefix>, rules: &Rules, changed: &mut Changed) {
        let (addr, bits): (Ip, u32) = mapped_prefix(net(at));
        let row = (ClassKey { epoch: 0, addr }, ClassKey::prefix(bits));
        let old = match prefix {
            Some(prefix) => {
                let class = self.class(&prefix.all, rules, changed);
                self.rows.insert(row, class);
                self.prefixes.insert(at, prefix)
            }
            None => {
                self.rows.remove(&row);
                self.prefixes.remove(&at)
            }
        };
        let Some(Prefix { all, .. }) = old else { return };
        if let Some((_, users)) = self.ids.get_mut(&all) {
            *users -= 1;
            changed.touched.insert(all);
        }
    }

    fn class(&mut self, ends: &Ends, rules: &Rules, changed: &mut Changed) -> ClassId {
        if ends.is_empty() {
            return ClassId(0);
        }
        if let Some((class, users)) = self.ids.get_mut(ends) {
            *users += 1;
            return *class;
        }
        let class = ClassId(self.numbers.number(rules, ends));
        self.ids.insert(Ends::clone(ends), (class, 1));
        changed.new.push((class, Ends::clone(ends)));
        class
    }
}

fn key(net: &IpNet) -> NetKey {
    (net.network(), net.prefix_len())
}

fn net((addr, len): NetKey) -> IpNet {
    IpNet::new(addr, len).expect("it was one")
}

pub(super) fn union(a: &Ends, b: &Ends) -> Ends {
    if b.is_empty() {
        return Ends::clone(a);
    }
    a.iter().chain(b.iter()).copied().collect::<BTreeSet<_>>().into_iter().collect()
}
