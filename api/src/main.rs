//! The binary `credence`: parses, dispatches, sets the exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    credence_api::commands::run(std::env::args_os(), std::env::vars_os())
}
