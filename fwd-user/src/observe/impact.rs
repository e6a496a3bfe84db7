//! What a document to come would do to the flows that live: which it would cut, and which it would permit that
//! only live because an edit kept them. Decided as the programs decide flows anew; nothing is changed.

use fwd_common::{
    addr::Ip,
    drop::DropReason,
    flow::flag,
    id::{ForwardId, PortId, RuleId},
    policy::{Denied, L4},
    proto::IpProto,
};

use super::{Names, QueryError, View, drops::reason_name, flows};
use crate::{
    api::{
        answer::{FlowImpact, Impact},
        status::FlowRow,
    },
    compile::{Party, Tables},
};

/// A live flow, as rules are asked about it: addresses and L4 ports (network byte order) as its first packet came
/// and as it left.
#[derive(Clone, Copy, Debug)]
pub struct LiveFlow {
    pub ports: (PortId, PortId),
    pub came: (Ip, Ip, u16),
    pub left: (Ip, u16),
    pub proto: IpProto,
    /// What rules compare, as its first packet had it, in network byte order: also the source L4 port.
    pub service: u16,
    pub sport: u16,
    pub forward: ForwardId,
    /// What rules compare of its answers, in network byte order; from the L4 port that it left for.
    pub answer: u16,
    /// Of the original direction's entry, and of the reply's.
    pub flags: u16,
    pub answers: u16,
    /// With [`flag::KEPT_FROM_RULE`]: the rule from which an edit keeps it, or its answers.
    pub kept_from: RuleId,
}

/// All live flows that would fare otherwise by these rows, whose document has these names.
///
/// # Errors
/// A map cannot be read.
pub fn impact(view: &View<'_>, tables: &Tables, names: &Names) -> Result<Impact, QueryError> {
    let mut impact = Impact::default();
    flows::each_live(view, &mut |flow, row| {
        let is_kept = flow.flags & flag::KEPT_FROM_RULE != 0;
        match judge(tables, flow) {
            Ok(rule) if is_kept => impact.allowed.push(told(row(), names, rule, None)),
            Ok(_) => {
                let is_refused = flow.answers & flag::REPLY_REFUSED != 0;
                let is_kept = flow.answers & flag::KEPT_FROM_RULE != 0;
                match judge_answer(tables, flow) {
                    Ok(rule) if is_refused => {
                        impact.answers_permitted.push(told(row(), names, rule, None));
                    }
                    Err(denied) if !(is_refused || is_kept && denied.rule == flow.kept_from) => {
                        let by = Some(denied.reason);
                        impact.answers_refused.push(told(row(), names, denied.rule, by));
                    }
                    _ => {}
                }
            }
            Err(denied) if is_kept && denied.rule == flow.kept_from => {}
            Err(denied) => impact.cut.push(told(row(), names, denied.rule, Some(denied.reason))),
        }
    })?;
    let by_name = |a: &FlowImpact, b: &FlowImpact| {
        let key = |of: &FlowImpact| (of.flow.network.clone(), of.flow.source.clone(), of.flow.name.clone());
        key(a).cmp(&key(b))
    };
    let Impact { cut, allowed, answers_refused, answers_permitted } = &mut impact;
    [cut, allowed, answers_refused, answers_permitted].into_iter().for_each(|list| list.sort_by(by_name));
    Ok(impact)
}

fn told(flow: FlowRow, names: &Names, rule: RuleId, reason: Option<DropReason>) -> FlowImpact {
    FlowImpact { flow, by: names.rule(rule), reason: reason.map(|reason| reason_name(reason as u8)) }
}

fn judge(tables: &Tables, flow: &LiveFlow) -> Result<RuleId, Denied> {
    let without_rule = |reason| Denied { reason, rule: RuleId(0) };
    let (from, to) = flow.ports;
    if !tables.ports.contains_key(&from) || !tables.ports.contains_key(&to) {
        return Err(without_rule(DropReason::PortDown));
    }
    let (src, asked, l4_port) = flow.came;
    let (dst, left_l4_port) = flow.left;
    let leads_there = |found: &fwd_common::forward::Forward| {
        let target = u16::from_be(l4_port).wrapping_add(found.l4_offset).to_be();
        (found.id, found.port, found.to, target) == (flow.forward, to, dst, left_l4_port)
    };
    let is_bound = flow.forward != ForwardId(0) && flow.flags & flag::KEPT_FROM_FORWARD == 0;
    if is_bound {
        let found = tables.forward_of(flow.proto, asked, l4_port).filter(leads_there);
        let found = found.ok_or(without_rule(DropReason::ForwardRemoved))?;
        if !tables.is_for(&found, src) {
            return Err(without_rule(DropReason::ForwardClientDenied));
        }
    }
    let (from, to) = parties(tables, flow);
    tables.judge(from, to, L4::new(flow.proto, flow.service, flow.sport))
}

fn judge_answer(tables: &Tables, flow: &LiveFlow) -> Result<RuleId, Denied> {
    let asked = L4::new(flow.proto, flow.service, flow.sport);
    tables.judge_answer(parties(tables, flow), asked, L4::new(flow.proto, flow.answer, flow.left.1))
}

fn parties(tables: &Tables, flow: &LiveFlow) -> (Party, Party) {
    let ((from, to), (src, ..), (dst, _)) = (flow.ports, flow.came, flow.left);
    (Party::behind(tables, from, src), Party::behind(tables, to, dst))
}
