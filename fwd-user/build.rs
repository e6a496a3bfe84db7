//! Builds the kernel object, package fwd-ebpf, and leaves it as `fwd` in `OUT_DIR`.

mod object;

use std::process::ExitCode;

fn main() -> ExitCode {
    object::Object { package: "fwd-ebpf", binaries: &["fwd"], sources: &["fwd-ebpf", "fwd-common"] }.build()
}
