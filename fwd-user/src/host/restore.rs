//! Gives the host back what it was, by what the journal says and by what bears fwd's alias.

use super::{
    error::{Error, Result},
    journal::{Change, Journal},
    namespace,
    netlink::Netlink,
    sysctl,
};

/// Undoes every noted change, newest first, and removes the interfaces that fwd made. Goes on after errors
/// and returns them; what failed stays noted.
pub async fn restore(netlink: &Netlink, journal: &mut Journal) -> Vec<Error> {
    let mut errors = netlink.remove_all_host_ports().await;
    for change in journal.changes().to_vec().into_iter().rev() {
        match undo(&change) {
            Ok(()) => errors.extend(journal.forget(&change).err()),
            Err(e) => errors.push(e),
        }
    }
    errors
}

fn undo(change: &Change) -> Result<()> {
    match change {
        Change::Sysctl { key, was } if sysctl::exists(key) => sysctl::write(key, was),
        // Its interface is gone, and took the setting along.
        Change::Sysctl { .. } => Ok(()),
        Change::Namespace { name } => namespace::remove(name),
    }
}
