//! Which interface a VM port has, and which MAC it is given: by the document, or by a domain of libvirt.

use fwd_common::addr::Mac;

use crate::{
    api::{
        spec::Port,
        text::{DomainNic, parse_mac},
    },
    host::inventory::{Inventory, Tap},
};

/// The name of a port's interface; none of a domain's that does not run, or has none.
pub fn device_name<'a>(inventory: &'a Inventory, port: &'a Port) -> Option<&'a str> {
    match &port.libvirt {
        None => Some(&port.device),
        Some(nic) => tap(inventory, nic)?.device.as_deref(),
    }
}

/// The MAC that a port is given: the document's, else the one that its domain has.
pub fn given_mac(inventory: &Inventory, port: &Port) -> Option<Mac> {
    let configured = port.mac.as_deref().and_then(|text| parse_mac(text).ok());
    configured.or_else(|| tap(inventory, port.libvirt.as_ref()?)?.mac)
}

fn tap<'a>(inventory: &'a Inventory, nic: &str) -> Option<&'a Tap> {
    let DomainNic { domain, index } = nic.parse().ok()?;
    inventory.domains.get(&(domain, index))
}
