//! `credence openapi`: the interface's description on standard output.

use std::io::Write as _;
use std::process::ExitCode;

use crate::http::docs;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(docs::json().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
