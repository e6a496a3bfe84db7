//! `fwd port`: attachments of VMs.

use std::{collections::BTreeMap, net::IpAddr};

use clap::{ArgAction, Args, Subcommand};
use ipnet::IpNet;
use serde_json::Value;

use super::{
    args::{Delete, Name, WriteArgs},
    session::{Answered, Done, Session},
    verbs::{Added, Patch, Verbs},
    view::{Column, column, wide},
};
use crate::api::{
    object::Noun,
    spec::{Hook, Port},
};

const COLUMNS: &[Column] = &[
    column("NAME", "/name"),
    column("DEVICE", "/device"),
    column("NETWORK", "/network"),
    column("MAC", "/mac"),
    column("IPS", "/ips"),
    column("HOOK", "/hook"),
    column("STATE", "/state"),
    wide("LIBVIRT", "/libvirt"),
    wide("LABELS", "/labels"),
    wide("CONFIGURED-HOOK", "/configured_hook"),
    wide("TRUST", "/trust"),
    wide("FLOWS", "/counters/flows"),
    wide("REASON", "/hook_reason"),
];
const PORT: Verbs = Verbs { noun: Noun::Port, columns: COLUMNS };

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a port; its device may come later
    Add(Add),
    /// List the ports
    List,
    /// Show a port, its hook and why, and its counters
    Show(Name),
    /// Change a port
    Set(Set),
    /// Delete a port that nothing names
    Delete(Delete),
}

#[derive(Debug, Args)]
pub struct Add {
    name: String,
    /// The tap or veth of the VM; or a pattern as 'vnet*': each that matches is a port, called NAME.DEVICE
    #[arg(long, required_unless_present = "libvirt")]
    device: Option<String>,
    /// The N-th interface of a domain of libvirt, from 0 [default: the first], whatever its device is called
    #[arg(long, value_name = "DOMAIN[/N]", conflicts_with = "device")]
    libvirt: Option<String>,
    /// The network that it belongs to
    #[arg(long)]
    network: String,
    /// The guest's MAC [default: the one that its domain gives it, else the first one seen, until the device goes]
    #[arg(long)]
    mac: Option<String>,
    /// An address of the guest; repeatable [default: those seen]
    #[arg(long = "ip", value_name = "ADDR")]
    ips: Vec<IpAddr>,
    /// Source addresses that the guest may use beside its own; repeatable
    #[arg(long = "allow-address", value_name = "CIDR", value_parser = super::value::cidr)]
    allow_addresses: Vec<IpNet>,
    /// A label, for the selectors of groups; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = super::value::label)]
    labels: Vec<(String, String)>,
    /// Which hook is to run
    #[arg(long, value_enum, default_value_t)]
    hook: Hook,
    /// No source guard
    #[arg(long)]
    trust: bool,
    /// Take the interface from a Linux bridge that has it; fwd gives it back
    #[arg(long)]
    take_over: bool,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Set {
    name: String,
    /// The tap or veth of the VM, or a pattern of them, in place of a domain's interface
    #[arg(long)]
    device: Option<String>,
    /// The N-th interface of a domain of libvirt, from 0 [default: the first], in place of a device
    #[arg(long, value_name = "DOMAIN[/N]", conflicts_with = "device")]
    libvirt: Option<String>,
    /// The network that it belongs to
    #[arg(long)]
    network: Option<String>,
    /// The guest's MAC
    #[arg(long)]
    mac: Option<String>,
    /// An address of the guest; repeatable, replaces those it has
    #[arg(long = "ip", value_name = "ADDR")]
    ips: Option<Vec<IpAddr>>,
    /// Source addresses that the guest may use beside its own; repeatable, replaces those it has
    #[arg(long = "allow-address", value_name = "CIDR", value_parser = super::value::cidr)]
    allow_addresses: Option<Vec<IpNet>>,
    /// A label; repeatable, replaces those it has
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = super::value::label)]
    labels: Option<Vec<(String, String)>>,
    /// Which hook is to run
    #[arg(long, value_enum)]
    hook: Option<Hook>,
    /// Whether it has no source guard
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    trust: Option<bool>,
    /// Whether the interface is taken from a Linux bridge that has it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    take_over: Option<bool>,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => add.run(session).await,
            Self::List => PORT.list(session).await,
            Self::Show(name) => PORT.show(session, &name.name).await,
            Self::Set(set) => set.run(session).await,
            Self::Delete(delete) => PORT.delete(session, &delete).await,
        }
    }
}

impl Add {
    async fn run(self, session: &Session) -> Answered {
        let port = Port {
            name: self.name,
            device: self.device.unwrap_or_default(),
            libvirt: self.libvirt,
            network: self.network,
            mac: self.mac,
            ips: self.ips,
            allow_addresses: self.allow_addresses,
            labels: self.labels.into_iter().collect(),
            hook: self.hook,
            trust: self.trust,
            take_over: self.take_over,
        };
        PORT.add(session, Added { object: &port, may_exist: self.may_exist }, &self.write).await?;
        if self.write.dry_run || session.quiet || session.format.is_machine() {
            return Ok(Done::Done);
        }
        // What cannot work as it was asked for.
        let port = session.client.get(&PORT.path(Some(&port.name)), &()).await?;
        match (port["state"].as_str(), port["state_reason"].as_str(), port["name"].as_str()) {
            (Some("degraded"), Some(reason), Some(name)) => session.tell(&format!("! {name}: {reason}\n")),
            _ => Ok(Done::Done),
        }
    }
}

impl Set {
    async fn run(self, session: &Session) -> Answered {
        // One takes the other's place.
        let (device, libvirt) = match (self.device, self.libvirt) {
            (Some(device), _) => (Some(Value::from(device)), Some(Value::Null)),
            (None, Some(nic)) => (Some(Value::Null), Some(Value::from(nic))),
            (None, None) => (None, None),
        };
        let patch = Patch::default()
            .field("device", device)
            .field("libvirt", libvirt)
            .field("network", self.network)
            .field("mac", self.mac)
            .field("ips", self.ips)
            .field("allow_addresses", self.allow_addresses)
            .field("labels", self.labels.map(|l| l.into_iter().collect::<BTreeMap<_, _>>()))
            .field("hook", self.hook)
            .field("trust", self.trust)
            .field("take_over", self.take_over);
        PORT.set(session, &self.name, patch, &self.write).await
    }
}
