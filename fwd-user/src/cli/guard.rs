//! `fwd guard`: what the daemon starts beside a change on trial, and nobody else.

use std::time::Duration;

use clap::Args;

use super::{
    session::{Answered, Done, Session},
    up::Up,
};
use crate::daemon;

#[derive(Debug, Args)]
pub struct Guard {
    /// Seconds that the trial lasts
    #[arg(long)]
    after: u64,
    /// Of the daemon
    #[command(flatten)]
    up: Up,
}

impl Guard {
    pub fn run(self, session: &Session) -> Answered {
        let options = self.up.options(session);
        daemon::guard(&options, session.verbose, Duration::from_secs(self.after)).map(|()| Done::Done)
    }
}
