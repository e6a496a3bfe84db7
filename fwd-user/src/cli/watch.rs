//! `watch` verbs: one line, or JSON object, an event, until the reader or the daemon goes.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use super::{
    session::{Answered, Done, Session},
    view::{self, Column, Format},
};

/// How an event is written.
pub struct Event {
    /// What `-o name` writes.
    pub name: &'static str,
    pub columns: &'static [Column],
}

/// Prints the events of a stream. Ends well on Ctrl-C and when standard output was closed.
pub async fn run<Q: Serialize>(session: &Session, path: &str, query: &Q, shape: &Event) -> Answered {
    let mut lines = session.client.stream(path, query).await?;
    let mut text = if session.format == Format::Csv { shape.head() } else { String::new() };
    loop {
        let mut out = std::io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(Done::Done);
        }
        drop(out);
        let next = tokio::select! {
            next = lines.next() => next?,
            _ = tokio::signal::ctrl_c() => return Ok(Done::Done),
        };
        let Some(event) = next else { return Ok(Done::Done) };
        text = shape.line(&event, session.format);
    }
}

impl Event {
    pub fn head(&self) -> String {
        view::csv(&[self.columns.iter().map(|column| column.head.to_owned()).collect()])
    }

    pub fn line(&self, event: &Value, format: Format) -> String {
        let columns = self.columns.iter().filter(|column| format != Format::Table || !column.wide);
        let cells = columns.map(|column| view::cell(event.pointer(column.pointer)));
        match format {
            Format::Json => format!("{event}\n"),
            Format::Yaml => format!("---\n{}", view::yaml(event)),
            Format::Csv => view::csv(&[cells.collect()]),
            Format::Name => view::cell(event.pointer(self.name)) + "\n",
            Format::Table | Format::Wide => cells.collect::<Vec<_>>().join(" ") + "\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::view::{column, wide};

    #[test]
    fn every_format_is_one_line_an_event() {
        const COLUMNS: &[Column] = &[column("REASON", "/reason"), wide("HEAD", "/head")];
        let shape = Event { name: "/reason", columns: COLUMNS };
        let event = json!({"reason": "runt_frame", "head": "0a,0b"});
        let line = |format| shape.line(&event, format);
        assert_eq!(line(Format::Table), "runt_frame\n");
        assert_eq!(line(Format::Wide), "runt_frame 0a,0b\n");
        assert_eq!(line(Format::Name), "runt_frame\n");
        assert_eq!((shape.head() + &line(Format::Csv)).as_str(), "REASON,HEAD\nrunt_frame,\"0a,0b\"\n");
        assert_eq!(serde_json::from_str::<Value>(&line(Format::Json)).ok(), Some(event.clone()));
    }
}
