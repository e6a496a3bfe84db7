//! As for fwd's own object: bpf-linker leaves memset and memcpy to LLVM, so that peers and fwd are built alike.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") {
        println!("cargo::rustc-link-arg-bins=--disable-expand-memcpy-in-order");
    }
}
