//! `fwd policy`: rules.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{
    args::{Delete, Name, WriteArgs},
    policy_test::Test,
    session::{Answered, Session},
    value,
    verbs::{Added, Patch, Verbs},
    view::{Column, column, wide},
};
use crate::api::{
    error::{ApiError, Code},
    object::Noun,
    query::ListQuery,
    spec::{Action, Policy, Tier},
};

const COLUMNS: &[Column] = &[
    column("NAME", "/name"),
    column("ACTION", "/action"),
    column("FROM", "/from"),
    column("TO", "/to"),
    column("SERVICES", "/services"),
    column("PRIORITY", "/priority"),
    column("ENABLED", "/enabled"),
    column("STAGE", "/stage"),
    column("FLOWS", "/flows"),
    column("PACKETS", "/packets"),
    wide("TIER", "/tier"),
    wide("SOURCE_L4_PORTS", "/source_l4_ports"),
    wide("STATELESS", "/stateless"),
    wide("LOG", "/log"),
    wide("LAST_HIT", "/last_hit"),
    wide("EXPIRES", "/expires"),
    wide("REASON", "/reason"),
];
const POLICY: Verbs = Verbs { noun: Noun::Policy, columns: COLUMNS };

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a rule
    Add(Add),
    /// List the rules
    List(List),
    /// Show a rule
    Show(Name),
    /// Change a rule
    Set(Set),
    /// Delete a rule
    Delete(Delete),
    /// Let a rule apply again
    Enable(Switch),
    /// Keep a rule, but do not apply it
    Disable(Switch),
    /// Let a staged rule decide
    Enforce(Switch),
    /// Judge a file of tests; exit code 21 if one fails
    Test(Test),
}

#[derive(Debug, Args)]
pub struct List {
    /// Also what passes in closed networks without a rule: DHCP, DNS, ARP and neighbor discovery
    #[arg(long)]
    implicit: bool,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "fwd policy add [OPTIONS] [NAME] --allow|--deny|--reject [--from END]... [--to END]... [--service S]...\n       \
                      fwd policy add [OPTIONS] allow|deny|reject FROM TO [SERVICE]..."
)]
#[command(group = ArgGroup::new("action").args(["allow", "deny", "reject"]))]
pub struct Add {
    /// NAME, left out: policy-N; or the short form ACTION FROM TO [SERVICE]..., which is named so too
    #[arg(num_args = 1.., value_name = "NAME")]
    words: Vec<String>,
    /// Permit
    #[arg(long)]
    allow: bool,
    /// Refuse
    #[arg(long)]
    deny: bool,
    /// Refuse, and tell the sender: TCP by a reset, the rest by ICMP
    #[arg(long)]
    reject: bool,
    #[command(flatten)]
    ends: Ends,
    /// Whose it is: where a rule of the operator's applies, none of a tenant's decides
    #[arg(long, value_enum, default_value_t)]
    tier: Tier,
    /// In its tier the higher wins; at equal priority deny and reject win over allow
    #[arg(long, value_name = "N", default_value_t = 1000)]
    priority: u16,
    /// Permit what matches it, and not what answers that: answers need a rule of their own. Of --allow only
    #[arg(long)]
    stateless: bool,
    /// Count what it would do, and do nothing; `fwd policy enforce` lets it decide
    #[arg(long)]
    stage: bool,
    /// Tell in the daemon's log what it decides
    #[arg(long)]
    log: bool,
    /// Delete it after so long, as 90s, 5m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = value::lifetime)]
    lifetime: Option<u64>,
    /// Why there is this rule
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
struct Ends {
    /// any, outside, host, port:N, group:N, set:N, network:N or a CIDR; repeatable
    #[arg(long, value_name = "END")]
    from: Option<Vec<String>>,
    /// As --from
    #[arg(long, value_name = "END")]
    to: Option<Vec<String>>,
    /// As tcp/80, udp/5000-5003, icmp/echo-request, icmp/TYPE/CODE, icmpv6/packet-too-big, icmp, proto/47, any, https;
    /// repeatable
    #[arg(long = "service", value_name = "SERVICE")]
    services: Option<Vec<String>>,
    /// L4 ports from which it comes, of TCP, UDP and SCTP: 53, 1024-65535, any; repeatable
    #[arg(long = "source-l4-port", value_name = "P[-Q]")]
    source_l4_ports: Option<Vec<String>>,
}

#[derive(Debug, Args)]
pub struct Set {
    name: String,
    /// What it does
    #[arg(long, value_enum)]
    action: Option<Action>,
    #[command(flatten)]
    ends: Ends,
    /// Whose it is: where a rule of the operator's applies, none of a tenant's decides
    #[arg(long, value_enum)]
    tier: Option<Tier>,
    /// In its tier the higher wins; at equal priority deny and reject win over allow
    #[arg(long, value_name = "N")]
    priority: Option<u16>,
    /// Whether answers to what it permits need a rule of their own
    #[arg(long, value_name = "on|off", value_parser = value::switch)]
    stateless: Option<bool>,
    /// Whether it only counts what it would do
    #[arg(long, value_name = "on|off", value_parser = value::switch)]
    stage: Option<bool>,
    /// Whether the daemon's log tells what it decides
    #[arg(long, value_name = "on|off", value_parser = value::switch)]
    log: Option<bool>,
    /// Delete it after so long from now, as 90s, 5m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = value::lifetime)]
    lifetime: Option<u64>,
    /// Why there is this rule
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub struct Switch {
    name: String,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => {
                let policy = add.policy()?;
                POLICY.add(session, Added { object: &policy, may_exist: add.may_exist }, &add.write).await
            }
            Self::List(list) => POLICY.list_by(session, &ListQuery { implicit: list.implicit }).await,
            Self::Show(name) => POLICY.show(session, &name.name).await,
            Self::Set(set) => set.run(session).await,
            Self::Delete(delete) => POLICY.delete(session, &delete).await,
            Self::Enable(switch) => switch.run(session, ("enabled", true)).await,
            Self::Disable(switch) => switch.run(session, ("enabled", false)).await,
            Self::Test(test) => test.run(session).await,
            Self::Enforce(switch) => switch.run(session, ("stage", false)).await,
        }
    }
}

