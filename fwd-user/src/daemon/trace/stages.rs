//! The stages of a frame's way, out of what the slow steps answered.

use fwd_common::{
    counter::Count,
    drop::DropReason,
    trace::{Record, Step},
    verdict::{Action, Outcome, Verdict},
};

use crate::{
    api::{
        status::Path,
        trace::{TraceResult, TraceStage},
    },
    datapath::{Passage, Point},
};

/// What is known of the way beside the answers.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// The live flow that the frame belongs to.
    pub flow: Option<String>,
    /// The stage that chooses where a first packet goes: `forward`, `route` or `fdb`.
    pub chooser: &'static str,
    pub chosen: Option<String>,
    /// The rule's name, or that it is the default.
    pub policy: Option<String>,
    pub translation: Option<String>,
    pub egress: Option<String>,
    /// Why the device behind it takes nothing.
    pub refused: Option<String>,
    /// A forward that would take it, and why it does not.
    pub waiting: Option<String>,
    /// Copies go to the members of the network.
    pub is_flood: bool,
}

/// The stages in which a drop can come to pass, in the order of the pipeline.
const IN_ORDER: [&str; 9] =
    ["parse", "flow", "recheck", "source", "way", "policy", "nat", "admit", "deliver"];

/// Stages of one program's run.
pub fn stages(passage: &Passage, way: &Way) -> Vec<TraceStage> {
    let path = if passage.point == Point::Xdp { Path::Xdp } else { Path::Skb };
    let mut list = List { path, way, stages: Vec::new() };
    let dropped = passage.steps.iter().any(|record| record.step == Step::Dropped as u16);
    let is_parsed = passage.steps.first().is_some_and(|record| {
        let outcome = Outcome::<Verdict>::from_word(record.word);
        !outcome.is_drop() || outcome.drop().reason.stage() != "parse"
    });
    if is_parsed {
        list.pass("parse", None);
    }
    for record in &passage.steps {
        list.step(record);
    }
    if passage.steps.is_empty() && way.flow.is_some() {
        list.pass("flow", way.flow.clone());
    }
    if passage.counted.passed_up != Count::default() {
        list.pass("pass up", Some("TCX decides it".to_owned()));
    } else if passage.counted.answered != Count::default() {
        list.pass("answer", Some("its sender is told".to_owned()));
    } else if passage.counted.host != Count::default() {
        list.pass("host", Some("the host's own stack takes it".to_owned()));
    } else if !dropped && passage.counted.forwarded != Count::default() {
        let out =
            way.egress.as_ref().map(|egress| match (&way.refused, passage.steps.iter().any(is_by_host)) {
                (Some(why), _) => format!("out of {egress}, which loses it (egress_lost): {why}"),
                (None, true) => format!("out of {egress}; the host finds the next hop's MAC"),
                (None, false) => format!("out of {egress}"),
            });
        list.pass("deliver", out);
    }
    list.stages
}

fn is_by_host(record: &Record) -> bool {
    let outcome = Outcome::<Verdict>::from_word(record.word);
    record.step == Step::Admit as u16 && !outcome.is_drop() && outcome.value().action == Action::ForwardByHost
}

struct List<'a> {
    path: Path,
    way: &'a Way,
    stages: Vec<TraceStage>,
}

