//! Reads back the rows that user space owns: what a plan is made against after a restart.

use std::collections::BTreeMap;

use fwd_common::{
    addr::{Address, Mac},
    fdb,
    id::{NetworkId, PortId},
    neighbor::{self, Neighbor},
    policy::ClassKey,
    port::{Port, PortKind, View},
    settings::Settings,
};

use super::{error::Result, maps::Maps};
use crate::{
    compile::Tables,
    host::inventory::{Learnt, Lease},
};

/// All rows, without what the datapath itself keeps in them and without learnt rows.
pub(super) fn tables(maps: &Maps) -> Result<Tables> {
    let settings = maps.settings()?;
    let mut tables = Tables { settings: Settings { epoch: 0, ..settings }, ..Tables::default() };
    for (id, row) in maps.ports.rows()? {
        if row.kind != PortKind::None as u8 {
            let id = PortId(id as u16);
            tables.ports.insert(id, Port { generation: 0, views: Default::default(), ..row });
            tables.views.insert(id, row.view(settings.epoch));
        }
    }
    let low = maps.port_of_device.rows()?.into_iter();
    let devices = low.chain(maps.port_of_high_device.rows()?);
    tables.port_of_device = devices.filter(|(_, port)| *port != PortId::default()).collect();
    let devices = maps.devices.rows()?.into_iter().filter(|(_, device)| device.ifindex != 0);
    tables.devices = devices.map(|(port, device)| (PortId(port as u16), device.ifindex)).collect();
    let networks = maps.networks.rows()?.into_iter().filter(|(_, network)| network.mode != 0);
    tables.networks = networks.map(|(id, network)| (NetworkId(id as u16), network)).collect();
    tables.members = maps.members.rows()?.into_iter().collect();
    let neighbors = maps.neighbors.rows()?.into_iter();
    tables.neighbors = neighbors.filter(|(_, row)| row.flags & neighbor::flag::LEARNT == 0).collect();
    let sources = maps.allowed_sources.rows()?.into_iter();
    tables.allowed_sources = sources.map(|(k, row)| ((k.data, k.bits), row)).collect();
    tables.host_addresses = maps.host_addresses.rows()?.into_iter().collect();
    tables.forwards = maps.forwards.rows()?.into_iter().map(|(k, row)| ((k.data, k.bits), row)).collect();
    let clients = maps.forward_clients.rows()?.into_iter();
    tables.forward_clients = clients.map(|(k, row)| ((k.data, k.bits), row)).collect();
    let exemptions = maps.nat_exemptions.rows()?.into_iter();
    tables.nat_exemptions = exemptions.map(|(k, row)| ((k.data, k.bits), row)).collect();
    let prefixes = maps.nat_prefixes.rows()?.into_iter();
    tables.nat_prefixes = prefixes.map(|(k, row)| ((k.data, k.bits), row)).collect();
    let policies = maps.policies.rows()?.into_iter();
    tables.policies = policies.filter_map(|(key, rows)| Some((key, rows.row(settings.epoch)?))).collect();
    tables.rows = maps.rows.rows()?.into_iter().map(|(k, row)| ((k.data, k.bits), row)).collect();
    let fdb = maps.fdb.rows()?.into_iter();
    tables.fdb = fdb.filter(|(_, row)| row.flags & fdb::flag::STATIC != 0).collect();
    for (key, class) in maps.classes.rows()? {
        let ClassKey { epoch, addr } = key.data;
        if epoch == settings.epoch & 1 {
            tables.classes.insert((ClassKey { epoch: 0, addr }, key.bits), class);
        }
    }
    Ok(tables)
}

/// What the programs wrote down of those whom the document does not describe.
pub(super) fn learnt(maps: &Maps) -> Result<Vec<Learnt>> {
    let is_learnt = |row: &Neighbor| row.flags & neighbor::flag::LEARNT != 0;
    let neighbors = maps.neighbors.rows()?.into_iter().filter(|(_, row)| is_learnt(row));
    let mut learnt: Vec<_> = neighbors
        .map(|(key, row)| Learnt {
            network: key.network,
            port: row.port,
            mac: row.mac,
            addr: Some(key.addr.to_std()),
        })
        .collect();
    let macs = maps.port_macs.rows()?.into_iter().filter(|(_, mac)| *mac != Mac::NONE);
    for (id, mac) in macs {
        let port = PortId(id as u16);
        let network = maps.port(port)?.network;
        learnt.push(Learnt { network, port, mac, addr: None });
    }
    learnt.sort_by_key(|l| (l.port, l.addr));
    Ok(learnt)
}

/// What DHCP servers gave to guests of bridged networks, by network. Of two guests that were given one address, the
/// later one has it. `clock_began`: when the datapath's clock was 0, in seconds since the Unix epoch.
pub(super) fn leases(maps: &Maps, clock_began: u64) -> Result<BTreeMap<NetworkId, Vec<Lease>>> {
    let mut rows = maps.leases.rows()?;
    rows.sort_by_key(|(_, row)| row.given_ns);
    let latest: BTreeMap<_, _> =
        rows.into_iter().map(|(key, row)| ((key.network, row.addr), (key.mac, row))).collect();
    let mut leases: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for ((network, addr), (mac, row)) in latest {
        let given_secs = clock_began + row.given_ns / 1_000_000_000;
        let expires_secs = match row.seconds {
            u32::MAX => u64::MAX,
            seconds => given_secs + u64::from(seconds),
        };
        leases.entry(network).or_default().push(Lease {
            addr: addr.ip().to_std(),
            mac: Some(mac),
            expires_secs,
        });
    }
    Ok(leases)
}

/// Makes the copies that are out of use equal to those in use, as every plan expects
/// to find them; an interrupted or failed plan leaves them apart.
pub(super) fn align_copies(maps: &Maps) -> Result<()> {
    let epoch = maps.settings()?.epoch;
    let (used, spare) = (epoch & 1, (epoch + 1) & 1);
    for (id, row) in maps.ports.rows()? {
        let view: View = row.view(used);
        if row.view(spare) != view {
            maps.put_view(PortId(id as u16), view, spare)?;
        }
    }
    let policies = maps.policies.rows()?.into_iter().filter(|(_, rows)| rows.row(spare) != rows.row(used));
    let policies: Vec<_> = policies.map(|(key, rows)| (key, rows.row(used))).collect();
    maps.put_policies(&policies, spare)?;
    let rows = maps.classes.rows()?;
    let key = |k: &super::table::Prefix<ClassKey>| (ClassKey { epoch: 0, addr: { k.data }.addr }, k.bits);
    let in_copy = |copy| move |(k, _): &&(super::table::Prefix<ClassKey>, _)| { k.data }.epoch == copy;
    let wanted: BTreeMap<_, _> =
        rows.iter().filter(in_copy(used)).map(|(k, class)| (key(k), *class)).collect();
    let found: BTreeMap<_, _> =
        rows.iter().filter(in_copy(spare)).map(|(k, class)| (key(k), *class)).collect();
    let missing = wanted.iter().filter(|(key, class)| found.get(*key) != Some(*class));
    let gone = found.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (*key, None));
    let classes: Vec<_> = missing.map(|(key, class)| (*key, Some(*class))).chain(gone).collect();
    maps.put_classes(&classes, spare)
}
