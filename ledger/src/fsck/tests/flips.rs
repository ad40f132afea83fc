//! A byte that is not what it was, anywhere: found, and located.
//!
//! The seed of what is flipped is printed where the test fails; `CREDENCE_TEST_SEED` repeats it.

use super::proofs::{SIGNED, SIZE, Store, found, on_sqlite};
use super::*;
use crate::random::Random;
use rusqlite::types::Value;

/// How many bytes are flipped in each column.
const FLIPS: u64 = 12;

/// What is damaged: a column of a row that is known by a condition, and what a finding of it begins with.
struct Target {
    table: &'static str,
    column: &'static str,
    row: String,
    located: Vec<String>,
}

/// Numbers that a seed gives.
struct Seeded(blake3::OutputReader);

impl Seeded {
    fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }
}

fn target(table: &'static str, column: &'static str, random: &mut Seeded) -> Target {
    match table {
        "events" => {
            let position = random.below(SIZE);
            Target { table, column, row: format!("position = {position}"), located: vec![format!("ledger@{position} ")] }
        }
        "tiles" => {
            let (level, number) = [(-1, 0), (-1, 1), (-1, 2), (0, 0), (0, 1), (0, 2), (1, 0)][usize::try_from(random.below(7)).unwrap()];
            let name = if level < 0 { format!("the tile entries/{number:03}") } else { format!("the tile {level}/{number:03}") };
            Target { table, column, row: format!("level = {level} and number = {number}"), located: vec![name] }
        }
        "checkpoints" => {
            let number = random.below(SIGNED.len() as u64);
            Target { table, column, row: format!("number = {number}"), located: vec![format!("ledger checkpoint: number {number}")] }
        }
        _ => Target { table, column, row: "true".to_owned(), located: vec![format!(" {table}: ")] },
    }
}

/// The value with one bit of one byte changed, and how SQL writes either.
fn flip(value: &Value, random: &mut Seeded) -> (String, String) {
    let mut flip = |bytes: &[u8]| {
        let mut flipped = bytes.to_vec();
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        flipped[at] ^= 1 << random.below(8);
        flipped
    };
    match value {
        Value::Integer(number) => (number.to_string(), i64::from_be_bytes(flip(&number.to_be_bytes()).try_into().unwrap()).to_string()),
        Value::Text(text) => {
            let written = |bytes: &[u8]| format!("cast(x'{}' as text)", hex::encode(bytes));
            (written(text.as_bytes()), written(&flip(text.as_bytes())))
        }
        Value::Blob(bytes) => (format!("x'{}'", hex::encode(bytes)), format!("x'{}'", hex::encode(flip(bytes)))),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn any_flipped_byte_is_found_and_located() {
    let seed = std::env::var("CREDENCE_TEST_SEED").ok().unwrap_or_else(|| {
        let mut bytes = [0; 8];
        SystemRandom.fill(&mut bytes);
        hex::encode(bytes)
    });
    let mut random = Seeded(blake3::Hasher::new().update(seed.as_bytes()).finalize_xof());
    let store = on_sqlite().await;
    let columns = [
        ("events", &["stream", "version", "type", "schema", "recorded_at", "metadata", "payload", "event_hash", "chain_hash"][..]),
        ("tiles", &["level", "number", "hashes", "hashes", "hashes"]),
        ("checkpoints", &["size", "note", "note", "note"]),
        ("tree", &["size"]),
        ("head", &["size", "chain_hash", "recorded_at"]),
    ];
    // Its triggers go with the first damage.
    store.raw(String::new()).await;
    let file = store.file();
    for (table, column) in columns.iter().flat_map(|(table, columns)| columns.iter().map(|column| (*table, *column))) {
        for _ in 0..FLIPS {
            let Target { table, column, row, located } = target(table, column, &mut random);
            let raw = Connection::open(&file).unwrap();
            let value: Value = raw.query_row(&format!("select {column} from {table} where {row}"), [], |row| row.get(0)).unwrap();
            let (was, flipped) = flip(&value, &mut random);
            let rowid: Value = match table {
                "tiles" => raw.query_row(&format!("select rowid from tiles where {row}"), [], |row| row.get(0)).unwrap(),
                _ => Value::Null,
            };
            let row = if let Value::Integer(rowid) = rowid { format!("rowid = {rowid}") } else { row };
            // A place that another holds cannot be taken.
            if raw.execute(&format!("update {table} set {column} = {flipped} where {row}"), []).is_err() {
                continue;
            }
            let found = found(&store).await;
            let is_located = found.iter().any(|found| located.iter().any(|located| found.contains(located.as_str())));
            assert!(is_located, "seed {seed}: {table}.{column} where {row}: {was} became {flipped}: {found:#?}");
            // Nor are others blamed for it, but its own key and what follows in its stream; and all that lies beyond a head that is too low.
            assert!(table == "head" || found.len() <= 4, "seed {seed}: {table}.{column} where {row}: {was} became {flipped}: {found:#?}");
            raw.execute(&format!("update {table} set {column} = {was} where {row}"), []).unwrap();
        }
    }
    assert_eq!(found(&store).await, [""; 0]);
}
