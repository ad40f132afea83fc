//! Standard output: data alone, nothing for people's eyes between it.

use std::io::{ErrorKind, Write as _};

/// Whoever read standard output has gone. There is nobody left to tell anything, so a command that meets it is done.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(super) struct Closed;

/// Writes to standard output and flushes it, so that whoever reads sees it at once.
///
/// # Errors
/// [`Closed`], or it cannot be written.
pub(super) fn write(data: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(data.as_ref()).and_then(|()| output.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("standard output cannot be written")),
    }
}

/// Lets a closed output pass, for commands that have more to do than to write.
///
/// # Errors
/// Any other.
pub(super) fn unless_closed(error: anyhow::Error) -> anyhow::Result<()> {
    if error.is::<Closed>() { Ok(()) } else { Err(error) }
}
