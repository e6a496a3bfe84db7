//! Builds the kernel object and the binary that carries it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::setup;
use crate::workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Optimized: leaves the binary at target/release/fwd
    #[arg(long)]
    release: bool,
}

pub fn run(args: Args) -> Result<()> {
    setup::build_tools()?;
    let binary = match args.release {
        true => release_binary()?,
        false => {
            command::run(workspace::cargo().args(["build", "--package", "fwd-user"]))?;
            workspace::target_dir().join("debug/fwd")
        }
    };
    println!("{}", binary.display());
    Ok(())
}

/// The optimized binary, built anew where its sources changed.
///
/// # Errors
/// When it does not build; cargo has said why.
pub fn release_binary() -> Result<PathBuf> {
    Ok(release(&["--package", "fwd-user", "--bin", "fwd"])?.join("fwd"))
}

/// Builds optimized what the arguments select; returns the folder of the results.
///
/// # Errors
/// When it does not build; cargo has said why.
pub fn release(selected: &[&str]) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release"]).args(selected);
    let commit = command::answer(
        Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(workspace::root()),
    );
    if let Some(commit) = commit {
        cargo.env("FWD_COMMIT", commit.trim());
    }
    command::run(&mut cargo)?;
    Ok(workspace::target_dir().join("release"))
}
