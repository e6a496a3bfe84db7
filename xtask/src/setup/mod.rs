//! Makes a machine able to build and test fwd.
//!
//! Every step first looks whether there is anything to do: a second run changes nothing. What building
//! needs must succeed; what only tests need may be missing, and the tests that need it then say so and skip.

mod debian;
mod linker;
mod packages;
mod rust_src;
mod rustc;

use clap::ValueEnum;

use crate::step::Step;

#[derive(clap::Args)]
pub struct Args {
    /// Only what building needs, or only what the tests and the demo need, or only what the benchmarks need
    #[arg(value_enum)]
    group: Option<Group>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Group {
    Build,
    Test,
    Bench,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.group {
        Some(Group::Build) => build_tools(),
        Some(Group::Test) => test_tools(),
        Some(Group::Bench) => bench_tools(),
        None => {
            build_tools()?;
            test_tools()
        }
    }
}

/// What `cargo build` of the kernel object and of the binary needs.
///
/// # Errors
/// When a piece is missing and cannot be had; the message says how to get it by hand.
pub fn build_tools() -> anyhow::Result<()> {
    Step::run("packages", |step| packages::install(step, packages::BUILD))?;
    Step::run("rust-src", rust_src::install)?;
    Step::run("bpf-linker", linker::install)
}

/// What the tests and the demo need beyond the build.
///
/// # Errors
/// When the package manager fails; a machine without it, or a user without the right to use it, is no error.
pub fn test_tools() -> anyhow::Result<()> {
    Step::run("test packages", |step| packages::install(step, packages::TEST))?;
    Step::run("package lists", packages::list)
}

/// What the benchmarks need beyond the build: what the tests do, and what fwd is compared with.
///
/// # Errors
/// As [`test_tools`].
pub fn bench_tools() -> anyhow::Result<()> {
    test_tools()?;
    Step::run("peers", |step| packages::install(step, packages::PEERS))
}
