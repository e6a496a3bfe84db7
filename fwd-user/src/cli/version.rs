//! `fwd version`: of the CLI and of the daemon.

use serde_json::{Value, json};

use super::{
    session::{Answered, Session},
    view,
};
use crate::api::{
    spec::API,
    version::{COMMIT, VERSION},
};

#[derive(Debug, clap::Args)]
pub struct Version {}

impl Version {
    pub async fn run(self, session: &Session) -> Answered {
        let daemon = match session.client.get("/v1/version", &()).await {
            Ok(answer) => answer.get("version").cloned().unwrap_or(Value::Null),
            // No daemon, no version of it; the CLI's own is still told.
            Err(_) => Value::Null,
        };
        let answer = json!({"api": API, "kind": "version", "version": VERSION, "commit": COMMIT,
            "abi": fwd_common::layout::ABI_VERSION, "daemon": daemon});
        session.print(&view::show(&answer, "version", session.format))
    }
}
