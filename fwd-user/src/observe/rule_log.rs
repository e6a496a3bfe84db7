//! Rules that are logged: what each decides is a line of the daemon's log, so many a second.

use std::{collections::HashMap, sync::Mutex};

use fwd_common::{event::EventKind, id::RuleId};

use super::{
    Moment, Names,
    events::{self, Record},
    names::rule_of_drop,
};

/// Lines of one rule within a second; how many more there were is told with its next one.
const LINES: u64 = 10;

/// How many lines each rule had in its second.
#[derive(Debug, Default)]
pub struct RuleLog(Mutex<HashMap<RuleId, Told>>);

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    second: u64,
    lines: u64,
}

impl Told {
    /// Whether there is room for a line; with how many had none since the last one.
    fn admit(&mut self, second: u64) -> Option<u64> {
        let mut left_out = 0;
        if self.second != second {
            left_out = self.lines.saturating_sub(LINES);
            *self = Self { second, lines: 0 };
        }
        self.lines += 1;
        (self.lines <= LINES).then_some(left_out)
    }
}

impl RuleLog {
    /// Tells what a logged rule decided.
    pub fn note(&self, names: &Names, now: Moment, record: &Record) {
        let event = record.event();
        let (verb, rule) = match EventKind::from_number(event.kind) {
            Some(EventKind::FlowStart) => ("admitted", Some(event.rule)),
            Some(EventKind::Drop) => ("refused", rule_of_drop(event.reason, event.rule)),
            _ => return,
        };
        let Some(rule) = rule.and_then(|id| names.named_rule(id)).filter(|rule| rule.is_logged) else {
            return;
        };
        let mut told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let left_out = told.entry(event.rule).or_default().admit(now.boot_ns / 1_000_000_000);
        drop(told);
        if let (Some(left_out), Some(row)) = (left_out, events::row(names, now, event)) {
            let more = if left_out == 0 { String::new() } else { format!(" ({left_out} more before)") };
            tracing::info!(
                "rule {} {verb} {} {} > {} on port {}{more}",
                rule.name,
                row.protocol,
                row.source,
                row.destination.as_deref().unwrap_or("-"),
                row.port.as_deref().unwrap_or("-"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_so_many_lines_a_second_and_tells_what_it_left_out() {
        let mut told = Told::default();
        let admitted: Vec<_> = (0..13).map(|_| told.admit(7)).collect();
        assert_eq!(admitted.iter().filter(|line| line.is_some()).count(), 10);
        assert_eq!(told.admit(8), Some(3));
        assert_eq!(told.admit(9), Some(0));
    }
}
