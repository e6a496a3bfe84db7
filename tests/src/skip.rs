//! What this machine can do, and how a test says that it cannot run here.
//!
//! A skipped test is never a passed one: it prints its reason and adds a line `name: reason` to the file
//! named by `FWD_SKIP_LOG`, which `cargo xtask test` shows at its end.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Returns from the test if the check fails, after recording why.
///
/// `need!(skip::root())`
#[macro_export]
macro_rules! need {
    ($check:expr) => {
        if let Err(reason) = $check {
            $crate::skip!("{reason}");
        }
    };
}

/// Records that this test cannot run here and returns from it.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skip::record(&format!($($reason)*));
        return;
    }};
}

/// Prints and logs the reason under the name of the running test.
pub fn record(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}", thread.name().unwrap_or("main"));
    eprintln!("SKIPPED {line}");
    if let Some(path) = std::env::var_os("FWD_SKIP_LOG") {
        let log = File::options().create(true).append(true).open(&path);
        let written = log.and_then(|mut log| writeln!(log, "{line}"));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Root, in the sense that namespaces, packet sockets and BPF need it.
///
/// # Errors
/// With the reason and the remedy.
pub fn root() -> Result<(), String> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("needs root: run it with sudo".into()) }
}

/// Root, and a kernel that loads BPF programs.
///
/// # Errors
/// With the reason and the remedy.
pub fn bpf() -> Result<(), String> {
    root()?;
    let loads =
        Command::new("bpftool").args(["prog", "list"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match loads {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("needs CAP_BPF on a kernel with BPF: run it as root, outside of containers".into()),
        Err(_) => program("bpftool", "bpftool"),
    }
}

/// QEMU, and what a guest is made of.
///
/// # Errors
/// With the reason and the remedy.
pub fn qemu() -> Result<(), String> {
    root()?;
    program("qemu-system-x86_64", "qemu-system-x86")?;
    program("busybox", "busybox-static")?;
    program("cpio", "cpio")?;
    program("modprobe", "kmod")
}

/// Debian's Prometheus.
///
/// # Errors
/// With the reason and the remedy.
pub fn prometheus() -> Result<(), String> {
    program("prometheus", "prometheus")
}

/// What checks units of systemd.
///
/// # Errors
/// With the reason and the remedy.
pub fn systemd_analyze() -> Result<(), String> {
    program("systemd-analyze", "systemd")
}

/// The server that networks are served by, and a client of it.
///
/// # Errors
/// With the reason and the remedy.
pub fn dnsmasq() -> Result<(), String> {
    program("dnsmasq", "dnsmasq-base")?;
    program("busybox", "busybox-static")
}

/// A client of DHCPv6, with the server.
///
/// # Errors
/// With the reason and the remedy.
pub fn dhclient() -> Result<(), String> {
    dnsmasq()?;
    program("dhclient", "isc-dhcp-client")
}

/// libvirt with its driver for QEMU.
///
/// # Errors
/// With the reason and the remedy.
pub fn libvirt() -> Result<(), String> {
    program("libvirtd", "libvirt-daemon, libvirt-daemon-driver-qemu")?;
    program("virsh", "libvirt-clients")
}

/// What gives WireGuard its keys and peers.
///
/// # Errors
/// With the reason and the remedy.
pub fn wireguard() -> Result<(), String> {
    program("wg", "wireguard-tools")
}

/// A routing daemon.
///
/// # Errors
/// With the reason and the remedy.
pub fn bird() -> Result<(), String> {
    program("bird", "bird2")
}

fn program(name: &str, package: &str) -> Result<(), String> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|dir| dir.join(name).exists())
    });
    if found { Ok(()) } else { Err(format!("needs {name}: apt-get install {package}")) }
}
