//! `fwd up`: starts the daemon, waits until it is ready, and says what to do next.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{
    session::{Answered, Done, Session},
    status,
};
use crate::{
    api::{
        answer::{DaemonOptions, DaemonStatus},
        error::{ApiError, Code},
    },
    daemon::{
        self, DEFAULT_BPFFS, DEFAULT_LIBVIRT, DEFAULT_STATE_DIR, DatapathKind, LogLevel, Metrics, Options,
    },
};

#[derive(Clone, Debug, Args)]
pub struct Up {
    /// Stay in the foreground and log to standard error
    #[arg(long)]
    foreground: bool,
    /// Apply this document once up
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pub instance: Instance,
    /// What the kernel programs tell in the daemon's log; they are loaded anew for it
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    datapath_log: LogLevel,
    /// Where /metrics is served; must be a loopback address
    #[arg(long, value_name = "ADDR:L4PORT|off", default_value = "127.0.0.1:9465")]
    metrics: Metrics,
    /// Where libvirt keeps the state of its running domains
    #[arg(long, env = "FWD_LIBVIRT", value_name = "DIR", default_value = DEFAULT_LIBVIRT)]
    libvirt: PathBuf,
    /// Where rows are written
    #[arg(long, hide = true, value_enum, default_value_t)]
    datapath: DatapathKind,
    /// The host's interfaces, in place of netlink
    #[arg(long, hide = true, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Started by another `fwd up`, which reads from standard output how it went
    #[arg(long, hide = true)]
    detached: bool,
}

/// Which instance of fwd, beside its socket.
#[derive(Clone, Debug, Args)]
pub struct Instance {
    /// Where the document is stored
    #[arg(long, env = "FWD_STATE_DIR", value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// Where programs and maps are pinned
    #[arg(long, env = "FWD_BPFFS", value_name = "DIR", default_value = DEFAULT_BPFFS)]
    pub bpffs: PathBuf,
}

impl Up {
    pub async fn run(self, session: &Session) -> Answered {
        let options = self.options(session);
        if self.foreground {
            return daemon::run(options, session.verbose, self.detached).await.map(|()| Done::Done);
        }
        match session.client.get("/v1/status", &()).await {
            Ok(answer) => return already(session, &answer, &options),
            Err(error) if error.code == Code::NotRunning => {}
            Err(error) => return Err(error),
        }
        daemon::start(&options, session.verbose)?;
        let answer = session.client.get("/v1/status", &()).await?;
        session.tell(&(status::text(&answer)? + &next_steps(&answer)))
    }

    pub fn options(&self, session: &Session) -> Options {
        Options {
            socket: session.client.socket().to_owned(),
            state_dir: self.instance.state_dir.clone(),
            bpffs: self.instance.bpffs.clone(),
            metrics: self.metrics,
            datapath: self.datapath,
            libvirt: self.libvirt.clone(),
            datapath_log: self.datapath_log,
            inventory: self.inventory.clone(),
            config: self.config.clone(),
        }
    }
}

/// A daemon runs: well, if it was started with the same options.
fn already(session: &Session, answer: &Value, options: &Options) -> Answered {
    let status: DaemonStatus = serde_json::from_value(answer.clone()).map_err(|e| {
        ApiError::new(Code::AnswerUnreadable, format!("The daemon's answer is no status: {e}."))
    })?;
    let (theirs, ours) = (status.options, options.shown());
    if theirs == ours {
        return session.tell(&status::text(answer)?);
    }
    let DaemonOptions { state_dir, bpffs, metrics, datapath_log, .. } = &theirs;
    Err(ApiError::new(
        Code::OtherOptions,
        format!(
            "A daemon is up with other options: --state-dir {state_dir} --bpffs {bpffs} --metrics {metrics} \
             --datapath-log {datapath_log}."
        ),
    ))
}

/// Commands to type next, made of what the host has.
fn next_steps(answer: &Value) -> String {
    let Ok(status) = serde_json::from_value::<DaemonStatus>(answer.clone()) else { return String::new() };
    if status.objects.values().any(|n| *n > 0) {
        return String::new();
    }
    let named = |wanted: &[&str], otherwise: &str| {
        let free = status.interfaces.iter().filter(|i| i.used_as.is_none());
        let found = free.filter(|i| wanted.contains(&i.kind.as_str())).map(|i| i.device.clone()).next();
        found.unwrap_or_else(|| otherwise.to_owned())
    };
    let (uplink, tap) = (named(&["physical"], "eth0"), named(&["tap", "veth"], "tap0"));
    format!(
        "\nNothing is forwarded or filtered yet. Next, for example:\n  \
         fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink {uplink}\n  \
         fwd port add web1 --device {tap} --network vmnat --ip 10.10.0.11\n  \
         fwd forward add tcp :8080 web1:80\n"
    )
}
