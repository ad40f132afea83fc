//! Several connections that read one file, asked in turn.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Options, Shared, connect};
use crate::store::Error;

/// The connections.
pub struct Readers {
    connections: Vec<Shared>,
    next: AtomicUsize,
}

impl Readers {
    /// Opens `count` connections to a file, one at least.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(path: &Path, options: Options, count: usize) -> Result<Readers, Error> {
        let mut connections = vec![connect(path, options).await?];
        while connections.len() < count {
            connections.push(connect(path, options).await?);
        }
        Ok(Readers { connections, next: AtomicUsize::new(0) })
    }

    /// The connection whose turn it is.
    pub fn next(&self) -> &Shared {
        &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len()]
    }
}
