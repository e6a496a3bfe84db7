//! A guest's DHCP clients: busybox' udhcpc, and ISC's dhclient for IPv6, with scripts that set what they are told. And a LAN's server, which is none of
//! fwd's.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use crate::lab::eventually;
use crate::netns::{Netns, output};

/// What the client calls; `env` tells the test what the server said.
const SCRIPT: &str = "#!/bin/sh\n\
    case $1 in bound|renew) ;; *) exit 0 ;; esac\n\
    ip addr flush dev $interface scope global\n\
    ip addr add $ip/$mask dev $interface\n\
    [ -z \"$router\" ] || ip route replace default via $router\n\
    env\n";

/// An answer of the DHCP server, by udhcpc's words: `ip`, `router`, `dns`, `mtu`, `domain`, `hostname`.
#[derive(Clone, Debug)]
pub struct Leased(String);

impl Leased {
    /// What the server said under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Asks for an address for a device, and sets what comes.
///
/// # Errors
/// If nobody gives one.
pub fn lease(netns: &Netns, device: &str) -> Result<Leased> {
    let script = std::env::temp_dir().join(format!("{}-udhcpc", netns.name()));
    std::fs::write(&script, SCRIPT)?;
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
    let mut client = netns.command("busybox");
    client.args(["udhcpc", "-f", "-q", "-n", "-t", "5", "-T", "2", "-i", device]);
    client.args(["-O", "mtu", "-O", "ntpsrv", "-s"]).arg(&script);
    let said = output(&mut client).context("no lease");
    std::fs::remove_file(&script)?;
    said.map(Leased)
}

/// What dhclient calls, before the file that is to have what the server said.
const SCRIPT6: &str = "#!/bin/sh\n\
    [ \"$reason\" = BOUND6 ] || exit 0\n\
    ip -6 addr add $new_ip6_address/64 dev $interface nodad\n\
    env > $0.part && mv $0.part $0.said\n";

/// Asks for an IPv6 address for a device that has its link-local one, and sets what comes; by dhclient's words:
/// `new_ip6_address`, `new_dhcp6_name_servers`.
///
/// # Errors
/// If nobody gives one.
pub fn lease6(netns: &Netns, device: &str) -> Result<Leased> {
    let script = std::env::temp_dir().join(format!("{}-dhclient", netns.name()));
    let [leases, pid, said] = ["leases", "pid", "said"].map(|end| script.with_extension(end));
    std::fs::write(&script, SCRIPT6)?;
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
    let mut client = netns.command("dhclient");
    client.args(["-6", "-1", "-d", "-q", "-sf"]).arg(&script).arg("-lf").arg(&leases).arg("-pf").arg(&pid);
    let mut client = client.arg(device).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let told = eventually(|| said.exists());
    client.kill()?;
    client.wait()?;
    let text = std::fs::read_to_string(&said);
    for file in [&script, &leases, &pid, &said] {
        _ = std::fs::remove_file(file);
    }
    ensure!(told, "no lease");
    Ok(Leased(text?))
}

/// A dnsmasq that gives out addresses on a device; it ends when it is dropped.
#[derive(Debug)]
pub struct DhcpServer(Child);

impl DhcpServer {
    /// `range` as `FIRST,LAST`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, device: &str, range: &str) -> Self {
        let mut server = netns.command("dnsmasq");
        server.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--bind-interfaces",
            "--user=root",
        ]);
        server.args(["--leasefile-ro", "--dhcp-authoritative", "--no-ping", "--pid-file="]);
        server.args([format!("--interface={device}"), format!("--dhcp-range={range},5m")]);
        Self(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsmasq can be started"))
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
