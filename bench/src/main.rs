//! Measures fwd side by side with what one would use instead: `cargo xtask bench`.
//!
//! Tiers register scenarios; a scenario's elements take turns, round by round; a run is one JSON file, from
//! which the page of `docs/performance.md` is made. It measures, and asserts nothing.

mod compare;
mod control;
mod guest;
mod page;
mod peer;
mod process;
mod program;
mod result;
mod scenario;
mod statistics;
mod traffic;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;

use crate::guest::Guest;
use crate::result::{Results, Setting, Tier};
use crate::scenario::{Effort, Place, Scenario};
use crate::traffic::echo::{self, Percentiles};

#[derive(Parser)]
#[command(about = "Measure fwd side by side with what one would use instead")]
struct Args {
    /// One round, fewer flows and scenarios: less than three minutes once it is built
    #[arg(long)]
    quick: bool,
    /// Only scenarios of these tiers
    #[arg(long, value_enum)]
    tier: Vec<Tier>,
    /// Only scenarios with these names
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<String>,
    /// Rounds, instead of what --quick or its absence says
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the results go
    #[arg(long, value_name = "FILE", default_value = "target/bench/bench.json")]
    output: PathBuf,
    /// Put the figures into docs/performance.md
    #[arg(long)]
    write_docs: bool,
    /// Make the page of an earlier run, and measure nothing
    #[arg(long, value_name = "FILE", requires = "write_docs")]
    from: Option<PathBuf>,
    /// Compare runs of two builds that took turns: FILE,FILE,… twice
    #[arg(long, value_name = "FILES", num_args = 2, value_delimiter = ' ')]
    compare: Vec<String>,
    /// Run here what is meant for a guest: this is one
    #[arg(long, hide = true)]
    in_guest: bool,
    /// Answer the requests of --ask, and measure nothing
    #[arg(long, hide = true, value_name = "ADDRESS")]
    echo: Option<SocketAddr>,
    /// Ask an echo, and print what its answers took
    #[arg(long, hide = true, value_name = "ADDRESS")]
    ask: Option<SocketAddr>,
    /// How long to ask
    #[arg(long, hide = true, default_value_t = 1000)]
    milliseconds: u64,
    /// Name the scenarios and what they measure, and measure nothing
    #[arg(long)]
    list: bool,
}

const PAGE: &str = "docs/performance.md";

/// Every tier with its scenarios.
fn scenarios() -> Vec<(Tier, Vec<Box<dyn Scenario>>)> {
    vec![
        (Tier::Program, program::scenarios()),
        (Tier::Traffic, traffic::scenarios::scenarios()),
        (Tier::Control, control::scenarios()),
        (Tier::Guest, guest::scenarios()),
    ]
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if let [old, new] = &args.compare[..] {
        print!("{}", compare::table(&compare::read(old)?, &compare::read(new)?));
        return Ok(());
    }
    if let Some(at) = args.echo {
        return echo::serve(at);
    }
    if let Some(at) = args.ask {
        let times = Percentiles::of_asking(at, Duration::from_millis(args.milliseconds))?;
        println!("{}", serde_json::to_string(&times)?);
        return Ok(());
    }
    let chosen = chosen(args)?;
    if args.list {
        for (_, scenario) in &chosen {
            println!("{:<12} {}", scenario.name(), scenario.about());
        }
        return Ok(());
    }
    let results = match &args.from {
        Some(file) => Results::read(file)?,
        None => measure(args, &chosen)?,
    };
    if args.write_docs {
        let about: Vec<_> = chosen.iter().map(|(_, one)| (one.name(), one.about())).collect();
        page::write(&results, &about, PAGE.as_ref())?;
        println!("{PAGE}");
    }
    Ok(())
}

/// What a quick run leaves out beside guests, unless it is asked for: what goes into another scenario's details.
const NOT_QUICK: [&str; 7] = [
    "forward-sizes",
    "forward-ipv6",
    "rules-new-flows",
    "drop-storm",
    "other-generator",
    "bulk-uplink",
    "uplink-mix",
];

fn measure(args: &Args, chosen: &[(Tier, Box<dyn Scenario>)]) -> Result<Results> {
    fwd_tests::skip::bpf().map_err(anyhow::Error::msg)?;
    fwd_tests::lab::binary()?;
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let effort = Effort { quick: args.quick, rounds };
    let begun = Instant::now();
    let mut results = Results { setting: setting(effort), ..Results::default() };
    let mut guest = Guest::default();
    for (tier, scenario) in chosen {
        let is_asked_for = !(args.tier.is_empty() && args.only.is_empty());
        let is_long = *tier == Tier::Guest || NOT_QUICK.contains(&scenario.name());
        if args.quick && is_long && !is_asked_for {
            results.skip(scenario.name(), "all", "it is no part of a quick run".to_owned());
        } else if scenario.place() == Place::Guest && !args.in_guest {
            guest.run(scenario.name(), effort, &mut results);
        } else {
            scenario::run(*tier, scenario.as_ref(), effort, &mut results);
        }
        results.setting.seconds = begun.elapsed().as_secs();
        // After each: a run that is cut off keeps what it has.
        results.write(&args.output)?;
    }
    println!("{}", args.output.display());
    Ok(results)
}

fn chosen(args: &Args) -> Result<Vec<(Tier, Box<dyn Scenario>)>> {
    let all = scenarios().into_iter().flat_map(|(tier, list)| list.into_iter().map(move |one| (tier, one)));
    let all: Vec<_> = all.collect();
    if let Some(unknown) = args.only.iter().find(|name| all.iter().all(|(_, one)| one.name() != **name)) {
        bail!("{unknown} is no scenario: --list names them");
    }
    let is_chosen = |tier: Tier, name: &str| {
        (args.tier.is_empty() || args.tier.contains(&tier))
            && (args.only.is_empty() || args.only.iter().any(|only| only == name))
    };
    Ok(all.into_iter().filter(|(tier, one)| is_chosen(*tier, one.name())).collect())
}

fn setting(effort: Effort) -> Setting {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = file("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let build = if cfg!(debug_assertions) { " (debug build)" } else { "" };
    Setting {
        command: format!("cargo xtask bench {}", options.join(" ")).trim_end().to_owned(),
        version: std::env::var("FWD_COMMIT").unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned()) + build,
        kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: model.trim_start_matches([' ', '\t', ':']).to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        quick: effort.quick,
        rounds: effort.rounds,
        seconds: 0,
        guest_kernel: None,
    }
}
