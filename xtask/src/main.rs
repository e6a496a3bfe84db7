//! The project's only door: every task of building, testing and checking fwd is a verb of `cargo xtask`.
//!
//! Each task sets up what it needs, says in one line what each step does and how long it took, and does
//! nothing twice. What goes wrong is one sentence with its remedy.

mod bench;
mod build;
mod command;
mod demo;
mod docs;
mod install;
mod lint;
mod setup;
mod step;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Build, test and check fwd")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make this machine able to build and test fwd
    Setup(setup::Args),
    /// Build the kernel object and the binary
    Build(build::Args),
    /// Run the tests of one rung, or of all
    Test(test::Args),
    /// Hold the sources against the form, clippy, and the house rules
    Lint(lint::Args),
    /// Write the documents that are made from the code
    Docs(docs::Args),
    /// Show the main job on a lab of network namespaces
    Demo(demo::Args),
    /// Measure fwd side by side with what one would use instead
    Bench(bench::Args),
    /// Put fwd on this host
    Install(install::Args),
    /// Take fwd off this host
    Uninstall(install::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup(args) => setup::run(args),
        Task::Build(args) => build::run(args),
        Task::Test(args) => test::run(args),
        Task::Lint(args) => lint::run(args),
        Task::Docs(args) => docs::run(args),
        Task::Demo(args) => demo::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Install(args) => install::install(args),
        Task::Uninstall(args) => install::uninstall(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
