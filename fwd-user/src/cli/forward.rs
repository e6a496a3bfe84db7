//! `fwd forward`: outside addresses and L4 ports that lead to a port.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    args::{Delete, Name, WriteArgs},
    doctor,
    session::{Answered, Done, Session},
    value,
    verbs::{Added, Verbs},
    view::{self, Column, Format, column, wide},
};
use crate::api::{
    client,
    diagnosis::ForwardTest,
    error::{ApiError, Code},
    object::Noun,
    spec::Forward,
};

const COLUMNS: &[Column] = &[
    column("NAME", "/name"),
    column("LISTEN", "/listen"),
    column("TO", "/to"),
    column("STATE", "/state"),
    wide("FROM", "/from"),
    wide("EXPIRES", "/expires"),
    wide("FORCE", "/force"),
];
const STEPS: &[Column] = &[
    column("STEP", "/step"),
    column("STATE", "/state"),
    column("FOUND", "/found"),
    column("REMEDIES", "/remedies"),
];
const FORWARD: Verbs = Verbs { noun: Noun::Forward, columns: COLUMNS };

const TEST: &str = "Try a forward step by step: link, address, route and neighbor, transport, application\n\n\
    The guest is asked by ARP or neighbor discovery, and this host opens a TCP connection to the target (or sends \
    an empty datagram), of a range to its first L4 port; what clients outside may do is read from the rules. \
    Nothing is changed. Exit code 21 where a step fails.";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Publish an outside address and L4 port onto a port
    Add(Add),
    /// List the forwards
    List,
    /// Show a forward
    Show(Name),
    /// Try a forward step by step, with a real probe of the guest's service
    #[command(long_about = TEST)]
    Test(Name),
    /// Delete a forward; its flows end
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(
    override_usage = "fwd forward add [OPTIONS] NAME --listen PROTO:[ADDR]:L4PORT[-L4PORT] --to PORT:L4PORT[-L4PORT]\n       \
                      fwd forward add [OPTIONS] PROTO [ADDR]:L4PORT[-L4PORT] PORT:L4PORT[-L4PORT]\n       \
                      fwd forward add [OPTIONS] PROTO ADDR|* PORT"
)]
pub struct Add {
    /// NAME; or the short form PROTO [ADDR]:L4PORT PORT:L4PORT, which is named PORT-PROTO-L4PORT, or PORT-PROTO
    #[arg(num_args = 1..=3, required = true, value_name = "NAME")]
    words: Vec<String>,
    /// Where it listens; PROTO is tcp, udp, tcp+udp, sctp, icmp or any; no address: every address of the uplinks; IPv6
    /// in brackets. Without an L4 port (tcp:203.0.113.10, any:*): all that no other forward and no socket of the host
    /// has
    #[arg(long, value_name = "PROTO:[ADDR]:L4PORT[-L4PORT]")]
    listen: Option<String>,
    /// Where it leads; a range must be as long as the one it listens on, and all L4 ports lead to a PORT alone
    #[arg(long, value_name = "PORT:L4PORT[-L4PORT]")]
    to: Option<String>,
    /// Only for clients of these addresses; several: repeat it, or separate them by commas
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = value::cidr)]
    from: Vec<IpNet>,
    /// Delete it after so long, as 90s, 5m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = value::lifetime)]
    lifetime: Option<u64>,
    /// Take an L4 port on which this host itself listens
    #[arg(long)]
    force: bool,
    /// Succeed if an equal one exists
    #[arg(long)]
    may_exist: bool,
    #[command(flatten)]
    write: WriteArgs,
}

impl Verb {
    pub async fn run(self, session: &Session) -> Answered {
        match self {
            Self::Add(add) => add.run(session).await,
            Self::List => FORWARD.list(session).await,
            Self::Show(name) => FORWARD.show(session, &name.name).await,
            Self::Test(name) => test(session, &name.name).await,
            Self::Delete(delete) => FORWARD.delete(session, &delete).await,
        }
    }
}

async fn test(session: &Session, name: &str) -> Answered {
    let path = format!("/v1/forwards/{}/test", client::escape(name));
    let answer = session.client.post(&path, &(), &Value::Null).await?;
    let test: ForwardTest = doctor::read(&answer)?;
    session.print(&match session.format {
        Format::Table | Format::Wide => steps_text(&test),
        Format::Csv => view::list(&json!({"items": answer.get("steps")}), STEPS, Format::Csv),
        format => view::show(&answer, "forward", format),
    })?;
    Ok(if test.works { Done::Done } else { Done::Verdict })
}

fn steps_text(test: &ForwardTest) -> String {
    let mut out = format!("Forward {}: {} to {}\n", test.forward, test.listen, test.to);
    for row in &test.steps {
        out += &format!("{:<12} {}\n", row.step.name(), row.state.name());
        out.extend(row.found.iter().map(|found| format!("  {found}\n")));
        out.extend(row.remedies.iter().map(|remedy| format!("    {remedy}\n")));
    }
    out
}

impl Add {
    async fn run(self, session: &Session) -> Answered {
        let (may_exist, write) = (self.may_exist, self.write.clone());
        let forward = self.forward()?;
        FORWARD.add(session, Added { object: &forward, may_exist }, &write).await
    }

    fn forward(self) -> Result<Forward, ApiError> {
        let (name, listen, to) = match (self.words.as_slice(), &self.listen, &self.to) {
            ([name], Some(listen), Some(to)) => (name.clone(), listen.clone(), to.clone()),
            ([proto, listen, to], None, None) => {
                let (listen, to) = short_form(proto, listen, to);
                // The daemon names it.
                (String::new(), listen, to)
            }
            _ => {
                return Err(ApiError::new(
                    Code::BadArguments,
                    "Give NAME with --listen and --to, or PROTO LISTEN TO alone.",
                )
                .hint("For example: fwd forward add tcp 203.0.113.10:8080 web1:80"));
            }
        };
        let expires = value::from_now(self.lifetime);
        Ok(Forward { name, listen, to, from: self.from, force: self.force, expires })
    }
}

/// Listen and target of `tcp 203.0.113.10:8080 web1:80`; the address, `ADDR:` or the L4 port may be left out.
fn short_form(proto: &str, listen: &str, to: &str) -> (String, String) {
    let is_l4_port = !listen.contains(':') && listen != "*" && listen.parse::<IpAddr>().is_err();
    let address = if is_l4_port { ":" } else { "" };
    (format!("{proto}:{address}{listen}"), to.to_owned())
}

#[cfg(test)]
mod tests {
    use super::short_form;

    #[test]
    fn the_short_form_may_leave_the_address_out() {
        for (listen, full) in [
            ("203.0.113.10:8080", "tcp:203.0.113.10:8080"),
            (":8080", "tcp::8080"),
            ("8080", "tcp::8080"),
            ("[2001:db8::1]:8080-8090", "tcp:[2001:db8::1]:8080-8090"),
            ("203.0.113.10", "tcp:203.0.113.10"),
            ("[2001:db8::1]", "tcp:[2001:db8::1]"),
            ("*", "tcp:*"),
        ] {
            assert_eq!(short_form("tcp", listen, "web1:80"), (full.to_owned(), "web1:80".to_owned()));
        }
    }
}
