//! `fwd policy test`: a file of tests, judged by what is in force or by a document to come.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{
    file::{File, read_text},
    session::{Answered, Done, Session},
    view::{self, Column, column},
};
use crate::api::{
    error::{ApiError, Code, Problem},
    policy_test::{PolicyTests, parse},
};

const COLUMNS: &[Column] = &[
    column("LINE", "/line"),
    column("TEST", "/test"),
    column("JUDGED", "/judged"),
    column("WANTED", "/wanted"),
    column("VERDICT", "/verdict"),
    column("RULE", "/rule"),
    column("PASSED", "/passed"),
];

#[derive(Debug, Args)]
#[command(
    after_help = "Each line of FILE is a test, or an item of a YAML list: web1 -> db1 tcp/5432 allow\n\
                        With the L4 port from which it comes: ntp -> web1 udp/123 source 123 allow; else whatever that is.\n\
                        Ends are a port, host, outside, or an address outside. Rules are judged, not routes."
)]
pub struct Test {
    /// The tests; - for standard input
    file: PathBuf,
    /// Judge this document; else the accepted one, and the rows that the loaded programs read
    #[arg(short = 'f', long = "file", value_name = "DOCUMENT")]
    document: Option<PathBuf>,
}

impl Test {
    pub async fn run(self, session: &Session) -> Answered {
        let (name, text) = read_text(&self.file)?;
        let (tests, wrong) = parse(&text);
        if !wrong.is_empty() {
            return Err(unread(&name, &wrong));
        }
        let candidate = self.document.as_deref().map(File::read).transpose()?;
        let document = candidate.as_ref().map(|file| file.document().cloned()).transpose()?;
        let body = serde_json::to_value(PolicyTests { tests, document }).expect("tests are plain data");
        let answer = session.client.post("/v1/policy-tests", &(), &body).await;
        let answer = answer.or_else(|error| match &candidate {
            _ if is_of_tests(&error) => Err(placed(error, &name)),
            Some(file) => file.outcome(Err(error)),
            None => Err(error),
        })?;
        session.print(&view::list(&answer, COLUMNS, session.format))?;
        let rows = answer.get("items").and_then(Value::as_array);
        let has_passed = |row: &Value| row.get("passed").and_then(Value::as_bool) == Some(true);
        let all = rows.is_some_and(|rows| rows.iter().all(has_passed));
        Ok(if all { Done::Done } else { Done::Verdict })
    }
}

fn unread(name: &str, wrong: &[(usize, String)]) -> ApiError {
    let code = Code::BadValue;
    let problem = |(line, text): &(usize, String)| Problem {
        path: format!("/tests/{line}"),
        code,
        kind: code.kind(),
        object: "policy test".to_owned(),
        message: format!("{name}:{line}:1: `{text}` is no test."),
        hints: vec![
            "Write FROM -> TO SERVICE [source L4PORT] allow|deny|reject, as web1 -> db1 tcp/5432 allow."
                .to_owned(),
        ],
    };
    ApiError::from_problems(wrong.iter().map(problem).collect())
}

/// Whether tests are wrong, not a document.
fn is_of_tests(error: &ApiError) -> bool {
    !error.problems.is_empty() && error.problems.iter().all(|problem| problem.path.starts_with("/tests/"))
}

/// Problems of tests with their lines.
fn placed(mut error: ApiError, name: &str) -> ApiError {
    for problem in &mut error.problems {
        let line = problem.path.trim_start_matches("/tests/");
        problem.message = format!("{name}:{line}:1: {}", problem.message);
        problem.path = String::new();
    }
    ApiError::from_problems(error.problems)
}
