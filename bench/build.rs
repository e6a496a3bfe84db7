//! Builds generator, sink, peers and walks, package fwd-bench-ebpf, and leaves them as `traffic` and `walk` in `OUT_DIR`.

#[path = "../fwd-user/object.rs"]
mod object;

use std::process::ExitCode;

fn main() -> ExitCode {
    let sources = &["bench/ebpf", "bench/src/traffic/stream.rs", "bench/src/program/walk.rs"];
    object::Object { package: "fwd-bench-ebpf", binaries: &["traffic", "walk"], sources }.build()
}
