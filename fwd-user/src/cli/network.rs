//! `fwd network`: address spaces that ports belong to.

use std::net::IpAddr;

use clap::{ArgAction, Args, Subcommand};
use ipnet::IpNet;

use super::{
    args::{Delete, Name, WriteArgs},
    session::{Answered, Session},
    value,
    verbs::{Added, Patch, Verbs},
    view::{self, Column, column, wide},
};
use crate::api::{
    client::escape,
    object::Noun,
    spec::{DefaultPolicy, Mode, Network},
};

const COLUMNS: &[Column] = &[
    column("NAME", "/name"),
    column("MODE", "/mode"),
    column("SUBNETS", "/subnets"),
    column("UPLINK", "/uplink"),
    column("POLICY", "/default_policy"),
    column("STATE", "/state"),
    wide("GATEWAYS", "/gateways"),
    wide("DHCP", "/dhcp"),
    wide("DNS", "/dns"),
    wide("NTP", "/ntp"),
    wide("MTU", "/mtu"),
    wide("PRIVATE", "/private"),
    wide("ISOLATED", "/isolate_ports"),
];
const LEASES: &[Column] = &[
    column("ADDRESS", "/address"),
    column("MAC", "/mac"),
    column("PORT", "/port"),
    column("EXPIRES", "/expires"),
];
const NETWORK: Verbs = Verbs { noun: Noun::Network, columns: COLUMNS };

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a network
    Add(Add),
    /// List the networks
    List,
    /// Show a network
    Show(Name),
    /// Change a network
    Set(Set),
    /// Delete a network that no port belongs to
    Delete(Delete),
    /// List the addresses that DHCP has given to its guests
    Leases(Name),
}

#[derive(Debug, Args)]
pub struct Add {
    name: String,
    /// What it joins its ports to
    #[arg(long, value_enum)]
    mode: Mode,
    /// Its addresses; repeatable
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Vec<IpNet>,
    /// The host's address in it, one for each subnet [default: the first of each subnet]
    #[arg(long = "gateway", value_name = "ADDR")]
    gateways: Vec<IpAddr>,
    /// The interface towards the outside; added as uplink if need be
    #[arg(long, value_name = "DEVICE")]
    uplink: Option<String>,
    /// Addresses that DHCP gives out: FIRST-LAST, several with commas; or off [default: all of its subnets,
    /// where this host is the gateway]. On a bridge, snoop: guests have what DHCP outside gives, and nothing else
    #[arg(long, value_name = "RANGE|off|snoop")]
    dhcp: Option<String>,
    /// Whether names of its ports, and those outside, are answered [default: on where this host is the
    /// gateway]
    #[arg(long, value_name = "on|off", value_parser = value::switch)]
    dns: Option<bool>,
    /// A time server that DHCP tells its guests; repeatable
    #[arg(long, value_name = "ADDR")]
    ntp: Vec<IpAddr>,
    /// The largest packet
    #[arg(long, value_name = "BYTES", default_value_t = 1500)]
    mtu: u16,
    /// No frames between its ports
    #[arg(long)]
    isolate_ports: bool,
    /// Whether IPv6 of a nat network is translated [default: unique local addresses are, global ones are routed]
    #[arg(long, value_name = "on|off", value_parser = value::switch)]
    nat66: Option<bool>,
    /// Its addresses may repeat elsewhere on this host
    #[arg(long)]
    private: bool,
    /// What passes where no rule applies
    #[arg(long, value_enum, default_value_t)]
    default_policy: DefaultPolicy,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Set {
    name: String,
    /// What it joins its ports to
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Its addresses; repeatable, replaces those it has
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Option<Vec<IpNet>>,
    /// The host's address in it, one for each subnet
    #[arg(long = "gateway", value_name = "ADDR")]
    gateways: Option<Vec<IpAddr>>,
    /// The interface towards the outside
    #[arg(long, value_name = "DEVICE")]
    uplink: Option<String>,
    /// Addresses that DHCP gives out: FIRST-LAST, several with commas; off; on: all of its subnets; or on a bridge
    /// snoop: guests have what DHCP outside gives, and nothing else
    #[arg(long, value_name = "RANGE|off|on|snoop")]
    dhcp: Option<String>,
    /// Whether names of its ports, and those outside, are answered
    #[arg(long, value_name = "on|off", value_parser = value::switch)]
    dns: Option<bool>,
    /// A time server that DHCP tells its guests; repeatable, replaces those it has, and none where no address follows
    #[arg(long, value_name = "ADDR", num_args = 0..=1)]
    ntp: Option<Vec<IpAddr>>,
    /// The largest packet
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,
    /// Whether frames between its ports are refused
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    isolate_ports: Option<bool>,
    /// Whether its addresses may repeat elsewhere on this host
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    private: Option<bool>,
    /// Whether IPv6 of a nat network is translated
    #[arg(long, value_name = "on|off", value_parser = value::switch)]
    nat66: Option<bool>,
    /// What passes where no rule applies
    #[arg(long, value_enum)]
    default_policy: Option<DefaultPolicy>,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => add.run(session).await,
            Self::List => NETWORK.list(session).await,
            Self::Show(name) => NETWORK.show(session, &name.name).await,
            Self::Set(set) => set.run(session).await,
            Self::Delete(delete) => NETWORK.delete(session, &delete).await,
            Self::Leases(name) => leases(session, &name.name).await,
        }
    }
}

async fn leases(session: &Session, name: &str) -> Answered {
    let path = format!("/v1/networks/{}/leases", escape(name));
    let answer = session.client.get(&path, &()).await?;
    session.print(&view::list(&answer, LEASES, session.format))
}

impl Add {
    async fn run(self, session: &Session) -> Answered {
        let network = Network {
            name: self.name,
            mode: self.mode,
            subnets: self.subnets,
            gateways: self.gateways,
            uplink: self.uplink,
            dhcp: self.dhcp.filter(|text| text != "on"),
            dns: self.dns,
            ntp: self.ntp,
            mtu: self.mtu,
            default_policy: self.default_policy,
            private: self.private,
            isolate_ports: self.isolate_ports,
            nat66: self.nat66,
        };
        NETWORK.add(session, Added { object: &network, may_exist: self.may_exist }, &self.write).await
    }
}

impl Set {
    async fn run(self, session: &Session) -> Answered {
        let patch = Patch::default()
            .field("mode", self.mode)
            .field("subnets", self.subnets)
            .field("gateways", self.gateways)
            .field("uplink", self.uplink)
            .field("dhcp", self.dhcp)
            .field("dns", self.dns)
            .field("ntp", self.ntp)
            .field("mtu", self.mtu)
            .field("isolate_ports", self.isolate_ports)
            .field("private", self.private)
            .field("nat66", self.nat66)
            .field("default_policy", self.default_policy);
        NETWORK.set(session, &self.name, patch, &self.write).await
    }
}
