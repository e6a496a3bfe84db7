//! Tells bpf-linker to leave memset and memcpy to LLVM.
//!
//! By default it has them expanded in order, which makes zeroing a byte-wise loop: a slower hit path, and
//! more than twice the instructions for the verifier.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") {
        println!("cargo::rustc-link-arg-bins=--disable-expand-memcpy-in-order");
    }
}
