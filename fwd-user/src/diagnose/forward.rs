//! Whether one forward works: the five steps of its packets, the last two by real probes of its target.

use std::net::{IpAddr, SocketAddr};

use fwd_common::proto::IpProto;

use super::{Seen, address, firewall, link, route, transport};
use crate::{
    api::{
        diagnosis::{Finding, ForwardTest, Step, StepRow, StepState},
        event::DropEvent,
        spec::{Forward, Network, Port, host_port_name},
        text::{Listen, Target},
    },
    compile::device_name,
    host::survey::Met,
};

/// A packet that would show whether the target's service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub proto: IpProto,
    pub to: SocketAddr,
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    pub probe: Probe,
    pub met: Met,
    /// Drops between this host and the target meanwhile.
    pub drops: Vec<DropEvent>,
}

/// One for each protocol and family; of a range the first L4 port; of all of them none.
pub fn probes(seen: &Seen<'_>, forward: &Forward) -> Vec<Probe> {
    let (Ok(listen), Ok(target)) = (forward.listen.parse::<Listen>(), forward.to.parse::<Target>()) else {
        return Vec::new();
    };
    let Some(port) = seen.document().find::<Port>(&target.port) else { return Vec::new() };
    if listen.is_whole() || !seen.is_connected(port) {
        return Vec::new();
    }
    let to = |proto: IpProto, addr: IpAddr| Probe { proto, to: (addr, target.l4_ports.low).into() };
    // There is no probe of SCTP, for which this host may have no stack.
    let protocols = listen.protocols.list().iter().filter(|proto| **proto != IpProto::SCTP);
    protocols.flat_map(|proto| targets(seen, port, listen).into_iter().map(|addr| to(*proto, addr))).collect()
}

/// The port's first address of each family on which is listened.
fn targets(seen: &Seen<'_>, port: &Port, listen: Listen) -> Vec<IpAddr> {
    let all = address::addresses(seen, port);
    let of = |is_v4: bool| all.iter().copied().find(|addr| addr.is_ipv4() == is_v4);
    let wanted =
        [true, false].into_iter().filter(|is_v4| listen.addr.is_none_or(|at| at.is_ipv4() == *is_v4));
    wanted.filter_map(of).collect()
}

/// The five steps.
pub fn test(seen: &Seen<'_>, forward: &Forward, probed: &[Probed]) -> ForwardTest {
    let way = Way::of(seen, forward);
    let steps = [way.link(), way.address(probed), way.route(), way.transport(probed), application(probed)];
    let mut rows: Vec<StepRow> = Vec::new();
    for row in steps {
        let is_blocked = rows.iter().any(|before| before.state == StepState::Failed);
        rows.push(if is_blocked && row.state == StepState::Passed { unknown(row.step) } else { row });
    }
    ForwardTest {
        forward: forward.name.clone(),
        listen: forward.listen.clone(),
        to: forward.to.clone(),
        works: rows.iter().all(|row| row.state != StepState::Failed),
        steps: rows,
    }
}

fn unknown(step: Step) -> StepRow {
    let found = vec!["Not looked at: a step before it failed.".to_owned()];
    StepRow { step, state: StepState::Unknown, found, remedies: Vec::new() }
}

/// What lies between a forward's clients and its target.
struct Way<'a> {
    seen: &'a Seen<'a>,
    forward: &'a Forward,
    port: Option<(&'a Port, &'a Network)>,
    listen: Option<Listen>,
}

impl<'a> Way<'a> {
    fn of(seen: &'a Seen<'a>, forward: &'a Forward) -> Self {
        let target: Option<Target> = forward.to.parse().ok();
        let port = target.and_then(|target| seen.ports().find(|(port, _)| port.name == target.port));
        Self { seen, forward, port, listen: forward.listen.parse().ok() }
    }

    /// Whether a finding is about this way.
    fn concerns(&self, finding: &Finding) -> bool {
        let object = finding.object.as_str();
        let Some((port, network)) = self.port else { return object.starts_with("uplink ") };
        let uplinks = self.uplinks();
        object == format!("port {}", port.name)
            || object == format!("network {}", network.name)
            || object == format!("host port {}", host_port_name(&network.name))
            || object == format!("forward {}", self.forward.name)
            || uplinks.iter().any(|uplink| object == format!("uplink {uplink}"))
    }

