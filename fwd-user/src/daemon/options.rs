//! What a daemon is started with.

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::{api::answer::DaemonOptions, datapath::LogLevel};

pub const DEFAULT_SOCKET: &str = "/run/fwd/fwd.sock";
pub const DEFAULT_STATE_DIR: &str = "/var/lib/fwd";
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/fwd";
pub const DEFAULT_LIBVIRT: &str = crate::host::LIBVIRT_RUN_DIR;

/// Where rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DatapathKind {
    #[default]
    Kernel,
    /// Nowhere but in memory: for tests and trials without privileges.
    Memory,
}

impl DatapathKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Memory => "memory",
        }
    }
}

/// Where /metrics is served, beside the unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metrics {
    Off,
    On(SocketAddr),
}

impl FromStr for Metrics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.parse::<SocketAddr>() {
            Ok(addr) if addr.ip().is_loopback() => Ok(Self::On(addr)),
            Ok(_) => Err("metrics are served on a loopback address only: put a proxy in front".to_owned()),
            Err(_) => Err("write off, or an address and L4 port as 127.0.0.1:9465".to_owned()),
        }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(addr) => write!(f, "{addr}"),
        }
    }
}

/// The options of `fwd up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub socket: PathBuf,
    pub state_dir: PathBuf,
    pub bpffs: PathBuf,
    /// Where libvirt keeps the state of its running domains.
    pub libvirt: PathBuf,
    pub metrics: Metrics,
    pub datapath: DatapathKind,
    /// What the programs tell through aya-log.
    pub datapath_log: LogLevel,
    /// In place of netlink: only with [`DatapathKind::Memory`].
    pub inventory: Option<PathBuf>,
    /// A document to apply at the start.
    pub config: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            state_dir: DEFAULT_STATE_DIR.into(),
            bpffs: DEFAULT_BPFFS.into(),
            libvirt: DEFAULT_LIBVIRT.into(),
            metrics: Metrics::On(SocketAddr::from(([127, 0, 0, 1], 9465))),
            datapath: DatapathKind::Kernel,
            datapath_log: LogLevel::Off,
            inventory: None,
            config: None,
        }
    }
}

impl Options {
    /// As `fwd status` shows them, and as `fwd up` compares them.
    pub fn shown(&self) -> DaemonOptions {
        DaemonOptions {
            socket: self.socket.display().to_string(),
            state_dir: self.state_dir.display().to_string(),
            bpffs: self.bpffs.display().to_string(),
            libvirt: self.libvirt.display().to_string(),
            metrics: self.metrics.to_string(),
            datapath_log: self.datapath_log.name().to_owned(),
        }
    }

    /// The command line that starts a daemon with these options.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["up".into(), "--foreground".into(), "--detached".into()];
        args.extend(self.instance());
        if let Some(config) = &self.config {
            args.extend(["--config".into(), config.clone().into()]);
        }
        args
    }

    /// The command line that starts a guard for this daemon. A daemon that it starts in turn comes up with what
    /// is in the store.
    pub fn guard_arguments(&self, after: Duration) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["guard".into(), "--after".into()];
        args.push(after.as_secs().to_string().into());
        args.extend(self.instance());
        args
    }

    fn instance(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let mut option = |name: &str, value: OsString| args.extend([OsString::from(name), value]);
        option("--socket", self.socket.clone().into());
        option("--state-dir", self.state_dir.clone().into());
        option("--bpffs", self.bpffs.clone().into());
        option("--libvirt", self.libvirt.clone().into());
        option("--metrics", self.metrics.to_string().into());
        option("--datapath", self.datapath.name().into());
        option("--datapath-log", self.datapath_log.name().into());
        if let Some(inventory) = &self.inventory {
            option("--inventory", inventory.clone().into());
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stay_on_loopback() {
        assert_eq!("off".parse(), Ok(Metrics::Off));
        assert_eq!("[::1]:9".parse::<Metrics>().map(|m| m.to_string()), Ok("[::1]:9".to_owned()));
        for refused in ["0.0.0.0:9465", "192.0.2.1:80", "9465", ""] {
            assert!(refused.parse::<Metrics>().is_err(), "{refused}");
        }
    }
}
