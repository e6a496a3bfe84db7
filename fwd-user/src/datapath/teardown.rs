//! Takes the datapath away, with or without a daemon that remembers it.

use std::{fs, path::Path};

use super::{
    attach, bpffs,
    error::{Error, Result},
    pins::Pins,
};

/// Detaches and removes everything under `bpffs`, whatever ABI it is of. Goes on after errors and returns
/// them all; a directory that is not there is as good as torn down.
pub fn tear_down(bpffs: &Path) -> Vec<Error> {
    if !bpffs.exists() {
        return Vec::new();
    }
    let versions = match Pins::open_all(bpffs) {
        Ok(versions) => versions,
        Err(e) => return vec![e],
    };
    let mut errors = Vec::new();
    for pins in versions {
        errors.extend(detach_all(&pins).unwrap_or_else(|e| vec![e]));
        errors.extend(removed(pins.root(), fs::remove_dir_all(pins.root())).err());
    }
    errors.extend(removed(bpffs, bpffs::clean_up(bpffs)).err());
    errors
}

fn detach_all(pins: &Pins) -> Result<Vec<Error>> {
    let links = pins.links()?;
    let filters = pins.filters()?;
    let links = links.iter().filter_map(|link| link.remove().err());
    let filters = filters.iter().filter_map(|filter| attach::remove_filter(pins, filter).err());
    Ok(links.chain(filters).collect())
}

fn removed(path: &Path, result: std::io::Result<()>) -> Result<()> {
    result.map_err(|source| Error::Directory { path: path.to_owned(), action: "removing it", source })
}
