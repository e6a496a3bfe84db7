//! Runs the tests, rung by rung, and says at the end which of them could not run here and why.
//!
//! The first rung is every crate's own tests; the others are the test targets of package fwd-tests. A rung
//! that fails does not keep the next one from running.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::build;
use crate::command;
use crate::setup;
use crate::workspace;

#[derive(clap::Args)]
pub struct Args {
    /// The one rung to run: unit, packet, topology, cli, vm, … [default: all]
    rung: Option<String>,
    /// Only the tests of that rung whose names contain one of these
    tests: Vec<String>,
}

/// Each crate's own tests.
const UNIT: &str = "unit";
/// The rungs in order of what they need; one that is not named here comes last.
const ORDER: [&str; 7] = [UNIT, "kit", "packet", "cli", "topology", "regression", "vm"];

pub fn run(args: Args) -> Result<()> {
    let rungs = chosen(rungs()?, args.rung.as_deref())?;
    setup::build_tools()?;
    let binary = match rungs.iter().all(|rung| rung == UNIT) {
        true => None,
        false => {
            setup::test_tools()?;
            Some(build::release_binary()?)
        }
    };
    let skip_log = workspace::target_dir().join("skipped-tests");
    forget(&skip_log)?;
    let mut failed = Vec::new();
    for rung in &rungs {
        println!("\n── {rung} ──");
        let started = Instant::now();
        let mut test = cargo_test(rung, &args.tests);
        test.env("FWD_SKIP_LOG", &skip_log).envs(binary.iter().map(|binary| ("FWD_BIN", binary)));
        if command::run(&mut test).is_err() {
            failed.push(rung.as_str());
        }
        println!("{rung}: {:.0} s", started.elapsed().as_secs_f64());
    }
    print_skipped(&skip_log)?;
    ensure!(failed.is_empty(), "tests failed in: {}", failed.join(", "));
    Ok(())
}

fn cargo_test(rung: &str, tests: &[String]) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-fail-fast"]);
    match rung {
        UNIT => cargo.args(["--lib", "--bins", "--"]),
        // Three quarters of their time they wait, for the kernel more than for each other.
        "topology" => cargo.args(["--package", "fwd-tests", "--test", rung, "--", "--test-threads=4"]),
        _ => cargo.args(["--package", "fwd-tests", "--test", rung, "--", "--test-threads=2"]),
    };
    cargo.args(tests);
    cargo
}

fn chosen(rungs: Vec<String>, one: Option<&str>) -> Result<Vec<String>> {
    let Some(one) = one else { return Ok(rungs) };
    ensure!(rungs.iter().any(|rung| rung == one), "there is no rung {one}, only {}", rungs.join(", "));
    Ok(vec![one.to_owned()])
}

/// The rungs that exist: the unit tests, and fwd-tests' targets as cargo knows them.
fn rungs() -> Result<Vec<String>> {
    let answer = command::output(workspace::cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let workspace: serde_json::Value = serde_json::from_str(&answer).context("cargo metadata")?;
    let packages = workspace["packages"].as_array().context("cargo metadata names no packages")?;
    let targets = packages
        .iter()
        .filter(|package| package["name"] == "fwd-tests")
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| target["kind"][0] == "test")
        .filter_map(|target| Some(target["name"].as_str()?.to_owned()));
    let mut rungs: Vec<String> = std::iter::once(UNIT.to_owned()).chain(targets).collect();
    rungs.sort_by_key(|rung| ORDER.iter().position(|known| known == rung).unwrap_or(ORDER.len()));
    Ok(rungs)
}

fn forget(skip_log: &Path) -> Result<()> {
    match fs::remove_file(skip_log) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", skip_log.display()))
        }
        _ => Ok(()),
    }
}

fn print_skipped(skip_log: &Path) -> Result<()> {
    if !skip_log.exists() {
        println!("\nno test was skipped");
        return Ok(());
    }
    let log = fs::read_to_string(skip_log).with_context(|| skip_log.display().to_string())?;
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    println!("\n{} skipped:", lines.len());
    for line in lines {
        println!("  {line}");
    }
    Ok(())
}
