//! What became of a traced frame, in the operator's names.

use fwd_common::{
    addr::{Address, V4, V6},
    counter::Count,
    drop::DropReason,
    flow::flag,
    id::{PortId, RuleId},
    message, policy,
    port::{self, PortKind},
    proto::IpProto,
    trace::Step,
    verdict::{Action, Dropped, Outcome, Verdict},
};

use super::{
    frame::{self, Heads},
    place::Place,
    stages::{self, Way},
};
use crate::{
    api::{
        spec::Policy,
        status::{Direction, ObjectState},
        text::Listen,
        trace::{Trace, TraceFrame, TraceRule, TraceVerdict},
    },
    compile::{self, ForwardState, Party, Question},
    daemon::world::World,
    datapath::{Conversation, Passage, Traced},
    observe::{Cause, FlowName, View, flows::show_end},
};

/// What is told, and by which names.
pub struct Teller<'a> {
    pub world: &'a World,
    pub view: &'a View<'a>,
    pub place: Place,
    pub heads: Option<Heads>,
    pub frame: &'a [u8],
    pub traced: &'a Traced,
}

/// A flow's direction, whatever its family.
struct Told {
    name: String,
    egress: PortId,
    forward: Option<String>,
    rule: RuleId,
    flags: u16,
    /// As it leaves.
    destination: (std::net::IpAddr, u16),
    translated: Option<String>,
    /// It is the source that `translated` has.
    has_source: bool,
}

