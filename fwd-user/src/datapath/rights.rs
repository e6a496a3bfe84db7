//! What the process must be allowed to do and the kernel able to, checked before anything is changed.

use std::{fs, io};

use aya::{maps::MapType, sys::is_map_supported};

use super::error::{Error, Result};

/// Numbers of capability.h.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// # Errors
/// If a capability is missing without which nothing works; mounting a bpffs and private networks need
/// CAP_SYS_ADMIN too, and say so themselves.
pub fn check() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing(effective(&status));
    if missing.is_empty() { Ok(()) } else { Err(Error::Permission { missing: missing.join(", ") }) }
}

/// # Errors
/// If the kernel has no BPF, or is too old for the youngest thing without which nothing works.
pub fn check_kernel() -> Result<()> {
    let source = match is_map_supported(MapType::RingBuf) {
        Ok(true) => return Ok(()),
        Ok(false) => io::ErrorKind::Unsupported.into(),
        Err(e) => io::Error::other(e),
    };
    Err(Error::KernelLacks { feature: "BPF ring buffers", source })
}

fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    let mut missing = Vec::new();
    for (name, granted) in [
        ("CAP_NET_ADMIN", has(NET_ADMIN)),
        // CAP_SYS_ADMIN contains these two.
        ("CAP_BPF", has(BPF) || has(SYS_ADMIN)),
        ("CAP_PERFMON", has(PERFMON) || has(SYS_ADMIN)),
    ] {
        if !granted {
            missing.push(name);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        assert!(missing(effective("Name:\tfwd\nCapEff:\t000001ffffffffff\n")).is_empty());
        assert_eq!(missing(0), ["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(1 << NET_ADMIN | 1 << BPF), ["CAP_PERFMON"]);
        assert!(missing(1 << NET_ADMIN | 1 << SYS_ADMIN).is_empty());
    }
}
