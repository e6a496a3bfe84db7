//! The documents that are made from the code: `fwd generate` prints each of them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::setup;
use crate::workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Write nothing: fail where a document is not what the code says
    #[arg(long)]
    check: bool,
}

/// What `fwd generate` knows, and the file below docs/ that it goes to.
const PAGES: [(&str, &str); 7] = [
    ("cli", "cli.md"),
    ("drop-reasons", "drop-reasons.md"),
    ("error-codes", "error-codes.md"),
    ("maps", "maps.md"),
    ("metrics", "metrics.md"),
    ("openapi", "openapi.json"),
    ("settings", "settings.md"),
];

pub fn run(args: Args) -> Result<()> {
    setup::build_tools()?;
    if args.check {
        return check();
    }
    for (path, text) in generate()? {
        fs::write(workspace::root().join(&path), text).with_context(|| path.clone())?;
        println!("wrote {path}");
    }
    Ok(())
}

/// Holds the documents in the tree against the code.
///
/// # Errors
/// When one of them is absent or other than the code says.
pub fn check() -> Result<()> {
    let is_stale = |(path, text): &(String, String)| {
        !fs::read_to_string(workspace::root().join(path)).is_ok_and(|there| there == *text)
    };
    let stale: Vec<String> = generate()?.into_iter().filter(is_stale).map(|(path, _)| path).collect();
    ensure!(stale.is_empty(), "not what the code says: {}; run `cargo xtask docs`", stale.join(", "));
    Ok(())
}

/// Every document by its path, as the code would have it.
fn generate() -> Result<Vec<(String, String)>> {
    command::run(workspace::cargo().args(["build", "--package", "fwd-user", "--bin", "fwd"]))?;
    let fwd = workspace::target_dir().join("debug/fwd");
    PAGES
        .iter()
        .map(|(page, file)| {
            let text = command::output(Command::new(&fwd).args(["generate", page]))?;
            Ok((format!("docs/{file}"), text))
        })
        .collect()
}
