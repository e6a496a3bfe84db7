//! The sources of `core`, of exactly the installed rustc: the BPF target has no prebuilt one.
//!
//! From rustup where it manages this toolchain, else from Debian's archive.

use std::process::Command;

use anyhow::Result;

use super::debian;
use super::rustc::Rustc;
use crate::command::output;
use crate::step::Step;

/// Puts them where `-Zbuild-std` looks for them.
///
/// # Errors
/// When neither source has them for this rustc.
pub fn install(step: &Step) -> Result<String> {
    let rustc = Rustc::active()?;
    if present(&rustc) {
        return Ok(format!("already there for rustc {}", rustc.release));
    }
    step.says("rustup component add rust-src");
    // rustup can fail, and it can succeed for another toolchain than the one that cargo runs.
    let by_rustup = output(Command::new("rustup").args(["component", "add", "rust-src"]));
    if by_rustup.is_ok() && present(&rustc) {
        return Ok(format!("added for rustc {}", rustc.release));
    }
    step.says("not to be had; from Debian's archive");
    let version = debian::install_rust_src(&rustc)?;
    Ok(format!("unpacked rust-src {version} into {}", rustc.library().display()))
}

fn present(rustc: &Rustc) -> bool {
    rustc.library().join("Cargo.lock").exists()
}
