//! `fwd drop`: what was dropped, and why.

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::{
    session::{Answered, Session},
    value, view,
    view::{Column, column, wide},
    watch::{self, Event},
};
use crate::api::{query::DropQuery, status::Direction};

const COLUMNS: &[Column] = &[
    column("REASON", "/reason"),
    column("PORT", "/port"),
    column("NETWORK", "/network"),
    column("DIRECTION", "/direction"),
    column("RULE", "/rule"),
    column("FORWARD", "/forward"),
    column("PACKETS", "/packets"),
    wide("BYTES", "/bytes"),
    column("LAST-SEEN", "/last_seen"),
];
const REASONS: &[Column] = &[
    column("REASON", "/reason"),
    wide("NUMBER", "/number"),
    column("PACKETS", "/packets"),
    column("MEANING", "/meaning"),
    wide("REMEDY", "/remedy"),
];
const EVENT: Event = Event {
    name: "/reason",
    columns: &[
        column("TIME", "/time"),
        column("REASON", "/reason"),
        column("PORT", "/port"),
        column("DIRECTION", "/direction"),
        column("RULE", "/rule"),
        column("FORWARD", "/forward"),
        column("PROTO", "/protocol"),
        column("SOURCE", "/source"),
        column("DESTINATION", "/destination"),
        column("BYTES", "/bytes"),
        wide("NETWORK", "/network"),
        wide("HEAD", "/head"),
    ],
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the counters of drops
    List(List),
    /// Tell of drops as they happen, and with --since of those before
    #[command(long_about = WATCH)]
    Watch(Watch),
    /// List the reasons that there are, and what to do about each
    Reasons,
}

const WATCH: &str = "Tell of drops as they happen, and with --since of those before.\n\n\
    The daemon keeps the last 16384 drops that it was told of; -o wide and -o json show the first bytes of each \
    frame. In a storm of drops most are not told: drop list counts all of them, and fwd_events_lost_total those \
    that were not told.";

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Seen since so long ago, as 90s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = value::seconds)]
    since: Option<u64>,
    /// At most so many, those with the most packets
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    filter: Filter,
    /// From or to an address in here
    #[arg(long, value_name = "CIDR", value_parser = value::cidr)]
    peer: Option<IpNet>,
    /// Of this protocol: tcp, udp, icmp, icmpv6, a number; arp or an ethertype as 0x88cc
    #[arg(long, value_name = "PROTO")]
    proto: Option<String>,
    /// First those since so long ago that are kept, as 90s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = value::seconds)]
    since: Option<u64>,
    /// Only kept ones, until so long ago, and end
    #[arg(long, value_name = "TIME", value_parser = value::seconds)]
    until: Option<u64>,
    /// End after so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Which way, as the port's guest sees it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    #[value(alias = "ingress")]
    In,
    #[value(alias = "egress")]
    Out,
}

#[derive(Debug, Args)]
pub struct Filter {
    /// That came in on this port
    #[arg(long)]
    port: Option<String>,
    /// That came in on a port of this group
    #[arg(long)]
    group: Option<String>,
    /// For this reason
    #[arg(long)]
    reason: Option<String>,
    /// Because of this rule
    #[arg(long)]
    rule: Option<String>,
    /// On the way into the port that refused it, or out of it
    #[arg(long, value_enum)]
    direction: Option<Way>,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::List(list) => {
                let query = DropQuery { since_secs: list.since, limit: list.limit, ..list.filter.query() };
                let answer = session.client.get("/v1/drops", &query).await?;
                session.print(&view::list(&answer, COLUMNS, session.format))
            }
            Self::Watch(watch) => watch::run(session, "/v1/drops/watch", &watch.query(), &EVENT).await,
            Self::Reasons => {
                let answer = session.client.get("/v1/drops/reasons", &()).await?;
                session.print(&view::list(&answer, REASONS, session.format))
            }
        }
    }
}

impl Watch {
    fn query(self) -> DropQuery {
        DropQuery {
            peer: self.peer,
            proto: self.proto,
            since_secs: self.since,
            until_secs: self.until,
            limit: self.limit,
            ..self.filter.query()
        }
    }
}

impl Filter {
    fn query(self) -> DropQuery {
        let direction = self.direction.map(|way| match way {
            Way::In => Direction::Ingress,
            Way::Out => Direction::Egress,
        });
        let Self { port, group, reason, rule, .. } = self;
        DropQuery { port, group, reason, rule, direction, ..DropQuery::default() }
    }
}
