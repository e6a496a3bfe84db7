//! What an uplink's NIC must do for the datapath: leave VLAN tags in frames that XDP is to see, and accept
//! frames to the MACs behind a bridge. Undone when it is no longer wanted.

use std::collections::BTreeSet;

use fwd_common::addr::Mac;
use netlink_packet_route::{
    AddressFamily,
    link::{LinkFlags, LinkMessage},
    neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::{
    driver,
    error::{Error, Result, cause},
    journal::{Change, Journal},
    link,
    netlink::Netlink,
};

/// What an uplink is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    pub device: String,
    /// XDP runs on it.
    pub xdp: bool,
    /// It is part of a bridge network with these MACs behind it; `None`: it is not.
    pub bridged_macs: Option<Vec<Mac>>,
    /// Addresses on its link are answered for that are not the host's: questions for them go to groups of which the
    /// host is no member.
    pub answers: bool,
}

impl Netlink {
    /// Brings every uplink to what is wanted, and gives back what no uplink needs any more.
    pub(super) async fn prepare_uplinks(&self, wanted: &[Uplink], journal: &mut Journal) -> Result<()> {
        let mut changes = BTreeSet::new();
        for uplink in wanted {
            // One that is not there yet is prepared when it comes.
            if let Some(found) = self.find(&uplink.device).await? {
                changes.extend(changes_for(uplink, &found));
            }
        }
        for change in &changes {
            if !journal.changes().contains(change) {
                self.make(change, journal).await?;
            }
        }
        let surplus: Vec<Change> =
            journal.changes().iter().filter(|c| is_of_uplink(c) && !changes.contains(c)).cloned().collect();
        for change in surplus {
            self.undo_uplink(&change).await?;
            journal.forget(&change)?;
        }
        Ok(())
    }

    async fn make(&self, change: &Change, journal: &mut Journal) -> Result<()> {
        match change {
            // A device that has no such offload leaves tags alone anyway.
            Change::VlanStripping { device } if driver::strips_vlan(device).unwrap_or(false) => {
                journal.note(change.clone())?;
                driver::set_strips_vlan(device, false).map_err(failed(device, "leaving VLAN tags in"))?;
            }
            Change::AllMulticast { device } => {
                let found = self.find(device).await?;
                let is_on = found.is_some_and(|link| link.header.flags.contains(LinkFlags::Allmulti));
                if !is_on {
                    journal.note(change.clone())?;
                    self.set_all_multicast(device, AllMulticast::On).await?;
                }
            }
            Change::FilterMac { device, mac } => {
                journal.note(change.clone())?;
                let added = self.filter(device, *mac).await?;
                // A device without a filter receives everything.
                if !added {
                    journal.forget(change)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Undoes a noted change of an uplink; of a device that is gone there is nothing to undo.
    pub(super) async fn undo_uplink(&self, change: &Change) -> Result<()> {
        match change {
            Change::VlanStripping { device } if self.find(device).await?.is_some() => {
                driver::set_strips_vlan(device, true).map_err(failed(device, "taking VLAN tags out again"))
            }
            Change::AllMulticast { device } => self.set_all_multicast(device, AllMulticast::Off).await,
            Change::FilterMac { device, mac } => self.unfilter(device, *mac).await,
            _ => Ok(()),
        }
    }

    async fn set_all_multicast(&self, device: &str, state: AllMulticast) -> Result<()> {
        let Some(found) = self.find(device).await? else { return Ok(()) };
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(found.header.index)
            .allmulticast(state == AllMulticast::On)
            .build();
        self.change(device, message).await
    }

    /// Adds a MAC to the device's receive filter; `false` where it has none.
    async fn filter(&self, device: &str, mac: [u8; 6]) -> Result<bool> {
        let Some(found) = self.find(device).await? else { return Ok(false) };
        let request = self.handle.neighbours().add_bridge(found.header.index, &mac);
        match request.flags(NeighbourFlags::Own).execute().await.map_err(cause) {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            Err(source) => Err(failed(device, "adding a MAC to its filter")(source)),
        }
    }

    async fn unfilter(&self, device: &str, mac: [u8; 6]) -> Result<()> {
        let Some(found) = self.find(device).await? else { return Ok(()) };
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.header.ifindex = found.header.index;
        entry.header.state = NeighbourState::Permanent;
        entry.header.flags = NeighbourFlags::Own;
        entry.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
        match self.handle.neighbours().del(entry).execute().await.map_err(cause) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => {
                Err(failed(device, "taking a MAC out of its filter")(e))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AllMulticast {
    On,
    Off,
}

fn changes_for(uplink: &Uplink, found: &LinkMessage) -> Vec<Change> {
    let device = || uplink.device.clone();
    let mut changes = Vec::new();
    if uplink.xdp {
        changes.push(Change::VlanStripping { device: device() });
    }
    if uplink.answers || uplink.bridged_macs.is_some() {
        changes.push(Change::AllMulticast { device: device() });
    }
    if let Some(macs) = &uplink.bridged_macs {
        let others = macs.iter().filter(|mac| **mac != link::mac(found) && !mac.is_group());
        changes.extend(others.map(|mac| Change::FilterMac { device: device(), mac: mac.0 }));
    }
    changes
}

fn is_of_uplink(change: &Change) -> bool {
    matches!(change, Change::VlanStripping { .. } | Change::AllMulticast { .. } | Change::FilterMac { .. })
}

fn failed(device: &str, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let device = device.to_owned();
    move |source| Error::Device { device, action, source }
}
