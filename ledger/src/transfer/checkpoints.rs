//! A log's checkpoints, as they are moved with it. Logs have none yet.

use crate::export::Checkpoint;
use crate::log::{Log, Restore};
use crate::store::Error;

/// The checkpoints of sizes up to `size`, in order, from the `from`th on, at most a page; none when there are no more.
pub(super) async fn read(_log: &dyn Log, _from: u64, _size: u64) -> Result<Vec<Checkpoint>, Error> {
    Ok(Vec::new())
}

/// Keeps checkpoints that `log` has not, in order, the first of which is the `from`th. Those that are there must be the same.
pub(super) async fn write(log: &dyn Restore, from: u64, checkpoints: &[Checkpoint]) -> Result<(), Error> {
    match checkpoints {
        [] => Ok(()),
        [first, ..] => {
            let what = format!("checkpoint {from} of {}, of {} events, which this program cannot keep", log.name(), first.size);
            Err(Error::Corrupt(what))
        }
    }
}
