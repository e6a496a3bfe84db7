//! The system packages that fwd is built and tested with, on Debian and Ubuntu.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::{answer, output};
use crate::step::Step;

/// The C compiler: rustc links with it, and the bundled SQLite is built with it.
pub const BUILD: &[&str] = &["gcc", "libc6-dev"];

/// What the lab, its guests and its observers are made of.
pub const TEST: &[&str] = &[
    "bird2",
    "bpftool",
    "busybox-static",
    "cpio",
    "curl",
    "dnsmasq-base",
    "ethtool",
    "iperf3",
    "ipxe-qemu",
    "iproute2",
    "isc-dhcp-client",
    "kmod",
    "libvirt-clients",
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "nftables",
    "procps",
    "prometheus",
    "qemu-system-x86",
    "seabios",
    "socat",
    "systemd",
    "tcpdump",
    "util-linux",
    "wireguard-tools",
    "xz-utils",
];

/// What fwd is compared with, beside what the kernel and the packages of the tests have.
pub const PEERS: &[&str] = &["haproxy", "iptables", "netsniff-ng", "openvswitch-switch"];

/// Packages of these that come with services, and the units that start by themselves. The tests and the benchmarks start their own, in namespaces.
const SERVICES: [(&str, &str); 5] = [
    ("bird2", "bird.service"),
    ("haproxy", "haproxy.service"),
    ("openvswitch-switch", "openvswitch-switch.service"),
    ("openvswitch-switch", "ovs-record-hostname.service"),
    ("prometheus", "prometheus.service"),
];

/// Installs those that are missing, after naming them; without root or apt it says what to install.
///
/// # Errors
/// When apt fails.
pub fn install(step: &Step, packages: &[&str]) -> Result<String> {
    let Some(installed) =
        answer(Command::new("dpkg-query").args(["-W", "-f", "${Package} ${db:Status-Status}\n"]))
    else {
        return Ok(format!("no dpkg here: install what is missing of {}", packages.join(" ")));
    };
    let missing = missing(packages, &installed);
    if missing.is_empty() {
        return Ok(format!("{} already there", packages.len()));
    }
    if !is_root() {
        return Ok(format!(
            "missing, and only root can install them: `sudo apt-get install {}`",
            missing.join(" ")
        ));
    }
    step.says(&format!("apt-get install {}", missing.join(" ")));
    output(apt_get().arg("update"))?;
    let units = units(&missing);
    unstarted(&units, || {
        output(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&missing))
    })?;
    Ok(match units.is_empty() {
        true => "installed".to_owned(),
        false => format!("installed; disabled {}", units.join(" ")),
    })
}

/// Installs by `work`, and keeps these units from running on this host, now and after a reboot.
///
/// A package's scripts start no masked unit; a mask at run time outlives no reboot, should this be interrupted.
///
/// # Errors
/// Those of `work`, and when a unit that it has installed cannot be disabled.
fn unstarted<T>(units: &[&str], work: impl FnOnce() -> Result<T>) -> Result<T> {
    if units.is_empty() {
        return work();
    }
    // Where systemd does not run there is nothing to mask, and a mask would make the folder that says it runs
    // (sd_booted(3)): `unmask` would then look for it.
    let is_booted = Path::new("/run/systemd/system").is_dir();
    if is_booted {
        output(Command::new("systemctl").args(["mask", "--runtime"]).args(units))?;
    }
    let done = work();
    if is_booted {
        output(Command::new("systemctl").args(["unmask", "--runtime"]).args(units))?;
    }
    let done = done?;
    output(Command::new("systemctl").arg("disable").args(units))?;
    Ok(done)
}

/// The services that come with these packages.
fn units(packages: &[&str]) -> Vec<&'static str> {
    SERVICES.iter().filter(|(package, _)| packages.contains(package)).map(|(_, unit)| *unit).collect()
}

/// Gets the archive's lists where an image came without: the guests' kernel is fetched by them.
///
/// # Errors
/// When apt fails.
pub fn list(step: &Step) -> Result<String> {
    let Ok(lists) = fs::read_dir("/var/lib/apt/lists") else {
        return Ok("no apt here: the tests with guests will be skipped".to_owned());
    };
    if lists.flatten().any(|list| list.file_name().to_string_lossy().contains("_Packages")) {
        return Ok("already there".to_owned());
    }
    if !is_root() {
        return Ok("absent, and only root can get them: `sudo apt-get update`".to_owned());
    }
    step.says("apt-get update");
    output(apt_get().arg("update"))?;
    Ok("there".to_owned())
}

/// Those of the wanted packages that dpkg's list does not call installed.
fn missing<'a>(wanted: &[&'a str], listed: &str) -> Vec<&'a str> {
    let installed: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    wanted.iter().copied().filter(|package| !installed.contains(package)).collect()
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    answer(Command::new("id").arg("-u")).is_some_and(|user| user.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::{TEST, missing, units, unstarted};

    #[test]
    fn removed_and_unknown_packages_are_missing() {
        let listed = "curl installed\nsocat config-files\niproute2 installed\n";
        assert_eq!(missing(&["curl", "iproute2", "socat", "tcpdump"], listed), ["socat", "tcpdump"]);
    }

    #[test]
    fn services_of_missing_packages_only_are_touched() {
        assert_eq!(units(TEST), ["bird.service", "prometheus.service"]);
        assert_eq!(units(&["curl", "prometheus"]), ["prometheus.service"]);
        let refused = unstarted(&units(&["curl"]), || anyhow::bail!("refused") as anyhow::Result<()>);
        assert_eq!(refused.expect_err("no install").to_string(), "refused");
    }
}
