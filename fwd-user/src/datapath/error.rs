//! What can go wrong with the kernel's side, each naming the object that it concerns.

use std::{io, path::PathBuf};

use super::sys::Point;

/// A failure of the datapath in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("The capabilities {missing} are missing.")]
    Permission { missing: String },
    #[error("The kernel lacks {feature}.")]
    KernelLacks { feature: &'static str, source: io::Error },
    #[error("Directory {}: {action} failed: {source}.", path.display())]
    Directory { path: PathBuf, action: &'static str, source: io::Error },
    #[error("Directory {}: another fwd uses it.", path.display())]
    InUse { path: PathBuf },
    #[error("Directory {}: stale pins of another ABI.", path.display())]
    OtherAbi { path: PathBuf },
    #[error("Directory {}: its programs run in another network namespace.", path.display())]
    OtherNamespace { path: PathBuf },
    #[error("Pinned map {map}: {what} is {pinned}, this build needs {wanted}.")]
    MapDiffers { map: String, what: &'static str, pinned: u32, wanted: u32 },
    #[error("The kernel object is broken: {0}.")]
    Object(String),
    #[error("Program {program} was refused by the kernel: {reason}")]
    ProgramRefused { program: &'static str, reason: String },
    #[error("Map {map}: {action} failed: {source}.")]
    Map { map: &'static str, action: &'static str, source: io::Error },
    #[error("Map {map} is full: it holds {capacity} rows.")]
    MapFull { map: &'static str, capacity: u32 },
    #[error("Device {device}: there is no such device any more.")]
    NoDevice { device: String },
    #[error("Device {device}: XDP program {program} is attached already.")]
    Occupied { device: String, program: String },
    #[error("Device {device}: its driver refused XDP: {reason}.")]
    DriverRefused { device: String, reason: String },
    #[error("Device {device}: attaching to {} failed: {source}.", point.name())]
    Attach { device: String, point: Point, source: io::Error },
    #[error("Device {device}: taking the program off {} failed: {source}.", point.name())]
    Detach { device: String, point: Point, source: io::Error },
    #[error("Link {link}: {action} failed: {source}.")]
    Link { link: String, action: &'static str, source: io::Error },
    #[error("The sweep program failed: {0}.")]
    Sweep(io::Error),
    #[error("The trace failed: {0}.")]
    Trace(String),
    #[error("The kernel makes no packet of these {bytes} bytes to run a program on.")]
    Untraceable { bytes: usize },
}

pub type Result<T> = std::result::Result<T, Error>;
