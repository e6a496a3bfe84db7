//! Runs the demo: the main job, on a lab of network namespaces that it brings up and takes down itself.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::setup;
use crate::workspace;

#[derive(clap::Args)]
pub struct Args {
    /// With QEMU guests on taps as VMs, beside those that are namespaces
    #[arg(long)]
    vm: bool,
}

pub fn run(args: Args) -> Result<()> {
    setup::build_tools()?;
    setup::test_tools()?;
    let binary = build::release(&[
        "--package",
        "fwd-user",
        "--bin",
        "fwd",
        "--package",
        "fwd-tests",
        "--bin",
        "fwd-demo",
    ])?
    .join("fwd");
    let mut demo = Command::new(workspace::target_dir().join("release/fwd-demo"));
    demo.env("FWD_BIN", binary).args(args.vm.then_some("--vm"));
    // In place of this process: Ctrl-C reaches nobody but the demo, which cleans up and then returns.
    Err(demo.exec()).context("the demo cannot be started")
}
