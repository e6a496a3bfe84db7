//! Policy tests: lines such as `web1 -> db1 tcp/5432 allow`, and what became of each.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::spec::{Action, Document};

/// One line of a file of policy tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    /// Of the file, from 1.
    pub line: usize,
    /// A port, `host`, `outside`, or an address outside.
    pub from: String,
    pub to: String,
    /// As in rules; of a range every L4 port is asked, of a whole protocol each that rules tell apart.
    pub service: String,
    /// The L4 port from which it comes; left out: whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_l4_port: Option<u16>,
    /// `deny` is met by `reject` too.
    pub verdict: Action,
}

/// What is asked of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTests {
    pub tests: Vec<PolicyTest>,
    /// Judge this document; left out: the accepted one, and the rows that the programs read.
    #[serde(default)]
    pub document: Option<Document>,
}

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Judged {
    /// The accepted document.
    Document,
    /// The document that came with the tests.
    Candidate,
    /// The rows that the loaded programs read.
    Datapath,
}

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyTestRow {
    pub line: usize,
    pub test: String,
    pub judged: Judged,
    pub wanted: Action,
    pub verdict: Action,
    /// The rule that decides; null: the default does.
    pub rule: Option<String>,
    pub passed: bool,
}

impl PolicyTest {
    /// As it is written, but for the verdict.
    pub fn question(&self) -> String {
        let source = self.source_l4_port.map_or_else(String::new, |l4_port| format!(" source {l4_port}"));
        format!("{} -> {} {}{source}", self.from, self.to, self.service)
    }

    /// Whether a verdict is what the test wants.
    pub fn is_met_by(&self, verdict: Action) -> bool {
        verdict == self.verdict || (self.verdict == Action::Deny && verdict == Action::Reject)
    }
}

/// Reads a file: a test a line, or a YAML list of them; blank lines and comments are left out. What is no
/// test is told with its line.
pub fn parse(text: &str) -> (Vec<PolicyTest>, Vec<(usize, String)>) {
    let (mut tests, mut wrong) = (Vec::new(), Vec::new());
    for (index, raw) in text.lines().enumerate() {
        let written = raw.split(" #").next().unwrap_or_default().trim();
        let item = written.strip_prefix("- ").unwrap_or(written).trim().trim_matches(['"', '\'']);
        if item.is_empty() || item.starts_with('#') || matches!(item, "---" | "tests:") {
            continue;
        }
        match test(index + 1, item) {
            Some(test) => tests.push(test),
            None => wrong.push((index + 1, item.to_owned())),
        }
    }
    (tests, wrong)
}

fn test(line: usize, text: &str) -> Option<PolicyTest> {
    let (from, to, service, source_l4_port, verdict) = match text.split_whitespace().collect::<Vec<_>>()[..] {
        [from, "->", to, service, verdict] => (from, to, service, None, verdict),
        [from, "->", to, service, "source", l4_port, verdict] => {
            (from, to, service, Some(l4_port.parse().ok().filter(|l4_port| *l4_port > 0)?), verdict)
        }
        _ => return None,
    };
    let verdict = match verdict {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        "reject" => Action::Reject,
        _ => return None,
    };
    let [from, to, service] = [from, to, service].map(str::to_owned);
    Some(PolicyTest { line, from, to, service, source_l4_port, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_yaml_lists_are_read_and_the_rest_is_told() {
        let text = "# the web\nweb1 -> db1 tcp/5432 allow\n\ntests:\n  - \"outside -> web1 tcp/22 deny\" # ssh\n\
                    web1 -> db1 udp/1-9 source 53 allow\nweb1 -> db1 udp/1 source 0 allow\nweb1 -> db1 tcp/5432\nweb1 to db1 tcp/1 allow\na -> b any maybe\n";
        let (tests, wrong) = parse(text);
        let read: Vec<_> = tests.iter().map(|t| (t.line, t.question(), t.verdict)).collect();
        assert_eq!(
            read,
            [
                (2, "web1 -> db1 tcp/5432".to_owned(), Action::Allow),
                (5, "outside -> web1 tcp/22".to_owned(), Action::Deny),
                (6, "web1 -> db1 udp/1-9 source 53".to_owned(), Action::Allow),
            ]
        );
        assert_eq!(wrong.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [7, 8, 9, 10]);
    }

    #[test]
    fn a_denial_is_met_by_a_rejection_and_not_the_other_way() {
        let test = |verdict| PolicyTest {
            line: 1,
            from: String::new(),
            to: String::new(),
            service: String::new(),
            source_l4_port: None,
            verdict,
        };
        assert!(test(Action::Deny).is_met_by(Action::Reject));
        assert!(
            !test(Action::Reject).is_met_by(Action::Deny) && !test(Action::Allow).is_met_by(Action::Deny)
        );
    }
}
