//! Where things are: the workspace's root and what is built below it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Cargo's target directory.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cargo that runs this task, at the workspace's root.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// A cargo command on the kernel object, as fwd-user's build script runs it.
pub fn bpf_cargo(verb: &str, arguments: &[&str]) -> Command {
    let mut cargo = cargo();
    cargo
        .args([verb, "--package", "fwd-ebpf", "--bins", "--release"])
        .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core", "--target-dir"])
        .arg(target_dir().join("bpf"))
        .args(arguments)
        // A stable rustc needs this for -Zbuild-std.
        .env("RUSTC_BOOTSTRAP", "1");
    cargo
}
