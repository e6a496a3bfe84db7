//! What the active rustc says about itself.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::output;

pub struct Rustc {
    /// As in `1.95.0`.
    pub release: String,
    pub llvm_major: u32,
    pub sysroot: PathBuf,
}

impl Rustc {
    /// Asks the rustc that cargo uses here.
    ///
    /// # Errors
    /// When there is none, or its answer has another form than rustc's.
    pub fn active() -> Result<Self> {
        let version = output(rustc().arg("-vV"))?;
        let field = |name: &str| {
            version
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .with_context(|| format!("`rustc -vV` does not name its {name}"))
        };
        let llvm = field("LLVM version")?;
        Ok(Self {
            release: field("release")?.to_owned(),
            llvm_major: llvm
                .split('.')
                .next()
                .and_then(|major| major.parse().ok())
                .with_context(|| format!("`rustc -vV` names an unreadable LLVM version: {llvm}"))?,
            sysroot: output(rustc().args(["--print", "sysroot"]))?.trim_end().into(),
        })
    }

    /// Where the sources of `core` must be for `-Zbuild-std`.
    pub fn library(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}
