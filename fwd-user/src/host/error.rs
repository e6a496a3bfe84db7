//! What can go wrong with the host's interfaces and settings, each naming the object that it concerns.

use std::{io, path::PathBuf};

/// A failure of the host's side.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Netlink: {action} failed: {source}.")]
    Netlink { action: &'static str, source: io::Error },
    #[error("Device {device}: {action} failed: {source}.")]
    Device { device: String, action: &'static str, source: io::Error },
    #[error("Sysctl {key}: {action} failed: {source}.")]
    Sysctl { key: String, action: &'static str, source: io::Error },
    #[error("File {}: {action} failed: {source}.", path.display())]
    File { path: PathBuf, action: &'static str, source: io::Error },
    #[error("File {}: line {line} is not understood. Move the file away; what it notes is not restored.", path.display())]
    Journal { path: PathBuf, line: usize },
    #[error("Namespace {name}: {action} failed: {source}.")]
    Namespace { name: String, action: &'static str, source: io::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

/// What a request to the kernel failed with, as an I/O error.
pub(super) fn cause(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
