//! How a build script builds an object for the kernel, and leaves it in its `OUT_DIR`.
//!
//! Works alike on stable and on nightly: `core` is built with the active rustc, from its own sources. The
//! flags of the BPF target are in `.cargo/config.toml`; all profiles share one object, always optimized.
//! `docs/decisions/0001-own-ebpf-build-script.md` has the reasons.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ::object::build::elf::{Builder, SectionData};
use ::object::elf::SHT_STRTAB;

const TARGET: &str = "bpfel-unknown-none";
/// What every object is made from, beside its own sources.
const SHARED: [&str; 3] = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"];
/// What cargo tells the script about its package and must not reach the build of another.
const FOREIGN: [&str; 6] = [
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_PKG_",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// A package for the BPF target.
pub struct Object {
    pub package: &'static str,
    /// Its binaries, and the names of the objects in `OUT_DIR`.
    pub binaries: &'static [&'static str],
    /// What it is made from, seen from the workspace's root.
    pub sources: &'static [&'static str],
}

impl Object {
    /// Builds it, and tells cargo when to do so again.
    pub fn build(&self) -> ExitCode {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for input in self.sources.iter().chain(&SHARED) {
            println!("cargo::rerun-if-changed={}", root.join(input).display());
        }
        match self.build_in(&root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(sentence) => {
                println!("cargo::error={sentence}");
                ExitCode::FAILURE
            }
        }
    }

    fn build_in(&self, root: &Path) -> Result<(), String> {
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
            .args(["build", "--package", self.package, "--bins", "--release"])
            .args(["--target", TARGET, "-Zbuild-std=core", "--target-dir"])
            .arg(&target_dir)
            // A stable rustc needs this for -Zbuild-std.
            .env("RUSTC_BOOTSTRAP", "1");
        match cargo.status() {
            Ok(status) if status.success() => {}
            Ok(_) => return Err(format!("the object of {} does not build, see above", self.package)),
            Err(error) => return Err(format!("cargo cannot be started: {error}")),
        }
        for binary in self.binaries {
            let object = target_dir.join(TARGET).join("release").join(binary);
            lean(&object)
                .and_then(|bytes| Ok(fs::write(out.join(binary), bytes)?))
                .map_err(|error| format!("{} cannot be taken over: {error}", object.display()))?;
        }
        Ok(())
    }
}

/// An object without what only its making needs: DWARF, of which BTF is made, and what BTF says of lines. aya-obj keeps
/// for each of some 250 functions all lines of its section (`get_func_and_line_info`): 240 MB for a start of the daemon.
fn lean(object: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = fs::read(object)?;
    let mut builder = Builder::read(&*bytes)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete =
            name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") || name == b".rel.BTF.ext";
        if let (b".BTF.ext", SectionData::Data(data)) = (name, &mut section.data) {
            drop_lines(data.to_mut());
        }
    }
    builder.delete_orphans();
    // LLVM has one table for the names of symbols and of sections, the builder one each.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut kept = Vec::new();
    builder.write(&mut kept)?;
    Ok(kept)
}

/// Ends a `.BTF.ext` after what it says of functions. Its header, of little-endian words (kernel's documentation, btf.rst,
/// section 4.2): magic, length of the header, then offset from its end and length of functions, lines, relocations.
/// Rust makes no relocations.
fn drop_lines(ext: &mut Vec<u8>) {
    let word = |at: usize| u32::from_le_bytes(ext[at..at + 4].try_into().expect("four bytes"));
    let (header, lines, relocations) = (word(4), word(16), word(28));
    assert_eq!(relocations, 0, "the object has relocations against the kernel's types");
    ext.truncate((header + lines) as usize);
    ext[20..24].fill(0);
    ext[24..28].copy_from_slice(&lines.to_le_bytes());
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
