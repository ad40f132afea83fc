//! Standard output: data alone, nothing for people's eyes between it.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

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

/// Whether standard output is the null device, as it also is when the process was started with it closed: Rust opens that in its
/// place.
pub(super) fn is_discarded() -> bool {
    let output = std::io::stdout().as_fd().try_clone_to_owned().and_then(|output| File::from(output).metadata());
    let device = |file: &Metadata| file.file_type().is_char_device().then(|| file.rdev());
    matches!((output, std::fs::metadata("/dev/null")), (Ok(output), Ok(null)) if device(&output).is_some() && device(&output) == device(&null))
}

/// Lets a closed output pass, for commands that have more to do than to write.
///
/// # Errors
/// Any other.
pub(super) fn unless_closed(error: anyhow::Error) -> anyhow::Result<()> {
    if error.is::<Closed>() { Ok(()) } else { Err(error) }
}