    /// By which clients may come: those that have the address on which it listens, else all.
    fn uplinks(&self) -> Vec<&'a str> {
        let all = self.seen.document().uplinks.iter().map(|uplink| uplink.device.as_str());
        let at = self.listen.and_then(|listen| listen.addr);
        let has = |device: &&str| {
            let addresses = self.seen.device(device).map(|device| &device.addresses);
            at.is_none_or(|at| addresses.is_some_and(|own| own.iter().any(|net| net.addr() == at)))
        };
        all.filter(has).collect()
    }

    fn row(&self, step: Step, findings: Vec<Finding>, good: String) -> StepRow {
        let concerned = |finding: &Finding| finding.step == step && self.concerns(finding);
        let findings: Vec<_> = findings.into_iter().filter(concerned).collect();
        // How a forced hook works depends on the other end of the device, which is not seen from here.
        let is_certain = findings.iter().any(|finding| finding.check != "hook");
        let state = match (findings.is_empty(), is_certain) {
            (true, _) => StepState::Passed,
            (_, true) => StepState::Failed,
            (_, false) => StepState::Unknown,
        };
        let (mut found, remedies): (Vec<_>, Vec<_>) =
            findings.into_iter().map(|finding| (finding.found, finding.remedy)).unzip();
        if found.is_empty() {
            found.push(good);
        }
        StepRow { step, state, found, remedies }
    }

    fn link(&self) -> StepRow {
        let device = self.port.and_then(|(port, _)| device_name(self.seen.inventory, port)).unwrap_or("?");
        let devices: Vec<_> = self.uplinks().into_iter().chain([device]).collect();
        let good = format!("Up and connected: {}.", devices.join(", "));
        self.row(Step::Link, link::findings(self.seen), good)
    }

    fn address(&self, probed: &[Probed]) -> StepRow {
        let own = self.port.map_or_else(Vec::new, |(port, _)| address::addresses(self.seen, port));
        let texts: Vec<_> = own.iter().map(ToString::to_string).collect();
        let mut findings = address::findings(self.seen);
        // What was dropped a while ago says nothing of a guest that is heard by now.
        let is_heard = probed.iter().any(|one| is_reached(&one.met) || one.met == Met::Refusal);
        findings.retain(|finding| !(is_heard && finding.check == "wrong_address"));
        let state = self.seen.compiled.forwards.get(&self.forward.name);
        if let Some(reason) = state.and_then(|state| state.reason.as_ref())
            && !findings.iter().any(|finding| self.concerns(finding))
        {
            findings.push(super::finding(
                Step::Address,
                "pending",
                &format!("forward {}", self.forward.name),
                reason,
                "Give the port an address of that family: fwd port set PORT --ip ADDR.",
            ));
        }
        let name = self.port.map_or("?", |(port, _)| port.name.as_str());
        self.row(Step::Address, findings, format!("Port {name} has {}.", texts.join(", ")))
    }

    fn route(&self) -> StepRow {
        let silent = |addr: &IpAddr| self.seen.survey.silent.contains(addr);
        let at = self.listen.and_then(|listen| listen.addr);
        let is_of = |is_v4: bool| at.is_none_or(|at| at.is_ipv4() == is_v4);
        let own = self.port.map_or_else(Vec::new, |(port, _)| address::addresses(self.seen, port));
        let answering: Vec<_> = own.iter().filter(|addr| !silent(addr)).map(ToString::to_string).collect();
        let good = format!("The guest answers for {}; there is a way back.", answering.join(", "));
        let mut findings = route::of_families(self.seen, &is_of);
        // Only what this host itself is sent passes that filter.
        findings.retain(|finding| finding.check != "rp_filter");
        self.row(Step::Route, findings, good)
    }

    fn transport(&self, probed: &[Probed]) -> StepRow {
        let mut findings = transport::findings(self.seen);
        findings.retain(|finding| finding.check != "forward_pending");
        let good =
            probed.iter().filter(|one| is_reached(&one.met)).map(reached).collect::<Vec<_>>().join(" ");
        let mut row = self.row(Step::Transport, findings, good);
        if row.state == StepState::Passed {
            row.found.retain(|text| !text.is_empty());
        }
        for one in probed {
            self.judge(one, &mut row);
        }
        if row.found.is_empty() {
            row.state = StepState::Unknown;
            row.found.push("There is nothing to send a probe to.".to_owned());
        }
        if !self.forward.from.is_empty() {
            let clients: Vec<_> = self.forward.from.iter().map(ToString::to_string).collect();
            row.found.push(format!("It is for clients of {} only.", clients.join(", ")));
        }
        row
    }

    fn judge(&self, one: &Probed, row: &mut StepRow) {
        let (what, to) = (proto_name(one.probe.proto), one.probe.to);
        let mut failed = |found: String, remedy: String| {
            row.state = StepState::Failed;
            row.found.push(found);
            row.remedies.push(remedy);
        };
        let stops = |(_, network): (&Port, &Network)| {
            let proto = if one.probe.proto == IpProto::TCP { "tcp" } else { "udp" };
            firewall::stops(self.seen, network, (proto, to))
        };
        let owner = super::capitalized(&self.port.and_then(stops).unwrap_or_default());
        match (&one.met, one.drops.first()) {
            (Met::Service | Met::Closes, _) => {}
            (_, Some(drop)) => row.note(dropped(one, drop)),
            // Clients outside do not pass those rules.
            (Met::Silence | Met::NoWord | Met::Unsendable(_), None) if !owner.is_empty() => {
                row.note(format!(
                    "{owner} of this host drops what it sends to {to} itself: the guest was not asked."
                ));
            }
            (Met::Refusal, _) => failed(
                format!("Nothing listens on {what} {to}: the guest refuses (RST, or port unreachable)."),
                format!(
                    "Start the service there, or lead to its L4 port: fwd forward show {}.",
                    self.forward.name
                ),
            ),
            (Met::Silence, _) => failed(
                format!(
                    "The guest was sent a SYN for {to} and does not answer it: its own firewall drops it, or it has no \
                     route back."
                ),
                "Allow the L4 port in the guest's firewall; and look at ip route and ip neigh in the guest."
                    .to_owned(),
            ),
            (Met::Rejection(why), _) => failed(
                format!("{what} {to} is rejected: the guest's own firewall answers by ICMP ({why})."),
                "Allow the L4 port in the guest's firewall.".to_owned(),
            ),
            (Met::Unsendable(why), _) => failed(
                format!("This host cannot send to {to}: {why}."),
                "Look at the host's rules for what it sends itself (nft list ruleset), and at ip route."
                    .to_owned(),
            ),
            (Met::NoWord, _) => row.note(format!("{what} {to} gave no error.")),
        }
    }
}

