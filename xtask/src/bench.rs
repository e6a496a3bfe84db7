//! Runs the benchmarks: fwd and what one would use instead, side by side, on this machine; or two revisions of fwd.

use std::env;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, bail, ensure};

use crate::build;
use crate::command;
use crate::setup;
use crate::workspace;

#[derive(clap::Args)]
#[command(
    override_usage = "cargo xtask bench [OPTIONS]\n       cargo xtask bench compare REVISION REVISION [OPTIONS]"
)]
pub struct Args {
    /// The benchmarks' own: --quick, --tier program|traffic|control|guest, --only SCENARIO, --write-docs, --list, …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

const SELECTED: [&str; 8] =
    ["--package", "fwd-user", "--bin", "fwd", "--package", "fwd-bench", "--bin", "fwd-bench"];
/// Of a comparison: enough for an interval.
const ROUNDS: usize = 7;

pub fn run(args: Args) -> Result<()> {
    let user = command::answer(Command::new("id").arg("-u"));
    ensure!(
        user.is_some_and(|user| user.trim() == "0"),
        "benchmarks load BPF programs into network namespaces of their own, and only root may: run this with sudo"
    );
    setup::build_tools()?;
    setup::bench_tools()?;
    match &args.options[..] {
        [word, old, new, options @ ..] if word == "compare" => compare([old, new], options),
        [word, ..] if word == "compare" => {
            bail!("compare what? Say `cargo xtask bench compare REVISION REVISION`")
        }
        options => command::run(bench(&build::release(&SELECTED)?).args(options)),
    }
}

/// The benchmarks of a folder with both binaries.
fn bench(folder: &Path) -> Command {
    let mut bench = Command::new(folder.join("fwd-bench"));
    // A revision to be compared was built in a folder that is gone: its guests' kernel is this one's.
    let guests = workspace::target_dir().join("guest-kernel");
    bench.current_dir(workspace::root()).env("FWD_BIN", folder.join("fwd")).env("FWD_GUESTS", guests);
    bench
}

/// Both revisions measure one round after the other, in turns; each with the benchmarks of its own.
fn compare(revisions: [&str; 2], options: &[String]) -> Result<()> {
    let folder = workspace::target_dir().join("bench/compare");
    let judge = build::release(&SELECTED)?;
    let builds = [built(revisions[0], &folder)?, built(revisions[1], &folder)?];
    let mut files: [Vec<String>; 2] = Default::default();
    for round in 0..ROUNDS {
        for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let output = builds[which].join(format!("{which}-{round}.json"));
            eprintln!("── {}, round {} of {ROUNDS} ──", revisions[which], round + 1);
            let mut one = bench(&builds[which]);
            command::run(one.args(options).args(["--rounds", "1", "--output"]).arg(&output))?;
            files[which].push(output.display().to_string());
        }
    }
    command::run(bench(&judge).arg("--compare").args(files.map(|files| files.join(","))))
}

/// The binaries of a revision, kept by its commit: `cargo clean` forgets them.
fn built(revision: &str, folder: &Path) -> Result<PathBuf> {
    let git = ["rev-parse", "--short=12", &format!("{revision}^{{commit}}")];
    let commit = command::output(Command::new("git").current_dir(workspace::root()).args(git))?;
    let out = folder.join(commit.trim());
    if !out.exists() {
        // Outside of this workspace, whose configuration cargo would join to the revision's; and nobody else's.
        let home = env::temp_dir().join(format!("fwd-compare-{}", process::id()));
        DirBuilder::new().mode(0o700).create(&home).with_context(|| home.display().to_string())?;
        let done = build_in(&home.join("tree"), commit.trim(), folder);
        fs::remove_dir_all(&home).with_context(|| home.display().to_string())?;
        command::output(Command::new("git").current_dir(workspace::root()).args(["worktree", "prune"]))?;
        fs::rename(done?, &out).with_context(|| out.display().to_string())?;
    }
    Ok(out)
}

/// Builds a commit in a worktree of it; returns the folder of the results.
fn build_in(tree: &Path, commit: &str, folder: &Path) -> Result<PathBuf> {
    let mut git = Command::new("git");
    git.current_dir(workspace::root()).args(["worktree", "add", "--detach"]);
    command::output(git.arg(tree).arg(commit))?;
    // One directory for all: what they share is built once.
    let target = folder.join("target");
    let mut cargo = workspace::cargo();
    cargo.current_dir(tree).args(["build", "--release"]).args(SELECTED);
    command::run(cargo.env("FWD_COMMIT", commit).env("CARGO_TARGET_DIR", &target))?;
    let arriving = folder.join("arriving");
    fs::create_dir_all(&arriving).with_context(|| arriving.display().to_string())?;
    for binary in ["fwd", "fwd-bench"] {
        let from = target.join("release").join(binary);
        fs::copy(&from, arriving.join(binary)).with_context(|| from.display().to_string())?;
    }
    Ok(arriving)
}