impl Teller<'_> {
    pub fn tell(&self) -> Trace {
        let told = self.told();
        let last = self.traced.passages.last();
        let dropped = last.and_then(dropped);
        let verdict = last.map_or(TraceVerdict::Host, verdict);
        let reason = dropped.filter(|_| matches!(verdict, TraceVerdict::Drop | TraceVerdict::Answered));
        let egress = self.egress(told.as_ref());
        let rules = self.rules(told.as_ref(), reason);
        let Cause { rule, forward } = match reason {
            Some(dropped) => self.view.names.cause(dropped.reason as u8, dropped.rule),
            None => self.permitted(told.as_ref()),
        };
        let way = self.way(told.as_ref(), rule.clone(), egress.as_ref());
        let stages = self.traced.passages.iter().flat_map(|passage| stages::stages(passage, &way));
        let leaves = matches!(verdict, TraceVerdict::Forward | TraceVerdict::Answered);
        Trace {
            verdict,
            reason: reason.map(|dropped| dropped.reason.name().to_owned()),
            meaning: reason.map(|dropped| dropped.reason.sentence().to_owned()),
            remedy: reason.map(|dropped| dropped.reason.remedy().to_owned()),
            direction: reason.filter(|dropped| is_of_policy(dropped.reason)).map(|d| direction(d.direction)),
            rule,
            rules,
            port: self.view.names.port(self.place.id).unwrap_or_default(),
            network: self.view.names.network_of_port(self.place.id),
            egress: egress.filter(|_| verdict == TraceVerdict::Forward),
            forward: forward.or_else(|| told.as_ref().and_then(|told| told.forward.clone())),
            translated: told.as_ref().and_then(|told| told.translated.clone()),
            flow: told.filter(|_| self.traced.is_known).map(|told| told.name),
            stages: stages.collect(),
            frame: shown(self.frame),
            sent: last.filter(|_| leaves).map(|last| shown(&last.frame)),
        }
    }

    /// What let it pass.
    fn permitted(&self, told: Option<&Told>) -> Cause {
        let rule = told.map_or(RuleId(0), |told| told.rule);
        Cause { rule: self.view.names.rule(rule), forward: None }
    }

    fn told(&self) -> Option<Told> {
        let v4 = self.traced.v4.as_ref().map(|flow| self.told_of(flow));
        v4.or_else(|| self.traced.v6.as_ref().map(|flow| self.told_of(flow)))
    }

    fn told_of<A: Address>(&self, flow: &Conversation<A>) -> Told {
        let Conversation { key, entry, reply } = flow;
        let is_icmp = key.proto == A::ICMP;
        let end = |addr: A, l4_port: u16| (addr.ip().to_std(), u16::from_be(l4_port));
        let show = |addr: A, l4_port: u16| show_end(addr.ip().to_std(), l4_port, is_icmp);
        let has_source = (key.src, key.sport) != (entry.src, entry.sport);
        let has_destination = (key.dst, key.dport) != (entry.dst, entry.dport);
        let source = has_source.then(|| show(entry.src, entry.sport));
        let destination = has_destination.then(|| show(entry.dst, entry.dport));
        let original = if entry.has(flag::ORIGINAL) { *key } else { self.view.partner(key, entry) };
        let is_decided = entry.egress != PortId(0);
        // Only the opener's entry keeps what admitted the flow.
        let opener = if entry.has(flag::ORIGINAL) { Some(entry) } else { reply.as_ref() };
        Told {
            has_source,
            name: FlowName::of(&original).to_string(),
            egress: entry.egress,
            forward: opener.and_then(|opener| self.view.names.forward(opener.forward)),
            rule: opener.filter(|_| reply.is_some()).map_or(RuleId(0), |opener| opener.rule),
            flags: entry.flags,
            destination: end(entry.dst, entry.dport),
            translated: source.or(destination).filter(|_| is_decided && entry.has(flag::TRANSLATED)),
        }
    }

    fn by_rule(&self, name: &str) -> String {
        match self.world.desired.document.find::<Policy>(name) {
            Some(rule) if rule.stateless => format!("rule {name}, without what answers"),
            _ => format!("rule {name}"),
        }
    }

    /// Whether copies go to the members of the network.
    fn is_flood(&self) -> bool {
        let is_group = self.frame.first().is_some_and(|byte| byte & 1 != 0);
        let mut steps = self.traced.passages.iter().flat_map(|passage| &passage.steps);
        steps.any(|record| {
            let outcome = Outcome::<Verdict>::from_word(record.word);
            let action = if outcome.is_drop() { Action::Next } else { outcome.value().action };
            let is_copied = matches!(action, Action::Forward | Action::Flooded);
            is_copied && (record.step == Step::First as u16 || is_group)
        })
    }

    /// The port by which it leaves.
    fn egress(&self, told: Option<&Told>) -> Option<String> {
        if self.is_flood() {
            return None;
        }
        let words = self.traced.passages.iter().flat_map(|passage| &passage.steps).rev();
        let outcomes = words.filter(|r| r.step != Step::Revisit as u16 && r.step != Step::Recheck as u16);
        let verdicts = outcomes.map(|r| Outcome::<Verdict>::from_word(r.word)).filter(|o| !o.is_drop());
        let mut verdicts = verdicts.map(Outcome::value);
        match verdicts.find(|v| matches!(v.action, Action::Forward | Action::ForwardByHost)) {
            Some(verdict) => self.view.names.port(verdict.port),
            None => told.and_then(|told| self.view.names.port(told.egress)),
        }
    }

    fn way(&self, told: Option<&Told>, rule: Option<String>, egress: Option<&String>) -> Way {
        let row = &self.place.row;
        let is_routed_uplink = row.is(PortKind::Uplink) && !row.has(port::flag::BRIDGED);
        let to_gateway = self.frame.get(..6) == Some(&row.gateway_mac.0[..]);
        let chooser = match (is_routed_uplink, to_gateway) {
            (true, _) => "forward",
            (_, true) => "route",
            _ => "fdb",
        };
        let waiting = self.waiting();
        let chosen = told.filter(|told| told.egress != PortId(0)).map(|told| {
            let to = self.view.names.port(told.egress).unwrap_or_default();
            match (&told.forward, &waiting) {
                (Some(forward), _) => format!("forward {forward}, to {to}"),
                (None, Some(waiting)) => format!("to {to}; {waiting}"),
                (None, None) => format!("to {to}"),
            }
        });
        Way {
            flow: told.filter(|_| self.traced.is_known).map(|told| format!("flow {}", told.name)),
            chooser,
            chosen,
            policy: Some(rule.map_or_else(|| "by default".to_owned(), |rule| self.by_rule(&rule))),
            translation: told
                .filter(|told| told.has_source)
                .and_then(|told| told.translated.clone())
                .map(|to| format!("from {to}")),
            refused: egress.and_then(|egress| self.refused(egress)),
            egress: egress.cloned(),
            is_flood: self.is_flood(),
            waiting,
        }
    }

    /// Why a port's device takes nothing, where it has one.
    fn refused(&self, egress: &str) -> Option<String> {
        let attachment = self.world.compiled.ports.values().find(|attachment| attachment.name == egress)?;
        let is_pending = attachment.state == ObjectState::Pending && attachment.ifindex != 0;
        attachment.state_reason.clone().filter(|_| is_pending)
    }

    /// The forward that would take the packet if it worked, with the reason why it does not.
    fn waiting(&self) -> Option<String> {
        let heads = self.heads?;
        let takes = |listen: &Listen| {
            listen.protocols.list().contains(&heads.proto)
                && listen
                    .addr
                    .map_or_else(|| self.is_of_uplink(heads.destination), |a| a == heads.destination)
                && (listen.is_whole() || (listen.l4_ports.low..=listen.l4_ports.high).contains(&heads.dport))
        };
        self.world.desired.document.forwards.iter().find_map(|forward| {
            let ForwardState { state, reason } = self.world.compiled.forwards.get(&forward.name)?;
            let is_it =
                *state != ObjectState::Ready && forward.listen.parse().is_ok_and(|listen| takes(&listen));
            let reason = reason.as_deref().filter(|_| is_it)?;
            Some(format!("forward {} would take it, but does not work yet: {reason}", forward.name))
        })
    }

    fn is_of_uplink(&self, addr: std::net::IpAddr) -> bool {
        let World { desired, inventory, .. } = self.world;
        let devices =
            desired.document.uplinks.iter().filter_map(|uplink| inventory.devices.get(&uplink.device));
        devices.flat_map(|device| &device.addresses).any(|own| own.addr() == addr)
    }

    /// The rules that apply, where rules were asked at all.
    fn rules(&self, told: Option<&Told>, dropped: Option<Dropped>) -> Vec<TraceRule> {
        let Some(heads) = self.heads else { return Vec::new() };
        if dropped.is_some_and(|dropped| dropped.reason.is_of_forward()) {
            return Vec::new();
        }
        let is_decided = told.is_some_and(|told| told.egress != PortId(0));
        if !is_decided && !dropped.is_some_and(|dropped| is_of_policy(dropped.reason)) {
            return Vec::new();
        }
        let question = self.question(&heads, told);
        let mut list = Vec::new();
        for way in [policy::Direction::Egress, policy::Direction::Ingress] {
            let ids = compile::about(&self.world.desired, &self.world.inventory, &question, way);
            let winner = ids.iter().find(|applied| !applied.is_staged).map(|applied| applied.rule);
            for applied in ids {
                list.extend(self.rule(applied.rule).map(|rule| TraceRule {
                    rule: rule.name.clone(),
                    action: rule.action,
                    tier: rule.tier,
                    priority: rule.priority,
                    direction: direction(way),
                    wins: winner == Some(applied.rule),
                    staged: applied.is_staged,
                }));
            }
        }
        list
    }

    fn rule(&self, id: RuleId) -> Option<&Policy> {
        let desired = &self.world.desired;
        let (name, _) = desired.numbers.rules.iter().find(|(_, number)| **number == id)?;
        desired.document.find(name)
    }

    /// What rules were asked: of the flow's first packet.
    fn question(&self, heads: &Heads, told: Option<&Told>) -> Question {
        let own = self.party(self.place.id, heads.source);
        let Some(told) = told.filter(|told| told.egress != PortId(0)) else {
            let (to, proto) = (Party::Outside(heads.destination.into()), heads.proto);
            return Question { from: own, to, proto, service: heads.service, sport: heads.sport };
        };
        let is_icmp = matches!(heads.proto, IpProto::ICMP | IpProto::ICMPV6);
        // An answer that is refused was asked about for itself.
        if told.flags & (flag::ORIGINAL | flag::REPLY_REFUSED) != 0 || !self.traced.is_known {
            let to = self.party(told.egress, told.destination.0);
            let service = if is_icmp { heads.service } else { told.destination.1 };
            return Question { from: own, to, proto: heads.proto, service, sport: heads.sport };
        }
        // An answer: who it goes to has asked, for the L4 port from which it comes.
        let from = self.party(told.egress, told.destination.0);
        let (sport, dport) = (heads.dport.to_be(), heads.sport.to_be());
        let service = match heads.proto {
            IpProto::ICMP => u16::from_be(message::service::<V4>(sport, dport)),
            IpProto::ICMPV6 => u16::from_be(message::service::<V6>(sport, dport)),
            _ => heads.sport,
        };
        Question { from, to: own, proto: heads.proto, service, sport: told.destination.1 }
    }

    fn party(&self, id: PortId, addr: std::net::IpAddr) -> Party {
        Party::behind(&self.world.compiled.tables, id, addr.into())
    }
}

