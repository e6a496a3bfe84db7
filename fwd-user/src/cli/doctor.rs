//! `fwd doctor`, and the five steps as people read them.

use clap::Args;
use serde_json::{Value, json};

use super::{
    session::{Answered, Done, Session},
    view::{self, Column, Format, column, wide},
};
use crate::api::{
    diagnosis::{Doctor as Diagnosis, Step},
    error::{ApiError, Code},
};

const FINDINGS: &[Column] = &[
    column("OBJECT", "/object"),
    column("STEP", "/step"),
    column("CHECK", "/check"),
    column("FOUND", "/found"),
    wide("REMEDY", "/remedy"),
];

/// Look for what is wrong: links, addresses, routes and neighbors, transport, services
///
/// Says what was found and how to mend it; on a healthy host, nothing. Guests and routers are asked by ARP and
/// neighbor discovery; no configuration is changed. Exit code 20 where something was found.
#[derive(Debug, Args)]
pub struct Doctor {}

impl Doctor {
    pub async fn run(self, session: &Session) -> Answered {
        let answer = session.client.get("/v1/doctor", &()).await?;
        let diagnosis: Diagnosis = read(&answer)?;
        match session.format {
            Format::Table | Format::Wide if diagnosis.healthy => {
                session.tell("Nothing is wrong: links, addresses, routes, transport, services.\n")
            }
            Format::Table | Format::Wide => session.print(&text(&diagnosis)),
            Format::Csv | Format::Name => {
                let items = json!({"items": answer.get("findings")});
                session.print(&view::list(&items, FINDINGS, session.format))
            }
            format => session.print(&view::show(&answer, "healthy", format)),
        }?;
        Ok(if diagnosis.healthy { Done::Done } else { Done::Findings })
    }
}

/// An answer as what it is.
///
/// # Errors
/// It is something else.
pub fn read<T: serde::de::DeserializeOwned>(answer: &Value) -> Result<T, ApiError> {
    serde_json::from_value(answer.clone()).map_err(|e| {
        ApiError::new(Code::AnswerUnreadable, format!("The daemon's answer is another one: {e}."))
    })
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    for step in Step::ALL {
        let here: Vec<_> = diagnosis.findings.iter().filter(|finding| finding.step == step).collect();
        let count = match here.len() {
            0 => "ok".to_owned(),
            1 => "1 finding".to_owned(),
            n => format!("{n} findings"),
        };
        out += &format!("{:<12} {count}\n", step.name());
        for finding in here {
            out += &format!("  {}\n", finding.found);
            if !finding.remedy.is_empty() {
                out += &format!("    {}\n", finding.remedy);
            }
        }
    }
    out
}
