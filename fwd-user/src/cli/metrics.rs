//! `fwd metrics`: the text that /metrics serves.

use super::session::{Answered, Session};

#[derive(Debug, clap::Args)]
pub struct Metrics {}

impl Metrics {
    pub async fn run(self, session: &Session) -> Answered {
        session.print(&session.client.text("/metrics", &()).await?)
    }
}
