//! bpf-linker: links the kernel object with the LLVM that rustc itself carries.

use std::process::Command;

use anyhow::{Result, ensure};

use super::rustc::Rustc;
use crate::command::{answer, output};
use crate::step::Step;

const VERSION: &str = "0.10.3";
/// The LLVM whose interface this bpf-linker speaks.
const LLVM_MAJOR: u32 = 22;

/// Installs the one version that is known to fit.
///
/// # Errors
/// When rustc carries another LLVM, or cargo cannot install it.
pub fn install(step: &Step) -> Result<String> {
    let rustc = Rustc::active()?;
    ensure!(
        rustc.llvm_major == LLVM_MAJOR,
        "bpf-linker {VERSION} works with LLVM {LLVM_MAJOR}, but rustc {} carries LLVM {}: \
         `rustup toolchain install 1.95.0` and use `cargo +1.95.0 xtask`",
        rustc.release,
        rustc.llvm_major
    );
    let installed = answer(Command::new("bpf-linker").arg("--version"));
    if installed.as_deref().map(str::trim) == Some(&format!("bpf-linker {VERSION}")) {
        return Ok(format!("{VERSION} already there"));
    }
    let package = format!("bpf-linker@{VERSION}");
    step.says(&format!("cargo install {package} --locked"));
    output(Command::new("cargo").args(["install", &package, "--locked"]))?;
    Ok("installed".to_owned())
}
