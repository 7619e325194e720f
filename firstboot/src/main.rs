//! The agent's program; all of it is in the library, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstboot::cli::main()
}
