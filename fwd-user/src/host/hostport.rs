//! A network's port towards the host: a veth pair. The host's end has the gateway addresses, so the host's
//! own stack answers ARP and ND there; on the datapath's end fwd runs its programs, and routes are looked up
//! in its name.
//!
//! Guarantees: forwarding is on at the datapath's end only; no forwarding bit of another interface is
//! touched; the gateway answers as soon as [`Netlink::ensure_host_port`] returns (no address detection).
//! The pair is known by its alias, so it can be removed by whoever comes later.

use std::{net::IpAddr, os::fd::AsRawFd};

use futures::TryStreamExt;
use fwd_common::addr::Mac;
use ipnet::IpNet;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
        LinkMessage,
    },
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{
    error::{Error, Result, cause},
    journal::{Change, Journal},
    link,
    namespace::Namespace,
    neighborhood,
    netlink::Netlink,
    sysctl,
};

/// What a network's host port is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub network: String,
    pub mac: Mac,
    pub mtu: u32,
    /// Gateway addresses with their subnets' prefix lengths.
    pub gateways: Vec<IpNet>,
    /// Private networks: the namespace in which the host's end lives.
    pub namespace: Option<String>,
}

/// What a gateway does when guests join its network.
#[derive(Clone, Debug)]
pub struct Greeting<'a> {
    pub port: &'a HostPort,
    /// Addresses of guests whose MAC nobody configured: one that has nothing to say would stay unknown.
    pub unheard: Vec<IpAddr>,
}

/// Longest name of an interface.
const NAME_LEN: usize = 15;
const HOST_END: &str = "fwd-";
const DATAPATH_END: &str = "fwp-";
/// Before the network's name.
const ALIAS: &str = "fwd: network ";
const DEFAULT_FORWARDING: &str = "net/ipv6/conf/default/forwarding";

/// The name of the end that the host sees.
pub fn host_end(network: &str) -> String {
    device_name(HOST_END, network)
}

/// The name of the end on which the datapath runs.
pub fn datapath_end(network: &str) -> String {
    device_name(DATAPATH_END, network)
}

/// The namespace of a private network's host end.
pub fn namespace_of(instance: &str, network: &str) -> String {
    format!("fwd-{instance}-{network}")
}

/// The network's name as it is where it fits, else its start and a hash of the whole.
fn device_name(prefix: &str, network: &str) -> String {
    const HASH_LEN: usize = 6;
    let room = NAME_LEN - prefix.len();
    if network.len() <= room {
        return format!("{prefix}{network}");
    }
    // FNV-1a: names must stay the same from build to build.
    let hash = network.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let start: String = network.chars().take(room - HASH_LEN).collect();
    format!("{prefix}{start}{:06x}", hash & 0xff_ffff)
}

/// Whether an interface with this alias is an end of a pair.
pub(super) fn is_own_alias(alias: &str) -> bool {
    alias.starts_with(ALIAS)
}

fn alias_of(network: &str) -> String {
    format!("{ALIAS}{network}")
}

impl Netlink {
    /// Makes the pair, or brings the one that is there to what is wanted.
    ///
    /// # Errors
    /// If an interface of that name is not fwd's, or the kernel refuses a step.
    pub(super) async fn ensure_host_port(&self, wanted: &HostPort, journal: &mut Journal) -> Result<()> {
        let (near, far) = (datapath_end(&wanted.network), host_end(&wanted.network));
        let home = match &wanted.namespace {
            Some(name) => {
                journal.note(Change::Namespace { name: name.clone() })?;
                Some(Namespace::ensure(name)?)
            }
            None => None,
        };
        let inner = match &home {
            Some(namespace) => namespace.netlink()?,
            None => self.clone(),
        };
        let mut pair = (self.find(&near).await?, inner.find(&far).await?);
        // Without an alias: an interrupted creation left it.
        if let Some(found) = &pair.0
            && link::alias(found).is_some_and(|alias| alias != alias_of(&wanted.network))
        {
            return Err(refused(&near, "it is not fwd's own; adopting it"));
        }
        // Half a pair, or one whose other half is in another namespace.
        if pair.0.is_none() || pair.1.is_none() {
            if let Some(half) = pair.0 {
                self.delete(&near, half.header.index).await?;
            }
            self.make_pair(wanted, home.as_ref(), journal).await?;
            pair = (self.find(&near).await?, inner.find(&far).await?);
        }
        let (Some(near_end), Some(far_end)) = pair else {
            return Err(refused(&near, "finding what was just made"));
        };
        sysctl::write(&format!("net/ipv4/conf/{near}/forwarding"), "1")?;
        match &home {
            Some(namespace) => namespace.inside(|| quiet(&far))?,
            None => quiet(&far)?,
        }
        inner.configure_far_end(wanted, &far_end).await?;
        self.configure_near_end(wanted, &near_end).await
    }

