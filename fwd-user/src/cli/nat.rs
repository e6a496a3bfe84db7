//! `fwd nat`: how flows to outside are translated, and the live translations.

use std::net::IpAddr;

use clap::{ArgGroup, Args, Subcommand};
use ipnet::IpNet;

use super::{
    args::{Delete, Name, WriteArgs},
    session::{Answered, Session},
    verbs::{Added, Verbs},
    view::{self, Column, column, wide},
};
use crate::api::{object::Noun, query::FlowQuery, spec};

const COLUMNS: &[Column] = &[
    column("NAME", "/name"),
    column("NETWORK", "/network"),
    column("ADDRESS", "/address"),
    column("L4-PORTS", "/l4_ports"),
    column("ONE-TO-ONE", "/one_to_one"),
    column("EXEMPT", "/exempt"),
    column("PREFIX", "/prefix"),
    wide("ENDPOINT-INDEPENDENT", "/endpoint_independent"),
    column("STATE", "/state"),
];
const NAT: Verbs = Verbs { noun: Noun::Nat, columns: COLUMNS };
const FLOWS: &[Column] = &[
    column("NETWORK", "/network"),
    column("PORT", "/port"),
    column("PROTO", "/protocol"),
    column("SOURCE", "/source"),
    column("DESTINATION", "/destination"),
    column("TRANSLATED", "/translated"),
    column("STATE", "/state"),
    wide("ID", "/id"),
    wide("FORWARD", "/forward"),
    wide("AGE", "/age_secs"),
];

const ADD: &str = "Add a translation of flows to outside\n\n\
    Without one, flows of nat networks go out under the address of the uplink by which they leave. An address must be \
    one that outside sends here: one of an uplink (ip address add ADDR dev UPLINK), or one that is routed to this host. \
    An address of one port (--one-to-one) is the port's both ways, for TCP, UDP, SCTP and ICMP, but for what forwards \
    take of it.\n\n\
    A prefix (--prefix) gives every address of the network one outside, both ways and for every protocol: whoever \
    outside sends there reaches the guest, as far as rules allow. It is routed to this host, or lies on the link of an \
    uplink, where fwd answers for the addresses that guests have.\n\n\
    Games, WebRTC and all that find their way by STUN want --endpoint-independent (RFC 4787): a guest's socket has one \
    address and L4 port outside, whomever it talks to, and everybody outside reaches it by these while it is used, as \
    far as rules allow.";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a translation of flows to outside
    #[command(long_about = ADD)]
    Add(Add),
    /// List the translations that are configured
    List,
    /// Show a translation that is configured
    Show(Name),
    /// Delete a translation; its flows are decided anew
    Delete(Delete),
    /// List the live translations
    Table(Table),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("kind").required(true).multiple(true).args(["address", "one_to_one", "exempt", "prefix", "endpoint_independent"])))]
pub struct Add {
    name: String,
    /// The network whose flows it translates; of an exemption left out: every nat network that is not private
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// The address under which the network's flows go out
    #[arg(long, value_name = "ADDR", requires = "network")]
    address: Option<IpAddr>,
    /// The only L4 ports of the address that they may have; left out: their own, else one of nat_l4_ports
    #[arg(long, value_name = "FIRST-LAST", requires = "address")]
    l4_ports: Option<String>,
    /// An outside address for one port alone, both ways
    #[arg(long, value_name = "ADDR=PORT", conflicts_with_all = ["address", "exempt", "endpoint_independent"])]
    one_to_one: Option<String>,
    /// Destinations outside that are reached under the VMs' own addresses
    #[arg(long, value_name = "CIDR", value_parser = super::value::cidr, conflicts_with_all = ["address", "endpoint_independent"])]
    exempt: Option<IpNet>,
    /// A prefix of the network and the one that outside sees in its place, of one length up to 64: every address of
    /// one has its own counterpart in the other, both ways (IPv6, RFC 6296)
    #[arg(long, value_name = "INSIDE=OUTSIDE", requires = "network", conflicts_with_all = ["address", "one_to_one", "exempt", "endpoint_independent"])]
    prefix: Option<String>,
    /// One outside L4 port for each of a guest's, whomever it talks to, and open to all who send there: TCP and UDP
    /// of the network, with --address or alone
    #[arg(long, requires = "network")]
    endpoint_independent: bool,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Table {
    /// Of this port only
    #[arg(long)]
    port: Option<String>,
    /// Of this protocol only
    #[arg(long, value_name = "PROTO")]
    proto: Option<String>,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => add.run(session).await,
            Self::List => NAT.list(session).await,
            Self::Show(name) => NAT.show(session, &name.name).await,
            Self::Delete(delete) => NAT.delete(session, &delete).await,
            Self::Table(table) => {
                let query = FlowQuery { port: table.port, proto: table.proto, ..FlowQuery::default() };
                let answer = session.client.get("/v1/nat/table", &query).await?;
                session.print(&view::list(&answer, FLOWS, session.format))
            }
        }
    }
}

impl Add {
    async fn run(self, session: &Session) -> Answered {
        let nat = spec::Nat {
            name: self.name,
            network: self.network,
            address: self.address,
            l4_ports: self.l4_ports,
            one_to_one: self.one_to_one,
            exempt: self.exempt,
            prefix: self.prefix,
            endpoint_independent: self.endpoint_independent,
        };
        NAT.add(session, Added { object: &nat, may_exist: self.may_exist }, &self.write).await
    }
}
