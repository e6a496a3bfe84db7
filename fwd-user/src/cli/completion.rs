//! `fwd completion`: a completion script for a shell.

use clap::CommandFactory;

use super::{
    args::Cli,
    session::{Answered, Session},
};

#[derive(Debug, clap::Args)]
pub struct Completion {
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completion {
    pub fn run(self, session: &Session) -> Answered {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "fwd", &mut script);
        session.print(&String::from_utf8_lossy(&script))
    }
}
