//! Rebuilding the verification model from the log, beside a serving one, comparison included.

use std::process::Command;
use std::time::Instant;

use crate::Extent;
use crate::engine::Engine;
use crate::load::{Server, environment, issue_many};
use crate::row::Row;

/// Issues, stops the server, rebuilds with the shipped command.
pub(crate) async fn measure(engine: &Engine, extent: Extent) {
    let store = engine.store().await;
    let server = Server::start(&store);
    // Every tenth is revoked: eleven events for ten credentials.
    let credentials = extent.events * 10 / 11;
    issue_many(&server, credentials).await;
    drop(server);
    let start = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_credence")).args(["rebuild", "verification"]).envs(environment(&store)).output().unwrap();
    let elapsed = start.elapsed();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let what = format!("rebuild of {} events, digests compared", extent.events);
    Row { what, engine, elapsed, count: extent.events as u64, latencies: None, batch: None }.print();
}
