//! The host as a whole: looked at, brought to what is wanted, and given back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fwd_common::nat::L4Range;

use tokio::sync::mpsc;

use super::{
    Inventory,
    dnsmasq::{self, Servers, Service},
    error::{Error, Result},
    hostport::{Greeting, HostPort, datapath_end},
    journal::{Change, Journal},
    libvirt::Domains,
    loopback, namespace,
    netlink::{Follower, Netlink, connect},
    reserved, sysctl,
    uplink::Uplink,
};

/// This host, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Host {
    netlink: Netlink,
    journal: Journal,
    servers: Servers,
    domains: Option<Domains>,
    news: mpsc::UnboundedSender<()>,
    state_dir: PathBuf,
}

/// Where the host tells what changed by itself.
#[derive(Debug)]
pub struct News {
    pub follower: Follower,
    /// Leases changed, or a server ended, or a domain of libvirt started, stopped, got or lost an interface.
    pub guests: mpsc::UnboundedReceiver<()>,
}

/// What the host is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub host_ports: Vec<HostPort>,
    pub uplinks: Vec<Uplink>,
    /// Interfaces that no Linux bridge is to have.
    pub taken_over: Vec<String>,
    /// What NAT gives out; ranges may overlap.
    pub nat_l4_ports: Vec<L4Range>,
    /// Whether answers of VMs come in on `lo`.
    pub loopback: bool,
    pub services: Vec<Service>,
}

impl Wanted {
    /// Whether a bridge has again what was taken from it.
    #[must_use]
    pub fn is_disputed(&self, seen: &Inventory) -> bool {
        let mut devices = self.taken_over.iter().filter_map(|device| seen.devices.get(device));
        devices.any(|device| device.master.is_some())
    }
}

impl Host {
    /// Connects to the kernel and reads what was changed before; needs a tokio runtime.
    ///
    /// # Errors
    /// If there is no netlink socket, or the notes of changes are damaged.
    pub fn open(state_dir: &Path) -> Result<(Self, News)> {
        let (netlink, follower) = connect()?;
        let journal = Journal::open(state_dir)?;
        let (news, guests) = mpsc::unbounded_channel();
        let servers = Servers::open(state_dir, news.clone());
        let state_dir = state_dir.to_owned();
        Ok((Self { netlink, journal, servers, domains: None, news, state_dir }, News { follower, guests }))
    }

    /// From now on follows the interfaces of libvirt's domains, whose state it keeps in a directory.
    pub fn follow_domains(&mut self, run_dir: &Path) {
        self.domains = Some(Domains::open(run_dir, self.news.clone()));
    }

    /// Interfaces and addresses, with the host ports of some networks told apart, and what is served.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn inventory(&mut self, networks: &[&str]) -> Result<Inventory> {
        let mut devices = self.netlink.devices().await?;
        let take = |network: &&str| Some(((*network).to_owned(), devices.remove(&datapath_end(network))?));
        let host_ports: BTreeMap<_, _> = networks.iter().filter_map(take).collect();
        let (served, domains) = (self.servers.look(), self.domains.as_ref().map(Domains::look));
        Ok(Inventory {
            devices,
            host_ports,
            served,
            domains: domains.unwrap_or_default(),
            ..Inventory::default()
        })
    }

    /// Makes what is wanted and is not there, and gives back what is there and no longer wanted.
    ///
    /// # Errors
    /// Stops at the first step that the host refuses; preparing again goes on from there.
    pub async fn prepare(&mut self, wanted: &Wanted) -> Result<()> {
        reserved::reserve(&wanted.nat_l4_ports, &mut self.journal)?;
        loopback::prepare(wanted.loopback, &mut self.journal)?;
        let networks: Vec<&str> = wanted.host_ports.iter().map(|port| port.network.as_str()).collect();
        if let Some(error) = self.netlink.remove_host_ports_but(&networks).await.into_iter().next() {
            return Err(error);
        }
        self.remove_namespaces_but(&wanted.host_ports)?;
        for port in &wanted.host_ports {
            self.netlink.ensure_host_port(port, &mut self.journal).await?;
        }
        self.netlink.take_from_bridges(&wanted.taken_over, &mut self.journal).await?;
        self.netlink.prepare_uplinks(&wanted.uplinks, &mut self.journal).await?;
        self.servers.prepare(&wanted.services);
        Ok(())
    }

    /// Has gateways tell their MACs, and ask for guests. Goes on after errors and returns them.
    pub async fn greet(&self, greetings: &[Greeting<'_>]) -> Vec<Error> {
        let mut errors = Vec::new();
        for greeting in greetings {
            errors.extend(self.netlink.greet(greeting).await.err());
        }
        errors
    }

    /// Undoes every noted change, newest first, and removes the interfaces that fwd made, and ends its
    /// servers. Goes on after errors and returns them; what failed stays noted.
    pub async fn restore(&mut self) -> Vec<Error> {
        dnsmasq::end_all(&self.state_dir);
        let mut errors = self.netlink.remove_host_ports_but(&[]).await;
        for change in self.journal.changes().to_vec().into_iter().rev() {
            match self.undo(&change).await {
                Ok(()) => errors.extend(self.journal.forget(&change).err()),
                Err(e) => errors.push(e),
            }
        }
        errors
    }

    async fn undo(&self, change: &Change) -> Result<()> {
        match change {
            Change::Sysctl { key, was } if sysctl::exists(key) => sysctl::write(key, was),
            // Its interface is gone, and took the setting along.
            Change::Sysctl { .. } => Ok(()),
            Change::ReservedL4Ports { low, high } => reserved::give_back(L4Range { low: *low, high: *high }),
            Change::Namespace { name } => namespace::remove(name),
            Change::VlanStripping { .. } | Change::AllMulticast { .. } | Change::FilterMac { .. } => {
                self.netlink.undo_uplink(change).await
            }
            Change::TakenFromBridge { .. } => self.netlink.give_to_bridge(change).await,
        }
    }

    fn remove_namespaces_but(&mut self, kept: &[HostPort]) -> Result<()> {
        for change in self.journal.changes().to_vec() {
            if let Change::Namespace { name } = &change
                && !kept.iter().any(|port| port.namespace.as_ref() == Some(name))
            {
                namespace::remove(name)?;
                self.journal.forget(&change)?;
            }
        }
        Ok(())
    }
}
