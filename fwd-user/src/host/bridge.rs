//! Interfaces taken from a Linux bridge for ports and uplinks, and given back with the options that they had there.

use std::collections::BTreeSet;

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_route::link::{
    InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::{
    error::Result,
    journal::{Change, Journal},
    link,
    netlink::Netlink,
};

impl Netlink {
    /// Takes those interfaces from their bridges, and gives back what was taken and is no longer wanted. Of one that
    /// is not there nothing is done: it is taken when it comes.
    pub(super) async fn take_from_bridges(&self, wanted: &[String], journal: &mut Journal) -> Result<()> {
        let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
        let taken =
            journal.changes().iter().filter_map(|change| Some((taken(change)?.to_owned(), change.clone())));
        let taken: Vec<(String, Change)> = taken.collect();
        if wanted.is_empty() && taken.is_empty() {
            return Ok(());
        }
        for (device, change) in &taken {
            if !wanted.contains(device.as_str()) {
                self.give_to_bridge(change).await?;
                journal.forget(change)?;
            }
        }
        let links = self.links().await?;
        for found in &links {
            let Some(device) = link::name(found).filter(|name| wanted.contains(name.as_str())) else {
                continue;
            };
            let Some(bridge) = controller(found).and_then(|index| name_of(&links, index)) else { continue };
            // It may have come anew, with other options.
            for (_, change) in taken.iter().filter(|(name, _)| *name == device) {
                journal.forget(change)?;
            }
            journal.note(Change::TakenFromBridge {
                device: device.clone(),
                bridge,
                options: options(found),
            })?;
            let message = LinkMessageBuilder::<LinkUnspec>::new().index(found.header.index);
            self.change(&device, message.nocontroller().build()).await?;
        }
        Ok(())
    }

    /// Undoes a noted taking; where the interface or the bridge is gone, or somebody else has it, there is nothing to
    /// undo.
    pub(super) async fn give_to_bridge(&self, change: &Change) -> Result<()> {
        let Change::TakenFromBridge { device, bridge, options } = change else { return Ok(()) };
        let (Some(found), Some(bridge)) = (self.find(device).await?, self.find(bridge).await?) else {
            return Ok(());
        };
        if controller(&found).is_some() {
            return Ok(());
        }
        let message = || LinkMessageBuilder::<LinkUnspec>::new().index(found.header.index);
        self.change(device, message().controller(bridge.header.index).build()).await?;
        let options =
            options.iter().map(|(kind, value)| InfoBridgePort::Other(DefaultNla::new(*kind, value.clone())));
        let options = InfoPortData::BridgePort(options.collect());
        let message = message().set_port_kind(InfoPortKind::Bridge).set_port_data(options);
        self.change(device, message.build()).await
    }
}

fn taken(change: &Change) -> Option<&str> {
    match change {
        Change::TakenFromBridge { device, .. } => Some(device),
        _ => None,
    }
}

/// 0 is none: the kernel says so of an interface that was taken.
fn controller(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) if *index != 0 => Some(*index),
        _ => None,
    })
}

fn name_of(links: &[LinkMessage], index: u32) -> Option<String> {
    links.iter().find(|message| message.header.index == index).and_then(link::name)
}

/// What `bridge link set` can give to a port, as the kernel writes it.
fn options(message: &LinkMessage) -> Vec<(u16, Vec<u8>)> {
    use InfoBridgePort as P;
    let ports = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    });
    let data = ports.flatten().find_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => Some(data.as_slice()),
        _ => None,
    });
    let is_settable = |option: &&InfoBridgePort| {
        matches!(
            option,
            P::Priority(_)
                | P::Cost(_)
                | P::HairpinMode(_)
                | P::Guard(_)
                | P::Protect(_)
                | P::FastLeave(_)
                | P::Learning(_)
                | P::UnicastFlood(_)
                | P::ProxyARP(_)
                | P::ProxyARPWifi(_)
                | P::MulticastRouter(_)
                | P::MulticastFlood(_)
                | P::MulticastToUnicast(_)
                | P::BroadcastFlood(_)
                | P::GroupFwdMask(_)
                | P::NeighSupress(_)
                | P::Isolated(_)
                | P::Locked(_)
                | P::Mab(_)
        )
    };
    let bytes = |option: &InfoBridgePort| {
        let mut value = vec![0; option.value_len()];
        option.emit_value(&mut value);
        (option.kind(), value)
    };
    data.unwrap_or_default().iter().filter(is_settable).map(bytes).collect()
}