    /// Has a gateway tell its network its MAC. A guest that asked before the datapath was on its device was
    /// answered by the host's stack, with the MAC of the device. And has it ask for guests that have not spoken.
    pub(super) async fn greet(&self, Greeting { port, unheard }: &Greeting<'_>) -> Result<()> {
        let inner = match &port.namespace {
            Some(name) => Namespace::open(name)?.netlink()?,
            None => self.clone(),
        };
        let device = host_end(&port.network);
        let Some(found) = inner.find(&device).await? else { return Ok(()) };
        // Given a MAC, be it the one it has, the kernel announces its addresses: see `quiet`.
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(found.header.index)
            .address(port.mac.0.to_vec())
            .build();
        inner.change(&device, message).await?;
        neighborhood::ask(&inner, found.header.index, unheard).await
    }

    /// Removes the pairs that fwd made in this namespace, but for those of some networks; goes on after
    /// errors and returns them.
    pub(super) async fn remove_host_ports_but(&self, kept: &[&str]) -> Vec<Error> {
        let links = match self.links().await {
            Ok(links) => links,
            Err(e) => return vec![e],
        };
        let mut errors = Vec::new();
        for found in links {
            let name = link::name(&found).unwrap_or_default();
            let network = link::alias(&found).and_then(|alias| alias.strip_prefix(ALIAS));
            if name.starts_with(DATAPATH_END) && network.is_some_and(|network| !kept.contains(&network)) {
                errors.extend(self.delete(&name, found.header.index).await.err());
            }
        }
        errors
    }

    async fn make_pair(
        &self,
        wanted: &HostPort,
        home: Option<&Namespace>,
        journal: &mut Journal,
    ) -> Result<()> {
        let (near, far) = (datapath_end(&wanted.network), host_end(&wanted.network));
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new().name(far).address(wanted.mac.0.to_vec());
        if let Some(namespace) = home {
            peer = peer.setns_by_fd(namespace.file().as_raw_fd());
        }
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(near.clone())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .build();
        // An interface that is made while the default is 1 forwards IPv6; to switch it on later would delete
        // default routes of other interfaces.
        let noted = sysctl::exists(DEFAULT_FORWARDING)
            .then(|| sysctl::read(DEFAULT_FORWARDING))
            .transpose()?
            .map(|was| Change::Sysctl { key: DEFAULT_FORWARDING.to_owned(), was });
        if let Some(change) = &noted {
            journal.note(change.clone())?;
            sysctl::write(DEFAULT_FORWARDING, "1")?;
        }
        let made = self.handle.link().add(pair).execute().await;
        if let Some(change @ Change::Sysctl { key, was }) = &noted {
            sysctl::write(key, was)?;
            journal.forget(change)?;
        }
        made.map_err(|e| Error::Device { device: near, action: "making it", source: cause(e) })
    }

