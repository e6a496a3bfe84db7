//! `fwd-demo`: the main job of fwd on a lab of network namespaces, shown step by step.
//!
//! Configures the real daemon by its real command line, sends real traffic, prints what was expected and
//! what came, and takes everything away again, also on Ctrl-C. Ends with 1 if a step went otherwise.

mod guests;
mod scenes;
mod table;

use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use fwd_tests::lab::{Hook, Lab};
use fwd_tests::skip;

use table::Table;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

#[derive(Parser)]
#[command(about = "Show the main job of fwd in network namespaces of its own")]
struct Args {
    /// With QEMU guests on taps as VMs, beside those that are namespaces
    #[arg(long)]
    vm: bool,
    /// The hook of every port and uplink
    #[arg(long, value_enum, default_value_t = HookArg::Tcx)]
    hook: HookArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum HookArg {
    Xdp,
    Tcx,
}

fn main() -> ExitCode {
    // The lab says in a panic what it could not do; dropping it cleans up. People need the sentence only.
    panic::set_hook(Box::new(|info| {
        eprintln!("error: {}", info.payload_as_str().unwrap_or("the lab could not be built"));
    }));
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every step went as expected.
fn run(args: &Args) -> Result<bool> {
    skip::bpf().map_err(anyhow::Error::msg)?;
    if args.vm {
        skip::qemu().map_err(anyhow::Error::msg)?;
    }
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be caught")?;
    let hook = match args.hook {
        HookArg::Xdp => Hook::Xdp,
        HookArg::Tcx => Hook::Tcx,
    };
    println!("{}", scenes::PICTURE);
    heading("Set up, by the command line that an operator uses");
    let mut lab = Lab::empty(hook);
    let mut table = Table::default();
    // Whatever a scene returns, the lab is taken down; dropping it does so even if one panics.
    let shown = scenes::show(&mut lab, &mut table, args.vm);
    heading("Take it down, and compare the host with what it was before");
    let left = lab.down();
    shown?;
    let left = left?;
    table.row(
        "links, qdiscs, programs, sysctls",
        "as before",
        &match left.as_slice() {
            [] => "as before".to_owned(),
            left => left.join("; "),
        },
    );
    println!("\n{}", table.summary());
    Ok(table.all_as_expected())
}

fn heading(text: &str) {
    println!("\n── {text} ──");
}

/// To be asked between steps.
fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted; everything was taken away");
    }
    Ok(())
}