fn verdict(passage: &Passage) -> TraceVerdict {
    let is = |count: Count| count != Count::default();
    let counted = &passage.counted;
    if is(counted.dropped) {
        TraceVerdict::Drop
    } else if is(counted.answered) {
        TraceVerdict::Answered
    } else if is(counted.forwarded) {
        TraceVerdict::Forward
    } else {
        TraceVerdict::Host
    }
}

/// The drop that a run came to; one that was answered was not counted as a drop.
fn dropped(passage: &Passage) -> Option<Dropped> {
    let counted = passage.dropped.and_then(|key| {
        let direction =
            if key.direction == 0 { policy::Direction::Egress } else { policy::Direction::Ingress };
        Some(Dropped { reason: DropReason::from_number(key.reason)?, rule: key.rule, direction })
    });
    let steps = passage.steps.iter().rev().map(|record| Outcome::<Verdict>::from_word(record.word));
    counted.or_else(|| steps.filter(|outcome| outcome.is_drop()).map(Outcome::drop).next())
}

const fn is_of_policy(reason: DropReason) -> bool {
    use DropReason as R;
    matches!(reason, R::PolicyDenied | R::PolicyDefaultDeny | R::PolicyRejected | R::PolicyRowMissing)
}

const fn direction(direction: policy::Direction) -> Direction {
    match direction {
        policy::Direction::Egress => Direction::Egress,
        policy::Direction::Ingress => Direction::Ingress,
    }
}

fn shown(frame: &[u8]) -> TraceFrame {
    TraceFrame { text: frame::describe(frame), bytes: frame::hex(frame) }
}
