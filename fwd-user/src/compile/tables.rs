//! The compiled rows: exactly what the maps are to hold, but for what the kernel itself writes.

use std::collections::BTreeMap;

use fwd_common::{
    fdb::{FdbEntry, FdbKey},
    forward::{ClientKey, Forward, ForwardKey},
    id::{ClassId, NetworkId, PortId, RowId},
    map,
    nat::ExemptionKey,
    neighbor::{Neighbor, NetworkAddress, SourceKey},
    network::{MemberKey, Network},
    policy::{ClassKey, PolicyKey, RowCopies, RowKey, RowVerdict},
    port::{Port, View},
    prefix::{Prefix, PrefixKey},
    settings::Settings,
};
use imbl::OrdMap;

/// All rows that user space owns; of what grows with rules, copies share what is the same. What the datapath itself keeps is left 0 here: `Port::generation`,
/// `Port::views` (they stand in `views`), `Settings::epoch`, `ClassKey::epoch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub settings: Settings,
    pub ports: BTreeMap<PortId, Port>,
    pub views: BTreeMap<PortId, View>,
    /// Devices by ifindex.
    pub port_of_device: BTreeMap<u32, PortId>,
    /// Ifindex of each port into which XDP may redirect.
    pub devices: BTreeMap<PortId, u32>,
    pub networks: BTreeMap<NetworkId, Network>,
    pub members: BTreeMap<MemberKey, PortId>,
    /// Configured ones only.
    pub neighbors: BTreeMap<NetworkAddress, Neighbor>,
    /// With the prefix length in bits. 1: allowed; 0: not, whatever is around it. Of port 0: the network that has
    /// the subnet.
    pub allowed_sources: BTreeMap<(SourceKey, u32), u32>,
    /// The value means nothing.
    pub host_addresses: BTreeMap<NetworkAddress, u32>,
    /// With the prefix length in bits.
    pub forwards: BTreeMap<(ForwardKey, u32), Forward>,
    /// With the prefix length in bits. 1: a client; 0: none.
    pub forward_clients: BTreeMap<(ClientKey, u32), u32>,
    /// With the prefix length in bits. 1: not translated; 0: as others.
    pub nat_exemptions: BTreeMap<(ExemptionKey, u32), u32>,
    /// With the prefix length in bits.
    pub nat_prefixes: BTreeMap<(PrefixKey, u32), Prefix>,
    /// With the prefix length in bits.
    pub classes: OrdMap<(ClassKey, u32), ClassId>,
    pub policies: OrdMap<PolicyKey, RowId>,
    /// With the prefix length in bits.
    pub rows: OrdMap<(RowKey, u32), RowVerdict>,
    /// Static ones only.
    pub fdb: BTreeMap<FdbKey, FdbEntry>,
}

/// Memory that the kernel takes for a row of a map, about; none where it took it for all rows when the map was made.
pub fn row_bytes(map: &str) -> Option<u64> {
    // What `struct lpm_trie_node` and `struct htab_elem` take beside key and value. As many nodes again lead to those
    // with rows, at most; they have no value.
    let trie = |key: usize, value: usize| 2 * (24 + key) + value;
    let hash = |key: usize, value: usize| 48 + key.next_multiple_of(8) + value.next_multiple_of(8);
    let bytes = match map {
        map::ALLOWED_SOURCES => trie(size_of::<SourceKey>(), size_of::<u32>()),
        map::FORWARDS => trie(size_of::<ForwardKey>(), size_of::<Forward>()),
        map::FORWARD_CLIENTS => trie(size_of::<ClientKey>(), size_of::<u32>()),
        map::NAT_EXEMPTIONS => trie(size_of::<ExemptionKey>(), size_of::<u32>()),
        map::NAT_PREFIXES => trie(size_of::<PrefixKey>(), size_of::<Prefix>()),
        map::IDENTITIES => trie(size_of::<ClassKey>(), size_of::<ClassId>()),
        map::ROWS => trie(size_of::<RowKey>(), size_of::<RowVerdict>()),
        map::POLICIES => hash(size_of::<PolicyKey>(), size_of::<RowCopies>()),
        _ => return None,
    };
    Some(bytes as u64)
}

impl Tables {
    /// How many rows each map has, by the map's name. Arrays that are full from the start are left out.
    pub fn rows_by_map(&self) -> Vec<(&'static str, u64)> {
        [
            (map::PORTS, self.ports.len()),
            (map::NETWORKS, self.networks.len()),
            (map::MEMBERS, self.members.len()),
            (map::NEIGHBORS, self.neighbors.len()),
            (map::ALLOWED_SOURCES, self.allowed_sources.len()),
            (map::HOST_ADDRESSES, self.host_addresses.len()),
            (map::FORWARDS, self.forwards.len()),
            (map::FORWARD_CLIENTS, self.forward_clients.len()),
            (map::NAT_EXEMPTIONS, self.nat_exemptions.len()),
            (map::NAT_PREFIXES, self.nat_prefixes.len()),
            // Two copies, one for each parity of the epoch.
            (map::IDENTITIES, 2 * self.classes.len()),
            (map::POLICIES, self.policies.len()),
            (map::ROWS, self.rows.len()),
            (map::FDB, self.fdb.len()),
        ]
        .map(|(name, rows)| (name, rows as u64))
        .to_vec()
    }
}
