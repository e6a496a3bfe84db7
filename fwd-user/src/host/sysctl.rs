//! Kernel settings under `/proc/sys`, those of the calling thread's network namespace.
//!
//! Keys are paths such as `net/ipv4/conf/tap0/forwarding`, since interface names may hold dots. Never written
//! here: `ip_forward`, and any IPv6 forwarding bit to 1 on an existing interface, because that deletes the
//! default routes that other interfaces learnt from router advertisements.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::error::{Error, Result};

/// Longer than any setting; a list of L4 ports may have thousands of ranges.
const LONGEST: usize = 1 << 19;

/// Reads a setting.
///
/// # Errors
/// If there is no such setting.
pub(super) fn read(key: &str) -> Result<String> {
    // In one piece: a second read of a list finds nothing, so std's first one of 32 bytes would cut it.
    let mut bytes = vec![0; LONGEST];
    let read = File::open(path(key)).and_then(|mut file| file.read(&mut bytes));
    bytes.truncate(read.map_err(failed(key, "reading"))?);
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Writes a setting.
///
/// # Errors
/// If there is no such setting, or the kernel refuses the value.
pub(super) fn write(key: &str, value: &str) -> Result<()> {
    fs::write(path(key), value).map_err(failed(key, "writing"))
}

/// Whether this kernel has the setting.
pub(super) fn exists(key: &str) -> bool {
    path(key).exists()
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

fn failed(key: &str, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let key = key.to_owned();
    move |source| Error::Sysctl { key, action, source }
}
