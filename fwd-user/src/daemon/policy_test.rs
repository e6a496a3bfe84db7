//! Policy tests, judged by compiled rows: those of a document, and those that the loaded programs read. The
//! decision is the programs' own code; no packet is sent, since a program that runs admits flows and counts.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use fwd_common::{drop::DropReason, id::RuleId, policy::L4, proto::IpProto};

use super::writer::Writer;
use crate::{
    api::{
        document::problem,
        error::{ApiError, Code, Problem},
        policy_test::{Judged, PolicyTest, PolicyTestRow, PolicyTests},
        spec::{Action, Document},
        text::{Match, Service, ServiceNames},
    },
    compile::{Party, Tables, compile, with_patterns},
    observe::Names,
    state::{Desired, Edit, accept},
};

/// What tests are judged by.
struct Bench<'a> {
    judged: Judged,
    tables: &'a Tables,
    /// What is asked where a test does not say from which L4 port it comes.
    sources: BTreeSet<u16>,
}

/// A test with its texts understood.
struct Question {
    test: PolicyTest,
    from: Vec<Party>,
    to: Vec<Party>,
    services: Vec<Match>,
}

impl Writer {
    /// Judges policy tests; changes nothing.
    pub(super) fn test_policy(&self, asked: PolicyTests) -> Result<Vec<PolicyTestRow>, ApiError> {
        let (services, world) = (&self.tools.services, &self.world);
        let Some(document) = asked.document else {
            let loaded = self.tools.ground.tables()?;
            let benches =
                [Bench::new(Judged::Document, &world.compiled.tables), Bench::new(Judged::Datapath, &loaded)];
            return judge(understand(asked.tests, &world.desired, services)?, &world.desired, &benches);
        };
        let candidate = accept(&world.accepted, Edit::Replace(document), None, services)?.desired;
        let candidate = with_patterns(&candidate, &world.inventory, &world.compiled.tables);
        let compiled = compile(&candidate, &world.inventory, &world.compiled.tables);
        let benches = [Bench::new(Judged::Candidate, &compiled.tables)];
        judge(understand(asked.tests, &candidate, services)?, &candidate, &benches)
    }
}

impl<'a> Bench<'a> {
    fn new(judged: Judged, tables: &'a Tables) -> Self {
        Self { judged, tables, sources: tables.sources() }
    }
}

