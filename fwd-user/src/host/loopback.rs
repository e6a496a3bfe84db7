//! What `lo` needs so that answers of VMs to processes of this host may come in there: their source is an address
//! of this host itself, or of 127/8. Frames reach `lo` from this host only, so it opens nothing to others.

use super::{
    error::Result,
    journal::{Change, Journal},
    sysctl,
};

const KEYS: [&str; 2] = ["net/ipv4/conf/lo/accept_local", "net/ipv4/conf/lo/route_localnet"];

/// Sets what `lo` needs, or gives it back.
///
/// # Errors
/// If it cannot be noted, or the kernel refuses.
pub(super) fn prepare(is_wanted: bool, journal: &mut Journal) -> Result<()> {
    for key in KEYS {
        let is_ours =
            |change: &&Change| matches!(change, Change::Sysctl { key: noted, .. } if noted.as_str() == key);
        let noted = journal.changes().iter().find(is_ours).cloned();
        match noted {
            None if is_wanted && sysctl::exists(key) => {
                let was = sysctl::read(key)?;
                if was != "1" {
                    journal.note(Change::Sysctl { key: key.to_owned(), was })?;
                    sysctl::write(key, "1")?;
                }
            }
            Some(change @ Change::Sysctl { .. }) if !is_wanted => {
                if let Change::Sysctl { was, .. } = &change {
                    sysctl::write(key, was)?;
                }
                journal.forget(&change)?;
            }
            _ => {}
        }
    }
    Ok(())
}
