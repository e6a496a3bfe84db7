//! `watch` verbs: one line, or JSON object, an event, until the reader or the daemon goes.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use super::{
    session::{Answered, Done, Session},
    view::{self, Format},
};

/// Prints the events of a stream. Ends well on Ctrl-C and when standard output was closed.
pub async fn run<Q: Serialize>(session: &Session, path: &str, query: &Q, fields: &[&str]) -> Answered {
    let mut lines = session.client.stream(path, query).await?;
    loop {
        let next = tokio::select! {
            next = lines.next() => next?,
            _ = tokio::signal::ctrl_c() => return Ok(Done::Done),
        };
        let Some(event) = next else { return Ok(Done::Done) };
        let mut out = std::io::stdout().lock();
        if out.write_all(line(&event, fields, session.format).as_bytes()).and_then(|()| out.flush()).is_err()
        {
            return Ok(Done::Done);
        }
    }
}

fn line(event: &Value, fields: &[&str], format: Format) -> String {
    match format {
        Format::Json => format!("{event}\n"),
        Format::Yaml => format!("---\n{}", view::yaml(event)),
        _ => fields.iter().map(|f| view::cell(event.pointer(f))).collect::<Vec<_>>().join(" ") + "\n",
    }
}
