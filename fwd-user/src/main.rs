//! The binary `fwd`: daemon and command line in one.

use std::process::ExitCode;

fn main() -> ExitCode {
    fwd_user::cli::main()
}
