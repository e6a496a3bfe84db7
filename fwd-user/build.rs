//! Builds the kernel object, package fwd-ebpf, and leaves it as `fwd` in `OUT_DIR`.
//!
//! Works alike on stable and on nightly: `core` is built with the active rustc, from its own sources. The
//! flags of the BPF target are in `.cargo/config.toml`; all profiles share one object, always optimized.
//! `docs/decisions/0001-own-ebpf-build-script.md` has the reasons.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "bpfel-unknown-none";
/// What the object is made from.
const INPUTS: [&str; 5] = ["fwd-ebpf", "fwd-common", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"];
/// What cargo tells this script about fwd-user and must not reach the build of fwd-ebpf.
const FOREIGN: [&str; 6] = [
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_PKG_",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for input in INPUTS {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    match build_object(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("cargo::error={sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build_object(root: &Path) -> Result<(), String> {
    check_tools()?;
    let out = PathBuf::from(variable("OUT_DIR"));
    // OUT_DIR is TARGET/PROFILE/build/NAME/out. A target directory of its own, or cargo waits for itself.
    let target_dir = out.ancestors().nth(4).expect("OUT_DIR is in the target directory").join("bpf");
    let mut cargo = Command::new(variable("CARGO"));
    for (name, _) in env::vars_os() {
        if FOREIGN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(root)
        .args(["build", "--package", "fwd-ebpf", "--bins", "--release"])
        .args(["--target", TARGET, "-Zbuild-std=core", "--target-dir"])
        .arg(&target_dir)
        // A stable rustc needs this for -Zbuild-std.
        .env("RUSTC_BOOTSTRAP", "1");
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(_) => return Err("the kernel object (package fwd-ebpf) does not build, see above".into()),
        Err(error) => return Err(format!("cargo cannot be started: {error}")),
    }
    let object = target_dir.join(TARGET).join("release/fwd");
    fs::copy(&object, out.join("fwd"))
        .map(drop)
        .map_err(|error| format!("{} cannot be copied: {error}", object.display()))
}

fn check_tools() -> Result<(), String> {
    if Command::new("bpf-linker").arg("--version").output().is_err() {
        return Err("bpf-linker is missing: run `cargo xtask setup`".into());
    }
    let sysroot = Command::new(variable("RUSTC")).args(["--print", "sysroot"]).output();
    let sysroot = sysroot.map_err(|error| format!("rustc cannot be started: {error}"))?.stdout;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim_end());
    if !sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
        return Err("rust-src is missing: run `cargo xtask setup`".into());
    }
    Ok(())
}

fn variable(name: &str) -> String {
    env::var(name).expect("cargo sets it for build scripts")
}
