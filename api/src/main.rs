//! The binary `credence`: parses, dispatches, sets the exit status.

#[cfg(feature = "bench-unsealed")]
compile_error!("bench-unsealed is for the bench's own program, credence-unsealed, alone: what a build with it issues stands in clear");

use std::process::ExitCode;

/// Many small allocations by many threads are what this program does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    credence_api::commands::run(std::env::args_os(), std::env::vars_os())
}
