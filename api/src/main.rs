//! The binary `credence`: parses, dispatches, sets the exit status.

use std::process::ExitCode;

/// Many small allocations by many threads are what this program does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    credence_api::commands::run(std::env::args_os(), std::env::vars_os())
}
