//! `credence openapi`: the interface's description on standard output.

use std::process::ExitCode;

use super::output;
use crate::http::docs;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    output::write(docs::json())?;
    Ok(ExitCode::SUCCESS)
}
