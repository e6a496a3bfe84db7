//! Builds the kernel object and the binary that carries it.

use std::path::PathBuf;

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
    if args.release {
        println!("{}", release_binary()?.display());
        return Ok(());
    }
    command::run(workspace::cargo().args(["build", "--package", "fwd-user"]))
}

/// The optimized binary, built anew where its sources changed.
///
/// # Errors
/// When it does not build; cargo has said why.
pub fn release_binary() -> Result<PathBuf> {
    command::run(workspace::cargo().args(["build", "--release", "--package", "fwd-user", "--bin", "fwd"]))?;
    Ok(workspace::target_dir().join("release/fwd"))
}
