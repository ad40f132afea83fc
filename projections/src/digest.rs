//! One hash over all rows of a generation, by which two generations are compared.
//!
//! BLAKE3 over every table in order: its name, its rows in the order of their positions, their number. It depends neither on
//! the engine nor on how the rows were brought in, so that equal digests at one position mean equal models.

use credence_ledger::Position;

use crate::generation::Snapshot;
use crate::projection::Error;
use crate::table;

/// A digest, and the position of the generation when it was taken.
pub type DigestAt = ([u8; 32], Option<Position>);

/// Rows fetched at a time.
const PAGE: usize = 4096;

/// The digest of everything in a snapshot.
///
/// # Errors
/// The store fails.
pub async fn digest(snapshot: &mut dyn Snapshot) -> Result<[u8; 32], Error> {
    let mut hasher = blake3::Hasher::new();
    for table in table::of(snapshot.generation().cursor.projection) {
        hasher.update(table.name.as_bytes());
        let (mut after, mut count) = (None, 0_u64);
        loop {
            let rows = snapshot.rows(table, after, PAGE).await?;
            for row in &rows {
                row.0.iter().for_each(|value| value.hash(&mut hasher));
            }
            count += rows.len() as u64;
            after = rows.last().map(table::Row::position);
            if rows.len() < PAGE {
                break;
            }
        }
        hasher.update(&count.to_be_bytes());
    }
    Ok(hasher.finalize().into())
}