    async fn configure_near_end(&self, wanted: &HostPort, found: &LinkMessage) -> Result<()> {
        if is_configured(wanted, found) {
            return Ok(());
        }
        let ifindex = found.header.index;
        // It has no addresses, not even a link-local one: nothing but the datapath speaks there.
        let without_addresses =
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])]);
        let device = datapath_end(&wanted.network);
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(ifindex)
            .alias(alias_of(&wanted.network))
            .mtu(wanted.mtu)
            .append_extra_attribute(without_addresses)
            .build();
        self.change(&device, message).await?;
        // Not in one message: the kernel would bring it up first, and then give it no address any more.
        self.change(&device, LinkMessageBuilder::<LinkUnspec>::new().index(ifindex).up().build()).await
    }

    async fn configure_far_end(&self, wanted: &HostPort, found: &LinkMessage) -> Result<()> {
        let (device, ifindex) = (host_end(&wanted.network), found.header.index);
        if !is_configured(wanted, found) || link::mac(found) != wanted.mac {
            let message = LinkMessageBuilder::<LinkUnspec>::new()
                .index(ifindex)
                .alias(alias_of(&wanted.network))
                .address(wanted.mac.0.to_vec())
                .mtu(wanted.mtu)
                .up()
                .build();
            self.change(&device, message).await?;
        }
        let mut missing = wanted.gateways.clone();
        for found in self.messages_of_addresses(ifindex).await? {
            let Some(address) = own_address(&found) else { continue };
            let is_wanted = missing.iter().position(|gateway| *gateway == address);
            match is_wanted {
                Some(at) => drop(missing.remove(at)),
                None if is_link_local(address.addr()) => {}
                None => self.handle.address().del(found).execute().await.map_err(|e| Error::Device {
                    device: device.clone(),
                    action: "removing an address",
                    source: cause(e),
                })?,
            }
        }
        for gateway in missing {
            let mut request = self.handle.address().add(ifindex, gateway.addr(), gateway.prefix_len());
            if gateway.addr().is_ipv6() {
                let message = request.message_mut();
                message.header.flags |= AddressHeaderFlags::Nodad;
                message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
            request.execute().await.map_err(|e| Error::Device {
                device: device.clone(),
                action: "adding a gateway address",
                source: cause(e),
            })?;
        }
        Ok(())
    }

    async fn messages_of_addresses(&self, ifindex: u32) -> Result<Vec<AddressMessage>> {
        let request = self.handle.address().get().set_link_index_filter(ifindex).execute();
        request
            .try_collect()
            .await
            .map_err(|e| Error::Netlink { action: "listing addresses", source: cause(e) })
    }
}

/// Whether either end needs no change. To set what is set already would be told to everybody who follows
/// interfaces, the daemon first of all, which would look again, and set it again, for ever.
fn is_configured(wanted: &HostPort, found: &LinkMessage) -> bool {
    link::alias(found).is_some_and(|alias| alias == alias_of(&wanted.network))
        && link::mtu(found) == Some(wanted.mtu)
        && found.header.flags.contains(LinkFlags::Up)
}

/// What the host's end does not do: look for duplicates of its addresses, listen to routers among the VMs,
/// forward IPv6 (0 is written, which touches no other interface). What it does: tell its addresses when it is
/// given a MAC.
fn quiet(device: &str) -> Result<()> {
    let base = format!("net/ipv6/conf/{device}");
    if sysctl::exists(&base) {
        for key in ["forwarding", "accept_ra", "accept_dad", "dad_transmits"] {
            sysctl::write(&format!("{base}/{key}"), "0")?;
        }
        sysctl::write(&format!("{base}/ndisc_notify"), "1")?;
    }
    sysctl::write(&format!("net/ipv4/conf/{device}/arp_notify"), "1")
}

fn own_address(message: &AddressMessage) -> Option<IpNet> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn refused(device: &str, action: &'static str) -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    Error::Device { device: device.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(host_end("vmnat"), "fwd-vmnat");
        assert_eq!(datapath_end("elevenchars"), "fwp-elevenchars");
        let long = ["production-east", "production-west"].map(host_end);
        assert_ne!(long[0], long[1]);
        assert!(long.iter().all(|name| name.len() == NAME_LEN && name.starts_with("fwd-produ")));
        assert_eq!(namespace_of("lab", "blue"), "fwd-lab-blue");
    }
}