impl Add {
    fn policy(&self) -> Result<Policy, ApiError> {
        let (name, action, ends) = match self.words.as_slice() {
            [] if self.action().is_some() => (String::new(), self.action(), self.ends.lists()),
            [name] if self.action().is_some() => (name.clone(), self.action(), self.ends.lists()),
            [action, from, to, services @ ..] if self.is_bare() => {
                let action = Action::from_str(action, false).map_err(|_| usage())?;
                (String::new(), Some(action), [vec![from.clone()], vec![to.clone()], services.to_vec()])
            }
            _ => return Err(usage()),
        };
        let action = action.ok_or_else(usage)?;
        let [from, to, services] = ends;
        Ok(Policy {
            name,
            action,
            from,
            to,
            services,
            source_l4_ports: self.ends.source_l4_ports.clone().unwrap_or_default(),
            tier: self.tier,
            priority: self.priority,
            stateless: self.stateless,
            stage: self.stage,
            log: self.log,
            enabled: true,
            expires: value::from_now(self.lifetime),
            reason: self.reason.clone(),
        })
    }

    /// What the options say.
    fn action(&self) -> Option<Action> {
        let given = [(self.allow, Action::Allow), (self.deny, Action::Deny), (self.reject, Action::Reject)];
        given.into_iter().find_map(|(is_given, action)| is_given.then_some(action))
    }

    /// Whether no option says what the short form says.
    fn is_bare(&self) -> bool {
        let ends = &self.ends;
        !(self.action().is_some() || ends.from.is_some() || ends.to.is_some() || ends.services.is_some())
    }
}

impl Ends {
    fn lists(&self) -> [Vec<String>; 3] {
        [&self.from, &self.to, &self.services].map(|list| list.clone().unwrap_or_default())
    }
}

impl Set {
    async fn run(self, session: &Session) -> Answered {
        let patch = Patch::default()
            .field("action", self.action)
            .field("from", self.ends.from)
            .field("to", self.ends.to)
            .field("services", self.ends.services)
            .field("source_l4_ports", self.ends.source_l4_ports)
            .field("tier", self.tier)
            .field("priority", self.priority)
            .field("stateless", self.stateless)
            .field("stage", self.stage)
            .field("log", self.log)
            .field("expires", value::from_now(self.lifetime))
            .field("reason", self.reason);
        POLICY.set(session, &self.name, patch, &self.write).await
    }
}

impl Switch {
    async fn run(self, session: &Session, (field, value): (&str, bool)) -> Answered {
        let patch = Patch::default().field(field, Some(value));
        POLICY.set(session, &self.name, patch, &self.write).await
    }
}

fn usage() -> ApiError {
    ApiError::new(
        Code::BadArguments,
        "Give --allow, --deny or --reject, or ACTION FROM TO [SERVICE]... alone.",
    )
    .hint("For example: fwd policy add allow group:web group:db tcp/5432")
}
