//! What a checkpoint says of its tree: the first three lines of its note, which is a C2SP tlog-checkpoint. Whether the signatures beneath hold is for whoever
//! has the keys.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::chain::{Hash, Origin};

/// Whether `note` is a checkpoint of the tree of this origin, size and root, and is signed by anybody.
pub(super) fn says(note: &str, origin: &Origin, size: u64, root: Hash) -> Result<(), &'static str> {
    let (text, signatures) = note.rsplit_once("\n\n").ok_or("its text and its signatures are not told apart")?;
    if !signatures.ends_with('\n') || !signatures.trim_end().lines().all(|line| line.starts_with("\u{2014} ")) {
        return Err("a line beneath its text is no signature");
    }
    let mut lines = text.split('\n');
    if lines.next() != Some(origin.as_str()) {
        return Err("it is of another log");
    }
    if lines.next() != Some(&size.to_string()) {
        return Err("it is of another size");
    }
    if lines.next() != Some(&BASE64_STANDARD.encode(root.0)) {
        return Err("its root is not that of the events");
    }
    Ok(())
}