impl StepRow {
    /// Tells without judging.
    fn note(&mut self, found: String) {
        self.state = self.state.max(StepState::Unknown);
        self.found.push(found);
    }
}

const fn is_reached(met: &Met) -> bool {
    matches!(met, Met::Service | Met::Closes)
}

fn reached(one: &Probed) -> String {
    format!("{} {} answers.", proto_name(one.probe.proto), one.probe.to)
}

fn proto_name(proto: IpProto) -> &'static str {
    if proto == IpProto::TCP { "TCP" } else { "UDP" }
}

/// The probe itself was dropped, which is about this host and not about clients outside.
fn dropped(one: &Probed, drop: &DropEvent) -> String {
    let by = drop.rule.as_ref().map_or(String::new(), |rule| format!(" (rule {rule})"));
    format!(
        "The probe to {} was dropped: {}{by}. Clients outside are judged by themselves, and may pass; what the \
         guest answers is not known.",
        one.probe.to, drop.reason
    )
}

fn application(probed: &[Probed]) -> StepRow {
    let mut row = StepRow {
        step: Step::Application,
        state: StepState::Passed,
        found: Vec::new(),
        remedies: Vec::new(),
    };
    for one in probed {
        let to = one.probe.to;
        match &one.met {
            Met::Service => row.found.push(format!("The service on {to} takes connections.")),
            Met::Closes => {
                row.state = StepState::Failed;
                row.found.push(format!("The service on {to} accepts, and closes at once."));
                row.remedies.push("Look at the service's own log in the guest.".to_owned());
            }
            Met::NoWord => row.note(format!("UDP services need not answer; {to} did not.")),
            Met::Refusal | Met::Silence | Met::Rejection(_) | Met::Unsendable(_) => {
                row.note(format!("Not reached: {to}."));
            }
        }
    }
    if row.found.is_empty() {
        row.note("Not looked at: there is nothing to send a probe to.".to_owned());
    }
    row
}
