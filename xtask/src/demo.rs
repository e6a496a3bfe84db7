//! Runs the demo: the main job, on a lab of network namespaces that it brings up and takes down itself.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::setup;
use crate::workspace;

#[derive(clap::Args)]
pub struct Args {
    /// The demo's own: --vm adds QEMU guests on taps to the VMs that are namespaces, --hook xdp|tcx chooses
    /// the hook of every port
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
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
    demo.env("FWD_BIN", binary).args(args.options);
    // In place of this process: Ctrl-C reaches nobody but the demo, which cleans up and then returns.
    Err(demo.exec()).context("the demo cannot be started")
}