impl List<'_> {
    fn step(&mut self, record: &Record) {
        let Some(step) = Step::from_number(record.step) else { return };
        let outcome = Outcome::<Verdict>::from_word(record.word);
        if outcome.is_drop() {
            return self.dropped(step, outcome.drop().reason);
        }
        let value = (record.word >> 32) as u32;
        match step {
            Step::Revisit => self.revisited(value),
            Step::Recheck if value != 0 => self.pass("recheck", Some("still permitted".to_owned())),
            Step::Recheck => self.pass("recheck", Some("it goes another way now: a first packet".to_owned())),
            Step::Group | Step::Other => self.placed(outcome.value()),
            Step::Related => self.pass("error", Some("it goes with the flow that it tells of".to_owned())),
            Step::Guard => {
                self.pass("source", None);
                self.placed(outcome.value());
            }
            Step::First => self.chose(outcome.value()),
            Step::Admit => self.admitted(outcome.value()),
            Step::Dropped => {}
        }
    }

    fn pass(&mut self, stage: &str, detail: Option<String>) {
        self.add(stage, TraceResult::Pass, detail);
    }

    /// A stage that was passed before is not told again.
    fn add(&mut self, stage: &str, result: TraceResult, detail: Option<String>) {
        let stage = if stage == "way" { self.way.chooser } else { stage };
        let is_told = self.stages.iter().any(|told| told.stage == stage && told.detail == detail);
        if !is_told {
            self.stages.push(TraceStage { stage: stage.to_owned(), path: self.path, result, detail });
        }
    }

    fn revisited(&mut self, value: u32) {
        let flow = self.way.flow.clone().unwrap_or_else(|| "one of its flow's".to_owned());
        let detail = match value {
            0 => "no flow has its addresses and L4 ports".to_owned(),
            1 => flow,
            _ => format!("{flow}, decided before the last edit"),
        };
        self.pass("flow", Some(detail));
    }

    /// What belongs to no flow, or to one of which nothing is asked.
    fn placed(&mut self, verdict: Verdict) {
        match verdict.action {
            Action::Flooded => self.flooded(),
            Action::Forward if self.way.is_flood => self.flooded(),
            Action::Forward | Action::ForwardByHost => {
                let to = self.way.egress.as_ref().map(|egress| format!("to {egress}"));
                self.pass("fdb", to);
            }
            // Not decided yet, or told by what it was counted as.
            _ => {}
        }
    }

    fn flooded(&mut self) {
        self.pass("flood", Some("copies to the members of the network".to_owned()));
    }

    fn chose(&mut self, verdict: Verdict) {
        match verdict.action {
            Action::Next => {
                self.pass("way", self.way.chosen.clone());
                self.pass("policy", self.way.policy.clone());
            }
            Action::Forward | Action::ForwardByHost | Action::Flooded => {
                self.pass("fdb", Some("nobody known has the destination MAC".to_owned()));
                self.pass("policy", self.way.policy.clone());
                self.flooded();
            }
            Action::Host if self.way.waiting.is_some() => self.pass("way", self.way.waiting.clone()),
            Action::Host if self.way.chooser == "forward" => {
                self.pass("way", Some("no forward takes it".to_owned()));
            }
            Action::Host => self.pass("way", Some("the host has its destination".to_owned())),
            // Told by what it was counted as.
            _ => {}
        }
    }

    fn admitted(&mut self, verdict: Verdict) {
        if verdict.action == Action::PassUp {
            return;
        }
        if self.way.translation.is_some() {
            self.pass("nat", self.way.translation.clone());
        }
        self.pass("admit", None);
    }

    /// The stages before the one that dropped it let it pass.
    fn dropped(&mut self, step: Step, reason: DropReason) {
        if self.stages.iter().any(|stage| stage.result == TraceResult::Drop) {
            return;
        }
        let stage = if step == Step::Recheck { "recheck" } else { reason.stage() };
        let end = IN_ORDER.iter().position(|name| *name == stage).unwrap_or(0);
        let begin = match step {
            Step::First => "way",
            Step::Admit => "nat",
            _ => stage,
        };
        let begin = IN_ORDER.iter().position(|name| *name == begin).unwrap_or(end);
        for passed in IN_ORDER.get(begin..end).unwrap_or_default() {
            match *passed {
                "way" => self.pass("way", self.way.chosen.clone()),
                "policy" => self.pass("policy", self.way.policy.clone()),
                "nat" => {}
                other => self.pass(other, None),
            }
        }
        self.add(stage, TraceResult::Drop, Some(reason.sentence().to_owned()));
    }
}
