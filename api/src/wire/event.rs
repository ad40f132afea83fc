//! An event in JSON and in CBOR sequences.
