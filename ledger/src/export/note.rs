//! What a checkpoint says of its tree. Whether its signatures hold is for whoever has the keys.

use crate::chain::Origin;
use crate::checkpoint::{Checkpoint, TreeHead};
use crate::tree::{Hash, TreeSize};

/// Whether `note` is a checkpoint of the tree of this origin, size and root.
pub(super) fn says(note: &str, origin: &Origin, size: TreeSize, root: Hash) -> Result<(), &'static str> {
    let checkpoint = Checkpoint::parse(note).map_err(|_| "it is no signed note")?;
    let TreeHead { origin: of, size: its_size, root: its_root } = checkpoint.head();
    match () {
        () if of != origin => Err("it is of another log"),
        () if *its_size != size => Err("it is of another size"),
        () if *its_root != root => Err("its root is not that of the events"),
        () => Ok(()),
    }
}
