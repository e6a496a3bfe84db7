//! The command line. One file a noun; what the nouns share is in `verbs`, all output goes through `view`.
//!
//! The CLI is a client of the API and decides nothing: but for `up` and `down`, a command is one request.

mod args;
mod bench;
mod completion;
mod config;
mod deferred;
mod doctor;
mod down;
mod drop;
mod explain;
mod file;
mod flow;
mod forward;
mod generate;
mod group;
mod guard;
mod import;
mod live;
mod metrics;
mod nat;
mod network;
mod policy;
mod policy_test;
mod port;
mod session;
mod set;
mod status;
mod top;
mod trace;
mod up;
mod uplink;
mod value;
mod verbs;
mod version;
mod view;
mod watch;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use session::{Answered, Session};

/// Runs one command line and returns how the process is to end.
pub fn main() -> ExitCode {
    // A usage error ends here, with exit code 2.
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs nothing but a few file descriptors");
    let session = Session::new(&cli.global);
    let format = cli.global.output;
    let code = match runtime.block_on(run(cli.command, &session)) {
        Ok(done) => session::exit_code(done),
        Err(error) => session::print_error(&error, format),
    };
    ExitCode::from(code)
}

async fn run(command: Command, session: &Session) -> Answered {
    match command {
        Command::Up(up) => up.run(session).await,
        Command::Down(down) => down.run(session).await,
        Command::Status(status) => status.run(session).await,
        Command::Uplink(verb) => verb.0.run(session).await,
        Command::Network(verb) => verb.0.run(session).await,
        Command::Port(verb) => verb.0.run(session).await,
        Command::Forward(verb) => verb.0.run(session).await,
        Command::Nat(verb) => verb.0.run(session).await,
        Command::Group(verb) => verb.0.run(session).await,
        Command::Set(verb) => verb.0.run(session).await,
        Command::Policy(verb) => verb.0.run(session).await,
        Command::Flow(verb) => verb.0.run(session).await,
        Command::Drop(verb) => verb.0.run(session).await,
        Command::Trace(trace) => trace.run(session).await,
        Command::Config(verb) => verb.0.run(session).await,
        Command::Import(verb) => verb.0.run(session),
        Command::Doctor(doctor) => doctor.run(session).await,
        Command::Metrics(metrics) => metrics.run(session).await,
        Command::Top(top) => top.run(session).await,
        Command::Bench(bench) => bench.run(session).await,
        Command::Explain(explain) => explain.run(session),
        Command::Completion(completion) => completion.run(session),
        Command::Version(version) => version.run(session).await,
        Command::Guard(guard) => guard.run(session),
        Command::Generate(generate) => generate.run(session),
    }
}

#[cfg(test)]
mod tests {
    use super::args::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
