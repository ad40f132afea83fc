//! Rows in the binary format of `copy` (PostgreSQL's documentation of the command, "Binary Format").

use crate::table::{Row, Value};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Everything that is sent for one `copy`.
pub(super) fn encode(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + rows.len() * 256);
    bytes.extend_from_slice(SIGNATURE);
    bytes.extend_from_slice(&0_i32.to_be_bytes()); // flags
    bytes.extend_from_slice(&0_i32.to_be_bytes()); // length of the header's extension
    for row in rows {
        bytes.extend_from_slice(&i16::try_from(row.0.len()).unwrap_or(i16::MAX).to_be_bytes());
        row.0.iter().for_each(|value| field(&mut bytes, value));
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    bytes
}

fn field(bytes: &mut Vec<u8>, value: &Value) {
    let mut sized = |content: &[u8]| {
        bytes.extend_from_slice(&i32::try_from(content.len()).unwrap_or(i32::MAX).to_be_bytes());
        bytes.extend_from_slice(content);
    };
    match value {
        Value::Null => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        Value::Integer(number) => sized(&number.to_be_bytes()),
        Value::Uuid(id) => sized(id.as_bytes()),
        Value::Bytes(content) => sized(content),
        Value::Text(text) => sized(text.as_bytes()),
    }
}
