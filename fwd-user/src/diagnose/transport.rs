//! Between the ends: forwards and the rules about them, tables that are full, programs of others on the way.

use fwd_common::{
    id::{ClassId, Identity, PortId},
    policy::{Denied, Direction, L4, PolicyKey, Staged, decide},
    proto::IpProto,
};

use super::{Seen, finding};
use crate::{
    api::{
        diagnosis::{Finding, Step},
        spec::Forward,
        status::{DropRow, ObjectState},
        text::{Listen, Target},
    },
    host::survey::ForeignProgram,
};

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    for forward in &seen.document().forwards {
        out.extend(waits(seen, forward));
        out.extend(denied(seen, forward));
        out.extend(taken(seen, forward));
    }
    out.extend(programs(seen));
    out.extend(tables(seen));
    out.extend(seen.drops.iter().filter_map(limit));
    out
}

/// Forwards that wait for something that no other finding is about.
fn waits(seen: &Seen<'_>, forward: &Forward) -> Option<Finding> {
    let state = seen.compiled.forwards.get(&forward.name).filter(|s| s.state != ObjectState::Ready)?;
    let reason = state.reason.clone()?;
    Some(finding(
        Step::Transport,
        "forward_pending",
        &format!("forward {}", forward.name),
        reason,
        format!("See why: fwd forward test {}.", forward.name),
    ))
}

/// A forward that no client outside may use. Of one of all L4 ports some may be meant to be closed.
pub(super) fn denied(seen: &Seen<'_>, forward: &Forward) -> Option<Finding> {
    let listen = forward.listen.parse().ok().filter(|listen: &Listen| !listen.is_whole())?;
    let target: Target = forward.to.parse().ok()?;
    let id = *seen.desired.numbers.ports.get(&target.port)?;
    let denials: Vec<_> = listen
        .protocols
        .list()
        .iter()
        .filter_map(|proto| all_denied(seen, id, (*proto, target.l4_ports.low)))
        .collect();
    let Denied { rule, .. } = denials.first().filter(|_| denials.len() == listen.protocols.list().len())?;
    let rules = &seen.desired.numbers.rules;
    let name = rules.iter().find(|(_, number)| **number == *rule).map(|(name, _)| name);
    let (found, remedy) = match name {
        Some(name) => (
            format!("rule {name} denies everybody outside to {}.", forward.to),
            format!("Change it: fwd policy show {name}; or allow what is to pass, at a higher priority."),
        ),
        None => (
            format!("the network is closed, and no rule allows anybody outside to {}.", forward.to),
            format!(
                "Allow it: fwd policy add allow outside port:{} {}/{}.",
                target.port,
                match listen.protocols.list()[0] {
                    IpProto::UDP => "udp",
                    IpProto::SCTP => "sctp",
                    _ => "tcp",
                },
                target.l4_ports.low
            ),
        ),
    };
    Some(finding(Step::Transport, "rule_denies", &format!("forward {}", forward.name), found, remedy))
}

/// The verdict that refuses every outside client; none where some of them pass.
fn all_denied(seen: &Seen<'_>, port: PortId, (proto, l4_port): (IpProto, u16)) -> Option<Denied> {
    let tables = &seen.compiled.tables;
    let policy = tables.views.get(&port)?.policy;
    let mut classes: Vec<ClassId> = tables.classes.values().copied().collect();
    classes.push(ClassId::default());
    let sources = tables.sources();
    let clients = classes.iter().rev().flat_map(|class| sources.iter().map(move |source| (class, source)));
    let mut first = None;
    for (class, source) in clients {
        let asked = PolicyKey::new(policy, Direction::Ingress, Identity::outside(*class));
        let l4 = L4::new(proto, l4_port.to_be(), source.to_be());
        match decide(tables, asked, l4, &mut Staged::default()) {
            Ok(_) => return None,
            Err(denied) => first = first.or(Some(denied)),
        }
    }
    first
}

/// A process of this host that took the forward's L4 port: sockets win.
pub(super) fn taken(seen: &Seen<'_>, forward: &Forward) -> Option<Finding> {
    let who = seen.taken.get(&forward.name).filter(|_| !forward.force)?;
    Some(finding(
        Step::Transport,
        "host_listens",
        &format!("forward {}", forward.name),
        format_args!("{who} of this host listens on {} itself.", forward.listen),
        "Stop that process, or listen on another L4 port.",
    ))
}

fn programs(seen: &Seen<'_>) -> Vec<Finding> {
    let devices = seen.devices();
    let said = |program: &ForeignProgram| {
        let (_, object) = devices.iter().find(|(device, _)| *device == program.device)?;
        let (point, name, device) = (program.point, &program.name, &program.device);
        Some(finding(
            Step::Transport,
            "foreign_program",
            object,
            format_args!(
                "the {point} program {name} on {device} is not fwd's; it may drop or change packets."
            ),
            match point {
                "XDP" => format!(
                    "Find out whose it is (bpftool net); remove it: ip link set dev {device} xdp off."
                ),
                _ => format!(
                    "Find out whose it is (bpftool net, tc filter show dev {device}), and remove it there."
                ),
            },
        ))
    };
    seen.survey.programs.iter().filter_map(said).collect()
}

fn tables(seen: &Seen<'_>) -> Option<Finding> {
    let (used, limit) = seen.flows;
    (limit > 0 && used * 10 >= limit * 9).then(|| {
        finding(
            Step::Transport,
            "flow_table",
            "host",
            format_args!("{used} of {limit} flow entries are in use; new flows are refused when it is full."),
            "See who has them: fwd flow count --port NAME; or raise flow_limit: fwd config set flow_limit N.",
        )
    })
}

/// Limits that were met in the last minute.
fn limit(drop: &DropRow) -> Option<Finding> {
    let remedy = match drop.reason.as_str() {
        "flow_table_full" => "See who fills it: fwd flow count; or raise flow_limit.",
        "port_flow_limit" => "Look at what the guest does: fwd flow list; or raise flow_limit_per_port.",
        "half_open_limit" => "A scan or a flood: fwd flow list --state half_open.",
        "nat_exhausted" => "Widen nat_l4_ports: fwd config set nat_l4_ports 20000-59999.",
        "mac_limit" => "A MAC flood, or many machines behind one port.",
        _ => return None,
    };
    let port = drop.port.as_ref()?;
    Some(finding(
        Step::Transport,
        &drop.reason,
        &format!("port {port}"),
        format_args!(
            "{} packets were dropped, the last of them a moment ago: {}.",
            drop.packets, drop.reason
        ),
        remedy,
    ))
}