fn judge(
    questions: Vec<Question>,
    desired: &Desired,
    benches: &[Bench<'_>],
) -> Result<Vec<PolicyTestRow>, ApiError> {
    let names = Names::new(desired);
    let ask =
        |question: &Question| benches.iter().map(|bench| question.ask(bench, &names)).collect::<Vec<_>>();
    Ok(questions.iter().flat_map(ask).collect())
}

/// Understands tests in the words of a document.
///
/// # Errors
/// All tests that are not understood, by `/tests/LINE`.
fn understand(
    tests: Vec<PolicyTest>,
    desired: &Desired,
    names: &ServiceNames,
) -> Result<Vec<Question>, ApiError> {
    let mut problems = Vec::new();
    let mut questions = Vec::new();
    for test in tests {
        let parties = |text: &str| parties(text, desired);
        let services = services(&test.service, names).and_then(|found| from_l4_port(&test, found));
        match (parties(&test.from), parties(&test.to), services) {
            (Ok(from), Ok(to), Ok(services)) => questions.push(Question { test, from, to, services }),
            (from, to, services) => {
                let told = [from.err(), to.err(), services.err()];
                problems.extend(told.into_iter().flatten().map(|what| wrong(test.line, &what)));
            }
        }
    }
    if problems.is_empty() { Ok(questions) } else { Err(ApiError::from_problems(problems)) }
}

fn wrong(line: usize, (message, hint): &(String, &str)) -> Problem {
    problem(Code::BadValue, &format!("/tests/{line}"), "policy test", message, hint)
}

type Wrong = (String, &'static str);

/// Those whom a test names; of `outside` and `host` one of each family, whom no narrower CIDR names.
fn parties(text: &str, desired: &Desired) -> Result<Vec<Party>, Wrong> {
    let families = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    match text {
        "outside" => return Ok(families.map(|addr| Party::Outside(addr.into())).to_vec()),
        "host" => return Ok(families.map(|addr| Party::Host(addr.into())).to_vec()),
        _ => {}
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return match network_of(addr, &desired.document) {
            None => Ok(vec![Party::Outside(addr.into())]),
            Some(network) => {
                Err((format!("{addr} is in network {network}"), "Name the port that has the address."))
            }
        };
    }
    let name = text.strip_prefix("port:").unwrap_or(text);
    match desired.numbers.ports.get(name) {
        Some(id) => Ok(vec![Party::Vm(*id)]),
        None => Err((
            format!("there is no port {name}"),
            "Ends of a test are a port, host, outside, or an address outside.",
        )),
    }
}

fn network_of(addr: IpAddr, document: &Document) -> Option<&str> {
    let has = |subnets: &[ipnet::IpNet]| subnets.iter().any(|subnet| subnet.contains(&addr));
    document.networks.iter().find(|network| has(&network.subnets)).map(|network| network.name.as_str())
}

fn services(text: &str, names: &ServiceNames) -> Result<Vec<Match>, Wrong> {
    let hint = "A test asks about tcp/80, udp/5000-5003, icmp/echo-request, proto/47 or a service's name.";
    let found = Service::parse(text, names).map_err(|error| (error.message, hint))?;
    if found.contains(&Service::Any) {
        return Err(("any is no packet".to_owned(), hint));
    }
    Ok(found.into_iter().flat_map(Service::matches).collect())
}

/// Only protocols with L4 ports come from one.
fn from_l4_port(test: &PolicyTest, services: Vec<Match>) -> Result<Vec<Match>, Wrong> {
    let has_l4_ports = |one: &Match| one.proto.is_some_and(IpProto::has_l4_ports);
    match test.source_l4_port.is_none() || services.iter().all(has_l4_ports) {
        true => Ok(services),
        false => Err((format!("{} comes from no L4 port", test.service), "Leave `source` out.")),
    }
}

impl Question {
    /// Asks everything that the test stands for; told is the first answer that is not as wanted, else the
    /// first.
    fn ask(&self, bench: &Bench<'_>, names: &Names) -> PolicyTestRow {
        let answers = self.answers(bench);
        let is_other = |(verdict, _): &(Action, RuleId)| !self.test.is_met_by(*verdict);
        let mut first = None;
        let mut other = None;
        for answer in answers {
            first.get_or_insert(answer);
            if is_other(&answer) {
                other = Some(answer);
                break;
            }
        }
        let (verdict, rule) = other.or(first).unwrap_or((Action::Deny, RuleId(0)));
        PolicyTestRow {
            line: self.test.line,
            test: self.test.question(),
            judged: bench.judged,
            wanted: self.test.verdict,
            verdict,
            rule: names.rule(rule),
            passed: other.is_none(),
        }
    }

    fn answers<'a>(&'a self, bench: &'a Bench<'_>) -> impl Iterator<Item = (Action, RuleId)> + 'a {
        let pairs = self.from.iter().flat_map(|from| self.to.iter().map(move |to| (*from, *to)));
        pairs.flat_map(move |(from, to)| {
            let packets = self.services.iter().flat_map(|service| packets(bench.tables, service));
            packets.flat_map(move |packet| {
                let l4s = self.sources(packet.0, bench).map(move |source| l4(packet, source));
                l4s.map(move |l4| answer(bench.tables, from, to, l4))
            })
        })
    }

    /// The source L4 ports that are asked about.
    fn sources<'a>(&self, proto: IpProto, bench: &'a Bench<'_>) -> impl Iterator<Item = u16> + 'a {
        let one = match proto.has_l4_ports() {
            true => self.test.source_l4_port,
            false => Some(0),
        };
        let all = if one.is_none() { Some(&bench.sources) } else { None };
        one.into_iter().chain(all.into_iter().flatten().copied())
    }
}

fn l4((proto, l4_port): (IpProto, u16), source: u16) -> L4 {
    L4::new(proto, l4_port.to_be(), source.to_be())
}

/// Every packet of a service; of a whole protocol one for each that rules tell apart.
fn packets(tables: &Tables, service: &Match) -> Vec<(IpProto, u16)> {
    let proto = service.proto.unwrap_or_default();
    let services: Vec<u16> = match (service.low, service.high) {
        (0, u16::MAX) => tables.services(proto).into_iter().collect(),
        (low, high) => (low..=high).collect(),
    };
    services.into_iter().map(|l4_port| (proto, l4_port)).collect()
}

fn answer(tables: &Tables, from: Party, to: Party, l4: L4) -> (Action, RuleId) {
    match tables.judge(from, to, l4) {
        Ok(rule) => (Action::Allow, rule),
        Err(denied) if denied.reason == DropReason::PolicyRejected => (Action::Reject, denied.rule),
        Err(denied) => (Action::Deny, denied.rule),
    }
}
