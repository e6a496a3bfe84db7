//! Kernel settings under `/proc/sys`, those of the calling thread's network namespace.
//!
//! Keys are paths such as `net/ipv4/conf/tap0/forwarding`, since interface names may hold dots. Never written
//! here: `ip_forward`, and any IPv6 forwarding bit to 1 on an existing interface, because that deletes the
//! default routes that other interfaces learnt from router advertisements.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::error::{Error, Result};

/// Reads a setting.
///
/// # Errors
/// If there is no such setting.
pub fn read(key: &str) -> Result<String> {
    let text = fs::read_to_string(path(key)).map_err(failed(key, "reading"))?;
    Ok(text.trim_end().to_owned())
}

/// Writes a setting.
///
/// # Errors
/// If there is no such setting, or the kernel refuses the value.
pub fn write(key: &str, value: &str) -> Result<()> {
    fs::write(path(key), value).map_err(failed(key, "writing"))
}

/// Whether this kernel has the setting.
pub fn exists(key: &str) -> bool {
    path(key).exists()
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

fn failed(key: &str, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let key = key.to_owned();
    move |source| Error::Sysctl { key, action, source }
}
